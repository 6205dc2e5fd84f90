"""Nodes of the registry, single files, disabled ones; packages from git, and stand-ins."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.noderegistry import Registry, archive, published, registry
from tests.support.nodes import HOST, Nodes, git, good

from comfykiln.bake.line import BuildOptions, Built, build
from comfykiln.cli.build import lock
from comfykiln.engine import engine
from comfykiln.errors import DocumentError, DriftError, KilnError, NotPossibleError
from comfykiln.export.tarball import ExportNode, verify_tarball
from comfykiln.plan.project import Project
from comfykiln.verify import again, receipt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.images import Line

pytestmark = pytest.mark.engine

IMAGE = "kilntest"


@pytest.fixture
def nodes(line: Line, tmp_path: Path) -> Iterator[Nodes]:
    yield Nodes.beside(line, tmp_path / "nodes")
    store = Project(root=line.root).store.root / "nodes" / HOST / "nodes"
    shutil.rmtree(store, ignore_errors=True)


@pytest.fixture
def shop(line: Line) -> Iterator[Registry]:
    """A registry that the line's origins.yaml names."""
    with registry() as running:
        path = line.root / "images" / "origins.yaml"
        origins = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(origins | {"registry": running.site.url}), "utf-8")
        yield running


def made(line: Line, nodes: Nodes, *, export: bool = False) -> Built:
    project = Project(root=line.root)
    options = BuildOptions(git_mirror=nodes.mirrors, export=export)
    return build(project, project.plan("cpu", IMAGE), options)


def locked(line: Line, nodes: Nodes) -> dict[str, Any]:
    lock(line.root, IMAGE, str(nodes.mirrors))
    path = line.root / "services" / "comfy" / IMAGE / "locks" / "nodes.json"
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return found


def shown(ref: str, *argv: str) -> str:
    command = ["docker", "run", "--rm", "--network=none", "--entrypoint", argv[0], ref, *argv[1:]]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_registry_node_is_locked_by_its_bytes_and_restored_as_the_manager_does(
    line: Line, nodes: Nodes, shop: Registry
) -> None:
    files = good("KilnShop") | {"requirements.txt": "wheel\ntorch\n", "web/a.js": "1\n"}
    data = archive(published("kiln-shop", "1.2.0", files))
    shop.add("kiln-shop", "1.2.0", data)
    commit = nodes.repository("one", good("KilnOne"))
    nodes.registry["kiln-shop"] = "1.2.0"
    nodes.write(line)
    sha256 = hashlib.sha256(data).hexdigest()
    url = f"{shop.site.url}/archives/kiln-shop-1.2.0.zip"
    assert locked(line, nodes)["archives"] == {
        "kiln-shop": {"title": "kiln-shop 1.2.0", "sha256": sha256, "size": len(data), "url": url}
    }
    packages = line.root / "services" / "comfy" / IMAGE / "locks" / "packages.txt"
    assert "\nwheel==" in packages.read_text("utf-8")
    shop.site.asked.clear()
    built = made(line, nodes, export=True)
    assert shop.site.paths == []  # the store has these bytes
    found = receipt.read(engine.client(), built.ref)["found"]["nodes"]
    assert found["kiln-shop"] == {
        "registry_id": "kiln-shop",
        "version": "1.2.0",
        "url": url,
        "sha256": sha256,
        "disabled": False,
        "imported": True,
        "classes": 1,
    }
    assert found["one"]["imported"] is True
    listed = shown(built.ref, "cat", "/app/custom_nodes/kiln-shop/.tracking")
    assert listed == "pyproject.toml\n__init__.py\nrequirements.txt\nweb/a.js"
    again.verify_ref(built.ref)
    assert built.export is not None
    assert verify_tarball(built.export).nodes == (
        ExportNode(
            name="kiln-shop",
            source="registry",
            registry_id="kiln-shop",
            version="1.2.0",
            download_url=url,
            requirements=("wheel",),
        ),
        ExportNode(name="one", source="git", repository=nodes.url("one"), commit=commit),
        ExportNode(name="test-pack", source="development"),
    )


def test_a_registry_node_from_a_folder_and_other_bytes_than_locked(
    line: Line, nodes: Nodes, shop: Registry
) -> None:
    """No registry in reach: the mirrors have the archive. Then somebody changes it there."""
    folder = nodes.mirrors / "127.0.0.1" / "kiln-away"
    folder.mkdir(parents=True)
    data = archive(published("kiln-away", "2.0.0", good("KilnAway")))
    (folder / "2.0.0.zip").write_bytes(data)
    nodes.registry["kiln-away"] = "2.0.0"
    nodes.write(line)
    assert locked(line, nodes)["archives"]["kiln-away"]["url"] == ""
    made(line, nodes)
    Project(root=line.root).store.path(hashlib.sha256(data).hexdigest()).unlink()
    changed = archive(published("kiln-away", "2.0.0", good("KilnOther")))
    (folder / "2.0.0.zip").write_bytes(changed)
    with pytest.raises(KilnError, match=r"kiln-away 2.0.0: expected the sha256"):
        made(line, nodes)
    (folder / "2.0.0.zip").unlink()
    with pytest.raises(
        NotPossibleError, match=r"1 of 1 node archive\(s\) cannot be fetched"
    ) as error:
        made(line, nodes)
    assert all(way in str(error.value) for way in ("--git-mirror", "proxy", "--image core"))
    assert shop.site.paths == ["/nodes/kiln-away/install?version=2.0.0"]


def test_another_registry_version_than_locked_is_drift(
    line: Line, nodes: Nodes, shop: Registry
) -> None:
    for version in ("1.0.0", "1.1.0"):
        shop.add("kiln-moves", version, archive(published("kiln-moves", version, good("KilnM"))))
    nodes.registry["kiln-moves"] = "1.0.0"
    nodes.write(line)
    locked(line, nodes)
    nodes.registry["kiln-moves"] = "1.1.0"
    nodes.write(line)
    with pytest.raises(DriftError, match=r"pins kiln-moves 1.1.0, the lock holds kiln-moves 1.0.0"):
        made(line, nodes)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"../out.py": ""}, "climbs out"),
        (published("another", "1.0.0", {}), "calls itself another 1.0.0"),
        (published("kiln-bad", "1.0.1", {}), "calls itself kiln-bad 1.0.1"),
        (good("KilnBad"), "names no node and version"),
        (published("kiln-bad", "1.0.0", {"install.py": ""}), "has an install.py"),
    ],
)
def test_archives_that_are_refused(
    line: Line, nodes: Nodes, shop: Registry, files: dict[str, str], said: str
) -> None:
    shop.add("kiln-bad", "1.0.0", archive(files))
    nodes.registry["kiln-bad"] = "1.0.0"
    nodes.write(line)
    with pytest.raises(DocumentError, match=said):
        locked(line, nodes)


def test_single_files_and_everything_disabled(line: Line, nodes: Nodes) -> None:
    """ComfyUI's own file disabled, one of ours enabled, one of ours disabled, a node disabled."""
    folder = line.root / "services" / "comfy" / IMAGE / "custom_nodes"
    folder.mkdir()
    for name in ("alone", "resting"):
        (folder / f"{name}.py").write_text(good(f"Kiln{name}")["__init__.py"], "utf-8")
    nodes.repository("off", good("KilnOff"), disabled=True)
    nodes.files += [
        {"filename": "own_node.py", "disabled": True},
        {"filename": "alone.py", "disabled": False},
        {"filename": "resting.py", "disabled": True},
    ]
    nodes.write(line)
    sha256 = hashlib.sha256((folder / "alone.py").read_bytes()).hexdigest()
    assert locked(line, nodes)["files"]["alone.py"] == sha256
    built = made(line, nodes)
    found = receipt.read(engine.client(), built.ref)["found"]["nodes"]
    assert {name: (entry["disabled"], entry["imported"]) for name, entry in found.items()} == {
        "alone.py": (False, True),
        "off": (True, False),
        "own_node.py": (True, False),
        "resting.py": (True, False),
    }
    names = shown(built.ref, "ls", "-A", "/app/custom_nodes", "/app/custom_nodes/.disabled")
    assert [name for name in names.split() if name != "__pycache__"] == [
        *("/app/custom_nodes:", ".disabled", "alone.py", "here", "own_node.py.disabled"),
        *("resting.py.disabled", "test-pack", "/app/custom_nodes/.disabled:", "off"),
    ]
    (folder / "alone.py").write_text("", "utf-8")
    with pytest.raises(DriftError, match=f"alone.py: has the sha256 .*, lock: {sha256}"):
        made(line, nodes)


def test_files_that_nobody_has(line: Line, nodes: Nodes) -> None:
    nodes.files.append({"filename": "nowhere.py", "disabled": False})
    nodes.write(line)
    with pytest.raises(DocumentError, match=r"nowhere.py: neither ComfyUI nor .* has this file"):
        made(line, nodes)


def test_a_package_from_git_is_built_from_its_commit(line: Line, nodes: Nodes) -> None:
    call = 'setup(name="Kiln_Thing", version="3.1", py_modules=["thing"])'
    setup = f"from setuptools import setup\n{call}\n"
    commit = nodes.repository(
        "thing", {"setup.py": setup, "thing.py": "VALUE = 1\n"}, branch="main", listed=False
    )
    bare = nodes.mirrors / HOST / "nodes" / "thing.git"
    subprocess.run(["git", "-C", bare, "update-ref", "refs/heads/main", commit], check=True)
    line_of = f"git+https://{HOST}/nodes/thing.git@main"
    nodes.repository("one", good("KilnOne") | {"requirements.txt": f"{line_of}\npackaging\n"})
    nodes.write(line)
    with pytest.raises(DocumentError, match="is not resolved to a commit by the lock"):
        made(line, nodes)
    assert locked(line, nodes)["sources"] == [
        {
            "name": "kiln-thing",
            "url": f"https://{HOST}/nodes/thing",
            "ref": "main",
            "commit": commit,
            "subdirectory": "",
        }
    ]
    built = made(line, nodes)
    record = receipt.read(engine.client(), built.ref)
    assert record["found"]["packages"]["Kiln_Thing"] == "3.1"
    assert record["resolution"]["from_git"]["kiln-thing"]["commit"] == commit
    frozen = shown(
        built.ref, "/app/.venv/bin/uv", "pip", "freeze", "--no-cache", "-p", "/app/.venv"
    )
    assert f"kiln-thing @ git+https://{HOST}/nodes/thing@{commit}" in frozen


def test_lines_that_comfy_cli_cannot_judge(line: Line, nodes: Nodes) -> None:
    """A byte order mark, CRLF, hashes, a line that goes on, markers, ssh; a pyproject.toml alone.

    `comfy node deps` calls each of these lines missing or unparseable, though the lock meets them.
    """
    project = '[project]\nname = "kiln-thing"\nversion = "3.1"\n'
    commit = nodes.repository(
        "thing", {"pyproject.toml": project, "kiln_thing.py": ""}, branch="main", listed=False
    )
    bare = nodes.mirrors / HOST / "nodes" / "thing.git"
    subprocess.run(["git", "-C", bare, "update-ref", "refs/heads/main", commit], check=True)
    digest = "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274"
    lines = (
        "\ufeffpackaging",
        f"six==1.17.0 --hash=sha256:{digest}",
        "idna\\",
        "  >=3",
        "tomli ; python_version < '3.11'",
        'pywin32==306; sys_platform == "win32"  # windows',
        f"git+ssh://git@{HOST}/nodes/thing.git@main",
        "Torch>=2",
    )
    nodes.repository("odd", good("KilnOdd") | {"requirements.txt": "\r\n".join(lines) + "\r\n"})
    wanted = '["toml", "colorama; os_name == \'nt\'"]'
    project = f'[project]\nname = "toml-only"\ndependencies = {wanted}\n'
    nodes.repository("toml-only", good("KilnToml") | {"pyproject.toml": project})
    nodes.write(line)
    locked(line, nodes)
    built = made(line, nodes)
    packages = receipt.read(engine.client(), built.ref)["found"]["packages"]
    asked = {"packaging", "six", "idna", "toml", "kiln-thing"}
    assert asked <= {name.replace("_", "-") for name in packages}
    assert not {"tomli", "pywin32", "colorama"} & packages.keys()


def test_submodules_below_submodules_and_a_commit_on_no_branch(line: Line, nodes: Nodes) -> None:
    deep = nodes.repository("deep", {"deep.py": "VALUE = 1\n"}, listed=False)
    git(nodes.work / "deep", "checkout", "-q", deep)
    nodes.repository("inner", {"inner.py": ""}, submodule="deep", listed=False)
    inner = git(nodes.work / "inner", "rev-parse", "HEAD")
    commit = nodes.repository("one", good("KilnOne"), submodule="inner")
    bare = nodes.mirrors / HOST / "nodes" / "one.git"
    git(bare, "update-ref", "refs/pull/1/head", commit)
    orphan = git(bare, "commit-tree", f"{commit}^{{tree}}", "-m", "without a past")
    git(bare, "update-ref", "refs/heads/trunk", orphan)
    nodes.write(line)
    built = made(line, nodes)
    found = receipt.read(engine.client(), built.ref)["found"]["nodes"]["one"]
    assert found["commit"] == commit
    assert found["submodules"] == {"parts/inner": inner, "parts/inner/parts/inner": deep}
    path = "/app/custom_nodes/one/parts/inner/parts/inner/deep.py"
    assert shown(built.ref, "cat", path) == "VALUE = 1\n"


def test_a_package_that_another_stands_in_for(line: Line, nodes: Nodes) -> None:
    """What a node asks for, and what comes through another package."""
    path = line.root / "images" / "targets.yaml"
    targets = json.loads(path.read_text("utf-8"))
    reason = "a test says that both own the same files"
    targets["stand_ins"] = {
        "simplejson": {"by": "toml", "reason": reason},
        "wrapt": {"by": "toml", "reason": reason},
    }
    path.write_text(json.dumps(targets), "utf-8")
    nodes.repository("one", good("KilnOne") | {"requirements.txt": "simplejson\ndeprecated\n"})
    nodes.write(line)
    locked(line, nodes)
    lock = (line.root / "services" / "comfy" / IMAGE / "locks" / "packages.txt").read_text("utf-8")
    assert "\n# in place of simplejson: toml\n# in place of wrapt: toml\n" in lock
    assert "\ntoml==" in lock
    assert "\nsimplejson==" not in lock
    assert "\nwrapt==" not in lock
    built = made(line, nodes)
    resolution = receipt.read(engine.client(), built.ref)["resolution"]
    assert resolution["stand_ins"] == targets["stand_ins"]
    assert resolution["set_aside"] == [f"one: simplejson (toml: {reason})"]
    assert resolution["complaints"] == [
        line for line in resolution["complaints"] if "`wrapt" in line and "not installed" in line
    ]
    again.verify_ref(built.ref)
