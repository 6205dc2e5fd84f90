"""What is told of each kind of custom node, in the receipt and on the screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.nodesets import COMMIT, git_node

from comfykiln.gather.archives import GatheredArchive
from comfykiln.gather.node_files import NodeFile
from comfykiln.gather.nodes import NodeSet
from comfykiln.gather.pins import ArchivePin
from comfykiln.verify.nodes import found_nodes, report, reported_nodes
from comfykiln.verify.question import Answers

SHA = "5" * 64
ADDRESS = "https://files.example/node.zip"


def archive(pin: ArchivePin) -> GatheredArchive:
    return GatheredArchive(
        pin=pin,
        path=Path("/store/5"),
        sha256=SHA,
        size=1,
        url=ADDRESS,
        requirements=None,
        pyproject=None,
        install_script=False,
        lfs=(),
    )


def file(name: str, *, disabled: bool = False, own: bool = False) -> NodeFile:
    return NodeFile(name=name, path=Path(name), sha256=SHA, disabled=disabled, own=own)


NODES = NodeSet(
    git=(
        git_node("ComfyUI-Good", submodule="inner", lacking=("a.bin",)),
        git_node("parked", disabled=True),
    ),
    archives=(
        archive(ArchivePin(directory="from-registry", registry_id="some-node", version="1.2.0")),
        archive(ArchivePin(directory="from-address", urls=(ADDRESS,), sha256=SHA)),
    ),
    files=(
        file("single.py"),
        file("websocket_image_save.py", own=True),
        file("example.py", own=True, disabled=True),
    ),
)
ANSWERS = Answers(
    probe={
        "node_classes": {
            "A": "custom_nodes.ComfyUI-Good",
            "B": "custom_nodes.ComfyUI-Good",
            "C": "custom_nodes.single",
            "D": "nodes",
        }
    },
    log=tuple(
        f"   {seconds} seconds: /app/custom_nodes/{name}"
        for seconds, name in [
            ("0.04", "from-registry"),
            ("0.1", "from-address"),
            ("2.0", "single.py"),
            ("12.35", "ComfyUI-Good"),
        ]
    ),
    health="healthy",
    stopped=0,
    start_seconds=1.0,
    stop_seconds=1.0,
)
GIT = {"url": "https://git.example/nodes/ComfyUI-Good", "commit": COMMIT}
PARKED = {"url": "https://git.example/nodes/parked", "commit": COMMIT}


def test_each_node_has_one_entry_that_says_where_it_is_from() -> None:
    assert found_nodes(NODES, ANSWERS) == {
        "ComfyUI-Good": {
            **GIT,
            "submodules": {"inner": COMMIT},
            "lacking": ["inner/a.bin"],
            "disabled": False,
            "imported": True,
            "classes": 2,
        },
        "parked": {
            **PARKED,
            "submodules": {},
            "lacking": [],
            "disabled": True,
            "imported": False,
            "classes": 0,
        },
        "from-registry": {
            "registry_id": "some-node",
            "version": "1.2.0",
            "url": ADDRESS,
            "sha256": SHA,
            "disabled": False,
            "imported": True,
            "classes": 0,
        },
        "from-address": {
            "url": ADDRESS,
            "sha256": SHA,
            "disabled": False,
            "imported": True,
            "classes": 0,
        },
        "single.py": {
            "file": "single.py",
            "sha256": SHA,
            "own": False,
            "disabled": False,
            "imported": True,
            "classes": 1,
        },
        "example.py": {
            "file": "example.py",
            "sha256": SHA,
            "own": True,
            "disabled": True,
            "imported": False,
            "classes": 0,
        },
    }


def test_each_node_is_one_line_with_its_pin_its_time_and_its_classes() -> None:
    assert list(report(NODES, ANSWERS)) == [
        "ComfyUI-Good 0a1b2c3d4e5f: 12.3 s, 2 class(es)",
        "parked 0a1b2c3d4e5f: disabled",
        "from-registry 1.2.0: 0.0 s, 0 class(es)",
        "from-address 555555555555: 0.1 s, 0 class(es)",
        "single.py 555555555555: 2.0 s, 1 class(es)",
        "example.py 555555555555: disabled",
    ]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ((), []),
        ((file("own.py", own=True),), []),
        ((file("own.py", own=True, disabled=True),), ["own.py"]),
        ((file("given.py"),), ["given.py"]),
    ],
)
def test_files_of_comfyui_itself_are_told_only_where_they_are_disabled(
    files: tuple[NodeFile, ...], names: list[str]
) -> None:
    assert [node.name for node in reported_nodes(NodeSet(files=files))] == names
