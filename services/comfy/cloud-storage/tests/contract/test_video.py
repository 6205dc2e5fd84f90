"""Videos of every origin: made of images, cut, in other containers, of sizes that codecs refuse."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl, Types
from conftest import Bucket, part

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FRAMES, HEIGHT, WIDTH, RATE = 8, 32, 48, 8
SOUND_RATE = 48000


def film(channels: int = 3, *, frames: int = FRAMES, width: int = WIDTH, audio: Any = None) -> Any:
    images = torch.rand(frames, HEIGHT, width, channels)
    parts = Types.VideoComponents(images=images, audio=audio, frame_rate=Fraction(RATE))
    return InputImpl.VideoFromComponents(parts)


def file(path: Path, picture: str, sound: str) -> Path:
    """Write a film of a second with these encoders; the suffix decides the container."""
    with av.open(str(path), "w") as output:
        pictures = output.add_stream(picture, rate=RATE)
        pictures.width, pictures.height, pictures.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sounds = output.add_stream(sound, rate=SOUND_RATE, layout="mono")
        image = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
        for _ in range(FRAMES):
            output.mux(pictures.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(pictures.encode(None))
        silence = np.zeros((1, SOUND_RATE), dtype=np.int16)
        frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
        frame.sample_rate, frame.pts = SOUND_RATE, 0
        output.mux(sounds.encode(frame))
        output.mux(sounds.encode(None))
    return path


def save(execute: Callable[..., Any], video: Any, format: str, codec: str = "auto") -> str:  # noqa: A002  # as the input is called
    given = {"key_prefix": "", "filename": "x", "format": format, "codec": codec}
    key: str = execute("SaveVideoToCloud", video=video, **given).out[0]
    return key


def look(bucket: Bucket, execute: Callable[..., Any], key: str) -> tuple[str, int, bool]:
    """Return the codec of an object's pictures, how many there are, and whether it has sound."""
    with av.open(io.BytesIO(bucket.get(key))) as found:
        codec = found.streams.video[0].codec_context.name
    parts = execute("LoadVideoFromCloud", key=key).out[0].get_components()
    return codec, len(parts.images), parts.audio is not None


@pytest.mark.parametrize(("format", "codec"), [("auto", "h264"), ("mp4", "h264"), ("webm", "vp9")])
def test_a_matroska_file_becomes_what_was_asked_for(
    one_bucket: Bucket,
    execute: Callable[..., Any],
    tmp_path: Path,
    format: str,  # noqa: A002  # as the input is called
    codec: str,
) -> None:
    one_bucket.put("film.mkv", file(tmp_path / "film.mkv", "libx264", "flac").read_bytes())
    (video,) = execute("LoadVideoFromCloud", key="film.mkv").out
    key = save(execute, video, format)
    assert look(one_bucket, execute, key) == (codec, FRAMES, True)


def test_a_webm_file_becomes_an_mp4_that_players_read(
    one_bucket: Bucket, execute: Callable[..., Any], tmp_path: Path
) -> None:
    path = file(tmp_path / "film.webm", "libvpx-vp9", "libopus")
    key = save(execute, InputImpl.VideoFromFile(str(path)), "auto")
    assert key == "x.mp4"
    assert look(one_bucket, execute, key) == ("h264", FRAMES, True)


def test_a_cut_webm_stays_cut(
    one_bucket: Bucket, execute: Callable[..., Any], tmp_path: Path
) -> None:
    path = file(tmp_path / "film.webm", "libvpx-vp9", "libopus")
    video = InputImpl.VideoFromFile(str(path), start_time=0.25, duration=0.5)
    assert look(one_bucket, execute, save(execute, video, "webm")) == ("vp9", FRAMES // 2, True)


def test_generated_pictures_are_encoded_once(
    one_bucket: Bucket, execute: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Any] = []
    monkeypatch.setattr(
        InputImpl.VideoFromComponents, "save_to", lambda *given, **_: written.append(given)
    )
    assert look(one_bucket, execute, save(execute, film(), "webm")) == ("vp9", FRAMES, False)
    assert written == []


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(("format", "codec"), [("mp4", "h264"), ("webm", "vp9")])
def test_pictures_with_other_channels_than_three(
    one_bucket: Bucket,
    execute: Callable[..., Any],
    channels: int,
    format: str,  # noqa: A002  # as the input is called
    codec: str,
) -> None:
    key = save(execute, film(channels), format)
    assert look(one_bucket, execute, key) == (codec, FRAMES, False)


def test_a_sound_without_samples_is_left_out_of_a_webm(
    one_bucket: Bucket, execute: Callable[..., Any]
) -> None:
    silent = {"waveform": torch.zeros(1, 2, 0), "sample_rate": SOUND_RATE}
    key = save(execute, film(audio=silent), "webm")
    assert look(one_bucket, execute, key) == ("vp9", FRAMES, False)


@pytest.mark.parametrize("format", ["auto", "webm"])
def test_a_film_without_pictures_is_named(
    one_bucket: Bucket,
    execute: Callable[..., Any],
    format: str,  # noqa: A002  # as the input is called
) -> None:
    with pytest.raises(Exception, match=r"There are no frames to save\.\n  → check what is"):
        save(execute, film(frames=0), format)
    assert one_bucket.keys() == []


def test_a_size_that_h264_refuses_is_named(one_bucket: Bucket, execute: Callable[..., Any]) -> None:
    with pytest.raises(
        Exception,
        match=r"The video \(47x32\) cannot be written as mp4: (?s:.+)\n  → h264 needs an even",
    ):
        save(execute, film(width=47), "auto")
    assert one_bucket.keys() == []


def left_over() -> list[str]:
    """Return the names of videos that were encoded and have not been taken away."""
    folder: Path = part("compat").temp_directory()
    return [path.name for path in folder.glob("cloud_*.*")]


def test_a_webm_that_was_stopped_is_nowhere(one_bucket: Bucket) -> None:
    with pytest.raises(part("shared.errors").Cancelled):
        part("media_video").encode(film(), "webm", "auto", {}, lambda: True)
    assert left_over() == []


@pytest.mark.parametrize("stop", [True, False], ids=["stopped", "failed"])
def test_what_was_encoded_for_nothing_is_neither_written_nor_kept(
    one_bucket: Bucket, monkeypatch: pytest.MonkeyPatch, stop: bool
) -> None:
    saving, task = part("saving"), part("runtime").Task()

    def make() -> Path:
        path = part("compat").temp_directory() / "cloud_test.mp4"
        path.write_bytes(b"half a film")
        task.stopped = stop
        return path  # type: ignore[no-any-return]  # the pack is not known to mypy here

    if not stop:
        one_bucket.client.delete_bucket(Bucket=one_bucket.name)
    batch = saving.Batch(
        store=part("runtime").open_store(None),
        naming=part("names").Naming(prefix="", template="x", suffix=".mp4"),
        items=[saving.Item(make=make, content_type="video/mp4")],
        overwrite=True,
        task=task,
    )
    errors = part("shared.errors")
    with pytest.raises(errors.Cancelled if stop else errors.MissingError):
        batch.save()
    assert left_over() == []
    if stop:
        assert one_bucket.keys() == []
