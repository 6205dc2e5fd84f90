"""Video: through a file of ComfyUI's temp folder, so that memory stays bounded."""

from __future__ import annotations

import json
import uuid
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from comfy_api.latest import Types

from . import compat
from .shared.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTENT_TYPES = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mov": "video/quicktime",
    "mkv": "video/x-matroska",
    "gif": "image/gif",
}
WEBM = "webm"
ENCODERS = {"auto": "libvpx-vp9", "vp9": "libvpx-vp9", "av1": "libsvtav1"}
OPUS_RATE = 48000


def formats() -> list[str]:
    """Return ComfyUI's containers and WebM, which it writes in a node of its own."""
    return list(dict.fromkeys([*Types.VideoContainer.as_input(), WEBM]))


def codecs() -> list[str]:
    """Return ComfyUI's codecs and those of WebM."""
    return list(dict.fromkeys([*Types.VideoCodec.as_input(), "vp9", "av1"]))


def suffix(container: str) -> str:
    """Return the suffix of the files of a container, without the dot."""
    return WEBM if container == WEBM else Types.VideoContainer.get_extension(container)


def check(container: str, codec: str) -> None:
    """Raise `StorageError` for a codec that the container cannot hold."""
    fitting = list(ENCODERS) if container == WEBM else list(Types.VideoCodec.as_input())
    if codec not in fitting:
        raise StorageError(
            f"The codec {codec} does not go into {container}.",
            remedy=f"use one of: {', '.join(fitting)}",
        )


def encode(
    video: Any, container: str, codec: str, metadata: dict[str, Any], stopped: Callable[[], bool]
) -> Path:
    """Write `video` into a new file and return its path; a WebM that fits is not encoded again."""
    check(container, codec)
    folder = compat.temp_directory()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"cloud_{uuid.uuid4().hex}.{suffix(container)}"
    try:
        if container != WEBM:
            video.save_to(
                str(path),
                format=Types.VideoContainer(container),
                codec=Types.VideoCodec(codec),
                metadata=metadata or None,
            )
        elif codec == "auto" and _is_webm(video):
            video.save_to(str(path), metadata=metadata or None)
        else:
            _write_webm(path, video.get_components(), ENCODERS[codec], metadata, stopped)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _is_webm(video: Any) -> bool:
    source = getattr(video, "get_stream_source", lambda: None)()
    return isinstance(source, str) and WEBM in video.get_container_format().split(",")


def _write_webm(
    path: Path,
    parts: Any,
    encoder: str,
    metadata: dict[str, Any],
    stopped: Callable[[], bool],
) -> None:
    with av.open(str(path), "w", format=WEBM) as output:
        for name, value in metadata.items():
            output.metadata[name] = json.dumps(value)
        rate = Fraction(parts.frame_rate).limit_denominator(1000)
        picture = output.add_stream(encoder, rate=rate)
        picture.height, picture.width = int(parts.images.shape[1]), int(parts.images.shape[2])
        picture.pix_fmt = "yuv420p10le" if encoder == ENCODERS["av1"] else "yuv420p"
        picture.bit_rate = 0
        picture.options = {"crf": "32"}
        sound = _sound_stream(output, parts.audio)
        for image in parts.images:
            if stopped():
                break
            array = (image[..., :3].clamp(0, 1) * 255).byte().cpu().numpy()
            output.mux(picture.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        output.mux(picture.encode(None))
        if sound is not None:
            _write_sound(output, sound, parts.audio)


def _sound_stream(output: Any, audio: Any) -> Any:
    if not audio:
        return None
    layout = "mono" if audio["waveform"].shape[1] == 1 else "stereo"
    return output.add_stream("libopus", rate=OPUS_RATE, layout=layout)


def _write_sound(output: Any, stream: Any, audio: Any) -> None:
    waveform = audio["waveform"][0, :2].float().cpu().numpy()
    layout = "mono" if waveform.shape[0] == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform), format="fltp", layout=layout)
    frame.sample_rate = int(audio["sample_rate"])
    frame.pts = 0
    resampler = av.AudioResampler(format=stream.format, layout=layout, rate=OPUS_RATE)
    for ready in [*resampler.resample(frame), *resampler.resample(None)]:
        output.mux(stream.encode(ready))
    output.mux(stream.encode(None))
