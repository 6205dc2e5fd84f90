"""How this machine gets at what it needs from outside: one record, handed down to every room."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from comfykiln.network.host import settings_of_host
from comfykiln.network.http import Patience, patience_of

if TYPE_CHECKING:
    from pathlib import Path

    from comfykiln.network.indexes import IndexSettings
    from comfykiln.system.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """Where things from outside are kept, by which way they come, and how long that may take.

    `registry` is the address of the node registry, `mirror` a folder of git mirrors laid out as
    host/owner/repository.git; `strict` forbids every origin but the first.
    """

    store: Store
    settings: IndexSettings
    registry: str = ""
    mirror: Path | None = None
    strict: bool = False
    patience: Patience = field(default_factory=Patience)


def host_access(
    store: Store,
    *,
    registry: str = "",
    ca_bundle: Path | None = None,
    mirror: Path | None = None,
    strict: bool = False,
) -> Access:
    """Return the access that this machine's settings give; `ca_bundle` overrides the CA."""
    return Access(
        store=store,
        settings=settings_of_host(ca_bundle),
        registry=registry,
        mirror=mirror,
        strict=strict,
        patience=patience_of(os.environ),
    )
