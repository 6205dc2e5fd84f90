"""What is saved is what was made, and comes back."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
import torch
from comfy.cli_args import args
from comfy_api.latest import InputImpl, Types
from conftest import Bucket, Comfy, Source, part
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Execute = "Callable[..., Any]"
WORKFLOW = {"workflow": {"nodes": [{"id": 1, "note": "ü"}]}}


@pytest.fixture
def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).random((3, 24, 40, 3), dtype=np.float32))


@pytest.fixture
def sound() -> dict[str, Any]:
    time = torch.arange(44100) / 44100
    wave = torch.stack([torch.sin(880 * time), torch.cos(440 * time)]) * 0.5
    return {"waveform": torch.stack([wave, -wave]), "sample_rate": 44100}


@pytest.fixture
def video(images: torch.Tensor, sound: dict[str, Any]) -> Any:
    frames = images.repeat(4, 1, 1, 1)
    one = {"waveform": sound["waveform"][:1], "sample_rate": 44100}
    parts = Types.VideoComponents(images=frames, audio=one, frame_rate=Fraction(12))
    return InputImpl.VideoFromComponents(parts)


def save(execute: Callable[..., Any], images: torch.Tensor, **more: Any) -> Any:
    given = {"key_prefix": "out/", "filename": "x_%batch_num%", "format": "png"}
    return execute("SaveImageToCloud", images=images, **(given | more))


def test_png_comes_back_pixel_for_pixel(
    bucket: Bucket, execute: Callable[..., Any], images: torch.Tensor
) -> None:
    """Not one storage node could run."""
    made = save(execute, images)
    assert made.out == (["out/x_0.png", "out/x_1.png", "out/x_2.png"], ["", "", ""])
    assert made.ui["text"] == [f"s3://{bucket.name}/out/x_{n}.png" for n in range(3)]
    eight_bits = (images * 255).to(torch.uint8)
    for index in range(3):
        loaded, mask = execute("LoadImageFromCloud", key=f"out/x_{index}.png").out
        assert torch.equal((loaded[0] * 255).round().to(torch.uint8), eight_bits[index])
        assert mask.shape == (1, 24, 40)
        assert not mask.any()
    assert bucket.head("out/x_0.png")["ContentType"] == "image/png"


@pytest.mark.parametrize(("kind", "content"), [("jpg", "image/jpeg"), ("webp", "image/webp")])
def test_jpg_and_webp_come_back_close(
    one_bucket: Bucket, execute: Callable[..., Any], kind: str, content: str
) -> None:
    smooth = torch.linspace(0, 1, 64).repeat(1, 64, 3, 1).permute(0, 1, 3, 2)
    save(execute, smooth, format=kind, quality=95)
    assert one_bucket.head(f"out/x_0.{kind}")["ContentType"] == content
    loaded, _ = execute("LoadImageFromCloud", key=f"out/x_0.{kind}").out
    assert (loaded - smooth).abs().max() < 0.05


def test_transparency_survives(one_bucket: Bucket, execute: Callable[..., Any]) -> None:
    image = torch.rand(1, 8, 8, 4)
    save(execute, image)
    loaded, mask = execute("LoadImageFromCloud", key="out/x_0.png").out
    assert torch.allclose(loaded[0], image[0, ..., :3], atol=1 / 255)
    assert torch.allclose(mask[0], 1 - image[0, ..., 3], atol=1 / 255)


def test_odd_images_are_read(one_bucket: Bucket, execute: Callable[..., Any]) -> None:
    def put(key: str, image: Image.Image, **how: Any) -> None:
        buffer = io.BytesIO()
        image.save(buffer, **how)
        one_bucket.put(key, buffer.getvalue())

    turned = Image.Exif()
    turned[0x0112] = 6  # a camera held upright
    put("turned.jpg", Image.new("RGB", (20, 10)), format="JPEG", exif=turned.tobytes())
    deep = np.full((4, 4), 32768, dtype=np.uint16)
    put("deep.png", Image.fromarray(deep), format="PNG")
    frames = [Image.new("RGB", (6, 6), color) for color in ("red", "blue", "green")]
    put("moving.webp", frames[0], format="WEBP", save_all=True, append_images=frames[1:])
    palette = Image.new("P", (4, 4), 0)
    put("palette.png", palette, format="PNG", transparency=0)
    found = {
        key: [tuple(x.shape) for x in execute("LoadImageFromCloud", key=key).out]
        for key in ("turned.jpg", "deep.png", "moving.webp", "palette.png")
    }
    assert found == {
        "turned.jpg": [(1, 20, 10, 3), (1, 20, 10)],
        "deep.png": [(1, 4, 4, 3), (1, 4, 4)],
        "moving.webp": [(3, 6, 6, 3), (3, 6, 6)],
        "palette.png": [(1, 4, 4, 3), (1, 4, 4)],
    }
    deep_image, _ = execute("LoadImageFromCloud", key="deep.png").out
    assert abs(float(deep_image.mean()) - 0.5) < 0.001
    _, mask = execute("LoadImageFromCloud", key="palette.png").out
    assert mask.min() == 1


def test_what_is_no_image_is_named(one_bucket: Bucket, execute: Callable[..., Any]) -> None:
    one_bucket.put("text.png", b"no image")
    one_bucket.put("empty.png", b"")
    with pytest.raises(Exception, match="s3://.*/text.png cannot be read as an image"):
        execute("LoadImageFromCloud", key="text.png")
    with pytest.raises(Exception, match="empty.png is empty"):
        execute("LoadImageFromCloud", key="empty.png")
    with pytest.raises(Exception, match="cannot be read as audio|has no sound"):
        execute("LoadAudioFromCloud", key="text.png")
    with pytest.raises(Exception, match="text.png cannot be read as a video"):
        execute("LoadVideoFromCloud", key="text.png")
    with pytest.raises(Exception, match="Object not found"):
        execute("LoadVideoFromCloud", key="none")


def graph(kind: str) -> dict[str, Any]:
    return {
        "1": {"class_type": "Source", "inputs": {"name": "images"}},
        "2": {
            "class_type": "SaveImageToCloud",
            "inputs": {
                "images": ["1", 0],
                "key_prefix": "",
                "filename": "x",
                "format": kind,
                "quality": 90,
            },
        },
    }


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_files_carry_the_workflow_unless_forbidden(
    one_bucket: Bucket, comfy: Comfy, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Source.things["images"] = torch.rand(1, 8, 8, 3)
    assert comfy.run(graph(kind), extra_pnginfo=WORKFLOW).success
    found = told(Image.open(io.BytesIO(one_bucket.get(f"x.{kind}"))))
    assert found["workflow"] == WORKFLOW["workflow"]
    assert found["prompt"]["2"]["class_type"] == "SaveImageToCloud"
    monkeypatch.setattr(args, "disable_metadata", True)
    Source.things["images"] = torch.rand(1, 8, 8, 3)
    assert Comfy().run(graph(kind), extra_pnginfo=WORKFLOW).success
    assert told(Image.open(io.BytesIO(one_bucket.get(f"x_00001.{kind}")))) == {}


def told(image: Image.Image) -> dict[str, Any]:
    """Return what a file says of its making, read where ComfyUI's interface reads it."""
    if image.format == "PNG":
        return {name: json.loads(text) for name, text in image.info.items()}
    pairs = [str(value).split(":", 1) for value in image.getexif().values()]
    return {name: json.loads(text) for name, text in pairs}


def test_a_workflow_too_large_for_jpeg_is_left_out(one_bucket: Bucket, comfy: Comfy) -> None:
    Source.things["images"] = torch.rand(1, 8, 8, 3)
    large = {"workflow": {"text": "x" * 70_000}}
    assert comfy.run(graph("jpg"), extra_pnginfo=large).success
    assert told(Image.open(io.BytesIO(one_bucket.get("x.jpg")))) == {}


@pytest.mark.parametrize(
    ("kind", "content", "close"),
    [
        ("flac", "audio/flac", 1e-4),
        ("wav", "audio/wav", 1e-4),
        ("mp3", "audio/mpeg", 0.05),
        ("opus", "audio/ogg", 0.1),
    ],
)
def test_w11_a_batch_of_sounds_is_saved_and_loaded(
    bucket: Bucket,
    execute: Callable[..., Any],
    sound: dict[str, Any],
    kind: str,
    content: str,
    close: float,
) -> None:
    """A batch broke the save, and the library for it was gone."""
    made = execute("SaveAudioToCloud", audio=sound, key_prefix="a/", filename="s", format=kind)
    assert made.out[0] == [f"a/s_0.{kind}", f"a/s_1.{kind}"]
    assert bucket.head(f"a/s_0.{kind}")["ContentType"] == content
    (loaded,) = execute("LoadAudioFromCloud", key=f"a/s_1.{kind}").out
    rate = loaded["sample_rate"]
    assert rate == (48000 if kind == "opus" else 44100)
    assert abs(loaded["waveform"].shape[-1] / rate - 1) < 0.06
    assert loaded["waveform"].shape[:2] == (1, 2)
    if kind in ("flac", "wav"):
        assert (loaded["waveform"] - sound["waveform"][1]).abs().max() < close
    else:
        power = [float(wave.pow(2).mean()) for wave in (loaded["waveform"], sound["waveform"][1])]
        assert abs(power[0] - power[1]) < close


def test_rates_and_channels_that_a_format_does_not_know(
    one_bucket: Bucket, execute: Callable[..., Any]
) -> None:
    for kind, rate, expected in (
        ("mp3", 96000, 48000),
        ("opus", 11025, 12000),
        ("wav", 96000, 96000),
    ):
        wave = {"waveform": torch.zeros(1, 1, rate // 10), "sample_rate": rate}
        execute("SaveAudioToCloud", audio=wave, key_prefix="", filename=f"{rate}", format=kind)
        (loaded,) = execute("LoadAudioFromCloud", key=f"{rate}.{kind}").out
        assert loaded["sample_rate"] == (48000 if kind == "opus" else expected)
        assert loaded["waveform"].shape[1] == 1
    wave = {"waveform": torch.zeros(1, 3, 100), "sample_rate": 44100}
    with pytest.raises(Exception, match="Audio with 3 channels cannot be saved"):
        execute("SaveAudioToCloud", audio=wave, key_prefix="", filename="x", format="flac")


@pytest.mark.parametrize(
    "audio", [None, {"waveform": torch.zeros(1, 2, 0), "sample_rate": 44100}], ids=["none", "empty"]
)
def test_no_sound_is_named(
    one_bucket: Bucket, execute: Callable[..., Any], audio: dict[str, Any] | None
) -> None:
    with pytest.raises(Exception, match="There is no sound to save"):
        execute("SaveAudioToCloud", audio=audio, key_prefix="", filename="x", format="flac")
    assert one_bucket.keys() == []


@pytest.mark.parametrize("codec", ["auto", "vp9", "av1"])
def test_a_film_of_odd_size_keeps_it(
    one_bucket: Bucket, execute: Callable[..., Any], codec: str
) -> None:
    parts = Types.VideoComponents(
        images=torch.rand(3, 65, 67, 3), audio=None, frame_rate=Fraction(30000, 1001)
    )
    (key, _) = execute(
        "SaveVideoToCloud",
        video=InputImpl.VideoFromComponents(parts),
        key_prefix="",
        filename="odd",
        format="webm",
        codec=codec,
    ).out
    (loaded,) = execute("LoadVideoFromCloud", key=key).out
    found = loaded.get_components()
    assert tuple(found.images.shape) == (3, 65, 67, 3)
    assert found.audio is None
    assert float(found.frame_rate) == pytest.approx(29.97, rel=0.01)


@pytest.mark.parametrize(
    ("format", "codec", "suffix", "encoding"),
    [
        ("auto", "auto", "mp4", "h264"),
        ("mp4", "h264", "mp4", "h264"),
        ("webm", "auto", "webm", "vp9"),
        ("webm", "av1", "webm", "av1"),
    ],
)
def test_videos_are_saved_and_loaded_with_their_sound(
    bucket: Bucket,
    execute: Callable[..., Any],
    video: Any,
    format: str,  # noqa: A002  # as the input is called
    codec: str,
    suffix: str,
    encoding: str,
) -> None:
    made = execute(
        "SaveVideoToCloud",
        video=video,
        key_prefix="v/",
        filename="%width%x%height%",
        format=format,
        codec=codec,
    )
    key = f"v/40x24.{suffix}"
    assert made.out == (key, "")
    assert made.ui["animated"] == (True,)
    assert bucket.head(key)["ContentType"] == f"video/{suffix}"
    (loaded,) = execute("LoadVideoFromCloud", key=key).out
    parts = loaded.get_components()
    assert tuple(parts.images.shape) == (12, 24, 40, 3)
    assert parts.audio is not None
    assert float(parts.frame_rate) == pytest.approx(12, rel=0.01)
    with av.open(loaded.get_stream_source()) as container:
        assert (
            container.streams.video[0]
            .codec_context.name.replace("lib", "")
            .replace("dav1d", "av1")
            .startswith(encoding)
        )


def test_a_webm_that_fits_is_not_encoded_again(
    one_bucket: Bucket, execute: Callable[..., Any], video: Any
) -> None:
    def write(source: Any, name: str) -> Any:
        execute(
            "SaveVideoToCloud",
            video=source,
            key_prefix="",
            filename=name,
            format="webm",
            codec="auto",
        )
        return execute("LoadVideoFromCloud", key=f"{name}.webm").out[0]

    first = write(video, "first")
    second = write(first, "second")
    assert torch.equal(first.get_components().images, second.get_components().images)


def test_a_codec_that_does_not_fit_is_named(
    one_bucket: Bucket, execute: Callable[..., Any], video: Any
) -> None:
    with pytest.raises(Exception, match="The codec h264 does not go into webm"):
        execute(
            "SaveVideoToCloud",
            video=video,
            key_prefix="",
            filename="x",
            format="webm",
            codec="h264",
        )
    assert one_bucket.keys() == []


def test_w05_no_second_run_overwrites_the_first_unless_told(
    bucket: Bucket, execute: Callable[..., Any], images: torch.Tensor
) -> None:
    """The default names had no counter."""
    default = {"filename": "ComfyUI_%batch_num%", "key_prefix": ""}
    first = save(execute, images[:2], **default).out[0]
    second = save(execute, images[1:], **default).out[0]
    third = save(execute, images[:1], **default, overwrite=True).out[0]
    assert (first, second, third) == (
        ["ComfyUI_0.png", "ComfyUI_1.png"],
        ["ComfyUI_0_00001.png", "ComfyUI_1_00001.png"],
        ["ComfyUI_0.png"],
    )
    assert bucket.keys() == sorted([*first, *second])


def test_tokens_of_names(bucket: Bucket, execute: Callable[..., Any], images: torch.Tensor) -> None:
    made = save(
        execute,
        images[:2],
        key_prefix="%date%/%year%-%month%-%day%",
        filename="%width%x%height%_%time%_%counter%",
    ).out[0]
    today = made[0][:10]
    assert made[0].startswith(f"{today}/{today}/40x24_")
    assert [key.rsplit("_", 1)[1] for key in made] == ["00001.png", "00002.png"]
    again = save(execute, images[:2], key_prefix="c", filename="%counter%").out[0]
    more = save(execute, images[:2], key_prefix="c", filename="%counter%").out[0]
    assert again + more == [f"c/0000{n}.png" for n in (1, 2, 3, 4)]
    unique = save(execute, images[:2], key_prefix="u", filename="%uuid%").out[0]
    assert len(set(unique)) == 2
    with pytest.raises(Exception, match="Unknown token %seed% in the name"):
        save(execute, images, filename="%seed%")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("%EmptyImage.width%x%My size.height%", "8x4_.png"),
        ("%Nothing.seed%", "%Nothing.seed% in the name stands for nothing"),
        ("%SaveImageToCloud.images%", "no node 'SaveImageToCloud' of the graph has a 'images'"),
    ],
)
def test_names_take_values_of_other_nodes(
    one_bucket: Bucket, comfy: Comfy, name: str, told: str
) -> None:
    Source.things["4/"] = torch.rand(1, 4, 8, 3)
    graph = {
        "0": {"class_type": "EmptyImage", "inputs": {"width": 8}},
        "1": {"class_type": "Source", "inputs": {"name": "4/", "height": "4/"}},
        "2": {
            "class_type": "SaveImageToCloud",
            "inputs": {
                "images": ["1", 0],
                "key_prefix": "",
                "filename": name,
                "format": "png",
                "quality": 90,
            },
        },
    }
    graph["1"]["_meta"] = {"title": "My size"}
    ran = comfy.run(graph)
    if ran.success:
        assert one_bucket.keys() == [told]
    else:
        assert told in ran.message
        assert one_bucket.keys() == []


def test_a_batch_under_one_name_is_numbered(
    one_bucket: Bucket, execute: Callable[..., Any], images: torch.Tensor
) -> None:
    assert save(execute, images, filename="same").out[0] == [f"out/same_{n}.png" for n in range(3)]


@pytest.mark.parametrize("name", ["家族　写真", "👨\u200d👩\u200d👧", "a\xa0b", "50% off+é"])
def test_names_in_any_script(
    bucket: Bucket, execute: Callable[..., Any], images: torch.Tensor, name: str
) -> None:
    (key,) = save(execute, images[:1], key_prefix="ü", filename=name).out[0]
    assert key == f"ü/{name}.png"
    assert bucket.keys() == [key]
    assert execute("LoadImageFromCloud", key=key).out[0].shape == (1, 24, 40, 3)


def test_a_folder_can_be_given_as_the_nodes_show_it(
    one_bucket: Bucket,
    execute: Callable[..., Any],
    images: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COMFY_S3_PATH_PREFIX", "team")
    given = [f"s3://{one_bucket.name}/a/b", f"s3://{one_bucket.name}", "/c/", "d"]
    saved = [save(execute, images[:1], key_prefix=p, filename="x").out[0][0] for p in given]
    assert saved == ["a/b/x.png", "x.png", "c/x.png", "team/d/x.png"]
    with pytest.raises(Exception, match=r"s3://other/a is not in bucket-"):
        save(execute, images, key_prefix="s3://other/a")


@pytest.mark.parametrize(
    ("prefix", "name", "told"),
    [("../", "x", r"\. or \.\."), ("a", "b/../c", r"\. or \.\."), ("", " ", "filename is empty")],
)
def test_names_that_no_store_keeps_are_refused(
    one_bucket: Bucket,
    execute: Callable[..., Any],
    images: torch.Tensor,
    prefix: str,
    name: str,
    told: str,
) -> None:
    with pytest.raises(Exception, match=told):
        save(execute, images, key_prefix=prefix, filename=name)
    assert one_bucket.keys() == []


def test_the_prefix_of_the_profile_comes_first_and_once(
    bucket: Bucket,
    execute: Callable[..., Any],
    images: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COMFY_S3_PATH_PREFIX", "team")
    (profile,) = execute("CloudStorageProfile", profile="(env vars)").out
    written = save(execute, images[:1], profile=profile).out[0][0]
    assert written == "team/out/x_0.png"
    for key in ("out/x_0.png", "team/out/x_0.png", "/team/out/x_0.png"):
        execute("LoadImageFromCloud", key=key, profile=profile)
    listed = execute("ListBucketContents", prefix="out/", max_results=10, profile=profile)
    assert listed.out[1] == written
    assert save(execute, images[:1], key_prefix="/root/", profile=profile).out[0] == [
        "root/x_0.png"
    ]


def test_the_written_keys_and_urls_can_be_used(
    bucket: Bucket, execute: Callable[..., Any], images: torch.Tensor
) -> None:
    keys, urls = save(execute, images, share_url_hours=2).out
    assert all("X-Amz-Expires=7200" in url for url in urls)
    connections = part("shared.connections")
    for key, url in zip(keys, urls, strict=True):
        open_ = connections.Connections()
        answer = open_.get(connections.Request(url=url))
        assert answer.read() == bucket.get(key)
        open_.close()


def test_the_preview_is_the_file_that_was_written(
    one_bucket: Bucket, execute: Callable[..., Any], images: torch.Tensor
) -> None:
    shown = save(execute, images[:1]).ui["images"][0]
    folder = part("compat").temp_directory()
    path: Path = folder / shown["subfolder"] / shown["filename"]
    assert shown["type"] == "temp"
    assert path.read_bytes() == one_bucket.get("out/x_0.png")


def test_a_fault_midway_says_what_was_written(
    one_bucket: Bucket,
    execute: Callable[..., Any],
    images: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saving = part("saving")
    real = saving.upload

    def failing(store: Any, key: str, *given: Any, **more: Any) -> Any:
        if "_2" in key:
            raise part("shared.errors").AccessError("Access denied.", remedy="ask")
        return real(store, key, *given, **more)

    monkeypatch.setattr(saving, "upload", failing)
    monkeypatch.setattr(saving, "WORKERS", 1)
    with pytest.raises(Exception, match=r"Access denied\. \(2 of 3 were written before\.\)"):
        save(execute, images)
    assert one_bucket.keys() == ["out/x_0.png", "out/x_1.png"]


def test_an_empty_batch_is_named(one_bucket: Bucket, execute: Callable[..., Any]) -> None:
    with pytest.raises(Exception, match="There are no images to save"):
        save(execute, torch.zeros(0, 8, 8, 3))
