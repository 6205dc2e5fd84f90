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
MOST_CHANNELS = {"mp3": 2}
OPUS_LIMIT = 256_000  # bits a second for each channel
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
    layout = _layout(samples.shape[0], kind)
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
    if not buffer.getbuffer().nbytes:
        raise StorageError(
            f"The sound is too short for {kind} ({samples.shape[1]} samples).",
            remedy="save it as flac or wav",
        )
    return buffer.getvalue()


def decode(path: Path, label: str) -> dict[str, Any]:
    """Return a file's first sound as ComfyUI's AUDIO: 1 by channels by samples, and its rate.

    Raises `DamagedError` where there is none; `label` names the file.
    """
    pieces: list[Any] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise DamagedError(f"{label} has no sound in it.", remedy="check the object")
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="flt")
            for frame in container.decode(stream):
                pieces += map(_samples, resampler.resample(frame))
            pieces += map(_samples, resampler.resample(None))
            rate = stream.codec_context.sample_rate
    except (av.error.FFmpegError, ValueError) as error:
        raise DamagedError(
            f"{label} cannot be read as audio ({type(error).__name__}).", remedy="check the object"
        ) from None
    if not pieces:
        raise DamagedError(f"{label} has no sound in it.", remedy="check the object")
    waveform = torch.from_numpy(np.ascontiguousarray(np.concatenate(pieces, axis=1)))
    return {"waveform": waveform.unsqueeze(0), "sample_rate": rate}


def _layout(channels: int, kind: str) -> str:
    layout = LAYOUTS.get(channels)
    if layout is None:
        raise StorageError(
            f"Audio with {channels} channels cannot be saved.",
            remedy="mix it down to one or two channels",
        )
    if channels > MOST_CHANNELS.get(kind, channels):
        raise StorageError(
            f"Audio with {channels} channels does not go into {kind}.",
            remedy="save it as flac, opus or wav, or mix it down to one or two channels",
        )
    return layout


def _set_quality(stream: Any, kind: str, bitrate: str) -> None:
    if bitrate != "auto":
        most = OPUS_LIMIT * stream.layout.nb_channels if kind == "opus" else None
        wanted = int(bitrate.removesuffix("k")) * 1000
        stream.bit_rate = min(wanted, most) if most else wanted
    elif kind == "mp3":
        stream.codec_context.qscale = True  # the best of the variable rates, as ComfyUI's V0
    elif kind == "opus":
        stream.bit_rate = 128_000


def _frames(samples: Any, layout: str, rate: int) -> Any:
    for start in range(0, samples.shape[1], FRAME):
        # Sample by sample: PyAV neither takes nor gives eight channels one after the other.
        piece = np.ascontiguousarray(samples[:, start : start + FRAME].T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(piece, format="flt", layout=layout)
        frame.sample_rate = rate
        frame.pts = start
        yield frame


def _samples(frame: Any) -> Any:
    """Return a frame's samples as channels by samples."""
    return frame.to_ndarray().reshape(-1, frame.layout.nb_channels).T
