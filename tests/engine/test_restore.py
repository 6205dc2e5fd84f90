"""Nodes restored by the real comfy-cli inside a real build, and every fault that must fail it."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.nodes import HOST, Nodes, good

from comfykiln.bake.line import BuildOptions, Built, build
from comfykiln.cli.build import lock
from comfykiln.engine import engine
from comfykiln.errors import DocumentError, DriftError, KilnError, NotPossibleError
from comfykiln.plan.project import Project
from comfykiln.verify import receipt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.images import Line

pytestmark = pytest.mark.engine

IMAGE = "kilntest"


@pytest.fixture
def nodes(line: Line, tmp_path: Path) -> Iterator[Nodes]:
    yield Nodes.beside(line, tmp_path / "nodes")
    shutil.rmtree(kept(line), ignore_errors=True)


def kept(line: Line) -> Path:
    """The store's folder of the repositories that only these tests have."""
    return Project(root=line.root).store.root / "nodes" / HOST / "nodes"


def made(line: Line, nodes: Nodes) -> Built:
    project = Project(root=line.root)
    plan = project.plan("cpu", IMAGE)
    return build(project, plan, BuildOptions(git_mirror=nodes.mirrors, export=False))


def locked(line: Line, nodes: Nodes) -> None:
    lock(line.root, IMAGE, str(nodes.mirrors))


def listed(ref: str, *paths: str) -> list[str]:
    argv = ["docker", "run", "--rm", "--entrypoint", "find", ref, *paths]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return sorted(done.stdout.split())


def layers(ref: str) -> list[str]:
    argv = ["docker", "image", "inspect", "-f", "{{json .RootFS.Layers}}", ref]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


def test_nodes_are_restored_at_their_pins(line: Line, nodes: Nodes) -> None:
    """A submodule, a renamed default branch, a torch line, a disabled node."""
    inner = nodes.repository("inner", {"inner.py": "VALUE = 1\n"}, listed=False)
    module = nodes.work / "inner"
    subprocess.run(["git", "-C", module, "checkout", "-q", inner], check=True)
    files = good("KilnOne") | {"requirements.txt": "torch>=2\npackaging\n"}
    one = nodes.repository("one", files, submodule="inner")
    nodes.repository("two", good("KilnTwo"), disabled=True)
    nodes.write(line)
    locked(line, nodes)
    built = made(line, nodes)
    record = receipt.read(engine.client(), built.ref)
    assert record["found"]["nodes"]["one"] == {
        "url": nodes.url("one"),
        "commit": one,
        "submodules": {"parts/inner": inner},
        "disabled": False,
        "lacking": [],
        "imported": True,
        "classes": 1,
    }
    assert record["found"]["nodes"]["two"]["disabled"] is True
    assert record["resolution"]["set_aside"] == [
        "one: torch>=2 (the torch family belongs to the target)"
    ]
    found = listed(built.ref, "/app/custom_nodes/one", "/app/custom_nodes/.disabled", "-type", "f")
    assert [path for path in found if "__pycache__" not in path and "/two/" not in path] == [
        "/app/custom_nodes/one/.git/HEAD",
        "/app/custom_nodes/one/.git/config",
        "/app/custom_nodes/one/.git/refs/heads/pinned",
        "/app/custom_nodes/one/.gitmodules",
        "/app/custom_nodes/one/__init__.py",
        "/app/custom_nodes/one/parts/inner/inner.py",
        "/app/custom_nodes/one/requirements.txt",
    ]
    assert "/app/custom_nodes/.disabled/two/__init__.py" in found


def test_the_same_pins_give_the_same_layers(line: Line, nodes: Nodes) -> None:
    nodes.repository("one", good("KilnOne"))
    nodes.write(line)
    before = layers(made(line, nodes).ref)
    # Gathered anew from other packs, and restored anew: the engine does not know this plan.
    shutil.rmtree(kept(line))
    bare = nodes.mirrors / HOST / "nodes" / "one.git"
    subprocess.run(["git", "-C", bare, "repack", "-adfq", "--depth=1"], check=True)
    nodes.write(line, accepted={"nothing": "it makes the plan another one"})
    # All but the receipt's own layer.
    assert layers(made(line, nodes).ref)[:-1] == before[:-1]


def test_a_commit_that_is_nowhere(line: Line, nodes: Nodes) -> None:
    nodes.repository("one", good("KilnOne"))
    nodes.pins[nodes.url("one")] = {"hash": "deadbeef" * 5, "disabled": False}
    nodes.write(line)
    with pytest.raises(NotPossibleError, match=f"one: {nodes.url('one')} at deadbeef") as error:
        made(line, nodes)
    assert error.value.exit_code == 3


def test_a_repository_that_has_vanished(line: Line, nodes: Nodes) -> None:
    nodes.repository("one", good("KilnOne"))
    nodes.write(line)
    shutil.rmtree(nodes.mirrors / "kiln.invalid" / "nodes" / "one.git")
    started = time.monotonic()
    with pytest.raises(NotPossibleError) as error:
        made(line, nodes)
    assert time.monotonic() - started < 20  # seconds, not minutes
    assert "1 of 1 custom node(s) cannot be fetched" in str(error.value)
    assert all(way in str(error.value) for way in ("--git-mirror", "proxy", "--image core"))


def test_a_requirement_that_does_not_exist(line: Line, nodes: Nodes) -> None:
    files = {"requirements.txt": "kiln-package-that-is-nowhere>=1\n"}
    nodes.repository("one", good("KilnOne") | files)
    nodes.write(line)
    with pytest.raises(
        DocumentError, match="the node one asks for `kiln-package-that-is-nowhere>=1`"
    ):
        locked(line, nodes)


def test_two_packs_that_conflict(line: Line, nodes: Nodes) -> None:
    nodes.repository("one", good("KilnOne") | {"requirements.txt": "packaging<22\n"})
    nodes.repository("two", good("KilnTwo") | {"requirements.txt": "packaging>=24\n"})
    nodes.write(line)
    with pytest.raises(DocumentError) as error:
        locked(line, nodes)
    said = str(error.value)
    assert "the node one asks for `packaging<22`" in said
    assert "the node two asks for `packaging>=24`" in said
    assert "`overrides:`" in said


def test_a_changed_requirement_is_drift(line: Line, nodes: Nodes) -> None:
    nodes.repository("one", good("KilnOne") | {"requirements.txt": "wheel\n"})
    nodes.write(line)
    with pytest.raises(DriftError, match="was made from other inputs"):
        made(line, nodes)


def test_an_import_error(line: Line, nodes: Nodes) -> None:
    nodes.repository("one", {"__init__.py": "import module_that_is_nowhere\n"})
    nodes.write(line)
    with pytest.raises(KilnError) as error:
        made(line, nodes)
    assert "(IMPORT FAILED): /app/custom_nodes/one" in str(error.value)
    assert "the node one was not imported" in str(error.value)
    assert "the node one has no class in /object_info" in str(error.value)


def test_an_install_script_runs_only_where_it_is_allowed(line: Line, nodes: Nodes) -> None:
    script = "import pathlib\npathlib.Path('made').write_text('here')\n"
    nodes.repository("one", good("KilnOne") | {"install.py": script})
    nodes.write(line)
    with pytest.raises(DocumentError, match=r"one: has an install.py"):
        made(line, nodes)
    nodes.write(line, nodes={"one": {"install": "skip"}})
    assert "/app/custom_nodes/one/made" not in listed(made(line, nodes).ref, "/app/custom_nodes")
    nodes.write(line, nodes={"one": {"install": "run"}})
    assert "/app/custom_nodes/one/made" in listed(made(line, nodes).ref, "/app/custom_nodes")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("raise SystemExit(3)\n", "one: its install.py ended with status 3"),
        (
            "open('/app/custom_nodes/left', 'w').close()\n",
            "one: its install.py writes outside its folder: /app/custom_nodes/left",
        ),
        (
            "import urllib.request\nurllib.request.urlopen('https://kiln.invalid/')\n",
            "one: its install.py ended with status 1",
        ),
    ],
)
def test_an_install_script_that_misbehaves(
    line: Line, nodes: Nodes, script: str, said: str
) -> None:
    nodes.repository("one", good("KilnOne") | {"install.py": script})
    nodes.write(line, nodes={"one": {"install": "run"}})
    with pytest.raises(KilnError) as error:
        made(line, nodes)
    assert said in str(error.value)
