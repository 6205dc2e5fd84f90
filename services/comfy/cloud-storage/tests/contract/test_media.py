"""Images and sounds at the edges of what a file can hold."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from conftest import Comfy, Source
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Bucket


def save_image(execute: Callable[..., Any], shape: tuple[int, ...], kind: str) -> Any:
    given = {"key_prefix": "", "filename": "x", "format": kind}
    return execute("SaveImageToCloud", images=torch.rand(*shape), **given).out[0]


@pytest.mark.parametrize(
    ("shape", "kind", "told"),
    [
        ((1, 4, 16400, 3), "webp", r"is 16400x4, and a webp has at most 16383 pixels a side\.\n"),
        ((1, 65501, 1, 3), "jpg", r"is 1x65501, and a jpg has at most 65500 pixels a side\.\n"),
        ((1, 8, 8, 5), "png", r"An image with 5 channels cannot be saved\.\n"),
        ((1, 0, 8, 3), "webp", r"The image has no pixels\.\n"),
    ],
)
def test_an_image_that_no_such_file_can_hold_is_named(
    one_bucket: Bucket,
    execute: Callable[..., Any],
    shape: tuple[int, ...],
    kind: str,
    told: str,
) -> None:
    with pytest.raises(part_of_ours(), match=told):
        save_image(execute, shape, kind)
    assert one_bucket.keys() == []


def part_of_ours() -> type[Exception]:
    from conftest import part  # the pack is loaded by then

    error: type[Exception] = part("shared.errors").StorageError
    return error


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("count", [1, 3])
def test_every_shape_of_batch_comes_back(
    one_bucket: Bucket, execute: Callable[..., Any], kind: str, channels: int, count: int
) -> None:
    keys = save_image(execute, (count, 8, 12, channels), kind)
    assert keys == ([f"x_{n}.{kind}" for n in range(count)] if count > 1 else [f"x.{kind}"])
    for key in keys:
        image, mask = execute("LoadImageFromCloud", key=key).out
        assert (tuple(image.shape), tuple(mask.shape)) == ((1, 8, 12, 3), (1, 8, 12))
        assert bool(mask.any()) is (channels == 4 and kind != "jpg")


def test_of_a_camera_s_double_picture_the_first_is_loaded(
    one_bucket: Bucket, execute: Callable[..., Any]
) -> None:
    left, right = (Image.new("RGB", (8, 8), color) for color in ("red", "blue"))
    buffer = io.BytesIO()
    left.save(buffer, "MPO", save_all=True, append_images=[right])
    one_bucket.put("camera.jpg", buffer.getvalue())
    image, _ = execute("LoadImageFromCloud", key="camera.jpg").out
    assert image.shape == (1, 8, 8, 3)
    assert image[0, 0, 0, 0] > image[0, 0, 0, 2]


def test_a_jpeg_too_small_for_all_keeps_the_workflow(one_bucket: Bucket, comfy: Comfy) -> None:
    Source.things["images"] = torch.rand(1, 8, 8, 3)
    given = {"key_prefix": "", "filename": "x", "format": "jpg", "quality": 90}
    graph = {
        "1": {"class_type": "Source", "inputs": {"name": "images"}},
        "2": {"class_type": "SaveImageToCloud", "inputs": {"images": ["1", 0], **given}},
        "3": {"class_type": "Source", "inputs": {"name": "x" * 30_000}},
    }
    workflow = {"workflow": {"text": "y" * 40_000}}
    assert comfy.run(graph, extra_pnginfo=workflow).success
    exif = Image.open(io.BytesIO(one_bucket.get("x.jpg"))).getexif()
    texts = [str(value) for value in exif.values()]
    assert [text.split(":", 1)[0] for text in texts] == ["workflow"]
    assert json.loads(texts[0].split(":", 1)[1]) == workflow["workflow"]


def save_sound(
    execute: Callable[..., Any], channels: int, kind: str, rate: int = 48000, **more: Any
) -> Any:
    tone = np.sin(np.arange(more.pop("samples", rate)) / 20).astype(np.float32)
    wave = torch.from_numpy(np.stack([tone * (n + 1) / channels for n in range(channels)]))
    sound = {"waveform": wave.unsqueeze(0), "sample_rate": rate}
    given = {"key_prefix": "", "filename": "s", "format": kind, **more}
    return execute("SaveAudioToCloud", audio=sound, **given).out[0], wave


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_every_channel_keeps_its_place(
    one_bucket: Bucket, execute: Callable[..., Any], channels: int
) -> None:
    (key,), wave = save_sound(execute, channels, "flac")
    loaded = execute("LoadAudioFromCloud", key=key).out[0]["waveform"]
    assert loaded.shape == (1, channels, 48000)
    assert loaded.is_contiguous()
    assert (loaded[0] - wave).abs().max() < 1e-4


def test_mp3_says_that_it_holds_two_channels(
    one_bucket: Bucket, execute: Callable[..., Any]
) -> None:
    with pytest.raises(part_of_ours(), match=r"Audio with 6 channels does not go into mp3\.\n"):
        save_sound(execute, 6, "mp3")
    assert one_bucket.keys() == []


@pytest.mark.parametrize("channels", [1, 2])
def test_every_bitrate_of_the_list_works_for_opus(
    one_bucket: Bucket, execute: Callable[..., Any], channels: int
) -> None:
    from conftest import part  # the pack is loaded by then

    sizes = []
    for bitrate in part("media_audio").BITRATES:
        (key,), _ = save_sound(execute, channels, "opus", bitrate=bitrate, overwrite=True)
        sizes.append(one_bucket.head(key)["ContentLength"])
    assert sizes[1] < sizes[2] < sizes[3]
    assert len(sizes) == 6


def test_a_sound_of_which_nothing_would_be_left_is_named(
    one_bucket: Bucket, execute: Callable[..., Any]
) -> None:
    with pytest.raises(part_of_ours(), match=r"The sound is too short for opus \(1 samples\)\.\n"):
        save_sound(execute, 1, "opus", 44100, samples=1)
    assert one_bucket.keys() == []
