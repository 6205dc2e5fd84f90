"""Models: to the right place, once, verified, and into real loaders."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import folder_paths
import pytest
from conftest import Bucket, Comfy, Sink, part

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "sdxl/base/model.safetensors"
DATA = os.urandom(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


def load(execute: Callable[..., Any], **more: Any) -> Any:
    given = {"model_type": "checkpoints", "key": KEY, "force_redownload": False}
    return execute("LoadModelFromCloud", **(given | more))


def place(models: Path, name: str = KEY) -> Path:
    return models / "checkpoints" / name


def record(models: Path) -> dict[str, Any]:
    path = models / "checkpoints/sdxl/base/.model.safetensors.source.json"
    told: dict[str, Any] = json.loads(path.read_text())
    return told


def test_a_model_is_downloaded_recorded_and_then_here(
    bucket: Bucket, execute: Callable[..., Any], models: Path
) -> None:
    bucket.put(KEY, DATA)
    made = load(execute)
    assert made.out == (KEY, SHA256, str(place(models)))
    assert made.ui["text"] == [
        f"{KEY}: downloaded 293.0 KiB from s3://{bucket.name}/{KEY}\nsha256 {SHA256}"
    ]
    assert place(models).read_bytes() == DATA
    assert record(models) == {
        "format": 1,
        "endpoint": bucket.client.meta.endpoint_url,
        "bucket": bucket.name,
        "key": KEY,
        "etag": bucket.head(KEY)["ETag"],
        "size": len(DATA),
        "sha256": SHA256,
        "mtime_ns": place(models).stat().st_mtime_ns,
    }
    assert KEY in folder_paths.get_filename_list("checkpoints")
    assert load(execute).ui["text"] == [f"{KEY}: already here, unchanged\nsha256 {SHA256}"]
    left = sorted(path.name for path in place(models).parent.iterdir())
    assert left == [".model.safetensors.source.json", "model.safetensors"]


def test_the_bucket_s_change_is_followed(
    bucket: Bucket, execute: Callable[..., Any], models: Path
) -> None:
    bucket.put(KEY, DATA)
    load(execute)
    bucket.put(KEY, b"another")
    assert load(execute).out[1] == hashlib.sha256(b"another").hexdigest()
    assert place(models).read_bytes() == b"another"


@pytest.mark.parametrize("damage", ["truncated", "edited", "deleted"])
def test_w07_a_damaged_local_file_is_no_hit(
    one_bucket: Bucket, execute: Callable[..., Any], models: Path, damage: str
) -> None:
    """Only ETags were compared, so a truncated file counted as whole."""
    one_bucket.put(KEY, DATA)
    load(execute)
    if damage == "truncated":
        os.truncate(place(models), 1000)
    elif damage == "edited":
        place(models).write_bytes(DATA[:-1] + b"x")
        os.utime(place(models), ns=(1, 1))
    else:
        place(models).unlink()
    assert "downloaded" in load(execute).ui["text"][0]
    assert place(models).read_bytes() == DATA


def test_a_copied_file_with_another_time_stamp_is_a_hit(
    one_bucket: Bucket, execute: Callable[..., Any], models: Path
) -> None:
    one_bucket.put(KEY, DATA)
    load(execute)
    os.utime(place(models), ns=(1, 1))
    assert "already here, unchanged" in load(execute).ui["text"][0]


def test_w06_the_whole_key_is_the_path(
    one_bucket: Bucket, execute: Callable[..., Any], models: Path
) -> None:
    """Two keys with the same last part shared one file."""
    one_bucket.put("a/x.safetensors", b"a")
    one_bucket.put("b/x.safetensors", b"b")
    names = [load(execute, key=f"{n}/x.safetensors").out[0] for n in "ab"]
    assert names == ["a/x.safetensors", "b/x.safetensors"]
    assert [place(models, name).read_bytes() for name in names] == [b"a", b"b"]
    as_asked = load(execute, key="a/x.safetensors", save_as="mine/y.safetensors").out[0]
    assert as_asked == "mine/y.safetensors"
    assert place(models, as_asked).read_bytes() == b"a"


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("../../x.safetensors", r"an empty part, \. or \.\."),
        ("a/../../x.safetensors", r"an empty part, \. or \.\."),
        ("a//x.safetensors", "an empty part"),
        ("a/", "an empty part"),
        (".hidden.safetensors", "cannot be the name of a file"),
        ("a\\..\\x.safetensors", "cannot be the name of a file"),
        ("C:/x.safetensors", "cannot be the name of a file"),
        ("x\n.safetensors", "cannot be the name of a file"),
        ("evil.py", "no loader would list it"),
        ("", "an empty part"),
    ],
)
def test_w06_there_is_no_way_out_of_the_models_folder(
    one_bucket: Bucket, execute: Callable[..., Any], models: Path, key: str, told: str
) -> None:
    with pytest.raises(Exception, match="names no object" if key in ("", "a/") else told):
        load(execute, key=key)
    with pytest.raises(Exception, match=told if key else "Object not found"):
        load(execute, key="x.safetensors", save_as=key)
    assert [path for path in models.rglob("*") if path.is_file()] == []


def test_w06_a_file_that_is_not_ours_is_kept(
    one_bucket: Bucket, execute: Callable[..., Any], models: Path
) -> None:
    one_bucket.put(KEY, DATA)
    place(models).parent.mkdir(parents=True, exist_ok=True)
    place(models).write_bytes(b"the user's own")
    with pytest.raises(Exception, match="exists and is not a download of s3://"):
        load(execute)
    assert place(models).read_bytes() == b"the user's own"
    assert "downloaded" in load(execute, force_redownload=True).ui["text"][0]
    assert place(models).read_bytes() == DATA


def test_an_equal_file_is_taken_over(
    one_bucket: Bucket, execute: Callable[..., Any], models: Path
) -> None:
    one_bucket.put(KEY, DATA)
    place(models).parent.mkdir(parents=True, exist_ok=True)
    place(models).write_bytes(DATA)
    assert "already here, equal" in load(execute).ui["text"][0]
    assert "already here, unchanged" in load(execute).ui["text"][0]


def test_another_bucket_s_object_of_that_key_is_another_file(
    one_bucket: Bucket, execute: Callable[..., Any], models: Path
) -> None:
    one_bucket.put(KEY, DATA)
    load(execute)
    other = Bucket("moto", one_bucket.name + "-2", one_bucket.client)
    other.client.create_bucket(Bucket=other.name)
    other.put(KEY, b"other")
    (profile,) = execute("CloudStorageProfile", profile="(env vars)", bucket=other.name).out
    with pytest.raises(Exception, match="is not a download of"):
        load(execute, profile=profile)
    load(execute, profile=profile, save_as="other.safetensors")
    assert place(models, "other.safetensors").read_bytes() == b"other"


def test_w09_without_a_network_the_copy_that_is_here_is_used(
    one_bucket: Bucket,
    execute: Callable[..., Any],
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cached file did not help when the network was gone."""
    one_bucket.put(KEY, DATA)
    load(execute)
    gone = "http://127.0.0.1:1"
    stored = record(models) | {"endpoint": gone}
    path = models / "checkpoints/sdxl/base/.model.safetensors.source.json"
    path.write_text(json.dumps(stored))
    monkeypatch.setenv("COMFY_S3_ENDPOINT_URL", gone)
    made = load(execute)
    assert made.out[:2] == (KEY, SHA256)
    assert "the store cannot be reached; using the copy that is here" in made.ui["text"][0]
    os.truncate(place(models), 10)
    with pytest.raises(Exception, match=f"{gone} cannot be reached"):
        load(execute)


def test_an_expected_sha256_is_held_against_copy_and_object(
    one_bucket: Bucket, execute: Callable[..., Any], models: Path
) -> None:
    one_bucket.put(KEY, DATA)
    with pytest.raises(Exception, match=f"has the sha256 {SHA256}, not {'0' * 64}"):
        load(execute, sha256="0" * 64)
    assert not place(models).exists()
    assert load(execute, sha256="sha256:" + SHA256.upper()).out[1] == SHA256
    with pytest.raises(Exception, match=f"has the sha256 {SHA256}, not {'0' * 64}"):
        load(execute, sha256="0" * 64)
    with pytest.raises(Exception, match="not 64 hex digits"):
        load(execute, sha256="abc")


def test_a_sha256_in_the_object_s_metadata_counts(
    one_bucket: Bucket, execute: Callable[..., Any], models: Path
) -> None:
    one_bucket.client.put_object(
        Bucket=one_bucket.name, Key=KEY, Body=DATA, Metadata={"sha256": "0" * 64}
    )
    with pytest.raises(Exception, match=f"has the sha256 {SHA256}"):
        load(execute)


def test_w10_two_prompts_download_it_once(
    one_bucket: Bucket,
    execute: Callable[..., Any],
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One temporary name for all, no lock."""
    one_bucket.put(KEY, DATA)
    both = threading.Barrier(2)
    store = part("shared.store").Store
    real = store.remote

    def together(self: Any, found: Any) -> Any:
        both.wait(5)
        return real(self, found)

    monkeypatch.setattr(store, "remote", together)
    with ThreadPoolExecutor(2) as pool:
        texts = [job.result().ui["text"][0] for job in [pool.submit(load, execute) for _ in "ab"]]
    assert sorted(text.split(": ")[1].split()[0:3] for text in texts) == [
        ["downloaded", "293.0", "KiB"],
        ["downloaded", "by", "another"],
    ]
    assert place(models).read_bytes() == DATA


def test_w08_a_change_between_the_look_and_the_read_is_noticed(
    bucket: Bucket,
    execute: Callable[..., Any],
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ETag of the first request was written down for the bytes of the second."""
    bucket.put(KEY, DATA)
    newer = [os.urandom(len(DATA)), os.urandom(1000)]
    store = part("shared.store").Store
    real = store.remote

    def overtaken(self: Any, found: Any) -> Any:
        if newer:
            bucket.put(KEY, newer.pop(0))
        return real(self, found)

    monkeypatch.setattr(store, "remote", overtaken)
    _, sha256, path = load(execute).out
    body = bucket.get(KEY)
    assert newer == []
    assert Path(path).read_bytes() == body
    assert sha256 == hashlib.sha256(body).hexdigest()
    assert record(models)["etag"] == bucket.head(KEY)["ETag"]


def test_read_only_models_are_said_and_a_writable_path_is_used(
    one_bucket: Bucket,
    execute: Callable[..., Any],
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    one_bucket.put(KEY, DATA)
    local = part("local")
    folder = models / "checkpoints"
    monkeypatch.setattr(local, "can_write", lambda path: tmp_path in [path, *path.parents])
    with pytest.raises(Exception, match="No models folder for checkpoints can be written") as told:
        load(execute)
    assert str(folder) in str(told.value)
    assert "extra_model_paths.yaml" in str(told.value)
    paths = ([str(folder), str(tmp_path / "extra")], folder_paths.supported_pt_extensions)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "checkpoints", paths)
    assert load(execute).out[2] == str(tmp_path / "extra" / KEY)
    assert folder_paths.get_full_path("checkpoints", KEY) == str(tmp_path / "extra" / KEY)


def test_a_stale_read_only_copy_is_not_shadowed_silently(
    one_bucket: Bucket,
    execute: Callable[..., Any],
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    one_bucket.put(KEY, DATA)
    load(execute)
    one_bucket.put(KEY, b"newer")
    local = part("local")
    monkeypatch.setattr(local, "can_write", lambda path: tmp_path in [path, *path.parents])
    paths = ([str(models / "checkpoints"), str(tmp_path)], folder_paths.supported_pt_extensions)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "checkpoints", paths)
    with pytest.raises(Exception, match="is out of date and cannot be replaced"):
        load(execute)


def test_a_missing_model_is_named(one_bucket: Bucket, execute: Callable[..., Any]) -> None:
    with pytest.raises(Exception, match=f"Object not found: s3://{one_bucket.name}/{KEY}"):
        load(execute)
    one_bucket.put("empty.safetensors", b"")
    with pytest.raises(Exception, match="empty.safetensors is empty"):
        load(execute, key="empty.safetensors")


@pytest.mark.parametrize(
    ("loader", "name"),
    [("CheckpointLoaderSimple", "ckpt_name"), ("OldLoader", "value"), ("Sink", "value")],
)
def test_the_name_connects_to_loaders_of_every_kind(
    one_bucket: Bucket, comfy: Comfy, loader: str, name: str
) -> None:
    """A plain STRING output is refused by the validation of real loaders."""
    prompt = {
        "1": {
            "class_type": "LoadModelFromCloud",
            "inputs": {"model_type": "checkpoints", "key": KEY, "force_redownload": False},
        },
        "2": {"class_type": loader, "inputs": {name: ["1", 0]}},
        "3": {"class_type": "Sink", "inputs": {"value": ["2", 0]}},
    }
    if loader != "CheckpointLoaderSimple":
        del prompt["3"]
    valid, error, _, node_errors = comfy.validate(prompt)
    assert valid, (error, node_errors)
    assert node_errors == {}


def test_a_loader_runs_with_the_downloaded_model(
    bucket: Bucket, comfy: Comfy, models: Path
) -> None:
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    weights = {"lora_unet_x.lora_up.weight": torch.zeros(4, 2), "lora_unet_x.alpha": torch.ones(1)}
    bucket.put("style/tiny.safetensors", safetensors.save(weights))
    from conftest import Source  # used here alone

    Source.things["model"] = None
    prompt = {
        "1": {
            "class_type": "LoadModelFromCloud",
            "inputs": {
                "model_type": "loras",
                "key": "style/tiny.safetensors",
                "force_redownload": False,
            },
        },
        "2": {"class_type": "Source", "inputs": {"name": "model"}},
        "3": {
            "class_type": "LoraLoader",
            "inputs": {
                "model": ["2", 0],
                "clip": ["2", 0],
                "lora_name": ["1", 0],
                "strength_model": 1.0,
                "strength_clip": 1.0,
            },
        },
        "4": {"class_type": "Sink", "inputs": {"value": ["3", 0]}},
    }
    ran = comfy.run(prompt)
    assert ran.success, ran.errors
    assert (models / "loras/style/tiny.safetensors").is_file()
    assert len(Sink.taken) == 1
