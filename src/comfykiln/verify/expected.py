"""What an image must answer when it is questioned, from its plan and what was gathered."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from comfykiln import locking
from comfykiln.errors import KilnError
from comfykiln.locking.lockfiles import stand_ins_in
from comfykiln.verify.nodes import reported_nodes
from comfykiln.verify.question import Expectation

if TYPE_CHECKING:
    from pathlib import Path

    from comfykiln.gather.nodes import NodeSet
    from comfykiln.origins.torch import TorchChoice
    from comfykiln.plan.plan import BuildPlan


def expectation(plan: BuildPlan, torch: TorchChoice, nodes: NodeSet) -> Expectation:
    """Return what the image of this plan must answer when it is questioned."""
    packages = locking.locked(plan.service.package_lock)
    shared = tuple(packages)
    torch_lock = plan.service.torch_lock(torch.local_tag)
    if torch.index is None and torch_lock.is_file():
        packages |= locking.locked(torch_lock)
    return Expectation(
        comfyui=plan.comfyui.version,
        torch=plan.target.torch.versions,
        local_tag=torch.local_tag,
        packages=packages,
        packs={pack.name: pack_nodes(pack) for pack in plan.service.local_nodes},
        nodes=tuple(node.name for node in reported_nodes(nodes) if not node.disabled),
        without_classes=frozenset(
            name for name, rule in plan.service.nodes.items() if rule.frontend_only
        ),
        accepted=frozenset(plan.service.accepted),
        stand_ins=frozenset(stand_ins_in(plan.service.package_lock, plan.target.stand_ins)),
        libraries=() if nodes.empty else shared,
        python=plan.service.python_patch,
    )


def pack_nodes(pack: Path) -> list[str]:
    """Return the node classes that a local pack promises in its `[tool.comfykiln]`."""
    project = tomllib.loads((pack / "pyproject.toml").read_text("utf-8"))
    try:
        nodes: list[str] = project["tool"]["comfykiln"]["nodes"]
    except KeyError as error:
        raise KilnError(
            f"{pack / 'pyproject.toml'} names no nodes",
            remedy='add `[tool.comfykiln]` with `nodes = ["ClassName", …]`',
        ) from error
    return nodes
