"""What one solve depends on: the requirements of everything that an image holds."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from comfykiln.errors import DocumentError
from comfykiln.gather.node_lock import NodeLock
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from comfykiln.locking.packlines import NodePack
    from comfykiln.plan.services import Service
    from comfykiln.plan.targets import Targets

PLATFORM = "x86_64-manylinux_2_28"


@dataclass(frozen=True, kw_only=True, slots=True)
class LockInputs:
    """Everything the solve depends on: requirement files by name, the torch family, the Python.

    `constraints` are the exact lines that the snapshot pins, `overrides` replace every requirement
    of their package, `drop` are packages left out, `sdists` may be built from source, `stand_ins`
    maps packages to what is installed in their place. `node_lock` holds what nodes are made of.
    `preferred` are exact lines that are kept where everything else allows it.
    `set_aside` and `replaced` tell people which lines of nodes are not solved as they are, and why;
    they are no inputs of their own.
    """

    requirements: Mapping[str, str]
    family: tuple[str, ...]
    python: str
    constraints: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    sdists: tuple[str, ...] = ()
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    node_lock: NodeLock = field(default_factory=NodeLock)
    set_aside: tuple[str, ...] = ()
    replaced: frozenset[str] = frozenset()
    preferred: tuple[str, ...] = ()

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
                    **{name: value for name, value in self.further.items() if value},
                }
            )
        )

    @property
    def further(self) -> dict[str, object]:
        """The inputs beside requirements, family and Python; an empty one is none."""
        return {
            "constraints": list(self.constraints),
            "overrides": list(self.overrides),
            "drop": list(self.drop),
            "sdists": list(self.sdists),
            "preferred": list(self.preferred),
            "stand_ins": dict(self.stand_ins),
            "nodes": _identities(self.node_lock),
        }


def lock_inputs(
    service: Service,
    targets: Targets,
    comfyui: Path,
    pyproject: Path,
    nodes: Sequence[NodePack] = (),
    pins: Sequence[str] = (),
    node_lock: NodeLock | None = None,
) -> LockInputs:
    """Collect the inputs of the image's solve.

    `comfyui` is the pinned tree on disk, `pins` are the exact packages that the snapshot names,
    `node_lock` is what else its nodes are made of.
    Raises `DocumentError` with every line of a node that cannot be solved.
    """
    from comfykiln.locking.nodelines import node_lines, packs_of, rules_of  # noqa: PLC0415  # documents, on demand

    requirements: dict[str, str] = {
        f"comfyui/{name}": requirement_lines(comfyui / name)
        for name in ("requirements.txt", "manager_requirements.txt")
    }
    own = () if service.document else service.requirements
    requirements["tools.txt"] = "\n".join([*comfy_pins(pyproject), *own]) + "\n"
    for pack in service.local_nodes:
        if (pack / "requirements.txt").is_file():
            requirements[f"{pack.name}/requirements.txt"] = requirement_lines(
                pack / "requirements.txt"
            )
    family = one_family(targets)
    node_lock = node_lock or NodeLock()
    packs = packs_of(service, nodes)
    lines = node_lines(packs, pins, rules_of(service, targets, family, node_lock))
    return LockInputs(
        requirements={**requirements, **lines.requirements},
        family=family,
        python=service.python,
        constraints=service.constraints if service.document else lines.constraints,
        preferred=lines.constraints if service.document else (),
        overrides=tuple(override.requirement for override in service.overrides),
        drop=tuple(sorted(service.drop)),
        sdists=tuple(sorted(service.sdists)),
        stand_ins={name: entry.by for name, entry in targets.stand_ins.items()} if packs else {},
        node_lock=node_lock,
        set_aside=lines.set_aside,
        replaced=lines.replaced,
    )


def _identities(lock: NodeLock) -> dict[str, object]:
    """Return what of the nodes' lock is an input: contents, not places. Empty for an empty lock."""
    if lock.empty:
        return {}
    return {
        "archives": {name: archive.sha256 for name, archive in lock.archives.items()},
        "files": dict(lock.files),
        "sources": [
            [source.url, source.ref, source.commit, source.subdirectory] for source in lock.sources
        ],
    }


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
