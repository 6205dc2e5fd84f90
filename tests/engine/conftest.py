"""A small image through the whole line: real engine, comfy-cli, uv and git; a stand-in server.

ComfyUI and torch are what make the real image big and slow, so here a server of a few lines stands
in for ComfyUI and empty wheels for torch; the real ones are in tests/real.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import subprocess
import threading
import zipfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from tests.support.images import Line
from tests.support.standin import write_workspace

from comfykiln.cli import build
from comfykiln.origins.filelist import list_tree
from comfykiln.plan import render
from comfykiln.plan.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
IMAGE = "kilntest"
FAMILY = {"torch": "2.13.0", "torchvision": "0.28.0", "torchaudio": "2.11.0"}
URL = "https://kiln.invalid/stand-in/ComfyUI"

SERVER = '''\
"""A stand-in for ComfyUI: the few answers that verification asks for."""
import argparse, http.server, importlib.metadata, importlib.util, json, pathlib, platform, sys

parser = argparse.ArgumentParser()
parser.add_argument("--listen")
parser.add_argument("--port", type=int)
parser.add_argument("--cpu", action="store_true")
options = parser.parse_args()
NODES = {}
found = {init.parent: init for init in pathlib.Path("/app/custom_nodes").glob("*/__init__.py")}
found |= {file: file for file in pathlib.Path("/app/custom_nodes").glob("*.py")}
for place, file in sorted(found.items()):
    spec = importlib.util.spec_from_file_location(place.stem, file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        for name in module.NODE_CLASS_MAPPINGS:
            NODES[name] = {"python_module": f"custom_nodes.{place.stem}"}
        print(f"   0.1 seconds: {place}", flush=True)
    except Exception:
        print(f"   0.0 seconds (IMPORT FAILED): {place}", flush=True)
pathlib.Path("/app/user/state").write_text("kept")
STATS = {"system": {
    "comfyui_version": "9.9.9",
    "pytorch_version": importlib.metadata.version("torch"),
    "python_version": platform.python_version(),
}}

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"/system_stats": STATS, "/object_info": NODES}[self.path]).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass

try:
    http.server.ThreadingHTTPServer(("0.0.0.0", options.port), Handler).serve_forever()
except KeyboardInterrupt:
    print("Stopped server", flush=True)
'''


def run(*argv: str, cwd: Path) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wheel(folder: Path, name: str, version: str) -> None:
    """Write a wheel that holds one empty package."""
    info = f"{name}-{version}.dist-info"
    members = {
        f"{name}/__init__.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{member},,\n" for member in [*members, f"{info}/RECORD"])
    page = folder / name
    page.mkdir(parents=True, exist_ok=True)
    file = page / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for member, text in (members | {f"{info}/RECORD": record}).items():
            archive.writestr(zipfile.ZipInfo(member), text)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    link = f'<a href="{file.name}#sha256={digest}">{file.name}</a><br>\n'
    with (page / "index.html").open("a", encoding="utf-8") as index:
        index.write(link)


@pytest.fixture(scope="session")
def wheel_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A package index of stand-in torch wheels that build steps reach over the engine's bridge."""
    folder = tmp_path_factory.mktemp("wheels")
    for local in ("cpu", "gpu"):
        for name, version in FAMILY.items():
            wheel(folder / local, name, f"{version}+{local}")
    bridge = json.loads(run("docker", "network", "inspect", "bridge", cwd=folder))
    address = bridge[0]["IPAM"]["Config"][0]["Gateway"]
    handler = partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer((address, 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{address}:{server.server_port}", folder
    server.shutdown()
    server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A mirror folder with a repository that stands in for ComfyUI, and its one commit."""
    mirror = tmp_path_factory.mktemp("mirror")
    work = tmp_path_factory.mktemp("stand-in")
    (work / "main.py").write_text(SERVER, "utf-8")
    (work / "requirements.txt").write_text(
        "torch\ntorchvision\ntorchaudio\npackaging\naiohttp\npyyaml\ntqdm\nrequests\n", "utf-8"
    )
    (work / "manager_requirements.txt").write_text("comfyui_manager==4.2.2\n", "utf-8")
    write_workspace(work)
    (work / "custom_nodes" / "own_node.py").write_text(
        "NODE_CLASS_MAPPINGS = {'OwnNode': object}\n", "utf-8"
    )
    run("git", "init", "-q", "-b", "main", cwd=work)
    run("git", "add", "-A", cwd=work)
    author = ["-c", "user.name=Test", "-c", "user.email=test@kiln.invalid"]
    run("git", *author, "commit", "-q", "-m", "stand-in", cwd=work)
    bare = mirror / "kiln.invalid" / "stand-in" / "ComfyUI.git"
    run("git", "clone", "-q", "--bare", str(work), str(bare), cwd=work)
    shutil.rmtree(work / ".git")
    (mirror / "tree").symlink_to(work)
    return mirror, run("git", "-C", str(bare), "rev-parse", "HEAD", cwd=mirror).strip()


@pytest.fixture
def line(
    tmp_path: Path,
    wheel_index: tuple[str, Path],
    stand_in: tuple[Path, str],
    small_lock: dict[str, bytes],
) -> Iterator[Line]:
    """A project of its own for one test, locked and rendered; its images are removed afterwards."""
    made = make_line(tmp_path / "project", wheel_index, stand_in)
    locks = made.root / "services" / "comfy" / IMAGE / "locks"
    locks.mkdir()
    for name, data in small_lock.items():
        (locks / name).write_bytes(data)
    yield made
    remove_images()


@pytest.fixture(scope="session")
def small_lock(
    tmp_path_factory: pytest.TempPathFactory,
    wheel_index: tuple[str, Path],
    stand_in: tuple[Path, str],
) -> dict[str, bytes]:
    """The small image's locks, solved once by the real task."""
    made = make_line(tmp_path_factory.mktemp("locking") / "project", wheel_index, stand_in)
    build.lock(made.root, IMAGE, str(made.mirror))
    locks = made.root / "services" / "comfy" / IMAGE / "locks"
    return {path.name: path.read_bytes() for path in locks.iterdir()}


def make_line(root: Path, index: tuple[str, Path], stand_in: tuple[Path, str]) -> Line:
    """Write a whole small project: two targets, one image, one node pack."""
    mirror, commit = stand_in
    files = list_tree((mirror / "tree").resolve())
    shutil.copytree(ROOT / "templates", root / "templates")
    shutil.copyfile(
        root / "templates" / "core.Dockerfile.j2", root / f"templates/{IMAGE}.Dockerfile.j2"
    )
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
    (root / "images" / "comfyui").mkdir(parents=True)
    (root / "images" / "comfyui" / "v9.9.9.files").write_text(files, "utf-8")
    write_yaml(root / "images" / "targets.yaml", targets(index[0]))
    write_yaml(root / "images" / "origins.yaml", origins(commit, files))
    service = root / "services" / "comfy" / IMAGE
    service.mkdir(parents=True)
    core = ROOT / "services" / "comfy" / "core"
    shutil.copyfile(core / "startup.py", service / "startup.py")
    snapshot = (core / "production-snapshot.json").read_text("utf-8")
    (service / "production-snapshot.json").write_text(
        snapshot.replace("v0.30.0", "v9.9.9"), "utf-8"
    )
    write_yaml(
        service / "service.yaml",
        {
            "title": "a small image",
            "comfyui": "v9.9.9",
            "suite": "trixie",
            "python": "3.13",
            "apt": [],
            "snapshot": "production-snapshot.json",
            "startup": f"services/comfy/{IMAGE}/startup.py",
            "local_nodes": ["services/comfy/test-pack"],
            "requirements": [],
        },
    )
    pack = root / "services" / "comfy" / "test-pack"
    pack.mkdir()
    (pack / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {'KilnTestNode': object}\n", "utf-8")
    (pack / "pyproject.toml").write_text(
        '[project]\nname = "test-pack"\nversion = "1.0.0"\n\n'
        '[tool.comfykiln]\nnodes = ["KilnTestNode"]\n',
        "utf-8",
    )
    render.write(render.rendered(Project(root=root)))
    return Line(root=root, mirror=mirror, wheels=index[1])


def targets(index: str) -> dict[str, object]:
    return {
        "accelerator_packages": [
            "torch",
            "torchvision",
            "torchaudio",
            "triton",
            "nvidia-*",
            "cuda-*",
        ],
        "targets": {
            name: {
                "title": f"a test of {name}",
                "torch": {
                    "versions": FAMILY,
                    "index": f"{index}/{name}",
                    "local": name,
                    "gigabytes": 0.1,
                },
                "apt": [],
                "server": ["--cpu"],
                "environment": {},
                "accelerator": {"kind": "none"},
            }
            for name in ("cpu", "gpu")
        },
    }


def origins(commit: str, files: str) -> dict[str, object]:
    own = yaml.safe_load((ROOT / "images" / "origins.yaml").read_text("utf-8"))
    return {
        "base": own["base"],
        "comfyui": {
            "v9.9.9": {
                "commit": commit,
                "files": "comfyui/v9.9.9.files",
                "content": hashlib.sha256(files.encode()).hexdigest(),
                "origins": [{"kind": "git", "url": URL}],
            }
        },
        "torch": own["torch"],
    }


def write_yaml(path: Path, value: object) -> None:
    """Write JSON, which is YAML."""
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")


def remove_images() -> None:
    names = run(
        "docker", "images", "--format", "{{.Repository}}:{{.Tag}}", f"comfykiln/{IMAGE}", cwd=ROOT
    ).split()
    if names:
        run("docker", "rmi", "-f", *names, cwd=ROOT)
