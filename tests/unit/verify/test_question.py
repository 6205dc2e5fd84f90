"""What is said of each way in which an image can differ from its description."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from comfykiln.verify.question import (
    KILLED,
    Answers,
    Expectation,
    classes_of,
    import_times,
    judge,
    rejected,
)

EXPECTED = Expectation(
    comfyui="0.30.0",
    torch={"torch": "2.13.0"},
    local_tag="cpu",
    packages={"numpy": "2.2.6", "typing-extensions": "4.15.0"},
    packs={"cloud-storage": ["SaveImageToCloud"]},
    nodes=("ComfyUI-Good", "single.py", "only-pages"),
    without_classes=frozenset({"only-pages"}),
    accepted=frozenset({"decord", "libcuda.so.1"}),
    stand_ins=frozenset({"onnxruntime-gpu"}),
)
LOG = (
    "Import times for custom nodes:",
    "   0.1 seconds: /app/custom_nodes/only-pages",
    "   0.2 seconds: /app/custom_nodes/single.py",
    "  12.5 seconds: /app/custom_nodes/ComfyUI-Good",
    "Starting server",
)


def answers(log: tuple[str, ...] = LOG, **changes: Any) -> Answers:
    """Answers that fit `EXPECTED`, with changes: members of the record, of the probe, of a part."""
    parts: dict[str, Any] = {
        "system": {
            "comfyui_version": "0.30.0",
            "pytorch_version": "2.13.0+cpu",
            "python_version": "3.13.5 (main, Jun 25 2026) [GCC 14.2.0]",
        },
        "classes": {
            "KSampler": "nodes",
            "SaveImageToCloud": "custom_nodes.cloud-storage",
            "Good": "custom_nodes.ComfyUI-Good",
            "Single": "custom_nodes.single",
        },
        "packages": {"numpy": "2.2.6", "Typing_Extensions": "4.15.0", "pip": "26.0"},
        "process": {"uid": 1000, "root_writable": False, "state_writable": True},
    }
    for name in parts.keys() & changes.keys():
        parts[name] |= changes.pop(name)
    found = Answers(
        probe={
            "system_stats": {"system": parts["system"]},
            "node_classes": {name: at for name, at in parts["classes"].items() if at is not None},
            "packages": {name: at for name, at in parts["packages"].items() if at is not None},
            "process": parts["process"],
        },
        log=log,
        health="healthy",
        stopped=0,
        start_seconds=7.0,
        stop_seconds=0.4,
    )
    return replace(found, **changes)


def without(ending: str) -> tuple[str, ...]:
    return tuple(line for line in LOG if not line.endswith(ending))


DECORD = "The package `decord` was built for a different platform"
MISSING = "The package `a` requires `b>=2`, but it's not installed"
STOOD_IN = "The package `a` requires `onnxruntime-gpu>=1`, but it's not installed"
NO_CUDA = "decode: libdecode.so: libcuda.so.1: cannot open shared object file: No such file"
NO_GL = "opencv: cv2.so: libGL.so.1: cannot open shared object file: No such file"

# What the image answers otherwise, and every message that follows.
FAULTS: dict[str, tuple[Answers, list[str]]] = {
    "nothing": (answers(), []),
    "another ComfyUI": (
        answers(system={"comfyui_version": "0.29.0"}),
        ["ComfyUI is 0.29.0, not 0.30.0"],
    ),
    "torch of another build": (
        answers(system={"pytorch_version": "2.13.0+cu130"}),
        ["torch is 2.13.0+cu130, not 2.13.0+cpu"],
    ),
    "packages of another version, or none": (
        answers(packages={"numpy": "1.26.4", "Typing_Extensions": None}),
        [
            "the package numpy is 1.26.4, not 2.2.6 as locked",
            "the package typing-extensions is missing, not 4.15.0 as locked",
        ],
    ),
    "a package under another spelling": (
        answers(packages={"Typing_Extensions": None, "typing.extensions": "4.15.0"}),
        [],
    ),
    "an import that failed": (
        answers((*LOG, "   0.0 seconds (IMPORT FAILED): /app/custom_nodes/bad")),
        [
            "the server's log says:    0.0 seconds (IMPORT FAILED): /app/custom_nodes/bad",
        ],
    ),
    "a module that could not be imported": (
        answers((*LOG, "Cannot import /app/x module for custom nodes: no module y")),
        ["the server's log says: Cannot import /app/x module for custom nodes: no module y"],
    ),
    "a class of our own pack is not there": (
        answers(classes={"SaveImageToCloud": None}),
        ["the node SaveImageToCloud of the pack cloud-storage is not in /object_info"],
    ),
    "a node was not imported": (
        answers(without("only-pages")),
        ["the node only-pages was not imported: it is not in the server's import table"],
    ),
    "a node registered nothing": (
        answers(classes={"Single": None, "Good": "custom_nodes.other"}),
        [
            "the node ComfyUI-Good has no class in /object_info",
            "the node single.py has no class in /object_info",
        ],
    ),
    "complaints of uv that are known": (answers(complaints=(DECORD, STOOD_IN)), []),
    "a complaint of uv": (answers(complaints=(DECORD, MISSING)), [MISSING]),
    "a complaint that names nothing": (
        answers(complaints=("uv pip check: no such file",)),
        ["uv pip check: no such file"],
    ),
    "a library that the host's driver brings": (answers(unloadable=(NO_CUDA,)), []),
    "a library that misses another": (answers(unloadable=(NO_CUDA, NO_GL)), [NO_GL]),
    "root": (
        answers(process={"uid": 0}),
        ["the server runs as uid 0, not as a plain user"],
    ),
    "a root that can be written to": (
        answers(process={"root_writable": True}),
        ["/app can be written to"],
    ),
    "state that cannot be written to": (
        answers(process={"state_writable": False}),
        ["a state folder cannot be written to"],
    ),
    "no health": (answers(health="unhealthy"), ["the health check says unhealthy"]),
    "a slow end": (
        answers(stop_seconds=5.1),
        ["the server took 5.1 s to end after SIGTERM"],
    ),
    "an end just in time": (answers(stop_seconds=5.0), []),
    "an end by SIGKILL": (
        answers(stop_seconds=1.0, stopped=KILLED),
        ["the server took 1.0 s to end after SIGTERM"],
    ),
    "an exit code of its own": (answers(stopped=143), []),
    "everything, in a fixed order": (
        answers(
            (*without("ComfyUI-Good"), "(IMPORT FAILED)"),
            system={"comfyui_version": "1"},
            packages={"numpy": None},
            classes={"SaveImageToCloud": None, "Good": None},
            complaints=(MISSING,),
            unloadable=(NO_GL,),
            process={"uid": 0},
            health="starting",
        ),
        [
            "ComfyUI is 1, not 0.30.0",
            "the package numpy is missing, not 2.2.6 as locked",
            "the server's log says: (IMPORT FAILED)",
            "the node SaveImageToCloud of the pack cloud-storage is not in /object_info",
            "the node ComfyUI-Good was not imported: it is not in the server's import table",
            "the node ComfyUI-Good has no class in /object_info",
            MISSING,
            NO_GL,
            "the server runs as uid 0, not as a plain user",
            "the health check says starting",
        ],
    ),
}


@pytest.mark.parametrize(("found", "faults"), FAULTS.values(), ids=list(FAULTS))
def test_each_difference_is_one_message(found: Answers, faults: list[str]) -> None:
    assert judge(found, EXPECTED) == faults


@pytest.mark.parametrize(
    ("python", "faults"),
    [
        ("", []),
        ("3.13.5", []),
        ("3.13.4", ["Python is 3.13.5, not 3.13.4"]),
        ("3.13", ["Python is 3.13.5, not 3.13"]),
    ],
)
def test_python_counts_where_the_document_names_one(python: str, faults: list[str]) -> None:
    assert judge(answers(), replace(EXPECTED, python=python)) == faults


def test_import_times_are_those_of_the_server_s_table() -> None:
    assert import_times((*LOG, "   0.3 seconds (IMPORT FAILED): /app/custom_nodes/bad")) == {
        "only-pages": 0.1,
        "single.py": 0.2,
        "ComfyUI-Good": 12.5,
    }


def test_classes_belong_to_a_node_by_its_whole_name() -> None:
    classes = {"A": "custom_nodes.one", "B": "custom_nodes.one-more", "C": "nodes"}
    assert {name: classes_of(name, classes) for name in ("one", "one.py", "one-more", "nodes")} == {
        "one": ["A"],
        "one.py": ["A"],
        "one-more": ["B"],
        "nodes": [],
    }


def test_a_rejection_shows_every_fault_and_the_end_of_the_log() -> None:
    error = rejected(
        "team:cpu", ["first", "second"], answers(tuple(f"line {n}" for n in range(40)))
    )
    log = "".join(f"\n    line {n}" for n in range(10, 40))
    assert str(error) == (
        "team:cpu is not what its description says:\n  - first\n  - second\n  its log ends:"
        f"{log}\n  → fix the cause and build again; nothing was tagged"
    )
