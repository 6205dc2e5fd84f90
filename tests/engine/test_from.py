"""Images from documents of every kind: the same line, and the nodes at their pins."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.noderegistry import Registry, archive, published, registry
from tests.support.nodes import HOST, Nodes, good
from tests.support.sites import Answer, site

from comfykiln.cli import build
from comfykiln.cli.options import Build
from comfykiln.documents import read, write
from comfykiln.engine import engine
from comfykiln.environment import Attachment, ComfyUISpec, Environment, Node, Package
from comfykiln.errors import DriftError
from comfykiln.parsing.tarballs import read_members, write_members
from comfykiln.plan.project import Project
from comfykiln.verify import receipt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.images import Line

pytestmark = pytest.mark.engine

NAME = "kilnfrom"
REF = f"comfykiln/{NAME}:cpu"


@pytest.fixture
def nodes(line: Line, tmp_path: Path) -> Iterator[Nodes]:
    """The line with an image `complete`, whose rules documents take over; nodes beside it."""
    services = line.root / "services" / "comfy"
    shutil.copytree(services / "kilntest", services / "complete")
    yield Nodes.beside(line, tmp_path / "nodes")
    store = Project(root=line.root).store.root / "nodes" / HOST / "nodes"
    shutil.rmtree(store, ignore_errors=True)
    listed = run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}", f"comfykiln/{NAME}")
    if listed:
        run("docker", "rmi", "-f", *listed.split())


@pytest.fixture
def shop(line: Line) -> Iterator[Registry]:
    """A registry that the line's origins.yaml names."""
    with registry() as running:
        path = line.root / "images" / "origins.yaml"
        origins = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(origins | {"registry": running.site.url}), "utf-8")
        yield running


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def shown(*argv: str) -> str:
    head = ("docker", "run", "--rm", "--network=none", "--entrypoint", argv[0], REF)
    return run(*head, *argv[1:])


def made(line: Line, nodes: Nodes, source: Path, *, export: bool = False, **flags: Any) -> None:
    given = Build(
        target="cpu",
        image=NAME,
        from_=str(source),
        git_mirror=str(nodes.mirrors),
        export=export,
        json=True,
        **flags,
    )
    build.build(line.root, given)


def found_nodes() -> dict[str, dict[str, Any]]:
    record = receipt.read(engine.client(), REF)
    found: dict[str, dict[str, Any]] = record["found"]["nodes"]
    return found


def write_json(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), "utf-8")
    return path


def test_a_snapshot(
    line: Line, nodes: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its versions are kept where they can be; the same document builds nothing again."""
    one = nodes.repository("one", good("KilnOne") | {"requirements.txt": "packaging\n"})
    two = nodes.repository("two", good("KilnTwo"), disabled=True)
    snapshot = {
        "comfyui": "v9.9.9",
        "git_custom_nodes": nodes.pins,
        "cnr_custom_nodes": {},
        "file_custom_nodes": [],
        "pips": {"packaging==24.1": "", "pyyaml==0.0.1": "", "unasked==1.0": ""},
    }
    source = write_json(tmp_path / "snapshot.json", snapshot)
    made(line, nodes, source)
    said = capsys.readouterr()
    assert {name: node["commit"] for name, node in found_nodes().items()} == {
        "one": one,
        "two": two,
    }
    assert found_nodes()["one"]["classes"] == 1
    assert found_nodes()["two"]["disabled"] is True
    packages = receipt.read(engine.client(), REF)["found"]["packages"]
    assert packages["packaging"] == "24.1"
    assert "!   pyyaml 0.0.1  " in said.err
    assert "1 package(s) of the document are asked for by nothing here" in said.err
    digest = json.loads(said.out)["digest"]
    made(line, nodes, source)
    said = capsys.readouterr()
    assert json.loads(said.out)["digest"] == digest
    assert "solve the packages" not in said.err
    assert "is unchanged: verified when its software was new" in said.err
    with pytest.raises(DriftError, match=r"pyyaml: 0\.0\.1 asked, .* \(it fits neither"):
        made(line, nodes, source, packages="exact")


def test_a_manifest_with_nodes_of_every_method(
    line: Line, nodes: Nodes, shop: Registry, tmp_path: Path
) -> None:
    """Git under another name and by its fallback, an archive by its fallback, a folder, an id."""
    commit = nodes.repository("repo", good("KilnGit") | {"install.py": "open('made', 'w')\n"})
    shop.add("kiln-id", "1.0.0", archive(published("kiln-id", "1.0.0", good("KilnId"))))
    folder = tmp_path / "by-copy"
    folder.mkdir()
    (folder / "__init__.py").write_text(good("KilnCopy")["__init__.py"], "utf-8")
    packed = {f"top/{name}": text.encode() for name, text in good("KilnArchive").items()}
    with site({"/a.tar.gz": Answer(body=write_members(packed, 0))}) as host:
        manifest = {
            "schema_version": "1.0",
            "system_info": {
                "python_version": "3.13.5",
                "cuda_version": None,
                "torch_version": "2.1.0+cpu",
                "comfyui_version": "v9.9.9",
            },
            "custom_nodes": [
                {
                    "name": "by-git",
                    "install_method": "git",
                    "url": "https://kiln.invalid/nodes/gone",
                    "fallback_url": nodes.url("repo"),
                    "ref": commit,
                    "has_post_install": True,
                },
                {
                    "name": "by-archive",
                    "install_method": "archive",
                    "url": f"{host.url}/gone.tar.gz",
                    "fallback_url": f"{host.url}/a.tar.gz",
                },
                {"name": "by-copy", "install_method": "local", "url": "/srv/by-copy"},
                {"name": "kiln-id", "install_method": "managed", "url": "kiln-id@1.0.0"},
            ],
            "dependencies": {"packages": {"packaging": "24.1"}},
            "platform_overrides": {"linux": {"environment": {"YOLO_VERBOSE": "a $HOME 'b'"}}},
        }
        source = write_json(tmp_path / "manifest.json", manifest)
        made(line, nodes, source, export=True, post_install="run")
    found = found_nodes()
    assert {name: entry["classes"] for name, entry in found.items()} == {
        "by-git": 1,
        "by-archive": 1,
        "by-copy": 1,
        "kiln-id": 1,
    }
    assert found["by-git"]["commit"] == commit
    listed = set(shown("ls", "/app/custom_nodes/by-git").split())
    assert listed - {"__pycache__"} == {"__init__.py", "install.py", "made"}
    assert json.loads(shown("cat", "/app/.kiln/environment.json")) == {
        "YOLO_VERBOSE": "a $HOME 'b'"
    }
    record = receipt.read(engine.client(), REF)
    assert record["document"]["kind"] == "manifest"
    assert [entry["thing"] for entry in record["document"]["differences"]] == ["torch"]
    assert record["found"]["python"] == "3.13.5"
    (tarball,) = (line.root / "dist").glob("kilnfrom-cpu-*.tar.gz")
    assert b'name = "packaging"\nversion = "24.1"' in read_members(tarball)["uv.lock"]


def test_an_export_with_the_code_of_its_node(line: Line, nodes: Nodes, tmp_path: Path) -> None:
    commit = nodes.repository("one", good("KilnOne"))
    code = good("KilnDev")["__init__.py"].encode()
    environment = Environment(
        name="an-env",
        comfyui=ComfyUISpec(version="v9.9.9"),
        nodes=(
            Node(name="one", source="git", url=nodes.url("one"), commit=commit),
            Node(name="mine", source="development"),
        ),
        packages=(Package(name="packaging", version="24.1"),),
        attachments=(Attachment(path="dev_nodes/mine/__init__.py", data=code),),
    )
    source = tmp_path / "env.tar.gz"
    source.write_bytes(write(environment, "export").data)
    assert read(source).environment.nodes == environment.nodes
    made(line, nodes, source)
    found = found_nodes()
    assert {name: entry["classes"] for name, entry in found.items()} == {"one": 1, "mine": 1}
    assert shown("cat", "/app/custom_nodes/mine/__init__.py").encode() == code


def test_a_workflow(line: Line, nodes: Nodes, shop: Registry, tmp_path: Path) -> None:
    commit = nodes.repository("wired", good("KilnWired"), listed=False)
    bare = nodes.mirrors / "github.com" / "kiln-nodes" / "wired.git"
    shutil.copytree(nodes.mirrors / HOST / "nodes" / "wired.git", bare)
    shop.add("kiln-flow", "3.1.0", archive(published("kiln-flow", "3.1.0", good("KilnFlow"))))
    workflow = {
        "nodes": [
            {"id": 1, "type": "KilnFlow", "properties": {"cnr_id": "kiln-flow", "ver": "3.1.0"}},
            {"id": 2, "type": "W", "properties": {"aux_id": "kiln-nodes/wired", "ver": commit}},
        ],
        "links": [],
        "version": 0.4,
    }
    made(line, nodes, write_json(tmp_path / "flow.json", workflow))
    found = found_nodes()
    assert found["wired"]["commit"] == commit
    assert found["wired"]["url"] == "https://github.com/kiln-nodes/wired"
    assert found["kiln-flow"]["version"] == "3.1.0"
    assert {entry["classes"] for entry in found.values()} == {1}
