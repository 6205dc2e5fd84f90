"""All that a build is made of, gathered once, and what is to come of it: read by every later step.

It stands here since this is the lowest room that knows both the nodes' lines and what an image
must answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfykiln.gather.gather import Parts, gather
from comfykiln.gather.node_lock import read_node_lock
from comfykiln.locking import check_locks
from comfykiln.locking.nodelines import node_lines, rules_of
from comfykiln.locking.relock import inputs_of
from comfykiln.origins.base import obtain_base
from comfykiln.origins.torch import choose_torch
from comfykiln.system import console
from comfykiln.verify.expected import expectation

if TYPE_CHECKING:
    from pathlib import Path

    from comfykiln.gather.nodes import NodeSet
    from comfykiln.locking.nodelines import NodeLines, Rules
    from comfykiln.network.access import Access
    from comfykiln.origins.base import BaseImage
    from comfykiln.origins.torch import TorchChoice
    from comfykiln.plan.origins import OriginUse
    from comfykiln.plan.plan import BuildPlan
    from comfykiln.plan.project import Project
    from comfykiln.verify.question import Expectation


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """Everything from outside, on this machine, and which origin gave it.

    `rules` decide about the lines of the nodes, `lines` are what these came to, `expectation` is
    what the image must answer.
    """

    base: BaseImage
    comfyui: Path
    torch: TorchChoice
    uses: tuple[OriginUse, ...]
    nodes: NodeSet
    rules: Rules
    lines: NodeLines
    expectation: Expectation


def gather_all(
    project: Project, plan: BuildPlan, access: Access, parts: Parts | None = None
) -> Gathered:
    """Obtain all that the plan needs, and see that the image's locks were made for it.

    What is at hand already are the `parts`. The cheapest questions come first, so that what is not
    possible here is known soonest. Raises `NotPossibleError` where no allowed origin is left,
    `DriftError` for locks that do not fit.
    """
    torch, torch_use = choose_torch(plan.target.torch, project.origins.torch, access)
    service = plan.service
    if parts is None:
        parts = gather(service, plan.comfyui, access, read_node_lock(service.node_lock))
    base, base_use = obtain_base(plan.base, access)
    uses = (base_use, parts.use, torch_use)
    for use in uses:
        console.note(f"{use.thing}: {use.detail}")
        if use.warning:
            console.warn(use.warning)
    inputs = inputs_of(project, service, parts)
    check_locks(service, inputs, project.package_index_build())
    return gathered_of(plan, parts, base=base, torch=torch, uses=uses)


def gathered_of(
    plan: BuildPlan,
    parts: Parts,
    *,
    base: BaseImage,
    torch: TorchChoice,
    uses: tuple[OriginUse, ...],
) -> Gathered:
    """Return what was gathered with all that follows from it."""
    nodes = parts.nodes
    rules = rules_of(plan.service, plan.target, plan.target.torch.requirements, nodes.lock)
    return Gathered(
        base=base,
        comfyui=parts.comfyui,
        torch=torch,
        uses=uses,
        nodes=nodes,
        rules=rules,
        lines=node_lines(nodes.packs, nodes.pins.packages, rules),
        expectation=expectation(plan, torch, nodes),
    )
