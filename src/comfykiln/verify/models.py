"""Whether the models of an image are there, as the lock says, for every user of the image."""

from __future__ import annotations

import json
from contextlib import contextmanager
from importlib import resources
from typing import TYPE_CHECKING, Any

from comfykiln.errors import KilnError
from comfykiln.system import console
from comfykiln.verify import question

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import docker
    from docker.models.containers import Container

# Files belong to root and are readable by all: the probe runs as somebody else.
_ANYBODY = "12345:12345"


def require_visible(client: docker.DockerClient, name: str, wanted: Mapping[str, int]) -> None:
    """Raise `KilnError` unless any user of the image sees the models, by path, with their sizes."""
    if not wanted:
        return
    found = _sizes_in(client, name, list(wanted))
    wrong = [
        f"{path}: {found.get(path)}, not {size} bytes"
        for path, size in wanted.items()
        if found.get(path) != size
    ]
    if wrong:
        raise KilnError(
            "\n    ".join(["models are not in the image as they are locked:", *wrong]),
            remedy="build again; if it stays so, report the versions that doctor prints",
        )
    console.note(f"{len(wanted)} model(s) in the image, readable by every user")


def _sizes_in(client: docker.DockerClient, name: str, paths: Sequence[str]) -> dict[str, Any]:
    """Return the size of each model inside the image, or why it cannot be read there."""
    from docker.errors import DockerException  # noqa: PLC0415  # with docker-py

    try:
        with _probe(client, name, paths) as container:
            status = container.wait()["StatusCode"]
            output, told = (
                container.logs(stdout=out, stderr=not out).decode("utf-8", "replace")
                for out in (True, False)
            )
    except DockerException as error:
        raise _unreadable(name, str(error)) from error
    if status:
        raise _unreadable(name, f"Python ended with status {status}: {told.strip()[-400:]}")
    found: dict[str, Any] = json.loads(output)
    return found


@contextmanager
def _probe(client: docker.DockerClient, name: str, paths: Sequence[str]) -> Iterator[Container]:
    """Run the probe in the image as a stranger; its container goes with the volumes it got."""
    script = resources.files("comfykiln.verify.probes").joinpath("models.py").read_text("utf-8")
    container = client.containers.run(
        name,
        ["-I", "-c", script, *paths],
        entrypoint=["/app/.venv/bin/python"],
        detach=True,
        labels={question.LABEL: "1"},
        user=_ANYBODY,
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
    )
    try:
        yield container
    finally:
        container.remove(force=True, v=True)


def _unreadable(name: str, reason: str) -> KilnError:
    return KilnError(
        f"the models inside {name} cannot be looked at: {reason}",
        remedy="build the image again; it must be one of comfykiln's",
    )
