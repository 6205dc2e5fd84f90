"""Models where something odd is in the way: other folders, strange records, metadata of others."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from comfy.cli_args import args
from conftest import Bucket, Comfy, Source, part

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = b"weights" * 100
SHA256 = hashlib.sha256(DATA).hexdigest()
KEY = "m.safetensors"


def load(execute: Callable[..., Any], key: str = KEY, **more: Any) -> Any:
    given = {"model_type": "checkpoints", "key": key, "force_redownload": False}
    return execute("LoadModelFromCloud", **(given | more))


@pytest.mark.parametrize("kind", ["custom_nodes", "configs", "datasets", "nonsense"])
def test_a_kind_that_came_over_a_wire_leads_to_no_other_folder(
    one_bucket: Bucket, comfy: Comfy, kind: str
) -> None:
    one_bucket.put("evil.py", b"print()")
    Source.things["kind"] = kind
    graph = {
        "1": {"class_type": "Source", "inputs": {"name": "kind"}},
        "2": {
            "class_type": "LoadModelFromCloud",
            "inputs": {"model_type": ["1", 0], "key": "evil.py", "force_redownload": False},
        },
        "3": {"class_type": "Sink", "inputs": {"value": ["2", 0]}},
    }
    ran = comfy.run(graph)
    assert not ran.success
    assert ran.message.startswith(f"No directory configured for model type: {kind}\n")
    assert not list(part("local").Path(args.base_directory).rglob("*evil.py*"))


@pytest.mark.parametrize(
    "told",
    [SHA256, SHA256.upper(), f"sha256:{SHA256}", "n/a", base64.b64encode(b"x" * 32).decode()],
)
def test_metadata_counts_where_it_is_a_sha256(
    one_bucket: Bucket, execute: Callable[..., Any], models: Path, told: str
) -> None:
    one_bucket.client.put_object(
        Bucket=one_bucket.name, Key=KEY, Body=DATA, Metadata={"sha256": told}
    )
    assert load(execute).out[1] == SHA256
    (models / "checkpoints/.m.safetensors.source.json").unlink()
    assert load(execute).ui["text"][0].startswith(f"{KEY}: already here, equal")


@pytest.mark.parametrize("told", ["0" * 64, f"SHA256:{'0' * 64}"])
def test_metadata_that_promises_something_else_is_believed(
    one_bucket: Bucket, execute: Callable[..., Any], models: Path, told: str
) -> None:
    one_bucket.client.put_object(
        Bucket=one_bucket.name, Key=KEY, Body=DATA, Metadata={"sha256": told}
    )
    with pytest.raises(Exception, match=f"has the sha256 {SHA256}, not {'0' * 64}"):
        load(execute)
    assert not (models / "checkpoints" / KEY).exists()


def test_a_record_that_cannot_be_read_is_none(
    one_bucket: Bucket, execute: Callable[..., Any], models: Path
) -> None:
    one_bucket.put(KEY, DATA)
    load(execute)
    record = models / "checkpoints/.m.safetensors.source.json"
    record.unlink()
    record.mkdir()
    try:
        assert load(execute).ui["text"][0].startswith(f"{KEY}: already here, equal")
    finally:
        record.rmdir()


def test_what_lies_there_and_cannot_be_read_is_named(
    one_bucket: Bucket, execute: Callable[..., Any], models: Path
) -> None:
    folder = models / "checkpoints" / KEY
    folder.mkdir()
    try:
        one_bucket.put(KEY, bytes(folder.stat().st_size or 1))
        with pytest.raises(part("shared.errors").StorageError, match=str(folder)):
            load(execute)
    finally:
        folder.rmdir()
