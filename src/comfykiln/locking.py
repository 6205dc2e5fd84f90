"""Lock an image's packages: one solve by uv, split into shared packages and torch row."""

from __future__ import annotations

import re
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln import files, process
from comfykiln.errors import DocumentError, DriftError
from comfykiln.indexes import uv_program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comfykiln.services import Service
    from comfykiln.targets import Targets

ENTRY = re.compile(r"(?m)^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)")
INPUTS = re.compile(r"^# inputs: sha256:([0-9a-f]{64})$", re.MULTILINE)
PLATFORM = "x86_64-manylinux_2_28"


@dataclass(frozen=True, kw_only=True, slots=True)
class LockInputs:
    """Everything the solve depends on: requirement files by name, the torch family, the Python."""

    requirements: Mapping[str, str]
    family: tuple[str, ...]
    python: str

    @property
    def digest(self) -> str:
        """The sha256 of all inputs in canonical form; each lock file carries it."""
        return files.sha256(
            files.canonical_json(
                {
                    "requirements": dict(self.requirements),
                    "family": list(self.family),
                    "python": self.python,
                    "platform": PLATFORM,
                }
            )
        )


def lock_inputs(service: Service, targets: Targets, comfyui: Path, pyproject: Path) -> LockInputs:
    """Collect the inputs of the image's solve; `comfyui` is the pinned tree on disk."""
    requirements = {
        f"comfyui/{name}": requirement_lines(comfyui / name)
        for name in ("requirements.txt", "manager_requirements.txt")
    }
    requirements["tools.txt"] = "\n".join([*comfy_pins(pyproject), *service.requirements]) + "\n"
    for pack in service.local_nodes:
        if (pack / "requirements.txt").is_file():
            requirements[f"{pack.name}/requirements.txt"] = requirement_lines(
                pack / "requirements.txt"
            )
    return LockInputs(requirements=requirements, family=_one_family(targets), python=service.python)


def solve(inputs: LockInputs, environment: Mapping[str, str]) -> str:
    """Run `uv pip compile` over the inputs and return the hashed lock of everything."""
    with tempfile.TemporaryDirectory(prefix="kiln-lock-") as folder:
        work = Path(folder)
        for name, text in inputs.requirements.items():
            files.write_text(work / name, text)
        files.write_text(work / "torch.txt", "\n".join(inputs.family) + "\n")
        argv = [
            uv_program(),
            "pip",
            "compile",
            "--quiet",
            "--generate-hashes",
            "--no-emit-index-url",
        ]
        argv += ["--no-header", "--python-version", inputs.python, "--python-platform", PLATFORM]
        argv += ["--override", "torch.txt", *inputs.requirements]
        return process.capture(argv, cwd=work, env=environment)


def split(text: str, targets: Targets) -> tuple[str, str]:
    """Split a whole lock into (shared packages, torch row)."""
    shared: list[str] = []
    torch: list[str] = []
    for entry in re.split(r"(?m)^(?=[A-Za-z0-9])", text):
        match = ENTRY.match(entry)
        if match:
            name = match["name"].lower().replace("_", "-")
            (torch if targets.is_accelerator_package(name) else shared).append(entry)
    return "".join(shared), "".join(torch)


def write_locks(
    service: Service, targets: Targets, inputs: LockInputs, text: str, local: str
) -> None:
    """Write both locks of the image; `local` names the torch build (`cu130`) that was solved."""
    shared, torch = split(text, targets)
    header = (
        f"# Made by `./kiln lock --image {service.name}`: hashed, without addresses.\n"
        f"# inputs: sha256:{inputs.digest}\n"
    )
    files.write_text(service.package_lock, header + shared)
    files.write_text(service.torch_lock(local), header + torch)


def check_locks(service: Service, inputs: LockInputs) -> None:
    """Raise `DriftError` when the committed lock was made from other inputs than today's."""
    command = f"`./kiln lock --image {service.name}`"
    if not service.package_lock.is_file():
        raise DriftError(f"{service.package_lock} does not exist", remedy=f"run {command}")
    match = INPUTS.search(service.package_lock.read_text("utf-8"))
    if match is None or match[1] != inputs.digest:
        raise DriftError(
            f"{service.package_lock} was made from other inputs than the image has now "
            "(requirements of ComfyUI, its Manager or a pack, the torch family, the Python)",
            remedy=f"run {command} and review the difference",
        )


def locked(path: Path) -> dict[str, str]:
    """Return name → version of every entry of a lock file."""
    text = path.read_text("utf-8")
    return {match["name"]: match["version"] for match in ENTRY.finditer(text)}


def comfy_pins(pyproject: Path) -> list[str]:
    """Return the requirement lines of the dependency group `comfy`, the one pin of comfy-cli."""
    groups = tomllib.loads(pyproject.read_text("utf-8"))["dependency-groups"]
    return list(groups["comfy"])


def requirement_lines(path: Path) -> str:
    """Return the file without comments and blank lines, so that only what counts is an input."""
    lines = (line.split(" #")[0].strip() for line in path.read_text("utf-8").splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#")) + "\n"


def _one_family(targets: Targets) -> tuple[str, ...]:
    families = {target.torch.requirements for target in targets.by_name.values()}
    if len(families) != 1:
        raise DocumentError(
            "images/targets.yaml gives the targets different torch families, "
            "but one package lock serves all of them",
            faults=[" ".join(family) for family in sorted(families)],
            remedy="give all targets the same versions",
        )
    return families.pop()
