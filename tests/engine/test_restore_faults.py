"""Faults of nodes and of comfy-cli itself: each fails the build with the node's name and why."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.nodes import HOST, Nodes, git, good

from comfykiln.bake.line import BuildOptions, Built, build
from comfykiln.cli.build import lock
from comfykiln.engine import engine
from comfykiln.errors import DocumentError, KilnError, NotPossibleError
from comfykiln.plan import render
from comfykiln.plan.project import Project
from comfykiln.verify import receipt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.images import Line

pytestmark = pytest.mark.engine

IMAGE = "kilntest"
# A liar in the place of comfy-cli: it clones as it should, does something of its own, and exits 0.
LIAR = """\
#!/bin/sh
set -eu
cd /app/custom_nodes
case "$*" in *restore-snapshot*) ;; *) exit 0 ;; esac
for folder in /tmp/mirrors/kiln.invalid/nodes/one.git; do
    {clone}
done
{then}
echo '[ INSTALLED ] one'
"""
CLONE = 'git clone -q --recursive "https://kiln.invalid/nodes/$(basename "$folder" .git)"'
MOVING = """\
import os
for word in ("AUTHOR", "COMMITTER"):
    os.environ |= {f"GIT_{word}_NAME": "t", f"GIT_{word}_EMAIL": "t@kiln.invalid"}
os.execvp("git", ["git", "commit", "-q", "--allow-empty", "-m", "newer"])
"""
DAEMON = """\
import os, time
if os.fork():
    os._exit(0)
os.setsid()
time.sleep(900)
"""
COMMIT = "git -C one -c user.name=t -c user.email=t@kiln.invalid commit -q --allow-empty -m newer"
# clone, then, what the build says
LIES = {
    "installs nothing": (":", ":", "/app/custom_nodes/one is no checkout: comfy-cli did not"),
    "leaves another commit": (CLONE, COMMIT, "one: at "),
    "leaves a changed file": (CLONE, "echo '#' >> one/__init__.py", "one: changed after the"),
    "leaves a further folder": (CLONE, "mkdir two", "two: not in the snapshot, but on disk"),
    "says that it failed": (CLONE, "echo '[  FAILED   ] one@1.0'", "'[  FAILED   ]'"),
    "leaves the submodule out": (
        CLONE.replace(" --recursive", ""),
        ":",
        "/app/custom_nodes/one/parts/inner is no checkout: comfy-cli did not",
    ),
}


@pytest.fixture
def nodes(line: Line, tmp_path: Path) -> Iterator[Nodes]:
    yield Nodes.beside(line, tmp_path / "nodes")
    shutil.rmtree(kept(line), ignore_errors=True)


def kept(line: Line) -> Path:
    """The store's folder of the repositories that only these tests have."""
    return Project(root=line.root).store.root / "nodes" / HOST / "nodes"


def made(line: Line, nodes: Nodes, *, cache: bool = True) -> Built:
    project = Project(root=line.root)
    plan = project.plan("cpu", IMAGE)
    options = BuildOptions(git_mirror=nodes.mirrors, export=False, cache=cache)
    return build(project, plan, options)


def refused(line: Line, nodes: Nodes) -> str:
    with pytest.raises(KilnError) as error:
        made(line, nodes)
    plan = Project(root=line.root).plan("cpu", IMAGE)
    assert engine.find_image(engine.client(), plan.ref(plan.tag)) is None
    return str(error.value)


def with_submodule(nodes: Nodes) -> str:
    """Make the node one with the submodule inner; return the commit of its gitlink."""
    nodes.repository("inner", {"inner.py": "VALUE = 1\n"}, listed=False)
    nodes.repository("one", good("KilnOne"), submodule="inner")
    return git(nodes.work / "inner", "rev-parse", "HEAD")


@pytest.mark.parametrize(("clone", "then", "said"), LIES.values(), ids=LIES)
def test_a_comfy_cli_that_lies(line: Line, nodes: Nodes, clone: str, then: str, said: str) -> None:
    with_submodule(nodes)
    nodes.write(line)
    row = line.root / "templates" / "partials" / "nodes.j2"
    liar = LIAR.format(clone=clone, then=then)
    place = "FROM builder AS nodes\n"
    lie = f"COPY --chmod=755 <<'KILN' /usr/local/lib/liar/comfy\n{liar}KILN\n"
    path = "ENV PATH=/usr/local/lib/liar:/app/.venv/bin:/usr/local/bin:/usr/bin:/bin\n"
    row.write_text(row.read_text("utf-8").replace(place, place + lie + path), "utf-8")
    render.write(render.rendered(Project(root=line.root)))
    assert said in refused(line, nodes)


def test_a_submodule_whose_commit_is_nowhere(line: Line, nodes: Nodes) -> None:
    commit = with_submodule(nodes)
    nodes.write(line)
    bare = nodes.mirrors / HOST / "nodes" / "inner.git"
    shutil.rmtree(bare)
    git(nodes.work / "inner", "commit", "-q", "--amend", "--allow-empty", "-m", "another")
    git(nodes.work, "clone", "-q", "--bare", "--depth=1", f"file://{nodes.work}/inner", str(bare))
    with pytest.raises(NotPossibleError) as error:
        made(line, nodes)
    assert "one: " in str(error.value)
    assert commit in str(error.value)


def test_a_node_without_classes(line: Line, nodes: Nodes) -> None:
    nodes.repository("one", {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n"})
    nodes.write(line)
    assert "the node one has no class in /object_info" in refused(line, nodes)


def test_a_node_that_wants_an_older_numpy(line: Line, nodes: Nodes) -> None:
    """What comfy-cli downgrades without a word is a conflict here, decided by people."""
    nodes.repository("one", good("KilnOne") | {"requirements.txt": "numpy<2\n"})
    nodes.repository("two", good("KilnTwo") | {"requirements.txt": "numpy>=2\n"})
    nodes.write(line)
    with pytest.raises(DocumentError) as error:
        lock(line.root, IMAGE, str(nodes.mirrors))
    assert "the node one asks for `numpy<2`" in str(error.value)
    assert "the node two asks for `numpy>=2`" in str(error.value)
    nodes.write(line, overrides=[{"requirement": "numpy==2.5.5", "reason": "two works with it"}])
    lock(line.root, IMAGE, str(nodes.mirrors))
    # The override alone does not say that the pack works without what it asks for.
    assert "one: numpy<2 is mismatch, found 2.5.5" in refused(line, nodes)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "import packaging, pathlib\npathlib.Path(packaging.__file__).write_text('')\n",
            "one: its install.py ended with status 1",
        ),
        (
            MOVING,
            "one: its install.py moved the checkout",
        ),
        (DAEMON, "one: its install.py leaves processes behind: /app/.venv/bin/python install.py"),
        (
            "import os\nos.makedirs('/result/app/custom_nodes/two')\n",
            "one: its install.py writes outside its folder: /result/app",
        ),
        (
            "import os\nos.symlink('/app/comfy', '/app/custom_nodes/two')\n",
            "one: its install.py writes outside its folder: /app/custom_nodes/two",
        ),
        (
            "import socket\nsocket.create_connection(('192.0.2.1', 80), 5)\n",
            "there is no network here",
        ),
    ],
    ids=[
        "changes a package",
        "moves its own checkout",
        "leaves a daemon",
        "writes what the row is taken from",
        "makes a link to a folder",
        "opens a connection",
    ],
)
def test_an_install_script_that_undoes_what_is_pinned(
    line: Line, nodes: Nodes, script: str, said: str
) -> None:
    nodes.repository("one", good("KilnOne") | {"install.py": script})
    nodes.write(line, nodes={"one": {"install": "run"}})
    assert said in refused(line, nodes)


def test_two_restores_in_empty_folders_give_equal_receipts_and_trees(
    line: Line, nodes: Nodes
) -> None:
    """F4; with a submodule, a torch line and a mirror whose default branch is gone."""
    inner = nodes.repository("inner", {"inner.py": "VALUE = 1\n"}, listed=False)
    git(nodes.work / "inner", "checkout", "-q", inner)
    files = good("KilnOne") | {"requirements.txt": "torch==2.9.1\ntorchvision\n"}
    nodes.repository("one", files, submodule="inner")
    nodes.repository("two", good("KilnTwo"))
    git(nodes.mirrors / HOST / "nodes" / "two.git", "branch", "-m", "trunk", "renamed")
    head = nodes.mirrors / HOST / "nodes" / "two.git" / "HEAD"
    head.write_text("ref: refs/heads/gone\n", "utf-8")
    nodes.write(line)
    lock(line.root, IMAGE, str(nodes.mirrors))
    first = made(line, nodes)
    record = receipt.read(engine.client(), first.ref)
    assert record["found"]["torch"] == "2.13.0+cpu"
    assert record["resolution"]["set_aside"] == [
        "one: torch==2.9.1 (the torch family belongs to the target)",
        "one: torchvision (the torch family belongs to the target)",
    ]
    shutil.rmtree(kept(line))
    subprocess.run(["docker", "rmi", "-f", first.ref, f"comfykiln/{IMAGE}:cpu"], check=True)
    second = made(line, nodes, cache=False)
    assert receipt.read(engine.client(), second.ref) == record
    assert second.digest == first.digest


def test_a_moved_pin_rebuilds_and_exports_the_nodes_layer_alone(
    line: Line, nodes: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes.repository("one", good("KilnOne"))
    nodes.repository("two", good("KilnTwo"))
    nodes.write(line)
    before = saved(made(line, nodes).ref, nodes.work / "before.tar")
    git(nodes.work / "two", "revert", "--no-edit", "HEAD")
    bare = nodes.mirrors / HOST / "nodes" / "two.git"
    git(nodes.work / "two", "push", "-q", str(bare), "trunk")
    moved = git(nodes.work / "two", "rev-parse", "HEAD")
    nodes.pins[nodes.url("two")] = {"hash": moved, "disabled": False}
    nodes.write(line)
    capsys.readouterr()
    built = made(line, nodes)
    bake, seal = [
        int(text.rpartition(" step(s) reused, ")[2].removesuffix(" run"))
        for text in capsys.readouterr().err.splitlines()
        if " step(s) reused, " in text
    ]
    # The restore, the links of its result and of the row above it, the export; then the receipt's
    # link and its export.
    assert (bake, seal) == (4, 2)
    after = saved(built.ref, nodes.work / "after.tar")
    assert len(after) == len(before)
    changed = [
        number for number, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]
    ]
    assert changed == [len(after) - 3, len(after) - 1]  # the services' layer lies between them


def saved(ref: str, archive: Path) -> list[str]:
    """Return the files that `docker save` writes for the image's layers, lowest first."""
    subprocess.run(["docker", "save", "-o", str(archive), ref], check=True)
    with tarfile.open(archive) as tar:
        member = tar.extractfile("manifest.json")
        assert member is not None
        manifest: list[dict[str, Any]] = json.load(member)
        names = set(tar.getnames())
    archive.unlink()
    layers: list[str] = manifest[0]["Layers"]
    assert set(layers) <= names
    return layers
