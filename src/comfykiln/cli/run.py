"""`run`: docker run with the right devices, port and volumes for a target."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from comfykiln.doctor.devices import find_nodes
from comfykiln.engine import engine
from comfykiln.errors import DocumentError, NotPossibleError
from comfykiln.models.placing import csv_field

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from comfykiln.plan.targets import Target

STATE_VOLUMES = ("user", "input", "output", "temp")


def command(
    target: Target, ref: str, *, port: int, models: Path | None, mounts: Sequence[str] = ()
) -> list[str]:
    """Return the argument list of `docker run` for `ref`; pure but for the owners of device files.

    The port is published on loopback only; state lives in volumes named after the image. `models`
    is a folder to use as /app/models, `mounts` are arguments that show single files there.
    """
    name = ref.replace("/", "-").replace(":", "-")
    argv = ["docker", "run", "--rm", "--init=false", "--read-only", "--tmpfs=/tmp"]
    argv += ["--cap-drop=ALL", "--security-opt=no-new-privileges"]
    argv += [f"--publish=127.0.0.1:{port}:{port}", f"--env=COMFY_PORT={port}"]
    if "CLI_ARGS" in os.environ:
        argv.append("--env=CLI_ARGS")
    argv += [f"--volume={name}-{state}:/app/{state}" for state in STATE_VOLUMES]
    if models is not None:
        source = csv_field(f"source={models}")
        argv.append(f"--mount=type=bind,{source},target=/app/models")
    argv += mounts
    argv += [
        *target.accelerator.flags,
        *(f"--group-add={group}" for group in device_groups(target)),
    ]
    return [*argv, ref]


def device_groups(target: Target) -> list[int]:
    """Return the group ids that own the target's device files on this machine."""
    found = [node for pattern in target.accelerator.nodes for node in find_nodes(pattern)]
    return sorted({node.group for node in found})


def require_runnable(target: Target, ref: str, port: int) -> None:
    """Raise one clear error when the image, the port or the target's devices are not available."""
    require_port(port)
    engine.connect()
    engine.require_image(engine.client(), ref)
    require_devices(target)


def models_inside(ref: str) -> dict[str, str]:
    """Return the sha256 of each model that the engine's image `ref` holds, by destination."""
    from comfykiln.oci import images  # noqa: PLC0415  # where it is used

    image = engine.require_image(engine.client(), ref)
    return {
        entry["path"]: entry["sha256"] for entry in images.labelled_models(engine.labels(image))
    }


def require_devices(target: Target) -> None:
    """Raise `NotPossibleError` that names the target's device files that this machine lacks."""
    missing = [pattern for pattern in target.accelerator.nodes if not find_nodes(pattern)]
    if missing:
        raise NotPossibleError(
            f"this machine has no {' and no '.join(missing)}, which {target.name} needs",
            remedy="install its kernel driver, or use --target cpu (./kiln doctor says more)",
        )


def require_port(port: int) -> None:
    """Raise an error when `port` is no port, or something on this machine holds it already."""
    if not 0 < port < 65536:  # noqa: PLR2004  # the range of TCP ports
        raise DocumentError(f"--port is {port}", remedy="use a number from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise NotPossibleError(
                f"port {port} of 127.0.0.1 is taken: {error.strerror}",
                remedy="end what uses it, or choose another: --port 8190",
            ) from error
