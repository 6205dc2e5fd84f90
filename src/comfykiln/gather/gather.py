"""Gather on the host what a plan needs from outside, from the first origin that has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfykiln.gather.node_lock import read_node_lock
from comfykiln.gather.nodes import Access, NodeSet, gather_nodes, with_files
from comfykiln.gather.pins import pins_of
from comfykiln.origins.base import obtain_base
from comfykiln.origins.comfyui import obtain_comfyui
from comfykiln.origins.torch import choose_torch
from comfykiln.system import console

if TYPE_CHECKING:
    from pathlib import Path

    from comfykiln.network.indexes import IndexSettings
    from comfykiln.origins.base import BaseImage
    from comfykiln.origins.torch import TorchChoice
    from comfykiln.plan.origins import Origins, OriginUse
    from comfykiln.plan.plan import BuildPlan
    from comfykiln.system.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """Everything from outside, on this machine, and which origin gave it."""

    base: BaseImage
    comfyui: Path
    torch: TorchChoice
    uses: tuple[OriginUse, ...]
    nodes: NodeSet


def gather(
    plan: BuildPlan,
    origins: Origins,
    *,
    store: Store,
    settings: IndexSettings,
    strict: bool,
    mirror: Path | None,
) -> Gathered:
    """Obtain torch's index, the nodes, ComfyUI and the base, and say which origin each came from.

    The cheapest questions come first, so that what is not possible here is known soonest.
    `strict` forbids every origin but the first; raises `NotPossibleError` where none is left.
    """
    torch, torch_use = choose_torch(
        plan.target.torch, origins.torch, settings=settings, store=store, strict=strict
    )
    pins = pins_of(plan.service, plan.comfyui)
    access = Access(
        store=store, settings=settings, registry=origins.registry, mirror=mirror, strict=strict
    )
    locked = read_node_lock(plan.service.node_lock)
    nodes = gather_nodes(plan.service, pins, access, locked)
    comfyui, comfyui_use = obtain_comfyui(
        plan.comfyui, store=store, settings=settings, strict=strict, mirror=mirror
    )
    nodes = with_files(nodes, plan.service, comfyui, locked)
    base, base_use = obtain_base(plan.base, store=store, settings=settings, strict=strict)
    uses = (base_use, comfyui_use, torch_use)
    for use in uses:
        console.note(f"{use.thing}: {use.detail}")
        if use.warning:
            console.warn(use.warning)
    return Gathered(base=base, comfyui=comfyui, torch=torch, uses=uses, nodes=nodes)
