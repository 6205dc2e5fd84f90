"""Bring models into the store; what is there already costs neither network nor reading."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfykiln.errors import DriftError
from comfykiln.models import store, surroundings
from comfykiln.models.records import Failed, Fetched

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comfykiln.models.progress import Shown
    from comfykiln.models.records import LockedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchResult:
    """What became of each model."""

    done: tuple[Fetched, ...]
    failed: tuple[Failed, ...]


def fetch(
    models: Sequence[LockedModel],
    *,
    shown: Shown | None = None,
    environ: Mapping[str, str] | None = None,
) -> FetchResult:
    """Bring what the store lacks of `models`; the result says what became of each, in their order.

    `environ` has the credentials, the CA and the proxies (`comfykiln.network.host.environment_of`),
    by default those of this machine. A model that no source has is among the failed ones. Raises
    `NotPossibleError` when the disk is full or cannot be written, since no other model would fare
    better.
    """
    environ = surroundings.of_host(environ)
    found: dict[str, Fetched | Failed] = {}
    missing = []
    for model in models:
        if store.verified(model.sha256):
            _require_size(model)
            found[model.name] = Fetched(name=model.name, sha256=model.sha256, size=model.size)
        else:
            missing.append(model)
    if missing:
        from comfykiln.models.download import download_all, job_of  # noqa: PLC0415  # the network

        found |= download_all([job_of(model) for model in missing], environ, shown)
    results = [found[model.name] for model in models]
    return FetchResult(
        done=tuple(result for result in results if isinstance(result, Fetched)),
        failed=tuple(result for result in results if isinstance(result, Failed)),
    )


def _require_size(model: LockedModel) -> None:
    """Raise `DriftError` where the lock has another size than the file with its sha256."""
    size = store.path_of(model.sha256).stat().st_size
    if size != model.size:
        raise DriftError(
            f"models.lock says {model.size:,} bytes of {model.name}, its file has {size:,}",
            remedy=f"lock it again: `./kiln models.lock --upgrade {shlex.quote(model.name)}`",
        )
