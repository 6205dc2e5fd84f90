"""The base image from its registry: asked and pulled by the engine, with its own proxies."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING

from comfykiln.errors import KilnError
from comfykiln.network.client import UnavailableError
from comfykiln.network.http import Patience, within
from comfykiln.system import console

if TYPE_CHECKING:
    from collections.abc import Iterable

    import docker

_ABSENT = {404}


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


def name_locally(client: docker.DockerClient, ref: str, repository: str, tag: str) -> None:
    """Give the image `ref`, which the engine has, the local name `repository:tag` too."""
    client.images.get(ref).tag(repository, tag)


def _ask(client: docker.DockerClient, ref: str, patience: Patience) -> None:
    from docker.errors import APIError  # noqa: PLC0415  # as above

    try:
        ask = partial(client.api.inspect_distribution, ref)
        within(patience.probe, ask, _registry(ref))
    except APIError as error:
        raise _fault(ref, error.status_code or 0, error.explanation or str(error)) from error


def _pull(client: docker.DockerClient, ref: str, patience: Patience) -> None:
    """Pull, giving up when nothing moves for `patience.stall` seconds; the engine then stops too.

    docker-py's own `pull` waits without end, so its session is used beneath it.
    """
    from requests.exceptions import RequestException  # noqa: PLC0415  # comes with docker-py

    api, (name, digest) = client.api, ref.split("@")
    try:
        with api.post(
            f"{api.base_url}/v{api.api_version}/images/create",
            params={"fromImage": name, "tag": digest},
            headers=_login(client, ref),
            stream=True,
            timeout=patience.stall,
        ) as answer:
            if not answer.ok:
                raise _fault(ref, answer.status_code, answer.text)
            _watch(ref, answer.iter_lines(), patience)
    except RequestException as error:
        raise _stalled(ref, patience) from error


def _login(client: docker.DockerClient, ref: str) -> dict[str, str]:
    """Return the header with what `docker login` kept for the registry, if anything."""
    from docker import auth  # noqa: PLC0415  # 130 ms, only with an engine

    header = auth.get_config_header(client.api, _registry(ref))
    return {"X-Registry-Auth": header.decode()} if header else {}


def _watch(ref: str, lines: Iterable[bytes], patience: Patience) -> None:
    """Follow the engine's reports: some engines go on reporting while nothing moves."""
    seen: dict[str, str] = {}
    moved = time.monotonic()
    for line in lines:
        event = json.loads(line)
        if "error" in event:
            raise UnavailableError(f"{_registry(ref)}: {' '.join(str(event['error']).split())}")
        state = f"{event.get('status')} {event.get('progressDetail')}"
        if seen.get(event.get("id", "")) != state:
            seen[event.get("id", "")] = state
            moved = time.monotonic()
        if time.monotonic() - moved > patience.stall:
            raise _stalled(ref, patience)


def _stalled(ref: str, patience: Patience) -> UnavailableError:
    return UnavailableError(f"{_registry(ref)}: the pull stalled for {patience.stall:g} s")


def _fault(ref: str, status: int, text: str) -> KilnError:
    """Tell a registry that lacks the digest from one that cannot be used now."""
    said = " ".join(text.split())
    if status in _ABSENT or "manifest unknown" in said:
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
