"""Start an image with no network and a read-only root, question it, and judge the answers."""

from __future__ import annotations

import json
import re
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

from comfykiln.errors import KilnError
from comfykiln.parsing.values import normal_name
from comfykiln.system import console

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import docker
    from docker.models.containers import Container

START_SECONDS = 300
STOP_SECONDS = 5
PORT = "8188"
LABEL = "io.comfykiln.verifying"
# What ComfyUI 0.30.0 logs for a node that it could not import (nodes.py, load_custom_node).
IMPORTED = re.compile(r"([0-9.]+) seconds: /app/custom_nodes/(.+)\Z")
FAILED_IMPORT = re.compile(r"\(IMPORT FAILED\)|Cannot import .* module for custom nodes")
KILLED = 137
LOG_LINES = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """What an image must answer: versions, the torch build, its packages, its node packs.

    `nodes` are the folders of the custom nodes that the server imports, `without_classes` those of
    them that register none; `accepted` are packages whose complaint is known, `stand_ins` those
    that others stand in for; `libraries` are the packages whose native libraries are loaded.
    `python` is the exact version, "" where none is asked for.
    """

    comfyui: str
    torch: Mapping[str, str]
    local_tag: str
    packages: Mapping[str, str]
    packs: Mapping[str, Sequence[str]]
    nodes: tuple[str, ...] = ()
    without_classes: frozenset[str] = frozenset()
    accepted: frozenset[str] = frozenset()
    stand_ins: frozenset[str] = frozenset()
    libraries: tuple[str, ...] = ()
    python: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What an image did answer, and how long it took to do so (seconds; never in the receipt).

    `complaints` are those of `uv pip check`, `unloadable` the libraries that miss another one.
    """

    probe: Mapping[str, Any]
    log: tuple[str, ...]
    health: str
    stopped: int
    start_seconds: float
    stop_seconds: float
    complaints: tuple[str, ...] = ()
    unloadable: tuple[str, ...] = ()


def question(engine: docker.DockerClient, ref: str, libraries: Sequence[str] = ()) -> Answers:
    """Run the image, ask it everything, stop it by SIGTERM; no container outlives this call."""
    started = time.monotonic()
    with running(engine, ref) as container:
        _wait_until_ready(container)
        ready = time.monotonic() - started
        probe = _ask(container)
        packages = _script(container, "packages.py", *libraries) if libraries else {}
        health = _health(container)
        stopping = time.monotonic()
        container.kill("SIGTERM")
        status = _wait_for_end(container)
        ended = time.monotonic() - stopping
        log = container.logs().decode("utf-8", "replace").splitlines()
    return Answers(
        probe=probe,
        log=tuple(log),
        health=health,
        stopped=status,
        start_seconds=ready,
        stop_seconds=ended,
        complaints=tuple(packages.get("complaints", [])),
        unloadable=tuple(packages.get("unloadable", [])),
    )


@contextmanager
def running(engine: docker.DockerClient, ref: str) -> Iterator[Container]:
    """Run `ref` as strictly as the contract allows, and remove it with its volumes at the end."""
    container = engine.containers.run(
        ref,
        detach=True,
        name=f"kiln-verify-{uuid.uuid4().hex[:12]}",
        labels={LABEL: "1"},
        network_mode="none",
        read_only=True,
        tmpfs={"/tmp": "mode=1777"},  # noqa: S108  # inside the container
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        # The receipt must not depend on the machine that verifies.
        environment={"CLI_ARGS": "--cpu"},
    )
    try:
        yield container
    finally:
        container.remove(force=True, v=True)


def judge(answers: Answers, expected: Expectation) -> list[str]:
    """Return every way in which the answers are not what was expected; empty means verified."""
    stats = answers.probe["system_stats"]["system"]
    classes: Mapping[str, str] = answers.probe["node_classes"]
    faults = [
        *_versions(stats, expected),
        *_packages(answers.probe["packages"], expected.packages),
        *[f"the server's log says: {line}" for line in answers.log if FAILED_IMPORT.search(line)],
        *[
            f"the node {name} of the pack {pack} is not in /object_info"
            for pack, names in expected.packs.items()
            for name in names
            if name not in classes
        ],
        *_nodes(answers, expected),
        *_installed(answers, expected),
    ]
    return faults + _contract(answers)


def import_times(log: Sequence[str]) -> dict[str, float]:
    """Return node folder → seconds from the server's table of import times."""
    return {match[2]: float(match[1]) for line in log if (match := IMPORTED.search(line))}


def classes_of(node: str, classes: Mapping[str, str]) -> list[str]:
    """Return the classes in /object_info that the node of this folder or file registers."""
    module = f"custom_nodes.{node.removesuffix('.py')}"
    return [name for name, found in classes.items() if found == module]


def _nodes(answers: Answers, expected: Expectation) -> list[str]:
    """Return the custom nodes that were not imported, or that registered nothing."""
    classes: Mapping[str, str] = answers.probe["node_classes"]
    times = import_times(answers.log)
    faults = [
        f"the node {node} was not imported: it is not in the server's import table"
        for node in expected.nodes
        if node not in times
    ]
    return faults + [
        f"the node {node} has no class in /object_info"
        for node in expected.nodes
        if node not in expected.without_classes and not classes_of(node, classes)
    ]


def _installed(answers: Answers, expected: Expectation) -> list[str]:
    """Return what `uv pip check` and the loader complain about beyond what is accepted."""
    faults = []
    for line in (*answers.complaints, *answers.unloadable):
        named = re.match(r"The package `([^`]+)`|([A-Za-z0-9._-]+): ", line)
        name = (named[1] or named[2]) if named else ""
        needed = re.search(r": (\S+): cannot open shared object file", line)
        absent = re.search(r"requires `([A-Za-z0-9._-]+)[^`]*`, but it's not installed", line)
        known = bool(absent and absent[1].lower() in expected.stand_ins)
        if not known and not expected.accepted & {name, needed[1] if needed else name}:
            faults.append(line)
    return faults


def rejected(ref: str, faults: Sequence[str], answers: Answers) -> KilnError:
    """Return the error that shows every fault and, where imports failed, the log around them."""
    told = "\n".join(f"  - {fault}" for fault in faults)
    log = "\n".join(f"    {line}" for line in answers.log[-LOG_LINES:])
    return KilnError(
        f"{ref} is not what its description says:\n{told}\n  its log ends:\n{log}",
        remedy="fix the cause and build again; nothing was tagged",
    )


def _versions(stats: Mapping[str, str], expected: Expectation) -> list[str]:
    wanted = f"{expected.torch['torch']}+{expected.local_tag}"
    pairs = {
        "ComfyUI": (stats["comfyui_version"], expected.comfyui),
        "torch": (stats["pytorch_version"], wanted),
    }
    if expected.python:
        # What the server says goes on with the compiler's name.
        pairs["Python"] = (stats["python_version"].split(" ")[0], expected.python)
    return [
        f"{what} is {found}, not {wanted}"
        for what, (found, wanted) in pairs.items()
        if found != wanted
    ]


def _packages(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    have = {normal_name(name): version for name, version in found.items()}
    return [
        f"the package {name} is {have.get(name, 'missing')}, not {version} as locked"
        for name, version in sorted(wanted.items())
        if have.get(name) != version
    ]


def _contract(answers: Answers) -> list[str]:
    process = answers.probe["process"]
    checks = {
        f"the server runs as uid {process['uid']}, not as a plain user": process["uid"] != 0,
        "/app can be written to": not process["root_writable"],
        "a state folder cannot be written to": process["state_writable"],
        f"the health check says {answers.health}": answers.health == "healthy",
        f"the server took {answers.stop_seconds:.1f} s to end after SIGTERM": (
            answers.stop_seconds <= STOP_SECONDS and answers.stopped != KILLED
        ),
    }
    return [fault for fault, fine in checks.items() if not fine]


def _wait_until_ready(container: Container) -> None:
    """Wait until the image's own health command succeeds; a container that ends is an error."""
    deadline = time.monotonic() + START_SECONDS
    shown = 0
    while time.monotonic() < deadline:
        container.reload()
        if container.status not in {"created", "running"}:
            raise KilnError(
                "the image does not start; its last lines:\n" + _tail(container),
                remedy="the reason is usually the last traceback",
            )
        if _exec(container, ["/usr/bin/python3", "-I", "/app/.kiln/startup.py", "health"])[0] == 0:
            return
        shown += 1
        time.sleep(0.25)
    raise KilnError(
        f"the image gave no answer within {START_SECONDS} s; its last lines:\n" + _tail(container),
        remedy="see what it waits for; on a slow machine run `./kiln verify --ref REF` again",
    )


def _ask(container: Container) -> dict[str, Any]:
    return _script(container, "server.py", PORT)


def _script(container: Container, name: str, *arguments: str) -> dict[str, Any]:
    """Run one of the package's scripts by the image's own Python and return what it prints."""
    script = resources.files("comfykiln.verify.probes").joinpath(name).read_text("utf-8")
    status, text = _exec(container, ["/app/.venv/bin/python", "-c", script, *arguments])
    if status != 0:
        raise KilnError(f"the image cannot be questioned:\n{text}", remedy="see the message above")
    answers: dict[str, Any] = json.loads(text)
    return answers


def _health(container: Container) -> str:
    """Return what the engine's own health check says, once it has said anything."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        container.reload()
        state: str = container.attrs["State"].get("Health", {}).get("Status", "absent")
        if state != "starting":
            return state
        time.sleep(0.25)
    return "starting"


def _wait_for_end(container: Container) -> int:
    """Return the exit status; a container that ignores SIGTERM is killed after twice its time."""
    from requests.exceptions import ConnectionError as NoAnswer  # noqa: PLC0415  # with docker-py
    from requests.exceptions import ReadTimeout  # noqa: PLC0415  # with docker-py

    try:
        status: int = container.wait(timeout=2 * STOP_SECONDS)["StatusCode"]
    except (ReadTimeout, NoAnswer):
        console.note("the server ignores SIGTERM and is killed")
        container.kill()
        status = container.wait()["StatusCode"]
    return status


def _exec(container: Container, argv: list[str]) -> tuple[int, str]:
    """Run `argv` in the container; returns its status and what it printed, errors when nothing."""
    result = container.exec_run(argv, demux=True)
    out, err = cast("tuple[bytes | None, bytes | None]", result.output)
    text = out or err or b""
    return int(result.exit_code or 0), text.decode("utf-8", "replace")


def _tail(container: Container) -> str:
    text: str = container.logs(tail=30).decode("utf-8", "replace")
    return text
