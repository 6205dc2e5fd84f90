"""What this machine can build and run, and how to mend what it cannot: facts in, findings out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from comfykiln import console
from comfykiln.errors import NotPossibleError
from comfykiln.machine import Machine, Version, read_machine
from comfykiln.reach import PACKAGE_INDEX

if TYPE_CHECKING:
    from collections.abc import Iterator

# The oldest versions that builds were measured with; templates use nothing newer.
OLDEST_ENGINE = (26, 1)
OLDEST_BUILDX = (0, 13)
CUDA_DRIVER = (580,)  # the first that runs programs made for CUDA 13.0
GIGA = 10**9
# GB that a build of core holds at once: about four times the installed torch family (download
# cache, tree, layer, snapshot). An estimate to warn by, not to refuse by.
ROOM = {"cpu": 10, "cuda": 30, "rocm": 60, "xpu": 30}
LEAST_ROOM = 6  # GB below which not even the smallest build ends well
LEAST_MEMORY = 4  # GB to start ComfyUI and to load its smallest models
# Where the package index carries a build of torch that serves the target, too (origins.yaml).
TORCH_ON_INDEX = {"cpu", "cuda"}
CONTAINERD_STORE = (
    'put {"features": {"containerd-snapshotter": true}} into /etc/docker/daemon.json and restart '
    "the daemon (images of the old store are hidden then, not lost)"
)


class State(StrEnum):
    """How well one thing is there."""

    OK = "ok"
    LIMITED = "limited"  # works, within the limits that the text names
    MISSING = "missing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing judged: `remedy` says what to do about it and is empty when nothing need be."""

    id: str
    state: State
    text: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All findings, in a fixed order."""

    findings: tuple[Finding, ...]

    def __getitem__(self, name: str) -> Finding:
        """Return the finding whose id is `name`."""
        return next(finding for finding in self.findings if finding.id == name)

    @property
    def ready(self) -> bool:
        """Tell whether the image `core` for the target cpu can be built here."""
        return self["build.cpu"].state is not State.MISSING


def doctor(*, as_json: bool) -> None:
    """Print what this machine can do; `NotPossibleError` when it cannot build core for cpu."""
    report = examine()
    if as_json:
        console.out_json(as_data(report))
    else:
        console.out(as_text(report))
    if not report.ready:
        raise NotPossibleError(
            "this machine cannot build the image core for cpu yet",
            remedy="mend what is missing above",
        )


def examine() -> Report:
    """Read this machine's facts and judge them; takes a few seconds."""
    return judge(read_machine())


def judge(machine: Machine) -> Report:
    """Judge the facts of a machine; depends on nothing else."""
    findings = [*_tools(machine), *_engine(machine), *_capacity(machine), *_network(machine)]
    findings += [_build(target, machine) for target in ROOM]
    findings += [_run_cpu(machine), _run_cuda(machine), _run_rocm(machine), _run_xpu(machine)]
    return Report(findings=tuple(findings))


def as_data(report: Report) -> dict[str, Any]:
    """Return the report as JSON values."""
    findings = [asdict(finding) for finding in report.findings]
    return {"ready": report.ready, "findings": findings}


def as_text(report: Report) -> str:
    """Return the report for people: a line for each finding, a second one for its remedy."""
    width = max(len(finding.id) for finding in report.findings)
    lines: list[str] = []
    for finding in report.findings:
        lines.append(f"{finding.state:8} {finding.id:{width}}  {finding.text}")
        if finding.remedy:
            lines.append(f"{'':8} {'':{width}}  → {finding.remedy}")
    return "\n".join(lines)


def dotted(version: Version) -> str:
    """Return a version for people, "none" for nothing."""
    return ".".join(map(str, version)) or "none"


def _tools(machine: Machine) -> Iterator[Finding]:
    yield _ok("python", dotted(machine.python))
    for name, version in (("git", machine.git), ("uv", machine.uv)):
        if version:
            yield _ok(name, dotted(version))
        else:
            yield _missing(name, f"{name} is not installed", f"install {name}")
    if machine.mmdebstrap:
        yield _ok("mmdebstrap", "base images can be made from Debian packages, with no registry")
    else:
        yield _limited(
            "mmdebstrap",
            "not installed: base images come from docker.io only",
            "install mmdebstrap" if machine.apt else "",
        )


def _engine(machine: Machine) -> Iterator[Finding]:
    engine = machine.engine
    if engine is None:
        yield _missing(
            "engine",
            f"no Docker engine answers: {' '.join(machine.engine_complaint.split())}",
            "start a task that needs one with ./kiln, as root, on Debian or Ubuntu; elsewhere "
            f"install Docker Engine {dotted(OLDEST_ENGINE)} or newer",
        )
    elif engine.version < OLDEST_ENGINE:
        yield _missing(
            "engine",
            f"Docker {dotted(engine.version)} is older than {dotted(OLDEST_ENGINE)}",
            "upgrade the engine",
        )
    else:
        yield _ok("engine", f"Docker {dotted(engine.version)} on {engine.system}")
    yield _plugin("buildx", machine.buildx, OLDEST_BUILDX)
    yield _plugin("compose", machine.compose, (2,))
    if engine is not None:
        yield _image_store(engine.containerd_store, engine.storage)


def _plugin(name: str, version: Version, oldest: Version) -> Finding:
    if version >= oldest:
        return _ok(name, dotted(version))
    why = f"{dotted(version)} is older than {dotted(oldest)}" if version else "not installed"
    remedy = f"install docker-{name} {dotted(oldest)} or newer (a plugin of the docker client)"
    if name == "compose":
        return _limited(name, f"{why}: compose.yaml cannot be used", remedy)
    return _missing(name, f"{why}: nothing can be built", remedy)


def _image_store(containerd: bool, storage: str) -> Finding:  # noqa: FBT001  # a fact, no switch
    if containerd:
        return _ok("image-store", f"containerd ({storage})")
    return _limited(
        "image-store",
        f"{storage}, the older store: builds and runs, but writes no image archive, no build "
        "cache to share, no attestation and no image for several platforms",
        CONTAINERD_STORE,
    )


def _capacity(machine: Machine) -> Iterator[Finding]:
    engine = machine.engine
    memory = engine.memory if engine else machine.memory
    cpus = engine.cpus if engine else machine.cpus
    yield _ok("cpus", str(cpus))
    text = f"{memory / GIGA:.1f} GB"
    if memory >= LEAST_MEMORY * GIGA:
        yield _ok("memory", text)
    else:
        yield _limited("memory", f"{text}: too little for most models", "add memory or swap")
    if engine is not None:
        yield _disk(engine.free, str(engine.data_root))


def _disk(free: int | None, root: str) -> Finding:
    if free is None:
        return _limited("disk", f"{root} is not on this machine: its free space is unknown", "")
    text = f"{free / GIGA:.0f} GB free for the engine ({root})"
    remedy = "free some space (`docker system df` shows what the engine holds)"
    if free < LEAST_ROOM * GIGA:
        return _missing("disk", f"{text}, a build needs {LEAST_ROOM} GB and more", remedy)
    short = [f"{target} {room} GB" for target, room in ROOM.items() if free < room * GIGA]
    if short:
        return _limited("disk", f"{text}, too little for {', '.join(short)}", remedy)
    return _ok("disk", text)


def _network(machine: Machine) -> Iterator[Finding]:
    for reach in machine.reach:
        name = f"network.{reach.name}"
        if not reach.fault:
            yield _ok(name, "answers")
        elif reach.name == PACKAGE_INDEX:
            yield _missing(name, reach.fault, "check pip.conf, UV_DEFAULT_INDEX and the CA bundle")
        else:
            yield _limited(name, reach.fault, "")
    yield _ok("proxies", ", ".join(machine.proxies) or "none")
    if machine.ca_bundle is None:
        yield _limited("ca-bundle", "none on this machine", "install ca-certificates")
    elif machine.ca_bundle_readable:
        yield _ok("ca-bundle", str(machine.ca_bundle))
    else:
        yield _missing(
            "ca-bundle",
            f"{machine.ca_bundle} cannot be read",
            "mend SSL_CERT_FILE, PIP_CERT or REQUESTS_CA_BUNDLE",
        )


def _build(target: str, machine: Machine) -> Finding:
    """Judge whether `core` can be built for `target`, and by which origins."""
    name = f"build.{target}"
    wanted = {"git", "uv", "engine", "buildx", "disk", "ca-bundle"}
    parts = [*_tools(machine), *_engine(machine), *_capacity(machine), *_network(machine)]
    lacking = [part.id for part in parts if part.id in wanted and part.state is State.MISSING]
    reached = {reach.name for reach in machine.reach if not reach.fault}
    if not machine.mmdebstrap and "docker.io" not in reached:
        lacking.append("a base image (docker.io or mmdebstrap)")
    if not reached & {"github.com", PACKAGE_INDEX}:
        lacking.append("ComfyUI (github.com or the package index)")
    on_index = target in TORCH_ON_INDEX and PACKAGE_INDEX in reached
    if "download.pytorch.org" not in reached and not on_index:
        lacking.append(f"torch for {target} (download.pytorch.org)")
    if PACKAGE_INDEX not in reached:
        lacking.append("Python packages (the package index)")
    if lacking:
        return _missing(name, f"not from here: {', '.join(lacking)}", "see the lines above")
    return _built(name, target, reached)


def _built(name: str, target: str, reached: set[str]) -> Finding:
    limits: list[str] = []
    if "download.pytorch.org" not in reached and target == "cpu":
        limits.append("torch is the CUDA build of the package index (larger, works on the CPU)")
    if "github.com" not in reached:
        limits.append("core alone, as custom nodes come from github.com")
    if limits:
        return _limited(name, "; ".join(limits), "")
    return _ok(name, "core and complete")


def _run_cpu(machine: Machine) -> Finding:
    if machine.engine is None:
        return _no_engine("run.cpu")
    return _ok("run.cpu", f"{machine.engine.cpus} CPUs, {machine.engine.memory / GIGA:.0f} GB")


def _run_cuda(machine: Machine) -> Finding:
    name, devices, engine = "run.cuda", machine.devices, machine.engine
    if engine is None:
        return _no_engine(name)
    if not devices.nvidia_gpus:
        return _missing(name, "nvidia-smi finds no NVIDIA GPU", "install the GPU's driver")
    gpus = ", ".join(devices.nvidia_gpus)
    if "nvidia" not in engine.runtimes and not devices.nvidia_cdi:
        return _missing(
            name,
            f"{gpus}, but containers cannot be given it",
            "install nvidia-container-toolkit, run `nvidia-ctk runtime configure "
            "--runtime=docker` and restart the daemon",
        )
    if devices.nvidia_driver < CUDA_DRIVER:
        return _limited(
            name,
            f"{gpus}: driver {dotted(devices.nvidia_driver)} is too old for CUDA 13.0",
            f"install driver {dotted(CUDA_DRIVER)} or newer",
        )
    return _ok(name, f"{gpus}, driver {dotted(devices.nvidia_driver)}")


def _run_rocm(machine: Machine) -> Finding:
    name = "run.rocm"
    nodes = _nodes(machine, "amd")
    if machine.engine is None:
        return _no_engine(name)
    if not nodes:
        return _missing(name, "no AMD GPU has a render node in /dev/dri", "")
    if not machine.devices.kfd:
        return _missing(
            name,
            f"{', '.join(nodes)}, but /dev/kfd is missing or closed to this user",
            "install the amdgpu driver with ROCm, or join the groups render and video",
        )
    return _ok(name, f"{', '.join(nodes)} and /dev/kfd{_groups(machine)}")


def _run_xpu(machine: Machine) -> Finding:
    name = "run.xpu"
    nodes = _nodes(machine, "intel")
    if machine.engine is None:
        return _no_engine(name)
    if not nodes:
        return _missing(name, "no Intel GPU has a render node in /dev/dri", "")
    return _ok(name, f"{', '.join(nodes)}{_groups(machine)}")


def _nodes(machine: Machine, vendor: str) -> list[str]:
    return [path for path, owner in machine.devices.render_nodes if owner == vendor]


def _groups(machine: Machine) -> str:
    named = [f"{name}={number}" for name, number in machine.devices.groups]
    return f" (groups {', '.join(named)})" if named else ""


def _no_engine(name: str) -> Finding:
    return _missing(name, "no engine answers", "")


def _ok(name: str, text: str) -> Finding:
    return Finding(id=name, state=State.OK, text=text)


def _limited(name: str, text: str, remedy: str) -> Finding:
    return Finding(id=name, state=State.LIMITED, text=text, remedy=remedy)


def _missing(name: str, text: str, remedy: str) -> Finding:
    return Finding(id=name, state=State.MISSING, text=text, remedy=remedy)
