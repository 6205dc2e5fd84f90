"""The judgement of `doctor`: from the facts of a machine to findings; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfykiln.doctor.accelerators import judge_run
from comfykiln.doctor.answers import PACKAGE_INDEX
from comfykiln.doctor.findings import Finding, Report, State, dotted, limited, missing, ok, unknown
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
ARCHITECTURES = ("x86_64", "amd64")
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
    doubtful = {finding.id for finding in findings if finding.state is State.UNKNOWN}
    findings += [_build(need, machine, lacking, doubtful) for need in needs]
    findings += [judge_run(need, machine, lacking, doubtful) for need in needs]
    return Report(findings=tuple(findings))


def _tools(machine: Machine) -> Iterator[Finding]:
    yield ok("python", dotted(machine.python))
    for name, version in (("git", machine.git), ("uv", machine.uv)):
        if version:
            yield ok(name, dotted(version))
        elif version is None:
            yield missing(name, f"{name} is not installed", f"install {name}")
        else:
            yield unknown(name, f"{name} is there, but tells no version", f"run `{name} --version`")
    yield _mmdebstrap(machine)


def _mmdebstrap(machine: Machine) -> Finding:
    only = "base images come from docker.io only"
    if not machine.mmdebstrap:
        remedy = "install mmdebstrap" if machine.apt else ""
        return limited("mmdebstrap", f"not installed: {only}", remedy)
    if not machine.newuidmap:
        remedy = "install uidmap, or build as root"
        return limited("mmdebstrap", f"works for root alone here: {only}", remedy)
    if machine.mmdebstrap_fault:
        return limited("mmdebstrap", f"of no use here: {machine.mmdebstrap_fault}; {only}", "")
    return ok("mmdebstrap", "base images can be made from Debian packages, with no registry")


def _engine(machine: Machine) -> Iterator[Finding]:
    yield _daemon(machine)
    yield _plugin("buildx", machine.buildx, OLDEST_BUILDX)
    yield _plugin("compose", machine.compose, (2,))
    if machine.engine is not None:
        yield _image_store(machine.engine.containerd_store, machine.engine.storage)


def _daemon(machine: Machine) -> Finding:
    engine, oldest = machine.engine, dotted(OLDEST_ENGINE)
    if engine is None:
        said = _one_line(machine.engine_complaint)
        if machine.engine_remedy:
            return missing("engine", said, machine.engine_remedy)
        return missing(
            "engine",
            f"no Docker engine answers: {said}",
            "start a task that needs one with ./kiln, as root, on Debian or Ubuntu; elsewhere "
            f"install Docker Engine {oldest} or newer",
        )
    if not engine.version:
        text = (
            f"the engine tells no version that can be read, so it is taken for one before {oldest}"
        )
        return missing("engine", text, f"install Docker Engine {oldest} or newer")
    if engine.version < OLDEST_ENGINE:
        text = f"Docker {dotted(engine.version)} is older than {oldest}"
        return missing("engine", text, "upgrade the engine (docs/setup.md has the commands)")
    text = f"Docker {dotted(engine.version)} on {engine.system}, {engine.architecture or 'unknown'}"
    if engine.architecture not in ARCHITECTURES:
        return unknown("engine", f"{text}: images are built and tried on {ARCHITECTURES[0]} only")
    return ok("engine", text)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _plugin(name: str, version: Version | None, oldest: Version) -> Finding:
    if version and version >= oldest:
        return ok(name, dotted(version))
    why = f"{dotted(version)} is older than {dotted(oldest)}" if version else "not installed"
    if version == ():
        why = f"tells no version that can be read, so it is taken for one before {dotted(oldest)}"
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
    yield ok("cpus", str(cpus)) if cpus else unknown("cpus", "the engine does not tell")
    text = f"{memory / GIGA:.1f} GB"
    if not memory:
        yield unknown("memory", "the engine does not tell")
    elif memory >= LEAST_MEMORY:
        yield ok("memory", text)
    else:
        yield limited("memory", f"{text}: too little for most models", "add memory or swap")
    if engine is not None:
        yield _disk(engine.free, str(engine.data_root), needs)


def _disk(free: int | None, root: str, needs: Sequence[Needs]) -> Finding:
    if free is None:
        return unknown("disk", f"{root} of the engine cannot be seen from here: how much is free?")
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
    elif not machine.ca_bundle_fault:
        yield ok("ca-bundle", str(machine.ca_bundle))
    else:
        yield missing(
            "ca-bundle",
            f"{machine.ca_bundle}: {machine.ca_bundle_fault}",
            "fix SSL_CERT_FILE, PIP_CERT or REQUESTS_CA_BUNDLE",
        )


def _build(need: Needs, machine: Machine, missing_ids: set[str], doubtful: set[str]) -> Finding:
    """Judge whether `core` can be built for a target, and by which origins."""
    name = f"build.{need.target}"
    reached = {reach.name for reach in machine.reach if not reach.fault}
    lacking = sorted(missing_ids & BUILD_NEEDS)
    if _mmdebstrap(machine).state is not State.OK and REGISTRY not in reached:
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
    found = _built(name, need, reached, by_stand_in=by_stand_in)
    if doubts := sorted(doubtful & (BUILD_NEEDS | {"disk"})):
        return found.doubted(f"cannot be judged here: {', '.join(doubts)}")
    return found


def _built(name: str, need: Needs, reached: set[str], *, by_stand_in: bool) -> Finding:
    limits: list[str] = []
    if by_stand_in and need.stand_in_note:
        limits.append(f"torch is the {need.stand_in} build: {need.stand_in_note}")
    if need.git_host not in reached:
        limits.append(f"core alone, as most custom nodes come from {need.git_host}")
    if limits:
        return limited(name, "; ".join(limits), "")
    return ok(name, "core and complete")
