"""Plan a build: service × target × lock → the rows of the image and their digests. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from comfykiln.plan.origins import BaseSpec, ComfyUISpec
    from comfykiln.plan.services import Service
    from comfykiln.plan.targets import Target

# Every file of an image carries this time, in seconds: the release of the base images in use.
EPOCH = 1_760_000_000
BASE_PACKAGES = ("ca-certificates", "python3")
BUILDER_PACKAGES = ("git",)
REPOSITORY = "comfykiln"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One layer to be: its name and the sha256 of everything it is made from."""

    name: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildPlan:
    """One image for one target, with every input known and nothing fetched yet."""

    service: Service
    target: Target
    base: BaseSpec
    comfyui: ComfyUISpec
    rows: tuple[Row, ...]
    lock_digest: str
    epoch: int = EPOCH

    @property
    def name(self) -> str:
        """The name among bake targets and build folders, such as `core-cpu`."""
        return f"{self.service.name}-{self.target.name}"

    @property
    def base_ref(self) -> str:
        """The base image by tag and digest."""
        return self.base.ref

    @property
    def dockerfile(self) -> str:
        """Where the rendered Dockerfile lies, below the repository's root."""
        if self.service.document:
            return f".kiln/from/{self.service.name}/{self.target.name}/Dockerfile"
        return f"images/{self.target.name}/{self.service.name}/Dockerfile"

    @property
    def tag(self) -> str:
        """The default tag without its target: ComfyUI's version and the lock's digest."""
        return f"v{self.comfyui.version}-{self.lock_digest[:12]}"

    def ref(self, tag: str) -> str:
        """Return the image's name in the engine for the tag `tag`."""
        return f"{REPOSITORY}/{self.service.name}:{self.target.name}-{tag}"

    @property
    def latest(self) -> str:
        """The name of the newest local build of this image for this target."""
        return f"{REPOSITORY}/{self.service.name}:{self.target.name}"

    def as_json(self) -> dict[str, Any]:
        """Return the plan as data, for `plan --json` and CI matrices."""
        return {
            "image": self.service.name,
            "target": self.target.name,
            "ref": self.ref(self.tag),
            "comfyui": {"version": self.comfyui.version, "commit": self.comfyui.commit},
            "base": self.base_ref,
            "python": self.service.python,
            "torch": {
                "requirements": list(self.target.torch.requirements),
                "index": self.target.torch.index,
                "local": self.target.torch.local,
            },
            "lock": self.lock_digest,
            "epoch": self.epoch,
            "rows": [{"name": row.name, "inputs": f"sha256:{row.digest}"} for row in self.rows],
        }


def make_plan(
    service: Service, target: Target, base: BaseSpec, comfyui: ComfyUISpec, restore: Path
) -> BuildPlan:
    """Compute the rows of `service` on `target`; `restore` is the folder of the in-build program.

    Reads only files of the repository; raises `DocumentError` or `DriftError` for faults in them.
    """
    program = tree_digest([restore])
    lock = _text(service.package_lock)
    torch = target.torch
    sources = [text] if (text := _text(service.node_lock)) else []
    torch_lock = _text(service.torch_lock(torch.local))
    rows = {
        "base": [base.ref, *BASE_PACKAGES, *service.apt],
        **({"userland": [base.ref, *target.apt]} if target.apt else {}),
        "torch": [base.ref, *torch.requirements, torch.index, torch.local, torch_lock, program],
        "packages": [base.ref, lock, *sources, program],
        "comfyui": [comfyui.commit, comfyui.content, program],
        "nodes": [lock, *sources, _text(service.snapshot), _tree(service), program],
        "services": [_text(service.startup), *_variables(service), program],
    }
    locked = [base.ref, comfyui.commit, *torch.requirements, torch.local]
    return BuildPlan(
        service=service,
        target=target,
        base=base,
        comfyui=comfyui,
        rows=tuple(Row(name=name, digest=_digest(inputs)) for name, inputs in rows.items()),
        lock_digest=_digest([*locked, lock, torch_lock, _text(service.snapshot), *sources]),
    )


def _variables(service: Service) -> list[str]:
    return [f"{name}={value}" for name, value in sorted(service.environment.items())]


def _tree(service: Service) -> str:
    """Return the digest of the code that lies in the repository: local packs, single files."""
    folders = [*service.local_nodes, *(entry for entry in (service.node_files,) if entry.is_dir())]
    return tree_digest(folders)


def tree_digest(folders: Iterable[Path]) -> str:
    """Return one sha256 over names and bytes of all source files below the folders."""
    return _digest(
        f"{path.relative_to(folder.parent)} {files.sha256_file(path)}"
        for folder in folders
        for path in source_files(folder)
    )


def source_files(folder: Path) -> list[Path]:
    """Return the files below `folder` that are source, sorted: no bytecode, caches or VCS data."""
    hidden = {"__pycache__", ".git", ".pytest_cache", ".ruff_cache", ".mypy_cache", ".venv"}
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not hidden.intersection(path.relative_to(folder).parts)
    )


def _digest(parts: Iterable[str]) -> str:
    return files.sha256(files.canonical_json(list(parts)))


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.is_file() else ""
