"""The cpu profile of compose.yaml, really started, questioned, restarted and taken down."""

from __future__ import annotations

import json
import os
import socket
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from comfykiln.system.process import capture

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
PROJECT = "comfykiln-compose-test"
WORKFLOW = b'{"nodes": [], "links": [], "version": 0.4}'


@dataclass(frozen=True)
class Stack:
    """The started project: `port` is on loopback."""

    files: list[str]
    env: dict[str, str]
    port: int

    def compose(self, *words: str) -> str:
        argv = ["docker", "compose", "-p", PROJECT, *self.files, "--profile", "cpu", *words]
        return capture(argv, cwd=ROOT, env=self.env, timeout=300)

    def ask(self, path: str, data: bytes | None = None) -> bytes:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://127.0.0.1:{self.port}{path}", data, 20) as reply:
            answer: bytes = reply.read()
        return answer


@pytest.fixture
def stack(core_image: str, tmp_path: Path) -> Iterator[Stack]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    override = tmp_path / "override.yaml"
    override.write_text(json.dumps({"services": {"cpu": {"image": core_image}}}))
    env = {name: value for name, value in os.environ.items() if not name.startswith("COMF")}
    env |= {"COMFY_PORT": str(port), "CLI_ARGS": "--preview-method none"}
    made = Stack(files=["-f", str(ROOT / "compose.yaml"), "-f", str(override)], env=env, port=port)
    try:
        yield made
    finally:
        made.compose("down", "--volumes", "--timeout", "10")


def test_the_cpu_profile(stack: Stack) -> None:
    stack.compose("up", "--wait", "--wait-timeout", "240")
    stats = json.loads(stack.ask("/system_stats"))
    assert stats["system"]["argv"][-2:] == ["--preview-method", "none"]
    assert [device["type"] for device in stats["devices"]] == ["cpu"]
    stack.ask("/userdata/workflows%2Fkept.json", WORKFLOW)

    container = _inspect(stack)
    assert container["State"]["Health"]["Status"] == "healthy"
    assert container["HostConfig"]["ReadonlyRootfs"] is True
    assert container["HostConfig"]["CapDrop"] == ["ALL"]
    published = container["NetworkSettings"]["Ports"][f"{stack.port}/tcp"]
    assert published == [{"HostIp": "127.0.0.1", "HostPort": str(stack.port)}]

    stack.compose("down", "--timeout", "10")
    stack.compose("up", "--wait", "--wait-timeout", "240")
    assert _inspect(stack)["Id"] != container["Id"]
    assert stack.ask("/userdata/workflows%2Fkept.json") == WORKFLOW

    stack.compose("stop", "--timeout", "10")
    stopped = _inspect(stack)["State"]
    assert (stopped["ExitCode"], stopped["OOMKilled"]) == (0, False)

    stack.compose("down", "--volumes")
    label = f"label=com.docker.compose.project={PROJECT}"
    assert capture(["docker", "ps", "-aq", "--filter", label]) == ""
    assert capture(["docker", "volume", "ls", "-q", "--filter", label]) == ""


def _inspect(stack: Stack) -> dict[str, Any]:
    name = stack.compose("ps", "--all", "--quiet", "cpu").strip()
    containers: list[dict[str, Any]] = json.loads(capture(["docker", "inspect", name]))
    return containers[0]
