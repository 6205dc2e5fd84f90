"""The pack in the real ComfyUI: its own loader, its own validation, its own executor, no mocks.

Needs ComfyUI on the Python path and PACK_TEST_S3, which names two S3 servers;
the repository's tests/support/with_s3.py and tests/real/test_pack.py provide both.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import json
import os
import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

if not (importlib.util.find_spec("comfy") and os.environ.get("PACK_TEST_S3")):
    pytest.exit(
        "the contract tests need ComfyUI on PYTHONPATH and two S3 servers in PACK_TEST_S3.\n"
        "  → in the built image: ./kiln test --tier real\n"
        "  → beside a ComfyUI: python tests/support/with_s3.py env PYTHONPATH=COMFYUI "
        "COMFYUIS_PYTHON -m pytest -c /dev/null services/comfy/cloud-storage/tests",
        returncode=pytest.ExitCode.USAGE_ERROR,
    )

from comfy.cli_args import args

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Before anything else of ComfyUI is imported: no accelerator, and folders of our own.
args.cpu = True
args.base_directory = tempfile.mkdtemp(prefix="comfyui-")

import execution  # noqa: E402  # after the arguments above
import folder_paths  # noqa: E402  # the same
import nodes  # noqa: E402  # the same
from comfy_execution import utils as execution_utils  # noqa: E402  # the same

PACK = Path(os.environ.get("PACK_TEST_PACK") or Path(__file__).parents[2])
SERVERS = json.loads(os.environ["PACK_TEST_S3"])
NAME = "cloud_storage_pack"


class Sink:
    """Takes anything and counts how often it runs: what is downstream of a node."""

    CATEGORY, FUNCTION, OUTPUT_NODE, RETURN_TYPES = "test", "take", True, ()
    taken: list[Any] = []  # noqa: RUF012  # shared on purpose, emptied before each test

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": ("*", {})}}

    def take(self, value: Any) -> dict[str, Any]:
        Sink.taken.append(value)
        return {"ui": {}}


class Source:
    """Hands on what the test put there under a name."""

    CATEGORY, FUNCTION, RETURN_TYPES = "test", "give", ("*",)
    things: dict[str, Any] = {}  # noqa: RUF012  # shared on purpose

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"name": ("STRING", {})}}

    def give(self, name: str) -> tuple[Any]:
        return (Source.things[name],)


class OldLoader(Sink):
    """A loader as most packs write it: a list of file names as its type."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": (folder_paths.get_filename_list("checkpoints"),)}}


@pytest.fixture(scope="session", autouse=True)
def pack() -> Any:
    """The pack, loaded by ComfyUI's own loader; the module is importable as NAME."""
    for folder in ("models/checkpoints", "models/loras", "models/upscale_models", "temp"):
        Path(args.base_directory, folder).mkdir(parents=True)
    assert asyncio.run(nodes.load_custom_node(str(PACK)))
    module = sys.modules[str(PACK).replace(".", "_x_")]
    sys.modules[NAME] = module
    nodes.NODE_CLASS_MAPPINGS |= {"Sink": Sink, "Source": Source, "OldLoader": OldLoader}
    return module


def part(name: str) -> Any:
    """Return a module of the loaded pack."""
    return importlib.import_module(f"{str(PACK).replace('.', '_x_')}.cloud_storage.{name}")


@dataclass
class Bucket:
    """An empty bucket of one server, reached by boto3 alone."""

    server: str
    name: str
    client: Any

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def get(self, key: str) -> bytes:
        body: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return body

    def head(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.head_object(Bucket=self.name, Key=key)
        return found

    def keys(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return [entry["Key"] for entry in found]


@pytest.fixture(params=["moto", "rclone"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket that the environment variables lead to."""
    client = boto3.client(
        "s3",
        endpoint_url=SERVERS["urls"][request.param],
        aws_access_key_id=SERVERS["access_key"],
        aws_secret_access_key=SERVERS["secret_key"],
        region_name="us-east-1",
        config=Config(request_checksum_calculation="when_required"),
    )
    made = Bucket(request.param, f"bucket-{uuid.uuid4().hex[:12]}", client)
    client.create_bucket(Bucket=made.name)
    for name, value in {
        "PROVIDER": "Custom",
        "ENDPOINT_URL": SERVERS["urls"][request.param],
        "ACCESS_KEY": SERVERS["access_key"],
        "SECRET_KEY": SERVERS["secret_key"],
        "BUCKET": made.name,
    }.items():
        monkeypatch.setenv(f"COMFY_S3_{name}", value)
    return made


@pytest.fixture(params=["moto"])
def one_bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket on moto alone, for what does not depend on the server."""
    made: Bucket = bucket.__wrapped__(request, monkeypatch)  # type: ignore[attr-defined]
    return made


@dataclass
class Run:
    """What a client of the server would see of one prompt."""

    success: bool
    outputs: dict[str, Any]
    cached: list[str]
    errors: list[dict[str, Any]]
    events: list[tuple[str, Any]]

    @property
    def message(self) -> str:
        return str(self.errors[0]["exception_message"]).strip()


@dataclass
class Comfy:
    """ComfyUI's executor with the cache it keeps from prompt to prompt."""

    events: list[tuple[str, Any]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        server = SimpleNamespace(
            client_id="client", last_node_id=None, send_sync=self._send, sockets_metadata={}
        )
        self.executor = execution.PromptExecutor(
            server,
            cache_type=execution.CacheType.CLASSIC,
            cache_args={"lru": 0, "ram": 0, "ram_inactive": 0},
        )

    def _send(self, event: str, data: Any, _client: str | None = None) -> None:
        self.events.append((event, data))

    def validate(self, prompt: dict[str, Any]) -> tuple[bool, Any, list[str], dict[str, Any]]:
        found: tuple[bool, Any, list[str], dict[str, Any]] = asyncio.run(
            execution.validate_prompt("p", prompt, None)
        )
        return found

    def run(self, prompt: dict[str, Any], **extra: Any) -> Run:
        prompt = json.loads(json.dumps(prompt))  # as it comes over HTTP
        valid, error, outputs, node_errors = self.validate(prompt)
        assert valid, (error, node_errors)
        self.events.clear()
        self.executor.execute(
            prompt, f"prompt-{next(self.numbers)}", {"client_id": "client", **extra}, outputs
        )
        told = self.executor.status_messages
        return Run(
            success=self.executor.success,
            outputs=self.executor.history_result["outputs"],
            cached=next(data["nodes"] for name, data in told if name == "execution_cached"),
            errors=[data for name, data in told if name == "execution_error"],
            events=list(self.events),
        )


@pytest.fixture
def comfy() -> Comfy:
    """A fresh executor; nothing is cached."""
    Sink.taken.clear()
    return Comfy()


@pytest.fixture
def execute() -> Callable[..., Any]:
    """Return a caller of one node's execute as ComfyUI calls it; gives its outputs and its UI."""

    def call(node: str, **inputs: Any) -> Any:
        cls = nodes.NODE_CLASS_MAPPINGS[node]
        clone = cls.PREPARE_CLASS_CLONE({"hidden_inputs": {}})
        with execution_utils.CurrentNodeContext("prompt", "1"):
            made = getattr(clone, clone.FUNCTION)(**inputs)
            made = asyncio.run(made) if asyncio.iscoroutine(made) else made
        return SimpleNamespace(out=made.args, ui=made.ui)

    return call


@pytest.fixture
def models() -> Path:
    """ComfyUI's models folder, empty again."""
    folder = Path(args.base_directory, "models")
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() or path.is_symlink():
            path.unlink()
    return folder
