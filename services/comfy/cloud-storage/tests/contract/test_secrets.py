"""Nothing that leaves the server holds a key: not when all goes well, not when it fails."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import folder_paths
import pytest
import torch
from conftest import SERVERS, Bucket, Comfy, Source, part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ACCESS, SECRET, TOKEN = "CANARYACCESS123", "CANARYsecret456", "CANARYtoken789"
WORDS = ("CANARY",)


@pytest.fixture
def canaries(one_bucket: Bucket) -> Iterator[None]:
    """A profile whose keys must never be seen; moto takes any."""
    path = Path(folder_paths.get_system_user_directory("cloud_storage"), "profiles.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    profile = {
        "provider": "Custom",
        "endpoint_url": SERVERS["urls"]["moto"],
        "access_key": ACCESS,
        "secret_key": SECRET,
        "session_token": TOKEN,
        "bucket": one_bucket.name,
    }
    path.write_text(json.dumps({"profiles": {"main": profile}}))
    yield
    path.unlink()


NODES: dict[str, dict[str, Any]] = {
    "SaveImageToCloud": {
        "images": ["s", 0],
        "key_prefix": "../",
        "filename": "x",
        "format": "png",
        "quality": 1,
    },
    "SaveAudioToCloud": {"audio": ["s", 0], "key_prefix": "", "filename": "x", "format": "flac"},
    "SaveVideoToCloud": {
        "video": ["s", 0],
        "key_prefix": "",
        "filename": "x",
        "format": "webm",
        "codec": "h264",
    },
    "LoadImageFromCloud": {"key": "gone.png"},
    "LoadAudioFromCloud": {"key": "gone.flac"},
    "LoadVideoFromCloud": {"key": "gone.mp4"},
    "LoadModelFromCloud": {
        "model_type": "loras",
        "key": "gone.safetensors",
        "force_redownload": False,
    },
    "ListBucketContents": {"prefix": "", "max_results": 3},
    "GeneratePresignedURL": {"key": "gone", "expires_hours": 1},
    "TestCloudConnection": {},
}


def graph(node: str, **more: Any) -> dict[str, Any]:
    return {
        "p": {"class_type": "CloudStorageProfile", "inputs": {"profile": "main", **more}},
        "s": {"class_type": "Source", "inputs": {"name": "broken"}},
        "n": {"class_type": node, "inputs": {**NODES[node], "profile": ["p", 0]}},
        "z": {"class_type": "Sink", "inputs": {"value": ["n", 0]}},
    }


@pytest.mark.usefixtures("canaries")
@pytest.mark.parametrize("node", NODES)
def test_w15_a_failing_node_shows_no_key(
    comfy: Comfy, node: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Any error in a node published the secret with the node's inputs."""
    caplog.set_level(logging.DEBUG)
    Source.things["broken"] = torch.rand(1, 4, 4, 3) if node == "SaveImageToCloud" else object()
    ran = comfy.run(graph(node, bucket="no-such-bucket"))
    assert not ran.success
    shown = json.dumps([ran.errors, ran.outputs, ran.events], default=repr)
    shown += caplog.text + "".join(capfd.readouterr())
    assert ran.errors[0]["node_type"] == node
    assert not [word for word in WORDS if word in shown]


@pytest.mark.usefixtures("canaries")
def test_a_sync_failure_shows_the_profile_without_its_keys(comfy: Comfy) -> None:
    Source.things["broken"] = object()
    ran = comfy.run(graph("SaveVideoToCloud"))
    (shown,) = ran.errors[0]["current_inputs"]["profile"]
    assert shown.startswith("main: Custom (http://127.0.0.1:")
    assert "CANARY" not in shown


@pytest.mark.usefixtures("canaries")
def test_w15_what_travels_between_nodes_has_no_key(execute: Callable[..., Any]) -> None:
    (value,) = execute("CloudStorageProfile", profile="main").out
    shown = [str(value), repr(value), pickle.dumps(value).decode("latin-1")]
    shown += [json.dumps(execute("CloudStorageProfile", profile="main").ui)]
    assert not any("CANARY" in text for text in shown)
    store = part("runtime").open_store(value)
    assert not any("CANARY" in text for text in (repr(store), str(store), str(store.profile)))


@pytest.mark.usefixtures("canaries")
def test_what_other_packs_send_is_refused_without_being_shown(
    execute: Callable[..., Any],
) -> None:
    foreign = {"access_key": ACCESS, "secret_key": SECRET}
    with pytest.raises(Exception, match="comes from another node pack") as told:
        execute("ListBucketContents", prefix="", profile=foreign)
    assert "CANARY" not in str(told.value)


@pytest.mark.usefixtures("canaries")
def test_a_server_that_echoes_the_keys_is_not_repeated(
    execute: Callable[..., Any],
) -> None:
    (value,) = execute("CloudStorageProfile", profile="main").out
    store = part("runtime").open_store(value)

    def echo(request: Any, **_: Any) -> Any:
        from botocore.awsrequest import AWSResponse  # used here alone
        from botocore.compat import HTTPHeaders  # the same

        body = f"<Error><Code>{SECRET}</Code><Message>{SECRET} {TOKEN} {ACCESS}</Message></Error>"

        class Raw:
            def stream(self) -> Any:
                yield body.encode()

        return AWSResponse(request.url, 400, HTTPHeaders(), Raw())

    store.client().meta.events.register("before-send.s3", echo)
    with pytest.raises(Exception, match=r"S3 error") as told:
        execute("ListBucketContents", prefix="", profile=value)
    store.client().meta.events.unregister("before-send.s3", echo)
    assert "CANARY" not in str(told.value)
