"""Try the origins of one thing in order; the first that can be used and yields it is taken."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from comfykiln.errors import NotPossibleError
from comfykiln.network.client import UnavailableError
from comfykiln.system import console, files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from comfykiln.system.store import Store

T = TypeVar("T")
# Seconds that a silent origin is not asked again, and from which on it counts as silent.
REMEMBERED = 600.0
SILENT = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt(Generic[T]):
    """One origin: its short id, its address for people, and how to get the thing from it.

    `get` raises `UnavailableError` where the next origin may be tried; every other error is final.
    """

    origin: str
    detail: str
    fallback: bool
    get: Callable[[], T]


def first_available(
    thing: str, attempts: Sequence[Attempt[T]], *, strict: bool, store: Store | None = None
) -> tuple[T, Attempt[T]]:
    """Return what the first usable origin yields, and that origin.

    `strict` leaves out every fallback. With a `store`, an origin that kept us waiting is passed
    over for ten minutes where another is left, so that a dead one does not cost every build its
    time. Raises `NotPossibleError` with the reason of each origin when none can be used.
    """
    reasons: list[str] = []
    allowed = [attempt for attempt in attempts if not (strict and attempt.fallback)]
    for attempt in allowed:
        note = _note(store, attempt) if store and attempt is not allowed[-1] else None
        try:
            value = _asked(attempt, note)
        except UnavailableError as error:
            reasons.append(f"{attempt.origin}: {error.message}")
            continue
        for reason in reasons:
            console.note(f"{thing}: not from {reason}")
        return value, attempt
    raise _none(thing, reasons, withheld=len(attempts) - len(allowed))


def _asked(attempt: Attempt[T], note: Path | None) -> T:
    """Ask the origin, unless it was silent a short while ago; remember when it is."""
    start = time.time()
    if note is not None and note.is_file():
        raw = json.loads(note.read_bytes())
        minutes = (start - raw["time"]) / 60
        if 0 <= minutes * 60 < REMEMBERED:
            raise UnavailableError(f"{raw['reason']} ({minutes:.0f} min ago)")
        note.unlink(missing_ok=True)
    try:
        return attempt.get()
    except UnavailableError as error:
        if note is not None and time.time() - start >= SILENT:
            said = {"time": start, "reason": error.message}
            files.write_bytes(note, files.canonical_json(said))
        raise


def _note(store: Store, attempt: Attempt[T]) -> Path:
    key = files.sha256(f"{attempt.origin} {attempt.detail}".encode())
    return store.root / "silent" / f"{key[:16]}.json"


def _none(thing: str, reasons: Sequence[str], *, withheld: int) -> NotPossibleError:
    lines = "".join(f"\n  {reason}" for reason in reasons)
    if withheld:
        return NotPossibleError(
            f"{thing} is not available from its first origin, "
            f"and --origins strict forbids the others:{lines}",
            remedy="fix the way to it (network, --ca-bundle, proxy), "
            "or build without --origins strict",
        )
    return NotPossibleError(
        f"{thing} is available from none of its origins:{lines}",
        remedy="fix the way to one of them (network, --ca-bundle, proxy, index settings)",
    )
