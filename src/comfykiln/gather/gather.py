"""Gather on this machine what an image's own locks are about: its nodes and its ComfyUI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfykiln.gather.nodes import NodeSet, gather_nodes, with_files
from comfykiln.gather.pins import pins_of
from comfykiln.origins.comfyui import obtain_comfyui

if TYPE_CHECKING:
    from pathlib import Path

    from comfykiln.gather.node_lock import NodeLock
    from comfykiln.network.access import Access
    from comfykiln.plan.origins import ComfyUISpec, OriginUse
    from comfykiln.plan.services import Service


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """An image's nodes and its pinned ComfyUI tree, on this machine, and where that came from."""

    comfyui: Path
    use: OriginUse
    nodes: NodeSet


def gather(
    service: Service,
    comfyui: ComfyUISpec,
    access: Access,
    locked: NodeLock | None,
    known: NodeLock | None = None,
) -> Parts:
    """Obtain the nodes of the image, then ComfyUI; the cheaper question comes first.

    With `locked` exactly what that names is taken; with None it is learned, but for what is
    `known`. Raises what `gather_nodes`, `obtain_comfyui` and `with_files` raise.
    """
    pins = pins_of(service, comfyui)
    nodes = gather_nodes(service, pins, access, locked, known)
    tree, use = obtain_comfyui(comfyui, access)
    return Parts(comfyui=tree, use=use, nodes=with_files(nodes, service, tree, locked))
