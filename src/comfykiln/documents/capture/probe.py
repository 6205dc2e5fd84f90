"""Prints what is on disk of a ComfyUI installation, as JSON; changes nothing.

Runs inside an image or container from standard input, by whatever Python is there (3.8 or newer),
or on this machine by import: the standard library alone, nothing of ComfyUI or its nodes is run.
Usage: `python3 - [FOLDER]`; without a folder it looks for one.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import site
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_TEXT = 200_000
MAX_DEPTH = 4
MARKS = ("main.py", "nodes.py", "folder_paths.py")
SKIPPED = {"proc", "sys", "dev", "run", "node_modules", "site-packages", ".git", "models", "blobs"}
USUAL = ("/app", "/comfyui", "/ComfyUI", "/opt/ComfyUI", "/opt/comfyui")
"""Looked at before everything is searched."""
_GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
"""All that git is given beside PATH: no variable that names another repository, nothing written."""


def facts(folder: str = "") -> dict[str, Any]:
    """Return everything found; `roots` alone when there is not exactly one ComfyUI folder."""
    roots = [Path(folder)] if folder else list(_roots())
    if len(roots) != 1:
        return {"roots": [str(root) for root in roots]}
    root = roots[0]
    prefix = _prefix(root, own=not folder or __name__ == "__main__")
    folders = _site_folders(prefix) if prefix else []
    return {
        "roots": [str(root)],
        "platform": sys.platform,
        "machine": platform.machine(),
        "python": _python(prefix) if prefix else None,
        "comfyui": {
            "version": _match(root / "comfyui_version.py", r"__version__\s*=\s*[\"']([^\"']+)"),
            "is_comfyui": all((root / mark).is_file() for mark in MARKS),
            "git": _git(root),
            "requirements": _text(root / "requirements.txt"),
            "receipt": _json(root / ".kiln-receipt.json"),
        },
        "torch": _torch(folders),
        "packages": [found for place in folders for found in _packages(place)],
        "nodes": list(_nodes(root / "custom_nodes")),
    }


def _roots() -> Iterator[Path]:
    usual = [Path(name) for name in USUAL if _is_root(Path(name))]
    if usual:
        yield from usual
        return
    for place, folders, _ in os.walk("/"):
        path = Path(place)
        if _is_root(path):
            folders.clear()
            yield path
        if len(path.parts) > MAX_DEPTH:
            folders.clear()
        folders[:] = sorted(name for name in folders if name not in SKIPPED)


def _is_root(path: Path) -> bool:
    return all((path / mark).is_file() for mark in MARKS)


def _prefix(root: Path, *, own: bool) -> Path | None:
    """Return the environment that ComfyUI runs in: one with torch before one without.

    `own`: this interpreter's own environment may be it.
    """
    named = [os.environ.get(name, "") for name in ("VIRTUAL_ENV", "CONDA_PREFIX")] if own else []
    candidates = [
        root / ".venv",
        root / "venv",
        root.parent / ".venv",
        root.parent / "venv",
        root.parent / "python_embeded",
        *(Path(name) for name in named if name),
        *([Path(sys.prefix), Path("/opt/venv"), Path("/venv")] if own else []),
    ]
    there = [prefix for prefix in candidates if _site_folders(prefix)]
    with_torch = [
        prefix
        for prefix in there
        if any((place / "torch").is_dir() for place in _site_folders(prefix))
    ]
    return next(iter(with_torch or there), None)


def _site_folders(prefix: Path) -> list[Path]:
    if prefix == Path(sys.prefix):
        return [Path(place) for place in site.getsitepackages() if Path(place).is_dir()]
    found = [*prefix.glob("lib/python3.*/site-packages"), prefix / "Lib" / "site-packages"]
    there = [place for place in found if place.is_dir()]
    config = _text(prefix / "pyvenv.cfg") or ""
    if there and re.search(r"include-system-site-packages\s*=\s*true", config):
        home = re.search(r"^home\s*=\s*(.+)$", config, re.MULTILINE)
        if home:
            there += Path(home[1].strip()).parent.glob("lib/python3*/*-packages")
    return there


def _python(prefix: Path) -> dict[str, Any]:
    """Return prefix and exact version: what the interpreter says, else what is noted beside it."""
    if prefix == Path(sys.prefix):
        version = ".".join(str(part) for part in sys.version_info[:3])
        return {"prefix": str(prefix), "version": version, "from": "interpreter"}
    for name in ("bin/python", "python.exe", "Scripts/python.exe"):
        if (prefix / name).exists():
            said = _run([str(prefix / name), "-I", "-S", "-c", _SAY_VERSION])
            if said:
                return {"prefix": str(prefix), "version": said.strip(), "from": "interpreter"}
    version = _match(prefix / "pyvenv.cfg", r"version(?:_info)?\s*=\s*(\d+\.\d+\.\d+)") or ""
    return {"prefix": str(prefix), "version": version, "from": "pyvenv.cfg"}


_SAY_VERSION = "import sys; print('.'.join(str(part) for part in sys.version_info[:3]))"


def _torch(folders: list[Path]) -> dict[str, Any] | None:
    for place in folders:
        file = place / "torch" / "version.py"
        if file.is_file():
            return {
                "version": _match(file, r"^__version__\s*=\s*[\"']([^\"']+)"),
                "cuda": _match(file, r"^cuda\b[^=]*=\s*[\"']([^\"']+)"),
                "hip": _match(file, r"^hip\b[^=]*=\s*[\"']([^\"']+)"),
                "xpu": _match(file, r"^xpu\b[^=]*=\s*[\"']([^\"']+)"),
            }
    return None


def _packages(place: Path) -> Iterator[dict[str, Any]]:
    for folder in sorted(place.glob("*.dist-info")):
        head = (_text(folder / "METADATA") or "").split("\n\n", 1)[0]
        name = re.search(r"^Name: (.+)$", head, re.MULTILINE)
        version = re.search(r"^Version: (.+)$", head, re.MULTILINE)
        if name and version:
            yield {
                "name": name[1].strip(),
                "version": version[1].strip(),
                "requires": re.findall(r"^Requires-Dist: (.+)$", head, re.MULTILINE),
                "origin": _json(folder / "direct_url.json"),
            }


def _nodes(folder: Path) -> Iterator[dict[str, Any]]:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name == ".disabled" and path.is_dir():
            for inner in sorted(path.iterdir()):
                if inner.is_dir():
                    yield _node(inner, inner.name.partition("@")[0], disabled=True)
        elif path.name.startswith((".", "__")):
            continue
        elif path.is_dir() or path.name.endswith((".py", ".py.disabled")):
            off = path.name.endswith(".disabled")
            yield _node(path, path.name[: -len(".disabled")] if off else path.name, disabled=off)


def _node(path: Path, name: str, *, disabled: bool) -> dict[str, Any]:
    return {
        "name": name,
        "path": str(path),
        "disabled": disabled,
        "is_file": path.is_file(),
        "is_link": path.is_symlink(),
        "git": _git(path),
        "is_tracked": (path / ".tracking").is_file(),
        "pyproject": _text(path / "pyproject.toml"),
        "requirements": _text(path / "requirements.txt"),
        "has_install": (path / "install.py").is_file(),
    }


def _git(folder: Path) -> dict[str, Any] | None:
    """Return commit, branch, tags of that commit, origin and changed files of a clone."""
    own = _git_folder(folder)
    if own is None:
        return None
    common = own / (_text(own / "commondir") or ".").strip()
    head = (_text(own / "HEAD") or "").strip()
    branch = head[len("ref: ") :] if head.startswith("ref: ") else ""
    refs = _packed_refs(common)
    commit = (_ref(own, common, refs, branch) if branch else head) or ""
    return {
        "commit": commit if re.fullmatch(r"[0-9a-f]{40}", commit) else None,
        "branch": branch[len("refs/heads/") :] if branch.startswith("refs/heads/") else None,
        "tags": sorted(_tags(common, refs, commit)),
        "url": _origin(common),
        "changed": _changed(folder),
    }


def _git_folder(folder: Path) -> Path | None:
    place = folder / ".git"
    if place.is_dir():
        return place
    named = re.match(r"gitdir: (.+)", _text(place) or "") if place.is_file() else None
    found = folder / named[1].strip() if named else None
    return found if found is not None and found.is_dir() else None


def _packed_refs(common: Path) -> dict[str, str]:
    """Return ref to commit; a line with ^ gives the commit of the annotated tag before it."""
    found: dict[str, str] = {}
    last = ""
    for line in (_text(common / "packed-refs") or "").splitlines():
        if line.startswith("^"):
            found[last] = line[1:].strip()
        elif line and not line.startswith("#"):
            commit, _, last = line.partition(" ")
            found[last] = commit
    return found


def _ref(own: Path, common: Path, packed: dict[str, str], name: str) -> str | None:
    loose = _text(own / name) or _text(common / name)
    return loose.strip() if loose else packed.get(name)


def _tags(common: Path, packed: dict[str, str], commit: str) -> Iterator[str]:
    prefix = "refs/tags/"
    loose = common / "refs" / "tags"
    names = {path.relative_to(loose).as_posix() for path in loose.rglob("*") if path.is_file()}
    for name in names:
        if (_text(loose / name) or "").strip() == commit:
            yield name
    for ref, target in packed.items():
        if ref.startswith(prefix) and target == commit and ref[len(prefix) :] not in names:
            yield ref[len(prefix) :]


def _origin(common: Path) -> str | None:
    section = ""
    for line in (_text(common / "config") or "").splitlines():
        text = line.strip()
        if text.startswith("["):
            section = text
        elif section == '[remote "origin"]' and re.match(r"url\s*=", text):
            return text.partition("=")[2].strip()
    return None


def _changed(folder: Path) -> int | None:
    """Return how many tracked files differ from the commit, None where git cannot tell."""
    if shutil.which("git") is None:
        return None
    options = ["safe.directory=*", "core.fsmonitor=false", "core.hooksPath=/dev/null"]
    argv = ["git", *(word for option in options for word in ("-c", option)), "-C", str(folder)]
    env = {**_GIT, "PATH": os.environ.get("PATH", os.defpath)}
    env["GIT_CEILING_DIRECTORIES"] = str(folder.parent)
    words = ["status", "--porcelain", "--untracked-files=no", "--ignore-submodules"]
    said = _run([*argv, *words], env)
    return None if said is None else len(said.splitlines())


def _run(argv: list[str], env: dict[str, str] | None = None) -> str | None:
    try:
        done = subprocess.run(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _match(path: Path, pattern: str) -> str | None:
    found = re.search(pattern, _text(path) or "", re.MULTILINE)
    return found[1] if found else None


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(MAX_TEXT).decode("utf-8", "replace")
    except OSError:
        return None


def _json(path: Path) -> Any:
    text = _text(path)
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def _arguments() -> tuple[str, ...]:
    return tuple(sys.argv[1:2])


if __name__ == "__main__":
    print(json.dumps(facts(*_arguments())))
