"""What ComfyUI runs again and what it does not: by its real executor and cache."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import folder_paths
import pytest
import torch
from conftest import SERVERS, Bucket, Comfy, Sink, Source, part
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "x/m.safetensors"


def picture(color: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), color).save(buffer, "PNG")
    return buffer.getvalue()


def image_graph(key: Any = "a.png", profile: Any = None, **nodes: Any) -> dict[str, Any]:
    inputs = {"key": key} | ({"profile": profile} if profile else {})
    return {
        "1": {"class_type": "LoadImageFromCloud", "inputs": inputs},
        "2": {"class_type": "Sink", "inputs": {"value": ["1", 0]}},
        **nodes,
    }


def model_graph(**more: Any) -> dict[str, Any]:
    given = {"model_type": "checkpoints", "key": KEY, "force_redownload": False} | more
    return {
        "1": {"class_type": "LoadModelFromCloud", "inputs": given},
        "2": {"class_type": "Sink", "inputs": {"value": ["1", 0]}},
    }


def red(value: Any) -> int:
    return int(value[0, 0, 0, 0] * 255)


@pytest.fixture
def profile_file(one_bucket: Bucket) -> Iterator[Path]:
    """profiles.json with one profile, `main`, for the bucket."""
    path = Path(folder_paths.get_system_user_directory("cloud_storage"), "profiles.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_profile(path, one_bucket.name)
    yield path
    path.unlink()


def write_profile(path: Path, bucket: str, **more: str) -> None:
    profile = {
        "provider": "Custom",
        "endpoint_url": SERVERS["urls"]["moto"],
        "access_key": SERVERS["access_key"],
        "secret_key": SERVERS["secret_key"],
        "bucket": bucket,
    }
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(json.dumps({"profiles": {"main": profile | more}}))


PROFILE_NODE = {"class_type": "CloudStorageProfile", "inputs": {"profile": "main"}}


def test_an_unchanged_image_is_not_run_again_and_a_changed_one_is(
    bucket: Bucket, comfy: Comfy
) -> None:
    bucket.put("a.png", picture("red"))
    assert comfy.run(image_graph()).cached == []
    assert sorted(comfy.run(image_graph()).cached) == ["1", "2"]
    bucket.put("a.png", picture("black"))
    assert comfy.run(image_graph()).cached == []
    assert [red(value) for value in Sink.taken] == [255, 0]


def test_w02_a_wired_profile_counts(one_bucket: Bucket, comfy: Comfy, profile_file: Path) -> None:
    """With a wired profile the environment's bucket was asked, or nothing at all."""
    graph = image_graph(profile=["3", 0], **{"3": PROFILE_NODE})
    one_bucket.put("a.png", picture("red"))
    comfy.run(graph)
    assert sorted(comfy.run(graph).cached) == ["1", "2", "3"]
    one_bucket.put("a.png", picture("black"))
    assert comfy.run(graph).cached == ["3"]
    other = one_bucket.name + "-b"
    one_bucket.client.create_bucket(Bucket=other)
    one_bucket.client.put_object(Bucket=other, Key="a.png", Body=picture("white"))
    write_profile(profile_file, other)
    assert comfy.run(graph).cached == []
    assert [red(value) for value in Sink.taken] == [255, 0, 255]


def test_w02_the_prefix_is_the_same_for_the_fingerprint_and_the_run(
    one_bucket: Bucket, comfy: Comfy, profile_file: Path
) -> None:
    write_profile(profile_file, one_bucket.name, path_prefix="team/")
    graph = image_graph(profile=["3", 0], **{"3": PROFILE_NODE})
    one_bucket.put("team/a.png", picture("red"))
    comfy.run(graph)
    assert sorted(comfy.run(graph).cached) == ["1", "2", "3"]
    one_bucket.put("team/a.png", picture("black"))
    assert comfy.run(graph).cached == ["3"]


def test_a_key_from_a_constant_counts_and_an_unknown_one_always_runs(
    one_bucket: Bucket, comfy: Comfy
) -> None:
    import nodes  # the same
    from comfy_extras.nodes_primitive import String  # a node of ComfyUI

    nodes.NODE_CLASS_MAPPINGS["PrimitiveString"] = String
    String.GET_SCHEMA()
    one_bucket.put("a.png", picture("red"))
    known = image_graph(
        ["3", 0], **{"3": {"class_type": "PrimitiveString", "inputs": {"value": "a.png"}}}
    )
    comfy.run(known)
    assert sorted(comfy.run(known).cached) == ["1", "2", "3"]
    one_bucket.put("a.png", picture("black"))
    assert comfy.run(known).cached == ["3"]
    Source.things["key"] = "a.png"
    unknown = image_graph(["3", 0], **{"3": {"class_type": "Source", "inputs": {"name": "key"}}})
    comfy.run(unknown)
    assert comfy.run(unknown).cached == ["3"]


def test_w03_a_model_s_change_is_noticed_and_nothing_else(
    one_bucket: Bucket, comfy: Comfy, models: Path
) -> None:
    """After the first run no change, here or there, was ever seen."""
    one_bucket.put(KEY, b"one")
    graph = model_graph()
    assert comfy.run(graph).cached == []
    assert sorted(comfy.run(graph).cached) == ["1", "2"]
    one_bucket.put(KEY, b"two")
    assert comfy.run(graph).cached == []
    assert sorted(comfy.run(graph).cached) == ["1", "2"]
    local = models / "checkpoints" / KEY
    assert local.read_bytes() == b"two"
    local.unlink()
    assert comfy.run(graph).cached == []
    assert local.read_bytes() == b"two"
    assert sorted(comfy.run(graph).cached) == ["1", "2"]
    local.write_bytes(b"edited")
    assert comfy.run(graph).cached == []
    assert local.read_bytes() == b"two"
    assert sorted(comfy.run(graph).cached) == ["1", "2"]
    assert comfy.run(model_graph(force_redownload=True)).cached == []
    assert comfy.run(model_graph(force_redownload=True)).cached == []


def test_w09_without_a_network_finished_work_stays(
    one_bucket: Bucket, comfy: Comfy, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_bucket.put("a.png", picture("red"))
    one_bucket.put(KEY, b"one")
    graph = image_graph() | {
        "3": {
            "class_type": "LoadModelFromCloud",
            "inputs": model_graph()["1"]["inputs"],
        },
        "4": {"class_type": "Sink", "inputs": {"value": ["3", 0]}},
    }
    comfy.run(graph)
    store = part("shared.store").Store

    def gone(*_: Any) -> None:
        raise part("shared.errors").UnreachableError("gone", remedy="wait")

    with monkeypatch.context() as patched:
        patched.setattr(store, "head", gone)
        assert sorted(comfy.run(graph).cached) == ["1", "2", "3", "4"]
        fresh = Comfy()
        assert fresh.run(graph).success  # the copies that are here
    assert sorted(comfy.run(graph).cached) == ["1", "2", "3", "4"]


def test_w04_listings_urls_and_tests_are_never_stale(one_bucket: Bucket, comfy: Comfy) -> None:
    """A listing was kept although the bucket had changed."""
    one_bucket.put("a.txt", b"a")
    graph = {
        "1": {"class_type": "ListBucketContents", "inputs": {"prefix": "", "max_results": 9}},
        "2": {"class_type": "GeneratePresignedURL", "inputs": {"key": "a.txt", "expires_hours": 1}},
        "3": {"class_type": "TestCloudConnection", "inputs": {}},
    }
    first = comfy.run(graph)
    assert first.outputs["1"]["text"] == ["a.txt  (0.0 MB)"]
    one_bucket.put("b.txt", b"b")
    second = comfy.run(graph)
    assert second.cached == []
    assert second.outputs["1"]["text"] == ["a.txt  (0.0 MB)\nb.txt  (0.0 MB)"]


def save_graph(**more: Any) -> dict[str, Any]:
    given = {"key_prefix": "", "filename": "x", "format": "png", "quality": 90} | more
    return {
        "1": {"class_type": "Source", "inputs": {"name": "images"}},
        "2": {"class_type": "SaveImageToCloud", "inputs": {"images": ["1", 0], **given}},
    }


def test_a_save_runs_once_like_comfyui_s_own(
    one_bucket: Bucket, comfy: Comfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    Source.things["images"] = torch.rand(1, 4, 4, 3)
    comfy.run(save_graph())
    assert sorted(comfy.run(save_graph()).cached) == ["1", "2"]
    assert one_bucket.keys() == ["x.png"]
    other = one_bucket.name + "-b"
    one_bucket.client.create_bucket(Bucket=other)
    monkeypatch.setenv("COMFY_S3_BUCKET", other)
    assert comfy.run(save_graph()).cached == ["1"]
    assert Bucket("moto", other, one_bucket.client).keys() == ["x.png"]


def test_w04_a_sharing_url_of_a_save_is_renewed_at_half_its_life(
    one_bucket: Bucket, comfy: Comfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    Source.things["images"] = torch.rand(1, 4, 4, 3)
    graph = save_graph(share_url_hours=2, overwrite=True)
    monkeypatch.setattr(time, "time", lambda: 3600.0 * 1000)
    comfy.run(graph)
    monkeypatch.setattr(time, "time", lambda: 3600.0 * 1000 + 3500)
    assert sorted(comfy.run(graph).cached) == ["1", "2"]
    monkeypatch.setattr(time, "time", lambda: 3600.0 * 1001 + 1)
    assert comfy.run(graph).cached == ["1"]


def test_fingerprints_are_json_and_tell_nothing(one_bucket: Bucket, comfy: Comfy) -> None:
    one_bucket.put("a.png", picture("red"))
    graph = image_graph()
    prompt = json.loads(json.dumps(graph))
    comfy.executor.execute(prompt, "p", {"client_id": "client"}, ["2"])
    (value,) = prompt["1"]["is_changed"]
    assert len(value) == 32
    assert json.loads(json.dumps(prompt, allow_nan=False)) == prompt


def test_an_unknown_profile_or_an_open_file_is_said_at_once(
    one_bucket: Bucket, comfy: Comfy, profile_file: Path
) -> None:
    def told(name: str) -> str:
        node = {"class_type": "CloudStorageProfile", "inputs": {"profile": name}}
        _, _, _, errors = comfy.validate(image_graph(profile=["3", 0], **{"3": node}))
        return str(errors["3"]["errors"][0]["details"])

    assert told("ghost") == "profile - there is no profile 'ghost' in profiles.json"
    profile_file.chmod(0o644)
    assert f"run: chmod 600 {profile_file}" in told("main")
