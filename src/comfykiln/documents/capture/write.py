"""What was captured as a migration manifest and, beside it, a list of every distribution."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from comfykiln import __version__
from comfykiln.documents.capture.read import SHIPPED, is_installer, of_torch
from comfykiln.documents.manifest import format as manifest
from comfykiln.documents.manifest.rules import PACKAGE_FILES
from comfykiln.environment import Metadata
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import Note
from comfykiln.parsing.requirements import line_of
from comfykiln.parsing.values import is_home_path, normal_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfykiln.documents.capture.capture import Captured
    from comfykiln.environment import Environment, Package

Packages = Literal["direct", "all", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CapturedManifest:
    """The manifest's bytes, the lock's text, how many packages each holds, what is left out."""

    data: bytes
    lock: str
    kept: int
    total: int
    left_out: tuple[Note, ...]


def manifest_of(captured: Captured, packages: Packages) -> CapturedManifest:
    """Return what was captured as a manifest that holds the chosen packages.

    The manifest is read again before it is handed out.
    Raises `DocumentError` when something that it must hold is not there, or it is too large.
    """
    whole = captured.environment
    if whole.torch.version is None and whole.system.python is not None:
        raise DocumentError(
            f"{captured.source}: torch is not installed there, and a manifest names its version",
            remedy="install it first, or take a snapshot: "
            f"`./kiln snapshot.save {shlex.quote(captured.source)}`",
        )
    chosen = tuple(package for package in whole.packages if _is_chosen(package, captured, packages))
    environment = replace(whole, packages=chosen, metadata=_metadata(captured))
    data = manifest.write(environment).data
    manifest.parse(data, "the captured manifest")
    return CapturedManifest(
        data=data,
        lock="".join(f"{line}\n" for line in _lock(whole)),
        kept=len(chosen) + len(whole.torch.packages),
        total=len(whole.packages) + len(whole.torch.packages),
        left_out=tuple(_left_out(whole)),
    )


def _is_chosen(package: Package, captured: Captured, packages: Packages) -> bool:
    """Say whether the manifest names the package; what no index holds is named in every case."""
    if not _has_place(package) or is_installer(package.name):
        return False
    if package.source != "index" or (packages == "all" and not of_torch(package.name)):
        return True
    return packages == "direct" and normal_name(package.name) in captured.direct


def _has_place(package: Package) -> bool:
    """Say whether a manifest can name the package: an address or a folder has no place in it."""
    if package.source == "local":
        return (package.path or "").endswith(PACKAGE_FILES)
    return package.source != "url"


def _metadata(captured: Captured) -> Metadata:
    now = datetime.now(UTC)
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        now = datetime.fromtimestamp(int(epoch), UTC)
    is_folder = Path(captured.source).is_dir()
    source = str(Path(captured.source).resolve()) if is_folder else captured.source
    return Metadata(
        generated_at=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        generator_version=__version__,
        source_path=None if is_home_path(source) else source,
    )


def _lock(environment: Environment) -> Iterator[str]:
    """Yield the lines of a requirements file that names every distribution."""
    torch = environment.torch
    yield f"# Python {environment.system.python}, torch {torch.version} from {torch.index_url}"
    every = (*environment.packages, *torch.packages)
    for package in sorted(every, key=lambda entry: normal_name(entry.name)):
        yield line_of(package)


def _left_out(environment: Environment) -> Iterator[Note]:
    """Yield what a manifest cannot hold."""
    files = [n for n in environment.nodes if n.source == "file" and n.name not in SHIPPED]
    kinds = (
        ("single files in custom_nodes", [file.name for file in files if not file.disabled]),
        ("disabled nodes", [node.name for node in environment.nodes if node.disabled]),
        (
            "packages installed from an address or a folder (they are in the lock)",
            [package.name for package in environment.packages if not _has_place(package)],
        ),
    )
    for what, names in kinds:
        if names:
            message = f"{what}: {', '.join(names)}"
            yield Note(path="$", rule="capture.left-out", message=message)
