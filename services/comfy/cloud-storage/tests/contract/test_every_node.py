"""One prompt with every node of the pack, as the executor runs it."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import InputImpl, Types
from conftest import Bucket, Comfy, Sink, Source, part

if TYPE_CHECKING:
    from pathlib import Path

WIRED = {"profile": ["profile", 0]}


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def saved(kind: str, name: str, **inputs: Any) -> dict[str, Any]:
    return node(kind, key_prefix="all/", filename=name, **inputs, **WIRED)


def prompt() -> dict[str, Any]:
    graph = {
        "profile": node("CloudStorageProfile", profile="(env vars)", path_prefix="team/"),
        "things": node("Source", name="images"),
        "sound": node("Source", name="sound"),
        "film": node("Source", name="film"),
        "image": saved("SaveImageToCloud", "i", images=["things", 0], format="png", quality=95),
        "audio": saved("SaveAudioToCloud", "a", audio=["sound", 0], format="flac"),
        "video": saved("SaveVideoToCloud", "v", video=["film", 0], format="mp4", codec="auto"),
        "image back": node("LoadImageFromCloud", key=["image", 0], **WIRED),
        "audio back": node("LoadAudioFromCloud", key=["audio", 0], **WIRED),
        "video back": node("LoadVideoFromCloud", key=["video", 0], **WIRED),
        "model": node(
            "LoadModelFromCloud",
            model_type="checkpoints",
            key="m.safetensors",
            force_redownload=False,
            **WIRED,
        ),
        "list": node("ListBucketContents", prefix="", max_results=10, **WIRED),
        "share": node("GeneratePresignedURL", key="m.safetensors", expires_hours=1, **WIRED),
        "test": node("TestCloudConnection", test_writing=True, **WIRED),
    }
    ends = ("image back", "audio back", "video back", "model")
    return graph | {f"{name} taken": node("Sink", value=[name, 0]) for name in ends}


def test_w01_every_node_runs_with_a_wired_profile(
    bucket: Bucket, comfy: Comfy, models: Path
) -> None:
    """Not one storage node could run: the client got arguments that it did not take."""
    wave = {"waveform": torch.zeros(1, 2, 4410), "sample_rate": 44100}
    frames = torch.rand(4, 24, 40, 3)
    film = Types.VideoComponents(images=frames, audio=None, frame_rate=Fraction(8))
    Source.things |= {
        "images": frames[:1],
        "sound": wave,
        "film": InputImpl.VideoFromComponents(film),
    }
    bucket.put("team/m.safetensors", b"weights")
    graph = prompt()
    used = {entry["class_type"] for entry in graph.values()} - {"Source", "Sink"}
    assert used == {cls.GET_SCHEMA().node_id for cls in part("extension").NODES}
    ran = comfy.run(graph)
    assert ran.success, ran.errors
    assert bucket.keys() == [
        "team/all/a.flac",
        "team/all/i.png",
        "team/all/v.mp4",
        "team/m.safetensors",
    ]
    assert len(Sink.taken) == 4
    assert (models / "checkpoints/team/m.safetensors").read_bytes() == b"weights"
    assert ran.outputs["test"]["text"][0].count("\n") == 3
