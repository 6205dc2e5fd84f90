"""The remedy that `--from` prints for names that move is typed, and the situation has ended."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.fakenet import certificate
from tests.support.gitrepos import git, repository
from tests.support.sites import Answer, git_host, site

from comfykiln.cli.documents import snapshot_pin
from comfykiln.documents.comfypack.zips import pack
from comfykiln.documents.kinds import Kind, Written
from comfykiln.documents.pinnedcopy import copy_name
from comfykiln.errors import DocumentError
from comfykiln.intake import FromOptions, take
from comfykiln.plan.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfykiln.intake import Intake

ROOT = Path(__file__).parents[3]
EXPORT = """[project]
name = "mine"
version = "0.1.0"
requires-python = ">=3.13"
dependencies = ["numpy>=2"]
[tool.comfydock]
comfyui_version = "v0.30.0"
comfyui_version_type = "release"
python_version = "3.13.5"
[tool.comfydock.nodes.sample]
name = "sample"
source = "git"
repository = "{url}"
version = "main"
[tool.comfydock.nodes.ours]
name = "ours"
source = "development"
repository = "{url}-ours"
branch = "main"
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """The address of a node's repository, the commit of its branch main, the CA of its host."""
    root = tmp_path_factory.mktemp("hosts")
    commit = repository(root / "work", {"__init__.py": b""}, branch="main")
    for name in ("sample", "sample-ours", "export"):
        git(root, "clone", "-q", "--bare", str(root / "work"), str(root / "h" / "o" / name))
    ca, context = certificate(root, "localhost")
    with git_host(root / "h", tls=context) as url:
        address = f"{url.replace('127.0.0.1', 'localhost')}/o"
        repository(root / "mine", {"pyproject.toml": export(f"{address}/sample")}, branch="dev")
        git(root / "mine", "push", "-q", str(root / "h" / "o" / "export"), "dev")
        yield f"{address}/sample", commit, ca


@pytest.fixture(autouse=True)
def ca_of_the_host(
    node: tuple[str, str, Path], home: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setenv("SSL_CERT_FILE", str(node[2]))
    monkeypatch.setenv("no_proxy", "localhost")
    return home


def export(url: str) -> bytes:
    return EXPORT.format(url=url).encode()


def as_folder(place: Path, url: str) -> str:
    (place / "mine").mkdir()
    (place / "mine" / "pyproject.toml").write_bytes(export(url))
    return "mine"


def as_pyproject(place: Path, url: str) -> str:
    return f"{as_folder(place, url)}/pyproject.toml"


def as_tarball(place: Path, url: str) -> str:
    folder = as_folder(place, url)
    with tarfile.open(place / "a colleague's.tar.gz", "w:gz") as tar:
        tar.add(place / folder / "pyproject.toml", "pyproject.toml")
    return "a colleague's.tar.gz"


def as_workflow(place: Path, url: str) -> str:
    """A workflow names GitHub alone: git is told, as a person may, that this host stands for it."""
    owner, _, _ = url.rpartition("/")
    config = f'[url "{owner}/"]\n\tinsteadOf = https://github.com/o/\n'
    (Path(os.environ["HOME"]) / ".gitconfig").write_text(config, "utf-8")
    properties = {"aux_id": "o/sample", "ver": "main", "Node name for S&R": "Thing"}
    entry = {"id": 1, "type": "Thing", "properties": properties, "widgets_values": []}
    document = {"nodes": [entry], "links": [], "version": 0.4}
    (place / "w.json").write_text(json.dumps(document), "utf-8")
    return "w.json"


def as_pack(place: Path, url: str) -> str:
    document = {"comfyui": "", "custom_nodes": [{"url": url}], "models": []}
    (place / "pack").mkdir()
    (place / "pack" / "snapshot.json").write_text(json.dumps(document), "utf-8")
    (place / "pack" / "requirements.txt").write_text("numpy==2.2.6\n", "utf-8")
    return "pack"


def as_zip(place: Path, url: str) -> str:
    folder = place / as_pack(place, url)
    written = Written(
        kind=Kind.COMFYPACK,
        filename="snapshot.json",
        data=(folder / "snapshot.json").read_bytes(),
        beside=(("requirements.txt", (folder / "requirements.txt").read_bytes()),),
    )
    (place / "x.cpack.zip").write_bytes(pack(written).data)
    return "x.cpack.zip"


def as_snapshot(place: Path, url: str) -> str:
    text = json.dumps({"git_custom_nodes": {url: {"hash": "main"}}})
    (place / "s.json").write_text(text, "utf-8")
    return "s.json"


def as_lock(place: Path, url: str) -> str:
    text = f"custom_nodes:\n  git_custom_nodes:\n    {url}:\n      hash: main\nbasic: {{}}\n"
    (place / "comfy-lock.yaml").write_text(text, "utf-8")
    return "comfy-lock.yaml"


def follow(project: Path, source: str, ref: str | None = None) -> tuple[Intake, str]:
    """Type what the refusal prints, and take what it names; return that, and the command."""
    with pytest.raises(DocumentError) as refused:
        take(Project(root=project), FromOptions(source=source, ref=ref))
    typed = re.search(r"`(\./kiln snapshot\.pin .*?)`", refused.value.remedy)
    assert typed
    words = shlex.split(typed[1])
    argv = [sys.executable, "-P", "-m", "comfykiln", "--search-root", str(ROOT), *words[1:]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    copy = words[words.index("--out") + 1] if "--out" in words else source
    return take(Project(root=project), FromOptions(source=copy)), typed[1]


@pytest.mark.parametrize(
    ("make", "copy", "names"),
    [
        (as_folder, "mine-pinned.tar.gz", ["ours", "sample"]),
        (as_pyproject, "mine/mine-pinned.tar.gz", ["ours", "sample"]),
        (as_tarball, "a colleague's-pinned.tar.gz", ["ours", "sample"]),
        (as_workflow, "w-pinned.tar.gz", ["sample"]),
        (as_pack, "pack-pinned.cpack.zip", ["sample"]),
        (as_zip, "x-pinned.cpack.zip", ["sample"]),
        (as_snapshot, "", ["sample"]),
        (as_lock, "", ["sample"]),
    ],
)
def test_the_remedy_works(
    repository: Path,
    node: tuple[str, str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: object,
    copy: str,
    names: list[str],
) -> None:
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    assert callable(make)
    source = make(place, node[0])
    before = (place / source).read_bytes() if (place / source).is_file() else b""
    taken, typed = follow(repository, source)
    assert sorted((found.name, found.commit) for found in taken.nodes) == [
        (name, node[1]) for name in names
    ]
    expected = ["./kiln", "snapshot.pin", source, *(["--out", copy] if copy else [])]
    assert shlex.split(typed) == expected
    if copy and before:
        assert (place / source).read_bytes() == before


def test_of_a_repository_at_an_address_and_in_a_folder(
    repository: Path, node: tuple[str, str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    address = f"{node[0].rpartition('/')[0]}/export"
    taken, typed = follow(repository, address, "dev")
    assert typed == f"./kiln snapshot.pin {address} --ref dev --out export-pinned.tar.gz"
    assert {found.commit for found in taken.nodes} == {node[1]}
    assert [entry for entry in taken.packages.required if "numpy" in entry] == ["numpy>=2"]
    git(tmp_path, "clone", "-q", "--bare", str(node[2].parent / "mine"), "local.git")
    taken, typed = follow(repository, "local.git", "dev")
    assert typed == "./kiln snapshot.pin local.git --ref dev --out local-pinned.tar.gz"
    assert {found.commit for found in taken.nodes} == {node[1]}


def test_of_a_file_at_an_address(
    repository: Path, node: tuple[str, str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = json.dumps({"git_custom_nodes": {node[0]: {"hash": "main"}}}).encode()
    ca, context = certificate(tmp_path, "localhost")
    both = tmp_path / "both.pem"
    both.write_bytes(ca.read_bytes() + node[2].read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(both))
    with site({"/s.json": Answer(body=text)}, tls=context) as served:
        address = f"{served.url.replace('127.0.0.1', 'localhost')}/s.json"
        taken, typed = follow(repository, address)
    assert typed == f"./kiln snapshot.pin {address} --out s-pinned.json"
    assert [(found.name, found.commit) for found in taken.nodes] == [("sample", node[1])]


def test_a_registry_version_that_moves_is_no_matter_of_pinning(
    repository: Path, tmp_path: Path
) -> None:
    source = tmp_path / "mine"
    source.mkdir()
    nodes = '[tool.comfydock.nodes.x]\nsource = "registry"\nversion = "latest"\n'
    text = EXPORT.partition("[tool.comfydock.nodes")[0] + nodes
    (source / "pyproject.toml").write_text(f'{text}repository = "https://h/o/x"\n', "utf-8")
    with pytest.raises(DocumentError) as refused:
        take(Project(root=repository), FromOptions(source=str(source)))
    assert "snapshot.pin" not in refused.value.remedy


def test_a_copy_is_not_written_without_its_name_or_where_nothing_moves(
    node: tuple[str, str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    source = as_folder(Path(), node[0])
    with pytest.raises(DocumentError) as refused:
        snapshot_pin(source)
    assert str(refused.value) == (
        "mine: cannot be changed where it lies\n"
        "  → write a pinned copy with `./kiln snapshot.pin mine --out mine-pinned.tar.gz` and "
        "name that"
    )
    snapshot_pin(source, write=False, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["file"], [change["name"] for change in shown["changes"]]) == (
        None,
        ["sample", "ours"],
    )
    assert [path.name for path in Path().iterdir()] == ["mine"]
    snapshot_pin(source, out="c.tar.gz")
    snapshot_pin("c.tar.gz", out="d.tar.gz")
    assert sorted(path.name for path in Path().iterdir()) == ["c.tar.gz", "mine"]


def test_a_text_is_written_to_another_file_where_one_is_named(
    node: tuple[str, str, Path], tmp_path: Path
) -> None:
    source = tmp_path / as_snapshot(tmp_path, node[0])
    before = source.read_text("utf-8")
    snapshot_pin(str(source), out=str(tmp_path / "new.json"))
    assert source.read_text("utf-8") == before
    assert (tmp_path / "new.json").read_text("utf-8") == before.replace("main", node[1])


@pytest.mark.parametrize(
    ("source", "kind", "name"),
    [
        (".", Kind.EXPORT, f"{Path.cwd().name}-pinned.tar.gz"),
        ("/srv/x/environment.json", Kind.EXPORT, "/srv/x/x-pinned.tar.gz"),
        ("https://h/o/r.git?x=1", Kind.EXPORT, "r-pinned.tar.gz"),
        ("https://h/comfy-lock.yaml", Kind.COMFYLOCK, "comfy-lock-pinned.yaml"),
        ("git@h:o/r.git", Kind.EXPORT, "r-pinned.tar.gz"),
    ],
)
def test_names_of_copies(source: str, kind: Kind, name: str) -> None:
    assert copy_name(source, kind) == name
