"""What makes ComfyUI run a node again: the place it talks to and the state of the object there.

ComfyUI asks for a fingerprint before anything runs and shows only what is typed into the node;
a wire arrives as None. So wires are followed to the constants they begin at,
and what cannot be known beforehand counts as changed.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from . import compat
from .nodes_profile import resolve
from .runtime import digest, object_key, open_store
from .shared.errors import StorageError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .shared.profiles import Profile
    from .shared.store import Found, Store

PROFILE_NODE = "CloudStorageProfile"
PROFILE_INPUTS = ("profile", "provider", "bucket", "path_prefix")
HALF_AN_HOUR = 1800
_last_seen: dict[tuple[Profile, str], str] = {}


class UnknownYetError(Exception):
    """The value depends on nodes that have not run."""


class NotWired:
    """The default of a socket that is not connected; a connected one arrives as None."""


def text_input(name: str, value: Any) -> str:
    """Return the typed value, or the constant that the wire begins at."""
    if value is None:
        known, value = compat.constant(compat.current_node(), name)
        if not known or isinstance(value, tuple):
            raise UnknownYetError
    return str(value)


def store_input(value: Any) -> Store:
    """Return the store of a socket as a fingerprint sees it: not connected, or None for a wire."""
    if value is NotWired:
        return open_store(None)
    if value is not None:
        return open_store(value)
    known, source = compat.constant(compat.current_node(), "profile")
    if not known or not isinstance(source, tuple) or source[0] != PROFILE_NODE:
        raise UnknownYetError
    inputs = {name: source[1].get(name) for name in PROFILE_INPUTS if name in source[1]}
    if any(isinstance(given, list) for given in inputs.values()):
        raise UnknownYetError
    return open_store(resolve(**inputs))


async def of_object(
    key: Any, profile: Any, *, state: Callable[[Store, str, str], object] | None = None
) -> str:
    """Return the fingerprint of an object: its place and its ETag, with `state` on top.

    Where the store cannot be reached the last known ETag counts, so that a finished result stays.
    Everything that is not as it should be counts as changed: the node then runs and says why.
    """
    try:
        store = store_input(profile)
        whole = object_key(store.profile, text_input("key", key))
        etag = await asyncio.to_thread(_etag, store, whole)
        return digest(store.profile, whole, state(store, whole, etag) if state else etag)
    except (UnknownYetError, StorageError):
        return compat.always()


def of_place(profile: Any, hours: int | None = 0) -> str:
    """Return the fingerprint of a node that writes: where to.

    With a sharing URL of `hours` it changes at half the URL's life, so that none is ever stale.
    """
    try:
        if hours is None:
            hours = int(text_input("share_url_hours", None))
        period = int(time.time() // (hours * HALF_AN_HOUR)) if hours > 0 else 0
        return digest(store_input(profile).profile, period)
    except (UnknownYetError, StorageError):
        return compat.always()


def seen(store: Store, found: Found) -> None:
    """Remember the state of an object for the time when the store cannot be reached."""
    _last_seen[store.profile, found.key] = found.etag


def _etag(store: Store, key: str) -> str:
    try:
        found = store.head(key)
    except UnreachableError:
        return _last_seen.get((store.profile, key), "")
    seen(store, found)
    return found.etag
