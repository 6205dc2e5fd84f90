"""A machine that lacks nothing but an accelerator, for the judgements of doctor."""

from __future__ import annotations

from pathlib import Path

from comfykiln.doctor.answers import Answer
from comfykiln.doctor.devices import Devices
from comfykiln.doctor.machine import Engine, Machine

GIGA = 10**9
HOSTS = ("docker.io", "github.com", "download.pytorch.org", "package-index")


def reached(*names: str) -> tuple[Answer, ...]:
    return tuple(Answer(name=n, fault="" if n in names else "no such host") for n in HOSTS)


ENGINE = Engine(
    version=(26, 1, 5),
    system="Debian GNU/Linux 12 (bookworm)",
    architecture="x86_64",
    here=True,
    containerd_store=True,
    storage="overlayfs",
    data_root=Path("/var/lib/docker"),
    free=200 * GIGA,
    memory=32 * GIGA,
    cpus=8,
    runtimes=("io.containerd.runc.v2", "runc"),
    rootless=False,
)
GOOD = Machine(
    engine=ENGINE,
    engine_complaint="",
    engine_remedy="",
    buildx=(0, 13, 1),
    compose=(2, 26, 1),
    cpus=8,
    memory=32 * GIGA,
    python=(3, 13, 5),
    git=(2, 47, 3),
    uv=(0, 13, 8),
    images=(),
    mmdebstrap=True,
    newuidmap=True,
    mmdebstrap_fault="",
    apt=True,
    devices=Devices(),
    reach=reached(*HOSTS),
    ca_bundle=Path("/etc/ssl/certs/ca-certificates.crt"),
    ca_bundle_fault="",
    proxies=(),
)
