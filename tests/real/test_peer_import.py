"""comfydock 1.0.11, the program that the export's layout comes from, imports our tarball."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support import fakenet
from tests.support.wheelindex import serving, wheel
from uv import find_uv_bin

from comfykiln.documents import read, write
from comfykiln.export.tarball import ExportInput, ExportModel, ExportNode, export_tarball
from comfykiln.parsing.tarballs import read_members

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
TORCH_HOST = "download.pytorch.org"
DATA_HOST = "raw.githubusercontent.com"
NODE_MAPPINGS = "/ComfyDock/ComfyDock-Registry-Data/main/data/node_mappings.json"
TORCH_PINS = {"torch": "2.13.0", "torchvision": "0.28.0", "torchaudio": "2.11.0"}
PACKAGES = [
    *(wheel(name, version) for name, version in TORCH_PINS.items()),
    *(wheel(name, "99") for name in ("pip", "setuptools", "wheel")),
    wheel("einops", "0.8"),
    wheel("einops", "0.9"),
    wheel("torchsde", "0.2", "torch", "einops"),
    wheel("torchsde", "0.3", "torch", "einops"),
    wheel("nodelib", "0.1"),
    wheel("nodelib", "0.2"),
    wheel("comfyui-manager", "4.2.2"),
    wheel("comfyui-manager", "5.0"),
]
TORCH = [
    wheel(name, version, *requires)
    for name, version, *requires in [
        ("torch", "2.13.0+cpu"),
        ("torch", "2.14.0+cpu"),
        ("torchvision", "0.28.0+cpu", "torch==2.13.0"),
        ("torchvision", "0.29.0+cpu", "torch==2.14.0"),
        ("torchaudio", "2.11.0+cpu"),
    ]
]


@pytest.fixture(scope="module")
def cfd() -> Path:
    """The peer's program, in an environment of its own that later runs find again."""
    lock = ROOT / "locks" / "peers.txt"
    name = f"{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}-{PYTHON}"
    folder = ROOT / ".kiln" / "peers" / name
    uv = find_uv_bin()
    _run([uv, "venv", "-q", "--allow-existing", "-p", sys.executable, str(folder)])
    _run([uv, "pip", "sync", "-q", "--require-hashes", "-p", str(folder), str(lock)])
    return folder / "bin" / "cfd"


def _run(argv: list[str], **options: object) -> str:
    done = subprocess.run(argv, text=True, capture_output=True, check=False, **options)  # type: ignore[call-overload]  # options of run
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    output: str = done.stdout
    return output


@dataclass(frozen=True)
class World:
    """All of the outside that an import needs, on loopback; `refused` are other hosts it tried."""

    env: dict[str, str]
    refused: list[str]


@pytest.fixture
def world(tmp_path: Path, cfd: Path) -> Iterator[World]:
    _comfyui_repository(tmp_path / "git" / "comfyanonymous" / "ComfyUI.git")
    (tmp_path / "gitconfig").write_text(
        f'[url "file://{tmp_path}/git/"]\n\tinsteadOf = https://github.com/\n'
        "[user]\n\tname = t\n\temail = t@example.com\n"
    )
    ca, context = fakenet.certificate(tmp_path, TORCH_HOST, DATA_HOST)
    with ExitStack() as stack:
        index = stack.enter_context(serving({"/simple": PACKAGES}))
        pages = {NODE_MAPPINGS: b'{"stats": {}, "mappings": {}, "packages": {}}'}
        outside = stack.enter_context(serving({"/whl/cpu": TORCH}, pages=pages, tls=context))
        ports = {TORCH_HOST: outside.port, DATA_HOST: outside.port}
        proxy, refused = stack.enter_context(fakenet.proxy(ports))
        tools = [cfd.parent, Path(sys.base_exec_prefix) / "bin"]
        env = {
            "PATH": ":".join([*map(str, tools), os.environ["PATH"]]),
            "HOME": str(tmp_path / "home"),
            "COMFYDOCK_HOME": str(tmp_path / "workspace"),
            "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"),
            "HTTPS_PROXY": proxy,
            "NO_PROXY": "127.0.0.1",
            "SSL_CERT_FILE": str(ca),
            "UV_DEFAULT_INDEX": f"{index.url}/simple",
            "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
            "UV_PYTHON_DOWNLOADS": "never",
            "LC_ALL": "C.UTF-8",
        }
        yield World(env=env, refused=refused)


def _comfyui_repository(bare: Path) -> None:
    work = bare.parent / "work"
    (work / "custom_nodes").mkdir(parents=True)
    (work / "main.py").write_text("")
    (work / "custom_nodes" / "readme").write_text("")
    git = ["git", "-C", str(work), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    _run([*git, "init", "-q", "-b", "master"])
    _run([*git, "add", "-A"])
    _run([*git, "commit", "-qm", "tree"])
    _run([*git, "tag", "v0.30.0"])
    _run(["git", "clone", "-q", "--bare", str(work), str(bare)])


def _tarball(tmp_path: Path, world: World, local_tag: str) -> Path:
    node = tmp_path / "cloud-storage"
    node.mkdir()
    (node / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    (node / "requirements.txt").write_text("nodelib==0.1\n")
    what = ExportInput(
        image="core",
        target="cpu",
        tag="v0.30.0-0123456789ab",
        image_digest="sha256:" + "ab" * 32,
        comfyui_version="v0.30.0",
        comfyui_commit="0123456789" * 4,
        comfyui_repository="https://github.com/comfyanonymous/ComfyUI",
        python=PYTHON,
        torch={name: f"{version}{local_tag}" for name, version in TORCH_PINS.items()},
        torch_backend="cpu",
        torch_index=f"https://{TORCH_HOST}/whl/cpu",
        dependencies=["einops", "torchsde"],
        locked=["einops==0.8", "torchsde==0.2", "nodelib==0.1", "comfyui-manager==4.2.2"],
        epoch=1_700_000_000,
        receipt={"passed": True},
        nodes=[ExportNode(name="cloud-storage", source="development")],
        dev_nodes={"cloud-storage": node},
        workflows={"txt2img.json": b'{"nodes": [], "links": [], "version": 0.4}'},
        models=[
            ExportModel(
                filename="base.safetensors",
                category="checkpoints",
                relative_path="checkpoints/base.safetensors",
                sha256="c0ffee" + "0" * 58,
                size=7,
                sources=("https://models.example.com/base.safetensors",),
                criticality="required",
                used_by=("txt2img.json",),
            )
        ],
    )
    return export_tarball(what, tmp_path / "dist", uv_env=world.env).path


SAID = """\
📦 Importing environment from core-cpu-v0.30.0-0123456789ab.tar.gz


Model download strategy:
  1. all      - Download all models with sources
  2. required - Download only required models
  3. skip     - Skip all downloads (can resolve later)
Choice (1-3) [1]: 
🔧 Initializing environment...
   Cloning ComfyUI v0.30.0...
   Configuring PyTorch backend: cpu
   Initializing git repository...

📝 Setting up workflows...
   Copied: txt2img.json

Syncing dependencies and custom nodes...

🔄 Resolving workflows (skip strategy)...

✅ Import complete: ours
   Environment ready to use!

Activate with: comfydock use ours
"""  # noqa: W291  # the prompt ends with a blank


@pytest.mark.parametrize("local_tag", ["+cpu", ""], ids=["torch-index", "package-index"])
def test_comfydock_imports_our_tarball(
    cfd: Path, world: World, tmp_path: Path, local_tag: str
) -> None:
    """It exits 0 whatever happens, so what counts is what lies there afterwards.

    Torch it always takes anew, the newest for the backend; everything else keeps our versions,
    though newer ones are on offer.
    """
    tarball = _tarball(tmp_path, world, local_tag)
    _run([str(cfd), "init", "--yes", world.env["COMFYDOCK_HOME"]], env=world.env)
    said = _run(
        [str(cfd), "import", str(tarball), "--name", "ours", "--torch-backend", "cpu"],
        env=world.env,
        input="3\n",
    )
    assert said.strip() == SAID.strip()
    assert world.refused == []
    environment = Path(world.env["COMFYDOCK_HOME"]) / "environments" / "ours"
    assert _installed(environment) - {"pip-99", "setuptools-99", "wheel-99"} == {
        "comfyui_manager-4.2.2",
        "einops-0.8",
        "nodelib-0.1",
        "torch-2.14.0+cpu",
        "torchaudio-2.11.0+cpu",
        "torchsde-0.2",
        "torchvision-0.29.0+cpu",
    }
    _assert_kept(environment, read_members(tarball))


def test_comfydock_imports_what_a_document_was_converted_to(
    cfd: Path, world: World, tmp_path: Path
) -> None:
    """An export read as a document and written again: nodes, packages and models are the same."""
    environment_in = read(_tarball(tmp_path, world, "+cpu")).environment
    written = write(environment_in, "export")
    tarball = tmp_path / written.filename
    tarball.write_bytes(written.data)
    _run([str(cfd), "init", "--yes", world.env["COMFYDOCK_HOME"]], env=world.env)
    said = _run(
        [str(cfd), "import", str(tarball), "--name", "ours", "--torch-backend", "cpu"],
        env=world.env,
        input="3\n",
    )
    assert said.partition("\n")[2].strip() == SAID.partition("\n")[2].strip()
    assert world.refused == []
    environment = Path(world.env["COMFYDOCK_HOME"]) / "environments" / "ours"
    assert {"einops-0.8", "nodelib-0.1", "torchsde-0.2", "torch-2.14.0+cpu"} <= _installed(
        environment
    )
    _assert_kept(environment, read_members(tarball))


def _installed(environment: Path) -> set[str]:
    found = environment.glob(".venv/lib/*/site-packages/*.dist-info")
    return {path.name.removesuffix(".dist-info") for path in found}


def _assert_kept(environment: Path, members: dict[str, bytes]) -> None:
    """What the peer itself does not rewrite lies there byte for byte."""
    rewritten = {"pyproject.toml", "uv.lock"}
    for name in members.keys() - rewritten:
        assert (environment / ".cec" / name).read_bytes() == members[name], name
    workflow = environment / "ComfyUI" / "user" / "default" / "workflows" / "txt2img.json"
    assert workflow.read_bytes() == members["workflows/txt2img.json"]
    config = tomllib.loads((environment / ".cec" / "pyproject.toml").read_text())
    ours = tomllib.loads(members["pyproject.toml"].decode())
    assert config["project"] == ours["project"]
    assert config["dependency-groups"] == ours["dependency-groups"]
    for table in ("nodes", "models"):
        assert config["tool"]["comfydock"][table] == ours["tool"]["comfydock"][table]
