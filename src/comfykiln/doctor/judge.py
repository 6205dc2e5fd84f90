"""The judgement of `doctor`: from the facts of a machine to findings; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfykiln.doctor.accelerators import judge_run
from comfykiln.doctor.answers import PACKAGE_INDEX
from comfykiln.doctor.findings import Finding, Report, State, dotted, limited, missing, ok
from comfykiln.doctor.needs import REGISTRY
from comfykiln.setup.engine_info import OLDEST_BUILDX, OLDEST_ENGINE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comfykiln.doctor.machine import Machine
    from comfykiln.doctor.needs import Needs
    from comfykiln.setup.engine_info import Version

GIGA = 10**9
# Findings without which nothing can be built; Python packages come from the index in any case.
BUILD_NEEDS = {"git", "uv", "engine", "buildx", "ca-bundle", f"network.{PACKAGE_INDEX}"}
FREE = "free some space (`docker system df` shows what the engine holds)"
LEAST_MEMORY = 4 * GIGA  # bytes to start ComfyUI and to load its smallest models
CONTAINERD_STORE = (
    'put {"features": {"containerd-snapshotter": true}} into /etc/docker/daemon.json and restart '
    "the daemon (images of the old store are hidden then, not lost)"
)


def judge(machine: Machine, needs: Sequence[Needs]) -> Report:
    """Judge the facts of a machine by what each target needs; depends on nothing else."""
    findings = [
        *_tools(machine),
        *_engine(machine),
        *_capacity(machine, needs),
        *_network(machine),
    ]
    lacking = {finding.id for finding in findings if finding.state is State.MISSING}
    findings += [_build(need, machine, lacking) for need in needs]
    findings += [judge_run(need, machine) for need in needs]
    return Report(findings=tuple(findings))


def _tools(machine: Machine) -> Iterator[Finding]:
    yield ok("python", dotted(machine.python))
    for name, version in (("git", machine.git), ("uv", machine.uv)):
        if version:
            yield ok(name, dotted(version))
        else:
            yield missing(name, f"{name} is not installed", f"install {name}")
    if machine.mmdebstrap and not machine.newuidmap:
        yield limited(
            "mmdebstrap",
            "works for root alone here: base images come from docker.io only",
            "install uidmap, or build as root",
        )
    elif machine.mmdebstrap:
        yield ok("mmdebstrap", "base images can be made from Debian packages, with no registry")
    else:
        yield limited(
            "mmdebstrap",
            "not installed: base images come from docker.io only",
            "install mmdebstrap" if machine.apt else "",
        )


def _engine(machine: Machine) -> Iterator[Finding]:
    engine = machine.engine
    if engine is None and "permission denied" in machine.engine_complaint.lower():
        said = _one_line(machine.engine_complaint)
        yield missing(
            "engine",
            f"a Docker engine runs here, but you may not use it: {said}",
            "run `sudo usermod -aG docker $USER` and log in again",
        )
    elif engine is None:
        yield missing(
            "engine",
            f"no Docker engine answers: {_one_line(machine.engine_complaint)}",
            "start a task that needs one with ./kiln, as root, on Debian or Ubuntu; elsewhere "
            f"install Docker Engine {dotted(OLDEST_ENGINE)} or newer",
        )
    elif engine.version < OLDEST_ENGINE:
        yield missing(
            "engine",
            f"Docker {dotted(engine.version)} is older than {dotted(OLDEST_ENGINE)}",
            "upgrade the engine",
        )
    else:
        yield ok("engine", f"Docker {dotted(engine.version)} on {engine.system}")
    yield _plugin("buildx", machine.buildx, OLDEST_BUILDX)
    yield _plugin("compose", machine.compose, (2,))
    if engine is not None:
        yield _image_store(engine.containerd_store, engine.storage)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _plugin(name: str, version: Version, oldest: Version) -> Finding:
    if version >= oldest:
        return ok(name, dotted(version))
    why = f"{dotted(version)} is older than {dotted(oldest)}" if version else "not installed"
    remedy = f"install docker-{name} {dotted(oldest)} or newer (a plugin of the docker client)"
    if name == "compose":
        return limited(name, f"{why}: compose.yaml cannot be used", remedy)
    return missing(name, f"{why}: nothing can be built", remedy)


def _image_store(containerd: bool, storage: str) -> Finding:  # noqa: FBT001  # a fact, no switch
    if containerd:
        return ok("image-store", f"containerd ({storage})")
    return limited(
        "image-store",
        f"{storage}, the older store: builds and runs, but writes no image archive, no build "
        "cache to share, no attestation and no image for several platforms",
        CONTAINERD_STORE,
    )


def _capacity(machine: Machine, needs: Sequence[Needs]) -> Iterator[Finding]:
    engine = machine.engine
    memory = engine.memory if engine else machine.memory
    cpus = engine.cpus if engine else machine.cpus
    yield ok("cpus", str(cpus))
    text = f"{memory / GIGA:.1f} GB"
    if memory >= LEAST_MEMORY:
        yield ok("memory", text)
    else:
        yield limited("memory", f"{text}: too little for most models", "add memory or swap")
    if engine is not None:
        yield _disk(engine.free, str(engine.data_root), needs)


def _disk(free: int | None, root: str, needs: Sequence[Needs]) -> Finding:
    if free is None:
        return limited("disk", f"{root} is not on this machine: its free space is unknown", "")
    text = f"{free / GIGA:.0f} GB free for the engine ({root})"
    short = [f"{n.target} ({n.room / GIGA:.0f} GB)" for n in needs if free < n.room]
    if short:
        return limited("disk", f"{text}, too little for a first build for {', '.join(short)}", FREE)
    return ok("disk", text)


def _network(machine: Machine) -> Iterator[Finding]:
    for reach in machine.reach:
        name = f"network.{reach.name}"
        if not reach.fault:
            yield ok(name, "answers")
        elif reach.name == PACKAGE_INDEX:
            yield missing(name, reach.fault, "check pip.conf, UV_DEFAULT_INDEX and the CA bundle")
        else:
            yield limited(name, reach.fault, "")
    yield ok("proxies", ", ".join(machine.proxies) or "none")
    if machine.ca_bundle is None:
        yield limited("ca-bundle", "none on this machine", "install ca-certificates")
    elif machine.ca_bundle_readable:
        yield ok("ca-bundle", str(machine.ca_bundle))
    else:
        yield missing(
            "ca-bundle",
            f"{machine.ca_bundle} cannot be read",
            "fix SSL_CERT_FILE, PIP_CERT or REQUESTS_CA_BUNDLE",
        )


def _build(need: Needs, machine: Machine, missing_ids: set[str]) -> Finding:
    """Judge whether `core` can be built for a target, and by which origins."""
    name = f"build.{need.target}"
    reached = {reach.name for reach in machine.reach if not reach.fault}
    lacking = sorted(missing_ids & BUILD_NEEDS)
    if not (machine.mmdebstrap and machine.newuidmap) and REGISTRY not in reached:
        lacking.append(f"a base image ({REGISTRY} or mmdebstrap)")
    if need.git_host not in reached and not need.sdist:
        lacking.append(f"ComfyUI ({need.git_host})")
    if need.torch_host not in reached and not need.stand_in:
        lacking.append(f"torch ({need.torch_host})")
    by_stand_in = need.torch_host not in reached and bool(need.stand_in)
    if machine.engine is not None and machine.engine.free is not None:
        room = need.room_for(machine.images, by_stand_in=by_stand_in)
        if machine.engine.free < room:
            lacking.append(f"{room / GIGA:.0f} GB of free disk")
    if lacking:
        return missing(name, f"not from here, for want of: {', '.join(lacking)}", "")
    return _built(name, need, reached, by_stand_in=by_stand_in)


def _built(name: str, need: Needs, reached: set[str], *, by_stand_in: bool) -> Finding:
    limits: list[str] = []
    if by_stand_in and need.stand_in_note:
        limits.append(f"torch is the {need.stand_in} build: {need.stand_in_note}")
    if need.git_host not in reached:
        limits.append(f"core alone, as most custom nodes come from {need.git_host}")
    if limits:
        return limited(name, "; ".join(limits), "")
    return ok(name, "core and complete")
