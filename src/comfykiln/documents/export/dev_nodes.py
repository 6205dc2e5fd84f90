"""Collects the source of development nodes: no caches, no secrets, no links."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from comfykiln.parsing.tarballs import DEFAULT_LIMITS, name_fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CACHES: Final = (
    "__pycache__", "*.pyc", "*.pyo", ".git", ".hg", ".svn", ".venv", "venv", "node_modules",
    ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", ".DS_Store", "*.egg-info",
)  # fmt: skip
_SECRETS: Final = (
    ".env", ".envrc", ".env.*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.kdbx",
    "*.keystore", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", "_netrc", ".npmrc",
    ".pypirc", ".git-credentials", ".htpasswd", "credentials", "credentials.*", "secrets.*",
    ".aws", ".ssh", ".gnupg",
)  # fmt: skip
_HARMLESS: Final = (".env.example", ".env.sample", ".env.template", "id_*.pub", "*.py")
_SECRET_CONTENT: Final = {
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s:,-]{64}",
    "an access key": rb"\b(AKIA|ASIA)(?![A-Z0-9]*EXAMPLE)[A-Z0-9]{16}\b",
    "a secret access key": rb"(?i)secret_?access_?key['\"]?\s*[:=]\s*['\"]?"
    rb"(?![A-Za-z0-9/+]*EXAMPLE)[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
    "a hub token": rb"\b(hf_[A-Za-z0-9]{34}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{60,})\b",
}


@dataclass(kw_only=True, slots=True)
class Collected:
    """Files for the tarball by member name, what was left out as secret, and every fault."""

    files: dict[str, bytes] = field(default_factory=dict)
    executable: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    size: int = 0


def collect(name: str, folder: Path, into: Collected) -> None:
    """Add the source of the development node `name`, which lies in `folder`, to `into`.

    Names are judged relative to `folder`, so where it lies does not matter. Caches, version
    control and virtual environments are left out, and so are files whose name says that they hold
    a secret. Links, special files, odd names, secrets in other files and sizes that no reader
    would accept become faults.
    """
    if not folder.is_dir():
        into.faults.append(f"dev_nodes/{name}: there is no folder {folder}")
        return
    for member, path in _walk(folder, f"dev_nodes/{name}", into):
        if fault := name_fault(member):
            into.faults.append(f"{member!a}: the name {fault}")
            continue
        try:
            _add(member, path, into)
        except OSError as error:
            into.faults.append(f"{member}: cannot be read: {error.strerror}")


def is_cache(name: str) -> bool:
    """Say whether a file or folder of that name is no source: caches, version control."""
    return _matches(name, _CACHES)


def is_secret(name: str) -> bool:
    """Say whether a file or folder of that name usually holds a secret."""
    return _matches(name, _SECRETS) and not _matches(name, _HARMLESS)


def _walk(folder: Path, prefix: str, into: Collected) -> Iterator[tuple[str, Path]]:
    """Yield the member name and path of every file that is neither cache nor secret, sorted."""
    for path in sorted(folder.iterdir()):
        member = f"{prefix}/{path.name}"
        if is_cache(path.name) or (path / "pyvenv.cfg").is_file():
            continue
        if is_secret(path.name):
            into.left_out.append(member)
        elif path.is_symlink():
            into.faults.append(
                f"{member}: a link to {str(path.readlink())!a}; put a copy of the file there"
            )
        elif path.is_dir():
            yield from _walk(path, member, into)
        elif not path.is_file():
            into.faults.append(f"{member}: neither a file nor a folder; remove it")
        else:
            yield member, path


def _add(member: str, path: Path, into: Collected) -> None:
    status = path.stat()
    into.size += status.st_size
    if status.st_size > DEFAULT_LIMITS.member or into.size > DEFAULT_LIMITS.total:
        into.faults.append(f"{member}: too large for an export ({status.st_size} bytes)")
        return
    data = path.read_bytes()
    for what, pattern in _SECRET_CONTENT.items():
        if re.search(pattern, data):
            into.faults.append(f"{member}: holds {what}; move it out of the node's folder")
    into.files[member] = data
    if status.st_mode & stat.S_IXUSR:
        into.executable.add(member)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
