"""What one solve depends on: the requirements of everything that an image holds."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfykiln import files
from comfykiln.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from comfykiln.origins.nodes import GatheredNode
    from comfykiln.services import Service
    from comfykiln.targets import Targets

PLATFORM = "x86_64-manylinux_2_28"


@dataclass(frozen=True, kw_only=True, slots=True)
class LockInputs:
    """Everything the solve depends on: requirement files by name, the torch family, the Python.

    `constraints` are the exact lines that the snapshot pins, `overrides` replace every requirement
    of their package, `drop` are packages left out, `sdists` may be built from source.
    `preferred` are exact lines that are kept where everything else allows it.
    `set_aside` tells people which lines of nodes are not solved, and why; it is no input.
    """

    requirements: Mapping[str, str]
    family: tuple[str, ...]
    python: str
    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    sdists: tuple[str, ...] = ()
    set_aside: tuple[str, ...] = ()
    preferred: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The sha256 of all inputs in canonical form; each lock file carries it."""
        further = {
            "constraints": list(self.constraints),
            "overrides": list(self.overrides),
            "drop": list(self.drop),
            "sdists": list(self.sdists),
            "preferred": list(self.preferred),
        }
        return files.sha256(
            files.canonical_json(
                {
                    "requirements": dict(self.requirements),
                    "family": list(self.family),
                    "python": self.python,
                    "platform": PLATFORM,
                    **{name: value for name, value in further.items() if value},
                }
            )
        )


def lock_inputs(
    service: Service,
    targets: Targets,
    comfyui: Path,
    pyproject: Path,
    nodes: Sequence[GatheredNode] = (),
    pins: Sequence[str] = (),
) -> LockInputs:
    """Collect the inputs of the image's solve.

    `comfyui` is the pinned tree on disk, `pins` are the exact packages that the snapshot names.
    Raises `DocumentError` with every line of a node that cannot be solved.
    """
    from comfykiln.locking.nodelines import node_lines  # noqa: PLC0415  # documents, on demand

    requirements: dict[str, str] = {
        f"comfyui/{name}": requirement_lines(comfyui / name)
        for name in ("requirements.txt", "manager_requirements.txt")
    }
    own = () if service.document else service.requirements
    requirements["tools.txt"] = "\n".join([*comfy_pins(pyproject), *own]) + "\n"
    if service.document and service.requirements:
        requirements["document.txt"] = "\n".join(service.requirements) + "\n"
    for pack in service.local_nodes:
        if (pack / "requirements.txt").is_file():
            requirements[f"{pack.name}/requirements.txt"] = requirement_lines(
                pack / "requirements.txt"
            )
    family = one_family(targets)
    lines = node_lines(nodes, pins, service, family)
    return LockInputs(
        requirements={**requirements, **lines.requirements},
        family=family,
        python=service.python,
        constraints=service.constraints if service.document else lines.constraints,
        preferred=lines.constraints if service.document else (),
        overrides=tuple(override.requirement for override in service.overrides),
        drop=tuple(sorted(service.drop)),
        sdists=tuple(sorted(service.sdists)),
        set_aside=lines.set_aside,
    )


def comfy_pins(pyproject: Path) -> list[str]:
    """Return the requirement lines of the dependency group `comfy`, the one pin of comfy-cli."""
    groups = tomllib.loads(pyproject.read_text("utf-8"))["dependency-groups"]
    return list(groups["comfy"])


def requirement_lines(path: Path) -> str:
    """Return the file without comments and blank lines, so that only what counts is an input."""
    lines = (line.split(" #")[0].strip() for line in path.read_text("utf-8").splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#")) + "\n"


def one_family(targets: Targets) -> tuple[str, ...]:
    """Return the torch family as exact lines; raises `DocumentError` where targets differ."""
    families = {target.torch.requirements for target in targets.by_name.values()}
    if len(families) != 1:
        raise DocumentError(
            "images/targets.yaml gives the targets different torch families, "
            "but one package lock serves all of them",
            faults=[" ".join(family) for family in sorted(families)],
            remedy="give all targets the same versions",
        )
    return families.pop()
