"""Write the build context of a plan: every value from documents travels in its files."""

from __future__ import annotations

import fcntl
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.bake.context_nodes import write_nodes, write_sources
from comfykiln.errors import NotPossibleError
from comfykiln.locking.headers import bare
from comfykiln.plan.plan import BASE_PACKAGES, BUILDER_PACKAGES
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfykiln.origins.torch import TorchChoice
    from comfykiln.plan.plan import BuildPlan
    from comfykiln.verify.gathered import Gathered


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """The folders that a build reads: the context, the ComfyUI tree, the tools."""

    context: Path
    comfyui: Path
    tools: Path


@contextmanager
def staged(plan: BuildPlan, gathered: Gathered, root: Path, restore: Path) -> Iterator[Staged]:
    """Lay out the context below .kiln/context and hold it against other builds of the same name."""
    folder = root / ".kiln" / "context"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{plan.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NotPossibleError(
                f"another build of {plan.name} is running", remedy="wait until it has ended"
            ) from error
        context = folder / plan.name
        shutil.rmtree(context, ignore_errors=False) if context.exists() else None
        _write_context(plan, gathered, context, restore)
        tools = folder / f"{plan.name}-tools"
        _copy_uv(tools)
        link = folder / f"{plan.name}-comfyui"
        link.unlink(missing_ok=True)
        comfyui = _comfyui(gathered, folder / f"{plan.name}-tree")
        link.symlink_to(comfyui, target_is_directory=True)
        yield Staged(context=context, comfyui=comfyui, tools=tools)


def _comfyui(gathered: Gathered, folder: Path) -> Path:
    """Return the ComfyUI tree: as pinned, or without those of its node files that are disabled."""
    left_out = [file.name for file in gathered.nodes.files if file.own and file.disabled]
    if folder.exists():
        shutil.rmtree(folder)
    if not left_out:
        return gathered.comfyui
    shutil.copytree(gathered.comfyui, folder, symlinks=True)
    for name in left_out:
        (folder / "custom_nodes" / name).unlink()
    return folder


def _write_context(plan: BuildPlan, gathered: Gathered, context: Path, restore: Path) -> None:
    _write_apt(plan, context / "apt", restore)
    _write_program(context / "kiln" / "comfykiln", restore)
    _write_locks(plan, gathered.torch, context / "locks")
    write_nodes(plan.service, plan.target, gathered, context / "nodes")
    write_sources(gathered.nodes.sources, context / "locks" / "packages")
    files.copy(plan.service.startup, context / "services" / "startup.py")
    if plan.service.environment:
        variables = files.canonical_json(dict(plan.service.environment))
        files.write_bytes(context / "services" / "environment.json", variables)


def _write_apt(plan: BuildPlan, folder: Path, restore: Path) -> None:
    lists = {
        "base": (*BASE_PACKAGES, *plan.service.apt),
        "builder": BUILDER_PACKAGES,
        "target": plan.target.apt,
    }
    for name, packages in lists.items():
        files.write_text(folder / f"{name}.txt", "".join(f"{package}\n" for package in packages))
    files.copy(restore / "apt-install.sh", folder / "install.sh")


def _write_program(folder: Path, restore: Path) -> None:
    files.copy(restore.parent / "__init__.py", folder / "__init__.py")
    for path in restore.glob("*.py"):
        files.copy(path, folder / "restore" / path.name)


def _write_locks(plan: BuildPlan, torch: TorchChoice, folder: Path) -> None:
    """Write the package lock, and in a folder of its own what the torch row depends on.

    That is a lock of the torch build in use, or else the packages to hold while uv solves; a
    changed package then leaves a locked torch row as it is.
    """
    packages = bare(plan.service.package_lock.read_text("utf-8"))
    files.write_text(folder / "packages" / "packages.txt", packages)
    lock = plan.service.torch_lock(torch.local_tag)
    if torch.index is None and lock.is_file():
        files.write_text(folder / "torch" / "torch.txt", bare(lock.read_text("utf-8")))
    else:
        files.write_text(folder / "torch" / "packages.txt", packages)
    choice = {"requirements": list(torch.requirements), "index": torch.index}
    files.write_bytes(folder / "torch" / "torch.json", files.canonical_json(choice))


def _copy_uv(folder: Path) -> None:
    """Bring the uv program that the toolkit itself uses into a folder of its own."""
    import uv  # noqa: PLC0415  # only to find the program

    folder.mkdir(exist_ok=True)
    source, target = Path(uv.find_uv_bin()), folder / "uv"
    if not target.is_file() or files.sha256_file(source) != files.sha256_file(target):
        files.copy(source, target, mode=0o755)
