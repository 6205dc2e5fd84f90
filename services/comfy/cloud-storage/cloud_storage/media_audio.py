"""Audio: waveforms to files and files to waveforms, by PyAV as ComfyUI does it."""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import torch

from .shared.errors import DamagedError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

CONTENT_TYPES = {
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "wav": "audio/wav",
}
ENCODERS = {"flac": "flac", "mp3": "libmp3lame", "opus": "libopus", "wav": "pcm_s16le"}
# Rates in hertz that an encoder takes; the others take any.
RATES = {
    "opus": (8000, 12000, 16000, 24000, 48000),
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
}
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
BITRATES = ["auto", "64k", "96k", "128k", "192k", "320k"]
FRAME = 1 << 16


def encode(waveform: Any, rate: int, kind: str, bitrate: str, metadata: dict[str, Any]) -> bytes:
    """Return one sound as a `flac`, `mp3`, `opus` or `wav` file.

    `waveform` is channels by samples with values from -1 to 1, `rate` its samples per second.
    A rate that the format does not know is converted to the next higher one.
    """
    if kind not in ENCODERS:
        raise StorageError(f"Unknown audio format {kind!r}.", remedy="use flac, mp3, opus or wav")
    samples = np.ascontiguousarray(waveform.float().cpu().numpy())
    layout = LAYOUTS.get(samples.shape[0])
    if layout is None:
        raise StorageError(
            f"Audio with {samples.shape[0]} channels cannot be saved.",
            remedy="mix it down to one or two channels",
        )
    target = next((r for r in RATES.get(kind, ()) if r >= rate), RATES.get(kind, (rate,))[-1])
    buffer = BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        for name, value in metadata.items():
            container.metadata[name] = json.dumps(value)
        stream = container.add_stream(ENCODERS[kind], rate=target, layout=layout)
        _set_quality(stream, kind, bitrate)
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=target)
        for frame in _frames(samples, layout, rate):
            for ready in resampler.resample(frame):
                container.mux(stream.encode(ready))
        for ready in resampler.resample(None):
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def decode(path: Path, label: str) -> dict[str, Any]:
    """Return a file's first sound as ComfyUI's AUDIO: 1 by channels by samples, and its rate.

    Raises `DamagedError` where there is none; `label` names the file.
    """
    pieces = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise DamagedError(f"{label} has no sound in it.", remedy="check the object")
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp")
            for frame in container.decode(stream):
                pieces += [ready.to_ndarray() for ready in resampler.resample(frame)]
            pieces += [ready.to_ndarray() for ready in resampler.resample(None)]
            rate = stream.codec_context.sample_rate
    except (av.error.FFmpegError, ValueError) as error:
        raise DamagedError(
            f"{label} cannot be read as audio ({type(error).__name__}).", remedy="check the object"
        ) from None
    if not pieces:
        raise DamagedError(f"{label} has no sound in it.", remedy="check the object")
    waveform = torch.from_numpy(np.concatenate(pieces, axis=1))
    return {"waveform": waveform.unsqueeze(0), "sample_rate": rate}


def _set_quality(stream: Any, kind: str, bitrate: str) -> None:
    if bitrate != "auto":
        stream.bit_rate = int(bitrate.removesuffix("k")) * 1000
    elif kind == "mp3":
        stream.codec_context.qscale = True  # the best of the variable rates, as ComfyUI's V0
    elif kind == "opus":
        stream.bit_rate = 128_000


def _frames(samples: Any, layout: str, rate: int) -> Any:
    for start in range(0, samples.shape[1], FRAME):
        piece = np.ascontiguousarray(samples[:, start : start + FRAME])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
        frame.sample_rate = rate
        frame.pts = start
        yield frame
