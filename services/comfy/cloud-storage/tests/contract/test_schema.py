"""Every node's face: ids, names, categories, inputs with defaults, outputs."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import nodes
import pytest
from conftest import PACK, part

PROFILE = ("profile", "S3_PROFILE", None)
SAVE = [("overwrite", "BOOLEAN", False), ("share_url_hours", "INT", 0), PROFILE]
TYPES = ["checkpoints", "loras", "vae", "text_encoders", "controlnet", "diffusion_models"]
TYPES += ["upscale_models", "embeddings", "clip_vision"]

# node: display name, category, required inputs, optional inputs, outputs, is an output node
FACES: dict[str, tuple[str, str, list[Any], list[Any], list[tuple[str, str]], bool]] = {
    "CloudStorageProfile": (
        "Cloud Storage Profile",
        "cloud_storage",
        [("profile", "COMBO", "(env vars)")],
        [
            ("provider", "COMBO", "(from profile)"),
            ("bucket", "STRING", ""),
            ("path_prefix", "STRING", ""),
        ],
        [("profile", "S3_PROFILE")],
        False,
    ),
    "SaveImageToCloud": (
        "Save Image to Cloud",
        "cloud_storage/save",
        [
            ("images", "IMAGE", None),
            ("key_prefix", "STRING", "comfyui/images/"),
            ("filename", "STRING", "ComfyUI_%batch_num%"),
            ("format", "COMBO", "png"),
            ("quality", "INT", 95),
        ],
        SAVE,
        [("key", "STRING"), ("url", "STRING")],
        True,
    ),
    "SaveVideoToCloud": (
        "Save Video to Cloud",
        "cloud_storage/save",
        [
            ("video", "VIDEO", None),
            ("key_prefix", "STRING", "comfyui/videos/"),
            ("filename", "STRING", "ComfyUI_video"),
            ("format", "COMBO", "auto"),
            ("codec", "COMBO", "auto"),
        ],
        SAVE,
        [("key", "STRING"), ("url", "STRING")],
        True,
    ),
    "SaveAudioToCloud": (
        "Save Audio to Cloud",
        "cloud_storage/save",
        [
            ("audio", "AUDIO", None),
            ("key_prefix", "STRING", "comfyui/audio/"),
            ("filename", "STRING", "ComfyUI_audio"),
            ("format", "COMBO", "flac"),
        ],
        [("bitrate", "COMBO", "auto"), *SAVE],
        [("key", "STRING"), ("url", "STRING")],
        True,
    ),
    "LoadImageFromCloud": (
        "Load Image from Cloud",
        "cloud_storage/load",
        [("key", "STRING", "")],
        [PROFILE],
        [("IMAGE", "IMAGE"), ("MASK", "MASK")],
        False,
    ),
    "LoadAudioFromCloud": (
        "Load Audio from Cloud",
        "cloud_storage/load",
        [("key", "STRING", "")],
        [PROFILE],
        [("AUDIO", "AUDIO")],
        False,
    ),
    "LoadVideoFromCloud": (
        "Load Video from Cloud",
        "cloud_storage/load",
        [("key", "STRING", "")],
        [PROFILE],
        [("VIDEO", "VIDEO")],
        False,
    ),
    "LoadModelFromCloud": (
        "Download Model from Cloud",
        "cloud_storage/models",
        [
            ("model_type", "COMBO", None),
            ("key", "STRING", ""),
            ("force_redownload", "BOOLEAN", False),
        ],
        [("sha256", "STRING", ""), ("save_as", "STRING", ""), PROFILE],
        [("model_filename", "*"), ("sha256", "STRING"), ("path", "STRING")],
        False,
    ),
    "ListBucketContents": (
        "List Bucket Contents",
        "cloud_storage/browse",
        [("prefix", "STRING", ""), ("max_results", "INT", 100)],
        [PROFILE],
        [("file_list", "STRING"), ("keys", "STRING")],
        True,
    ),
    "GeneratePresignedURL": (
        "Generate Sharing URL",
        "cloud_storage/browse",
        [("key", "STRING", ""), ("expires_hours", "INT", 24)],
        [PROFILE],
        [("url", "STRING")],
        True,
    ),
    "TestCloudConnection": (
        "Test Cloud Connection",
        "cloud_storage/browse",
        [],
        [("test_writing", "BOOLEAN", False), PROFILE],
        [("report", "STRING")],
        True,
    ),
}


def inputs(given: dict[str, Any]) -> list[Any]:
    return [(name, kind[0], kind[1].get("default")) for name, kind in given.items()]


@pytest.mark.parametrize("node", FACES)
def test_the_face_of_every_node(node: str) -> None:
    info = nodes.NODE_CLASS_MAPPINGS[node].GET_NODE_INFO_V1()
    found = (
        info["display_name"],
        info["category"],
        inputs(info["input"].get("required", {})),
        inputs(info["input"].get("optional", {})),
        list(zip(info["output_name"], info["output"], strict=True)),
        info["output_node"],
    )
    assert found == FACES[node]
    assert info["description"]


def test_the_list_in_pyproject_is_the_truth() -> None:
    text = (PACK / "pyproject.toml").read_text()
    listed = re.search(r"^nodes = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    assert listed is not None
    names = re.findall(r'"(\w+)"', listed[1])
    assert names == list(FACES)
    assert [cls.GET_SCHEMA().node_id for cls in part("extension").NODES] == names


def test_choices_and_limits() -> None:
    def options(node: str, name: str) -> Any:
        given = nodes.NODE_CLASS_MAPPINGS[node].INPUT_TYPES()
        return (given["required"] | given.get("optional", {}))[name][1]

    assert options("SaveImageToCloud", "format")["options"] == ["png", "jpg", "webp"]
    assert options("SaveAudioToCloud", "format")["options"] == ["flac", "mp3", "opus", "wav"]
    assert options("SaveVideoToCloud", "format")["options"] == ["auto", "mp4", "webm"]
    assert options("SaveVideoToCloud", "codec")["options"] == ["auto", "h264", "vp9", "av1"]
    assert options("LoadModelFromCloud", "model_type")["options"][:9] == TYPES
    assert "custom_nodes" not in options("LoadModelFromCloud", "model_type")["options"]
    for node, name, low, high in [
        ("SaveImageToCloud", "quality", 1, 100),
        ("ListBucketContents", "max_results", 1, 1000),
        ("GeneratePresignedURL", "expires_hours", 1, 168),
        ("SaveImageToCloud", "share_url_hours", 0, 168),
    ]:
        found = options(node, name)
        assert (found["min"], found["max"]) == (low, high)


def test_w20_a_release_without_private_folders_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles fell back to an unprotected place without a word."""
    compat = part("compat")
    monkeypatch.delattr("folder_paths.get_system_user_directory")
    with pytest.raises(compat.TooOldError, match=r"need ComfyUI 0\.18 or later"):
        compat.check_release()


@pytest.mark.parametrize("node", FACES)
def test_w21_a_release_that_does_not_know_an_argument_takes_the_node(
    node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One schema argument that came later broke seven of eight nodes."""
    compat = part("compat")
    later = {"search_aliases", "not_idempotent", "essentials_category"}
    earlier = dataclasses.make_dataclass(
        "Schema",
        [
            (field.name, field.type, dataclasses.field(default=None))
            for field in dataclasses.fields(compat.io.Schema)
            if field.name not in later
        ],
    )
    monkeypatch.setattr(compat.io, "Schema", earlier)
    made = nodes.NODE_CLASS_MAPPINGS[node].define_schema()
    assert (made.node_id, made.display_name) == (node, FACES[node][0])
