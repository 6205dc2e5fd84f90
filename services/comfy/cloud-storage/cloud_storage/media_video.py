"""Video: through a file of ComfyUI's temp folder, so that memory stays bounded."""

from __future__ import annotations

import json
import uuid
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from comfy_api.latest import InputImpl, Types

from . import compat
from .shared.errors import Cancelled, StorageError

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
CHANNELS = 3
# What a WebM may hold, by the names of PyAV's decoders.
IN_WEBM = ("vp8", "vp9", "av1", "opus", "vorbis", "libvpx", "libvpx-vp9", "libdav1d", "libopus")
# What PyAV and ComfyUI raise for a video that a format does not take.
FAULTS = (av.error.FFmpegError, ValueError, OSError)


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
    """Write `video` into a new file and return its path; a WebM that fits is not encoded again.

    Raises `StorageError` for a video without frames, and for one that the format does not take.
    """
    check(container, codec)
    video = _plain(video)
    folder = compat.temp_directory()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"cloud_{uuid.uuid4().hex}.{suffix(container)}"
    try:
        if container != WEBM:
            _write_by_comfyui(path, video, container, codec, metadata)
        elif codec == "auto" and _fits_webm(video):
            video.save_to(str(path), metadata=metadata or None)
        else:
            _write_webm(path, video.get_components(), ENCODERS[codec], metadata, stopped)
    except FAULTS as error:
        path.unlink(missing_ok=True)
        raise _fault(video, suffix(container), error) from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _plain(video: Any) -> Any:
    """Return `video` with three channels, as encoders want it, if it is made of images."""
    if not isinstance(video, InputImpl.VideoFromComponents):
        return video
    parts = video.get_components()
    if not len(parts.images):
        raise StorageError("There are no frames to save.", remedy="check what is connected")
    if parts.images.shape[-1] == CHANNELS:
        return video
    images = parts.images[..., :CHANNELS]
    images = images.expand(*images.shape[:-1], CHANNELS) if images.shape[-1] == 1 else images
    rate = Fraction(parts.frame_rate)
    return InputImpl.VideoFromComponents(
        Types.VideoComponents(images=images, audio=parts.audio, frame_rate=rate)
    )


def _write_by_comfyui(
    path: Path, video: Any, container: str, codec: str, metadata: dict[str, Any]
) -> None:
    kind = Types.VideoContainer(container)
    # Under auto ComfyUI copies the streams of any file, and an .mp4 does not hold all of them.
    if isinstance(video, InputImpl.VideoFromFile) and kind == Types.VideoContainer.AUTO:
        fits = suffix(container) in video.get_container_format().split(",")
        kind = kind if fits else Types.VideoContainer(suffix(container))
    video.save_to(str(path), format=kind, codec=Types.VideoCodec(codec), metadata=metadata or None)


def _fits_webm(video: Any) -> bool:
    """Say whether the video is a file whose streams a WebM can hold as they are."""
    if not isinstance(video, InputImpl.VideoFromFile):
        return False
    if any(getattr(video, "get_active_trim_window", tuple)()):
        return False
    with av.open(video.get_stream_source()) as source:
        if WEBM not in source.format.name.split(","):
            return False
        return all(
            stream.codec_context is not None and stream.codec_context.name in IN_WEBM
            for stream in source.streams
        )


def _fault(video: Any, kind: str, error: Exception) -> StorageError:
    width, height = video.get_dimensions()
    remedy = "try another format or codec"
    if kind != WEBM and (width % 2 or height % 2):
        remedy = "h264 needs an even width and height: scale or crop it, or save it as webm"
    return StorageError(
        f"The video ({width}x{height}) cannot be written as {kind}: {error}", remedy=remedy
    )


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
                raise Cancelled("The save was cancelled.")
            array = (image[..., :3].clamp(0, 1) * 255).byte().cpu().numpy()
            output.mux(picture.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        output.mux(picture.encode(None))
        if sound is not None:
            _write_sound(output, sound, parts.audio)


def _sound_stream(output: Any, audio: Any) -> Any:
    if not audio or not audio["waveform"].numel():
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
