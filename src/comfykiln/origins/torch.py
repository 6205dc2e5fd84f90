"""The torch family: from the target's own index, else from the package index where that serves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from comfykiln.errors import NotPossibleError
from comfykiln.network.client import UnavailableError
from comfykiln.origins.attempts import Attempt, first_available
from comfykiln.origins.simple import project_files
from comfykiln.plan.origins import OriginUse, TorchFamily, TorchSpec
from comfykiln.system.gate import bare_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comfykiln.network.access import Access


class TorchRow(Protocol):
    """What is asked of a target's torch row (`comfykiln.plan.targets.TorchRow`)."""

    @property
    def target(self) -> str:
        """The target's name, such as `cpu`."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Package → exact version without local tag, torch among them."""

    @property
    def index(self) -> str:
        """The address of the target's own index."""

    @property
    def local(self) -> str:
        """The local version tag of the target's builds, such as `cpu` or `cu130`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchChoice:
    """What is installed: from which index (None: the package index), which exact requirements.

    `local_tag` is what `torch.__version__` ends with in the image.
    """

    index: str | None
    requirements: tuple[str, ...]
    local_tag: str


def choose_torch(row: TorchRow, spec: TorchSpec, access: Access) -> tuple[TorchChoice, OriginUse]:
    """Return which torch family to install for a target, and what is known of its origin.

    The target's index is asked for the exact build first; the store remembers for a while when it
    is silent. Raises `NotPossibleError` when it cannot be used and the package index carries
    nothing that serves the target, or `access` is strict.
    """
    family = _family(row, spec)
    attempts = [_own_index(row, access)]
    if family is not None:
        attempts.append(_package_index(row, family))
    thing = f"torch for {row.target}"
    try:
        choice, taken = first_available(thing, attempts, strict=access.strict, store=access.store)
    except NotPossibleError as error:
        raise _with_remedy(error, row, family, strict=access.strict) from error
    return choice, OriginUse(
        thing="torch",
        identity=" ".join(_versions(row.versions, choice.local_tag)),
        origin=taken.origin,
        detail=taken.detail,
        fallback=taken.fallback,
        warning=_warning(row, family) if family is not None and taken.fallback else "",
    )


def _own_index(row: TorchRow, access: Access) -> Attempt[TorchChoice]:
    return Attempt(
        origin="index",
        detail=bare_address(row.index),
        fallback=False,
        get=partial(_from_index, row, access),
    )


def _package_index(row: TorchRow, family: TorchFamily) -> Attempt[TorchChoice]:
    return Attempt(
        origin="package-index",
        detail=f"the Python package index, which carries the {family.local} build",
        fallback=True,
        get=partial(_choice, row.versions, family.local, None),
    )


def _family(row: TorchRow, spec: TorchSpec) -> TorchFamily | None:
    """Return the family of the package index that serves the target with the same versions."""
    for family in spec.families:
        serves = family.local == row.local or row.target in family.stands_in_for
        if serves and dict(family.versions) == dict(row.versions):
            return family
    return None


def _from_index(row: TorchRow, access: Access) -> TorchChoice:
    """Return the target's own choice when its index answers and lists the exact build."""
    wanted = f"torch-{row.versions['torch']}+{row.local}-"
    files = project_files(row.index, "torch", access.settings, access.patience)
    if not any(name.startswith(wanted) for name in files):
        raise UnavailableError(f"{bare_address(row.index)}: has no {wanted.removesuffix('-')}")
    return _choice(row.versions, row.local, row.index)


def _choice(versions: Mapping[str, str], local: str, index: str | None) -> TorchChoice:
    requirements = _versions(versions, local if index else "")
    return TorchChoice(index=index, requirements=requirements, local_tag=local)


def _versions(versions: Mapping[str, str], local: str) -> tuple[str, ...]:
    tag = f"+{local}" if local else ""
    return tuple(f"{name}=={version}{tag}" for name, version in versions.items())


def _warning(row: TorchRow, family: TorchFamily) -> str:
    cost = family.stands_in_for.get(row.target, "")
    if family.local == row.local or not cost:
        return ""
    return f"{row.target} gets the {family.local} build of torch: {cost}"


def _with_remedy(
    error: NotPossibleError, row: TorchRow, family: TorchFamily | None, *, strict: bool
) -> NotPossibleError:
    if family is None:
        remedy = (
            f"build {row.target} where {bare_address(row.index)} can be reached, or name a "
            "mirror of it as the target's index in images/targets.yaml; the package index has no "
            "such build"
        )
    elif strict:
        remedy = f"fix the way to {bare_address(row.index)}, or build without --origins strict"
    else:
        remedy = error.remedy
    return NotPossibleError(error.message, remedy=remedy)
