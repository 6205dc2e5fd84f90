"""Environment exports as the peers' programs write them, whole or with one thing wrong."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

DATA = Path(__file__).parents[1] / "unit" / "documents" / "data"
LOCK = b'version = 1\nrevision = 5\nrequires-python = ">=3.11"\n'
DEV = "dev_nodes/my-custom-node"


def comfydock() -> dict[str, bytes]:
    """Return the files of an export by comfydock 1.0.11, in its order."""
    return {
        **_files("comfydock-1.0.11", "pyproject.toml"),
        "uv.lock": LOCK,
        **_files("comfydock-1.0.11", ".python-version", "txt2img", "img2img"),
        f"{DEV}/.env": b"SECRET=1\n",
        f"{DEV}/.git/config": b"[core]\n",
        f"{DEV}/__pycache__/nodes.cpython-311.pyc": b"\0",
        f"{DEV}/requirements.txt": b"colorama==0.4.6\n",
        f"{DEV}/nodes.py": b"NODE_CLASS_MAPPINGS = {}\n",
        f"{DEV}/__init__.py": b"",
        f"{DEV}/sub/f.txt": b"",
    }


def comfygit() -> dict[str, bytes]:
    """Return the files of an export by comfygit 0.7.1: no lock, no code of development nodes."""
    names = ("pyproject.toml", ".python-version", "package_config.toml", "img2img", "txt2img")
    return _files("comfygit-0.7.1", *names)


def _files(export: str, *names: str) -> dict[str, bytes]:
    paths = [name if "." in name else f"workflows/{name}.json" for name in names]
    return {path: (DATA / export / path).read_bytes() for path in paths}


def packed(members: dict[str, bytes], *more: tarfile.TarInfo) -> bytes:
    """Return a tarball as Python's tarfile makes it by default; `more` are members without data."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = len(data), 1_790_000_000, "someone"
            archive.addfile(info, io.BytesIO(data))
        for info in more:
            archive.addfile(info)
    return target.getvalue()


def unpacked(members: dict[str, bytes], folder: Path) -> Path:
    """Write the files into a folder and return it."""
    for name, data in members.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
