"""The access of a test: no setting of this machine but its waiting times."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from comfykiln.network.access import Access
from comfykiln.network.http import patience_of
from comfykiln.network.indexes import IndexSettings

if TYPE_CHECKING:
    from comfykiln.system.store import Store


def access(store: Store, settings: IndexSettings | None = None, **how: Any) -> Access:
    """Return the access with a store, settings of its own, and what else is said."""
    chosen = IndexSettings() if settings is None else settings
    return Access(store=store, settings=chosen, patience=patience_of(os.environ), **how)
