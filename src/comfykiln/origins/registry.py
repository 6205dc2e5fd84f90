"""The base image from its registry: asked and pulled by the engine, with its proxies and mirrors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfykiln import console
from comfykiln.download import Patience, UnavailableError, within
from comfykiln.errors import KilnError

if TYPE_CHECKING:
    import docker

_REFUSALS = {401, 403, 407, 429}


def ensure_pulled(client: docker.DockerClient, ref: str, patience: Patience) -> None:
    """Make the engine hold the image `ref` (tag and digest), pulling it where it does not.

    The engine, not this program, asks the registry first, within `patience.probe`. Raises
    `UnavailableError` when the registry cannot be reached or refuses, `KilnError` when it answers
    that it has no such digest.
    """
    if holds(client, ref):
        return
    _ask(client, ref, patience)
    with console.timed(f"pulling {ref}"):
        _pull(client, ref, patience)
    if not holds(client, ref):
        raise KilnError(
            f"the engine says that {ref} was pulled, but does not have it",
            remedy=f"run `docker pull {ref}` by hand and look at the engine's log",
        )


def holds(client: docker.DockerClient, ref: str) -> bool:
    """Tell whether the engine has the image `ref`."""
    from docker.errors import ImageNotFound  # noqa: PLC0415  # 130 ms, only with an engine

    try:
        client.images.get(ref)
    except ImageNotFound:
        return False
    return True


def _ask(client: docker.DockerClient, ref: str, patience: Patience) -> None:
    from docker.errors import APIError  # noqa: PLC0415  # as above

    try:
        within(patience.probe, lambda: client.api.inspect_distribution(ref), _registry(ref))
    except APIError as error:
        raise _fault(ref, error) from error


def _pull(client: docker.DockerClient, ref: str, patience: Patience) -> None:
    """Pull, giving up when the engine reports nothing at all for `patience.stall` seconds."""
    from docker.errors import APIError  # noqa: PLC0415  # as above
    from requests.exceptions import RequestException  # noqa: PLC0415  # comes with docker-py

    patient, client.api.timeout = client.api.timeout, int(patience.stall)
    try:
        for event in client.api.pull(ref, stream=True, decode=True):
            _require_progress(ref, event)
    except APIError as error:
        raise _fault(ref, error) from error
    except RequestException as error:
        raise UnavailableError(
            f"{_registry(ref)}: the pull stalled for {patience.stall:g} s"
        ) from error
    finally:
        client.api.timeout = patient


def _require_progress(ref: str, event: dict[str, Any]) -> None:
    if "error" in event:
        raise UnavailableError(f"{_registry(ref)}: {' '.join(str(event['error']).split())}")


def _fault(ref: str, error: Any) -> KilnError:
    """Tell a registry that lacks the digest from one that cannot be used now."""
    said = " ".join(str(error.explanation or error).split())
    absent = error.status_code == 404 or "manifest unknown" in said  # noqa: PLR2004  # HTTP's own
    if absent and error.status_code not in _REFUSALS:
        return KilnError(
            f"the registry {_registry(ref)} has no image {ref}: {said}",
            remedy="correct the digest in images/origins.yaml "
            f"(`docker buildx imagetools inspect {ref.partition('@')[0]}` prints today's)",
        )
    return UnavailableError(f"{_registry(ref)}: {said}")


def _registry(ref: str) -> str:
    first, slash, _ = ref.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return first if named else "docker.io"
