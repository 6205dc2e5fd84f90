"""What is captured of a ComfyUI folder: a real virtual environment, real clones, odd corners."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.wheelindex import wheel

from comfykiln.cli.documents import snapshot_save
from comfykiln.cli.manifest import manifest_capture
from comfykiln.documents.capture import probe
from comfykiln.documents.capture.capture import capture
from comfykiln.documents.capture.write import manifest_of
from comfykiln.documents.manifest import parse as manifest
from comfykiln.environment import Node, Package
from comfykiln.errors import DocumentError, NotPossibleError
from comfykiln.network.indexes import uv_program
from comfykiln.system.process import capture as run

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = platform.python_version()
REQUIREMENTS = "numpy>=1\n# a comment\ntorch\nPillow\n--extra-index-url https://example.org\n"
WHEELS = (
    wheel("numpy", "1.24.3"),
    wheel("pillow", "10.0.0", "olefile ; extra == 'fpx'"),
    wheel("torch", "2.13.0+cpu", "sympy", "nvidia-cublas-cu12"),
    wheel("torchvision", "0.28.0", "torch", "numpy"),
    wheel("sympy", "1.14.0", "mpmath"),
    wheel("mpmath", "1.3.0"),
    wheel("nvidia-cublas-cu12", "12.1"),
    wheel("node-needs", "3.0", "mpmath"),
    wheel("by-hand", "0.1"),
    wheel("pip", "26.0"),
)


def git(folder: Path, *arguments: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    identity = {
        f"GIT_{who}_{what}": "n" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    neutral = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    argv = ["git", "-C", str(folder), *arguments]
    return run(argv, env={**os.environ, **identity, **neutral}).strip()


def clone(folder: Path, name: str) -> str:
    """Make a committed repository of what lies in `folder`, with an origin; return its commit."""
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    git(folder, "remote", "add", "origin", f"https://github.com/example/{name}.git")
    return git(folder, "rev-parse", "HEAD")


def comfyui(root: Path) -> Path:
    """Make a folder that looks like ComfyUI's."""
    for name, content in {
        "main.py": "",
        "nodes.py": "",
        "folder_paths.py": "",
        "requirements.txt": REQUIREMENTS,
        "comfyui_version.py": '__version__ = "0.30.0"\n',
        "custom_nodes/websocket_image_save.py": "",
        ".gitignore": ".venv\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    return root


def torch_says(root: Path, version: str, **builds: str) -> None:
    """Write what a real wheel of torch has in its version.py."""
    (site,) = root.glob(".venv/lib/python3.*/site-packages")
    (site / "torch").mkdir(exist_ok=True)
    lines = [f"__version__ = '{version}'", "debug = False"]
    lines += [f"{name}: Optional[str] = {builds.get(name)!r}" for name in ("cuda", "hip", "xpu")]
    (site / "torch" / "version.py").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ComfyUI folder with an environment that the real uv made of stand-in wheels."""
    folder = tmp_path_factory.mktemp("capture")
    root = comfyui(folder / "ComfyUI")
    files = []
    for name, data in WHEELS:
        (folder / name).write_bytes(data)
        files.append(name)
    quiet = ["--quiet", "--no-config", "--offline", "--cache-dir", str(folder / "cache")]
    run([uv_program(), "venv", *quiet, "--python", sys.executable, str(root / ".venv")])
    into = ["--python", str(root / ".venv"), "--no-deps"]
    names = [file.partition("-")[0].replace("_", "-") for file in files]
    found = ["--no-index", "--find-links", str(folder)]
    run([uv_program(), "pip", "install", *quiet, *into, *found, *names])
    name, data = wheel("from-file", "1.0")
    (folder / name).write_bytes(data)
    run([uv_program(), "pip", "install", *quiet, *into, str(folder / name)])
    torch_says(root, "2.13.0+cpu")
    return root


@pytest.fixture
def folder(installed: Path, tmp_path: Path) -> Path:
    """A copy of the installed folder with nodes of every kind."""
    root = tmp_path / "ComfyUI"
    shutil.copytree(installed, root, symlinks=True)
    nodes = root / "custom_nodes"
    (nodes / "cloned").mkdir()
    (nodes / "cloned" / "requirements.txt").write_text("node_needs>=2\nabsent\n", "utf-8")
    (nodes / "cloned" / "install.py").write_text("", "utf-8")
    clone(nodes / "cloned", "cloned")
    (nodes / "registered").mkdir()
    (nodes / "registered" / ".tracking").write_text("x", "utf-8")
    project = '[project]\nname = "registered-id"\nversion = "1.2.3"\n'
    (nodes / "registered" / "pyproject.toml").write_text(project, "utf-8")
    (nodes / "copied").mkdir()
    (nodes / "off.disabled").mkdir()
    (nodes / "single.py").write_text("", "utf-8")
    (nodes / "__pycache__").mkdir()
    (nodes / "example_node.py.example").write_text("", "utf-8")
    clone(root, "ComfyUI")
    return root


def captured(folder: Path, packages: Any = "direct") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(manifest_of(capture(str(folder)), packages).data)
    return found


def test_every_field_is_filled_from_what_is_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    git(folder, "tag", "v0.30.0")
    commit = git(folder / "custom_nodes" / "cloned", "rev-parse", "HEAD")
    wheel_path = next(
        package.path
        for package in capture(str(folder)).environment.packages
        if package.source == "local"
    )
    assert captured(folder) == {
        "schema_version": "1.0",
        "metadata": {
            "generated_at": "2026-01-01T00:00:00Z",
            "generator_version": "0.1.0",
            "source_path": str(folder),
        },
        "system_info": {
            "python_version": VERSION,
            "cuda_version": None,
            "torch_version": "2.13.0+cpu",
            "comfyui_version": "v0.30.0",
            "platform": sys.platform,
            "architecture": {"aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        },
        "custom_nodes": [
            {
                "name": "cloned",
                "install_method": "git",
                "url": "https://github.com/example/cloned.git",
                "ref": commit,
                "has_post_install": True,
                "has_requirements": True,
            },
            {
                "name": "copied",
                "install_method": "local",
                "url": str(folder / "custom_nodes" / "copied"),
            },
            {"name": "registered", "install_method": "managed", "url": "registered-id@1.2.3"},
        ],
        "dependencies": {
            "packages": {
                "by-hand": "0.1",
                "node-needs": "3.0",
                "numpy": "1.24.3",
                "pillow": "10.0.0",
            },
            "pytorch": {
                "index_url": "https://download.pytorch.org/whl/cpu",
                "packages": {"torch": "2.13.0+cpu", "torchvision": "0.28.0"},
            },
            "local_packages": [{"path": wheel_path}],
        },
    }


def test_all_packages_are_those_that_nothing_else_pins(folder: Path) -> None:
    assert list(captured(folder, "all")["dependencies"]["packages"]) == [
        "by-hand",
        "mpmath",
        "node-needs",
        "numpy",
        "pillow",
        "sympy",
    ]
    assert captured(folder, "none")["dependencies"]["packages"] == {}


def test_the_lock_names_every_distribution(folder: Path) -> None:
    made = manifest_of(capture(str(folder)), "none")
    lines = made.lock.splitlines()
    assert lines[0] == (
        f"# Python {VERSION}, torch 2.13.0+cpu from https://download.pytorch.org/whl/cpu"
    )
    assert [line for line in lines[1:] if not line.endswith(".whl")] == [
        "by-hand==0.1",
        "mpmath==1.3.0",
        "node-needs==3.0",
        "numpy==1.24.3",
        "nvidia-cublas-cu12==12.1",
        "pillow==10.0.0",
        "pip==26.0",
        "sympy==1.14.0",
        "torch==2.13.0+cpu",
        "torchvision==0.28.0",
    ]
    assert len(lines) == 12
    assert (made.kept, made.total) == (3, 11)


def test_what_is_left_out_is_said(folder: Path) -> None:
    made = manifest_of(capture(str(folder)), "direct")
    assert [note.message for note in made.left_out] == [
        "single files in custom_nodes: single.py",
        "disabled nodes: off",
    ]


def test_a_changed_clone_is_told(folder: Path) -> None:
    (folder / "custom_nodes" / "cloned" / "install.py").write_text("changed", "utf-8")
    notes = capture(str(folder)).notes
    assert [note.message for note in notes] == [
        "cloned: 1 files differ from the commit, and no document can say how"
    ]


@pytest.mark.parametrize(
    ("said", "version", "cuda", "index"),
    [
        (("2.13.0+cpu", {}), "2.13.0+cpu", None, "cpu"),
        (("2.13.0+cu128", {"cuda": "12.8"}), "2.13.0+cu128", "12.8", "cu128"),
        (("2.13.0", {"cuda": "13.0"}), "2.13.0", "13.0", "cu130"),
        (("2.9.0+rocm6.4", {"hip": "6.4.43482-0f2d60242"}), "2.9.0+rocm6.4", None, "rocm6.4"),
        (("2.9.0", {"hip": "6.4.43482-0f2d60242"}), "2.9.0", None, "rocm6.4"),
        (("2.13.0+xpu", {"xpu": "20250101"}), "2.13.0+xpu", None, "xpu"),
        (("2.8.0a0+gitunknown", {}), "2.8.0a0+gitunknown", None, None),
    ],
)
def test_the_build_of_torch_decides_cuda_and_index(
    folder: Path,
    said: tuple[str, dict[str, str]],
    version: str,
    cuda: str | None,
    index: str | None,
) -> None:
    torch_says(folder, said[0], **said[1])
    found = capture(str(folder)).environment
    assert (found.torch.version, found.system.cuda) == (version, cuda)
    assert found.torch.index_url == (index and f"https://download.pytorch.org/whl/{index}")
    if index is None:
        notes = [note.message for note in capture(str(folder)).notes]
        assert notes == [
            f"torch {version} is of no build that an index offers: its pins are left out"
        ]


def test_comfyui_without_a_clone_is_known_by_its_version_file(installed: Path) -> None:
    assert capture(str(installed)).environment.comfyui.version == "v0.30.0"


def test_comfyui_between_two_tags_is_known_by_its_commit(folder: Path) -> None:
    git(folder, "tag", "v0.30.0")
    git(folder, "commit", "-q", "--allow-empty", "-m", "two")
    found = captured(folder)["system_info"]["comfyui_version"]
    assert found == git(folder, "rev-parse", "HEAD")


def test_the_receipt_of_our_own_image_tells_the_commit(installed: Path, tmp_path: Path) -> None:
    root = tmp_path / "app"
    shutil.copytree(installed, root, symlinks=True)
    pinned = {"version": "v0.30.0", "commit": "b1693ecba9f5b65f8c80ab36b195ab963ec92413"}
    receipt = {"plan": {"comfyui": pinned}}
    (root / ".kiln-receipt.json").write_text(json.dumps(receipt), "utf-8")
    comfyui_spec = capture(str(root)).environment.comfyui
    assert (comfyui_spec.version, comfyui_spec.commit) == (pinned["version"], pinned["commit"])


def packed(folder: Path) -> None:
    git(folder, "tag", "-a", "-m", "annotated", "v0.30.0")
    git(folder, "pack-refs", "--all", "--prune")


def loose(folder: Path) -> None:
    git(folder, "tag", "v0.30.0")


def detached(folder: Path) -> None:
    git(folder, "tag", "v0.30.0")
    git(folder, "checkout", "-q", "--detach")


@pytest.mark.parametrize("store", [packed, loose, detached])
def test_tags_are_found_however_git_keeps_them(folder: Path, store: Callable[[Path], None]) -> None:
    store(folder)
    found = capture(str(folder)).environment.comfyui
    assert (found.version, found.commit) == ("v0.30.0", git(folder, "rev-parse", "HEAD"))


def test_a_node_that_is_a_worktree_is_a_clone(folder: Path, tmp_path: Path) -> None:
    main = tmp_path / "elsewhere"
    commit = clone(main, "elsewhere")
    git(main, "worktree", "add", "-q", "--detach", str(folder / "custom_nodes" / "tree"))
    node = next(node for node in capture(str(folder)).environment.nodes if node.name == "tree")
    assert (node.source, node.url, node.commit) == (
        "git",
        "https://github.com/example/elsewhere.git",
        commit,
    )


@pytest.mark.parametrize("url", ["/srv/repository", "../other", "file:///srv/x"])
def test_a_clone_of_a_folder_is_a_local_node(folder: Path, url: str) -> None:
    git(folder / "custom_nodes" / "cloned", "remote", "set-url", "origin", url)
    node = next(node for node in capture(str(folder)).environment.nodes if node.name == "cloned")
    assert node == Node(
        name="cloned",
        source="local",
        url=str(folder / "custom_nodes" / "cloned"),
        has_requirements=True,
        has_post_install=True,
    )


def test_packages_by_where_they_were_had(folder: Path) -> None:
    (site,) = folder.glob(".venv/lib/python3.*/site-packages")
    origins: dict[str, dict[str, Any]] = {
        "by_hand-0.1": {
            "url": "https://tok@github.com/o/by-hand",
            "subdirectory": "sub",
            "vcs_info": {"vcs": "git", "commit_id": "5" * 40},
        },
        "node_needs-3.0": {"url": "file:///srv/my%20code", "dir_info": {"editable": True}},
        "mpmath-1.3.0": {
            "url": "https://example.org/mpmath-1.3.0-py3-none-any.whl",
            "archive_info": {"hashes": {"sha256": "ab" * 32}},
        },
        "sympy-1.14.0": {"url": "file:///srv/sympy", "dir_info": {}},
        "torch-2.13.0+cpu": {
            "url": "https://download.pytorch.org/whl/cpu/torch.whl",
            "archive_info": {},
        },
    }
    for name, origin in origins.items():
        (site / f"{name}.dist-info" / "direct_url.json").write_text(json.dumps(origin), "utf-8")
    found = capture(str(folder))
    by_name = {package.name: package for package in found.environment.packages}
    assert [by_name[name] for name in ("by-hand", "node-needs", "mpmath", "sympy")] == [
        Package(
            name="by-hand",
            source="git",
            url="https://github.com/o/by-hand",
            ref="5" * 40,
            subdirectory="sub",
        ),
        Package(name="node-needs", source="editable", path="/srv/my code"),
        Package(
            name="mpmath",
            source="url",
            version="1.3.0",
            url="https://example.org/mpmath-1.3.0-py3-none-any.whl",
            sha256="ab" * 32,
        ),
        Package(name="sympy", source="local", version="1.14.0", path="/srv/sympy"),
    ]
    assert found.environment.torch.packages[0] == Package(name="torch", version="2.13.0+cpu")
    assert manifest_of(found, "all").left_out[-1].message == (
        "packages installed from an address or a folder (they are in the lock): mpmath, sympy"
    )


def test_too_large_is_an_error_that_names_the_largest_parts(folder: Path) -> None:
    (site,) = folder.glob(".venv/lib/python3.*/site-packages")
    for number in range(250):
        info = site / f"some_package_{number}-1.0.0.dist-info"
        info.mkdir()
        text = f"Metadata-Version: 2.1\nName: some-package-{number}\nVersion: 1.0.0\n\n"
        (info / "METADATA").write_text(text, "utf-8")
    with pytest.raises(DocumentError, match=r"its largest parts:\n  \$\.dependencies\.packages: "):
        manifest_of(capture(str(folder)), "direct")
    assert len(manifest_of(capture(str(folder)), "none").data) < 2500


def test_the_task_writes_manifest_and_lock(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "comfyui_migration.json"
    manifest_capture(str(folder), out=str(out))
    said = capsys.readouterr()
    size = len(out.read_bytes())
    lock = out.with_suffix(".lock.txt")
    assert said.out == (
        f"{out}: {size:,} of 5,120 bytes, 7 of 11 packages (--packages direct)\n"
        f"{lock}: all 11 packages\n"
    )
    assert "disabled nodes: off" in said.err
    assert manifest.parse(out.read_bytes(), "m.json").environment.system.python == VERSION
    assert len(lock.read_text("utf-8").splitlines()) == 12


def test_nothing_is_written_when_something_required_is_missing(
    folder: Path, tmp_path: Path
) -> None:
    shutil.rmtree(folder / ".venv")
    out = tmp_path / "m.json"
    with pytest.raises(DocumentError, match=r"\$\.system_info\.python_version"):
        manifest_capture(str(folder), out=str(out))
    assert list(tmp_path.glob("m*")) == []


def test_without_torch_there_is_no_manifest(folder: Path, tmp_path: Path) -> None:
    (site,) = folder.glob(".venv/lib/python3.*/site-packages")
    for path in (site / "torch", *site.glob("torch-*.dist-info")):
        shutil.rmtree(path)
    with pytest.raises(DocumentError) as caught:
        manifest_capture(str(folder), out=str(tmp_path / "m.json"))
    assert caught.value.message == (
        f"{folder}: torch is not installed there, and a manifest names its version"
    )
    assert caught.value.remedy.endswith(f"`./kiln snapshot.save {folder}`")
    snapshot_save(str(folder), str(tmp_path / "s.json"))
    assert (tmp_path / "s.json").is_file()


def test_a_relative_source_is_named_by_its_whole_path(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    manifest_capture(folder.name, out=str(tmp_path / "m.json"))
    written = json.loads((tmp_path / "m.json").read_bytes())
    assert written["metadata"]["source_path"] == str(folder)


def test_the_probe_inside_a_container_finds_the_same(folder: Path) -> None:
    """Images run it from standard input, by whatever Python they have."""
    script = Path(probe.__file__).read_text("utf-8")
    said = run([sys.executable, "-I", "-", str(folder)], stdin=script)
    assert json.loads(said) == probe.facts(str(folder))


def test_names_on_disk_are_as_untrusted_as_any(folder: Path) -> None:
    (folder / "custom_nodes" / "-x\ny").mkdir()
    with pytest.raises(DocumentError, match=r"\[name\.newline\]"):
        capture(str(folder))


def test_what_is_no_comfyui_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="no ComfyUI folder found"):
        capture(str(tmp_path))
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(DocumentError, match="a file, not a ComfyUI folder"):
        capture(str(tmp_path / "file"))
    with pytest.raises(DocumentError, match="no name of an image"):
        capture("--privileged")


def test_without_an_engine_only_folders_can_be_captured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotPossibleError, match="no container engine answers: the docker client is"):
        capture("some/image:tag")
    docker = tmp_path / "docker"
    docker.write_text(
        "#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n", "utf-8"
    )
    docker.chmod(0o755)
    with pytest.raises(NotPossibleError) as error:
        capture("some/image:tag")
    assert str(error.value) == (
        "no container engine answers: Cannot connect to the Docker daemon\n"
        "  → start the engine, or name a ComfyUI folder on disk"
    )


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("nope/x:V1", "check the name, or fetch the image with `docker pull nope/x:V1`"),
        ("image:", "check the name: a folder, or a container or image that the engine has"),
        ("Big Name", "check the name: a folder, or a container or image that the engine has"),
    ],
)
def test_a_name_that_no_image_can_have_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, remedy: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    docker = tmp_path / "docker"
    docker.write_text(
        '#!/bin/sh\n[ $1 = info ] && echo \'{"ServerVersion":"27.5"}\' && exit\n'
        'case $4 in *" "*|*:) echo "invalid reference format";; *) echo "No such $1";; esac >&2\n'
        "exit 1\n",
        "utf-8",
    )
    docker.chmod(0o755)
    with pytest.raises(DocumentError) as error:
        capture(source)
    assert error.value.message == f"{source}: no folder, no container and no image of that name"
    assert error.value.remedy == remedy


def test_a_broken_interpreter_leaves_what_is_noted_beside_it(folder: Path) -> None:
    python = folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python")
    assert probe.facts(str(folder))["python"] == {
        "prefix": str(folder / ".venv"),
        "version": VERSION,
        "from": "pyvenv.cfg",
    }
