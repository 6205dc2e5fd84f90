"""Try the origins of one thing in order; the first that can be used and yields it is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from comfykiln import console
from comfykiln.download import UnavailableError
from comfykiln.errors import NotPossibleError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


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
    thing: str, attempts: Sequence[Attempt[T]], *, strict: bool
) -> tuple[T, Attempt[T]]:
    """Return what the first usable origin yields, and that origin.

    `strict` leaves out every fallback. Raises `NotPossibleError` with the reason of each origin
    when none can be used.
    """
    reasons: list[str] = []
    allowed = [attempt for attempt in attempts if not (strict and attempt.fallback)]
    for attempt in allowed:
        try:
            value = attempt.get()
        except UnavailableError as error:
            reasons.append(f"{attempt.origin}: {error.message}")
            continue
        if reasons:
            console.note(f"{thing}: {'; '.join(reasons)}")
        return value, attempt
    raise _none(thing, reasons, withheld=len(attempts) - len(allowed))


def _none(thing: str, reasons: Sequence[str], *, withheld: int) -> NotPossibleError:
    lines = "".join(f"\n  {reason}" for reason in reasons)
    if withheld:
        return NotPossibleError(
            f"{thing} cannot be had from its first origin, "
            f"and --origins strict forbids the others:{lines}",
            remedy="mend the way to it (network, --ca-bundle, proxy), "
            "or build without --origins strict",
        )
    return NotPossibleError(
        f"{thing} can be had from none of its origins:{lines}",
        remedy="mend the way to one of them (network, --ca-bundle, proxy, index settings)",
    )
