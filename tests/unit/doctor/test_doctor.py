from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from comfykiln.cli import doctor
from comfykiln.doctor.answers import Answer, ask_address, ask_index, together
from comfykiln.doctor.findings import State, limited, missing
from comfykiln.doctor.judge import judge
from comfykiln.doctor.machine import (
    Devices,
    Engine,
    Machine,
    engine_of,
    free_bytes,
    read_devices,
    without_password,
)
from comfykiln.doctor.needs import addresses, read_needs
from comfykiln.network.indexes import IndexSettings
from comfykiln.network.pip import PipSettings
from comfykiln.setup import engine_info
from comfykiln.setup.engine_info import version_of

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[3]
NEEDS = read_needs(ROOT)
GIGA = 10**9
HOSTS = ("docker.io", "github.com", "download.pytorch.org", "package-index")


def reached(*names: str) -> tuple[Answer, ...]:
    return tuple(Answer(name=n, fault="" if n in names else "no such host") for n in HOSTS)


ENGINE = Engine(
    version=(26, 1, 5),
    system="Debian GNU/Linux 12 (bookworm), x86_64",
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
    apt=True,
    devices=Devices(),
    reach=reached(*HOSTS),
    ca_bundle=Path("/etc/ssl/certs/ca-certificates.crt"),
    ca_bundle_readable=True,
    proxies=(),
)


def states(machine: Machine) -> dict[str, str]:
    """Return the state of everything that is not ok."""
    report = judge(machine, NEEDS)
    return {f.id: f.state.value for f in report.findings if f.state is not State.OK}


def test_a_good_machine_in_full() -> None:
    assert doctor.as_text(judge(GOOD, NEEDS)).splitlines() == [
        "ok       python                        3.13.5",
        "ok       git                           2.47.3",
        "ok       uv                            0.13.8",
        (
            "ok       mmdebstrap                    base images can be made from Debian packages, "
            "with no registry"
        ),
        (
            "ok       engine                        "
            "Docker 26.1.5 on Debian GNU/Linux 12 (bookworm), x86_64"
        ),
        "ok       buildx                        0.13.1",
        "ok       compose                       2.26.1",
        "ok       image-store                   containerd (overlayfs)",
        "ok       cpus                          8",
        "ok       memory                        32.0 GB",
        "ok       disk                          200 GB free for the engine (/var/lib/docker)",
        "ok       network.docker.io             answers",
        "ok       network.github.com            answers",
        "ok       network.download.pytorch.org  answers",
        "ok       network.package-index         answers",
        "ok       proxies                       none",
        "ok       ca-bundle                     /etc/ssl/certs/ca-certificates.crt",
        "ok       build.cpu                     core and complete",
        "ok       build.cuda                    core and complete",
        "ok       build.rocm                    core and complete",
        "ok       build.xpu                     core and complete",
        "ok       run.cpu                       8 CPUs, 32 GB of memory",
        "missing  run.cuda                      nvidia-smi finds no NVIDIA GPU",
        "                                       → install the GPU's driver",
        "missing  run.rocm                      no AMD GPU has a render node in /dev/dri",
        "missing  run.xpu                       no Intel GPU has a render node in /dev/dri",
    ]


def test_a_machine_with_package_mirrors_alone() -> None:
    report = judge(replace(GOOD, reach=reached("package-index")), NEEDS)
    assert report.ready
    assert report["build.cpu"].state is State.LIMITED
    assert report["build.cpu"].text.startswith("torch is the cu130 build: ")
    assert report["build.cpu"].text.endswith(
        "; core alone, as most custom nodes come from github.com"
    )
    assert report["build.cuda"].text == "core alone, as most custom nodes come from github.com"
    assert report["build.rocm"].text == ("not from here, for want of: torch (download.pytorch.org)")


def test_mmdebstrap_without_uidmap_is_for_root_alone() -> None:
    machine = replace(GOOD, newuidmap=False, reach=reached("package-index"))
    report = judge(machine, NEEDS)
    assert report["mmdebstrap"] == limited(
        "mmdebstrap",
        "works for root alone here: base images come from docker.io only",
        "install uidmap, or build as root",
    )
    assert report["build.cpu"].text == (
        "not from here, for want of: a base image (docker.io or mmdebstrap)"
    )


def test_no_engine() -> None:
    refused = replace(GOOD, engine=None, engine_complaint="permission denied:\n/run/docker.sock")
    assert judge(refused, NEEDS)["engine"] == missing(
        "engine",
        "a Docker engine runs here, but you may not use it: permission denied: /run/docker.sock",
        "run `sudo usermod -aG docker $USER` and log in again",
    )
    machine = replace(
        GOOD,
        engine=None,
        engine_complaint="Cannot connect to the Docker daemon.\nIs it running?",
        buildx=(),
        compose=(),
    )
    report = judge(machine, NEEDS)
    assert not report.ready
    assert report["engine"].text == (
        "no Docker engine answers: Cannot connect to the Docker daemon. Is it running?"
    )
    assert "./kiln" in report["engine"].remedy
    assert report["build.cpu"].text == "not from here, for want of: buildx, engine"
    assert states(machine) == {
        "engine": "missing",
        "buildx": "missing",
        "compose": "limited",
        **{
            f"{verb}.{name}": "missing"
            for verb in ("build", "run")
            for name in ("cpu", "cuda", "rocm", "xpu")
        },
    }


@pytest.mark.parametrize(
    ("engine", "buildx", "lacking"),
    [
        ((20, 10, 24), (0, 13), "engine"),
        ((26, 0, 2), (0, 13), "engine"),
        ((26, 1), (0, 12, 1), "buildx"),
        ((29, 3, 1), (0, 31), ""),
    ],
)
def test_versions_older_than_tried_are_refused(
    engine: tuple[int, ...], buildx: tuple[int, ...], lacking: str
) -> None:
    machine = replace(GOOD, engine=replace(ENGINE, version=engine), buildx=buildx)
    report = judge(machine, NEEDS)
    assert report.ready is (not lacking)
    if lacking:
        assert report[lacking].state is State.MISSING
        assert report["build.xpu"].text == f"not from here, for want of: {lacking}"


def test_the_older_image_store_builds_within_limits() -> None:
    machine = replace(GOOD, engine=replace(ENGINE, containerd_store=False, storage="overlay2"))
    report = judge(machine, NEEDS)
    assert report.ready
    assert report["image-store"].state is State.LIMITED
    assert report["image-store"].text.startswith("overlay2, the older store: builds and runs, but")
    assert '{"features": {"containerd-snapshotter": true}}' in report["image-store"].remedy


def test_a_small_disk_is_enough_for_what_is_built_already() -> None:
    small = replace(GOOD, engine=replace(ENGINE, free=5 * GIGA))
    assert judge(small, NEEDS)["build.cpu"].text == (
        "not from here, for want of: 9 GB of free disk"
    )
    built = replace(small, images=("comfykiln/core:cpu",))
    assert judge(built, NEEDS)["build.cpu"].state is State.OK
    assert judge(built, NEEDS)["build.cuda"].state is State.MISSING
    assert judge(built, NEEDS)["disk"].state is State.LIMITED


def test_an_engine_elsewhere_has_an_unknown_disk() -> None:
    machine = replace(GOOD, engine=replace(ENGINE, free=None))
    assert judge(machine, NEEDS)["disk"].state is State.LIMITED
    assert judge(machine, NEEDS)["build.rocm"].state is State.OK


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        ({"git": ()}, "git"),
        ({"uv": ()}, "uv"),
        ({"ca_bundle_readable": False}, "ca-bundle"),
        (
            {"reach": reached("docker.io", "github.com", "download.pytorch.org")},
            "network.package-index",
        ),
        (
            {"mmdebstrap": False, "reach": reached("package-index")},
            "a base image (docker.io or mmdebstrap)",
        ),
    ],
)
def test_what_a_build_cannot_do_without(change: dict[str, Any], lacking: str) -> None:
    report = judge(replace(GOOD, **change), NEEDS)
    assert not report.ready
    assert report["build.cpu"].text == f"not from here, for want of: {lacking}"


RENDER = (("/dev/dri/renderD128", "amd"), ("/dev/dri/renderD129", "intel"))


@pytest.mark.parametrize(
    ("devices", "runtimes", "expected"),
    [
        (
            Devices(nvidia_gpus=("NVIDIA H200",), nvidia_driver=(580, 65, 6)),
            ("nvidia", "runc"),
            ("run.cuda", "ok", "NVIDIA H200, driver 580.65.6"),
        ),
        (
            Devices(nvidia_gpus=("NVIDIA H200",), nvidia_driver=(570, 1), nvidia_cdi=True),
            ("runc",),
            ("run.cuda", "limited", "NVIDIA H200: driver 570.1 is too old for CUDA 13.0"),
        ),
        (
            Devices(nvidia_gpus=("NVIDIA H200", "NVIDIA H200"), nvidia_driver=(590, 1)),
            ("runc",),
            ("run.cuda", "missing", "NVIDIA H200, NVIDIA H200, but containers cannot be given it"),
        ),
        (
            Devices(render_nodes=RENDER, kfd=True, groups=(("render", 105), ("video", 44))),
            (),
            ("run.rocm", "ok", "/dev/dri/renderD128 and /dev/kfd (groups render=105, video=44)"),
        ),
        (
            Devices(render_nodes=RENDER),
            (),
            (
                "run.rocm",
                "missing",
                "/dev/dri/renderD128, but /dev/kfd is missing or closed to this user",
            ),
        ),
        (Devices(render_nodes=RENDER), (), ("run.xpu", "ok", "/dev/dri/renderD129")),
    ],
)
def test_accelerators(
    devices: Devices, runtimes: Sequence[str], expected: tuple[str, str, str]
) -> None:
    machine = replace(GOOD, devices=devices, engine=replace(ENGINE, runtimes=tuple(runtimes)))
    finding = judge(machine, NEEDS)[expected[0]]
    assert (finding.id, finding.state, finding.text) == expected


def test_json_holds_the_same_findings() -> None:
    report = judge(GOOD, NEEDS)
    data = json.loads(json.dumps(doctor.as_data(report)))
    assert data["ready"] is True
    assert [entry["id"] for entry in data["findings"]] == [f.id for f in report.findings]
    assert data["findings"][0] == {"id": "python", "state": "ok", "text": "3.13.5", "remedy": ""}


def test_origins_to_ask_come_from_the_data() -> None:
    assert addresses(NEEDS) == {
        "docker.io": "https://registry-1.docker.io/v2/",
        "github.com": "https://github.com/",
        "download.pytorch.org": "https://download.pytorch.org/",
    }


DOCKER_INFO: dict[str, Any] = {
    "ServerVersion": "26.1.5+dfsg1",
    "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
    "Architecture": "x86_64",
    "Driver": "overlayfs",
    "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
    "DockerRootDir": "/nowhere/docker",
    "NCPU": 2,
    "MemTotal": 25276502016,
    "Runtimes": {"runc": {}, "nvidia": {}},
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"],
    "ClientInfo": {
        "Plugins": [
            {"Name": "buildx", "Version": "v0.29.1-desktop.1"},
            {"Name": "compose", "Version": "2.26.1-4"},
            {"Name": "odd"},
        ]
    },
}


def test_docker_info_is_read() -> None:
    engine = engine_of(DOCKER_INFO)
    assert (engine.version, engine.containerd_store, engine.rootless) == ((26, 1, 5), True, True)
    assert engine.runtimes == ("nvidia", "runc")
    older = DOCKER_INFO | {"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]]}
    assert engine_of(older | {"DriverStatus": None}).containerd_store is False
    assert engine_of(older).storage == "overlay2"
    info = engine_info.read(json.dumps(DOCKER_INFO))
    assert info.plugins == {"buildx": (0, 29, 1), "compose": (2, 26, 1), "odd": ()}
    assert (info.buildx, info.version, info.answers) == ((0, 29, 1), "26.1.5+dfsg1", True)
    assert engine_info.read('{"ClientInfo": null}').plugins == {}


@pytest.mark.parametrize(
    ("text", "complaint", "plugins"),
    [
        ('{"ServerVersion": "26.1.5"}\n', "", 0),
        # docker 28: the complaint is on the other stream.
        (
            '{"ClientInfo": {"Plugins": [{"Name": "buildx"}]}}\nCannot connect\n',
            "Cannot connect",
            1,
        ),
        # docker 26 and older: it is in the JSON, too.
        ('{"ServerErrors": ["no daemon", "at all"]}\nerrors pretty\n', "no daemon\nat all", 0),
        ("permission denied\n", "permission denied", 0),
        ("", "docker info says nothing", 0),
        ("{}\n", "the engine gives no version", 0),
    ],
)
def test_a_client_without_an_engine_is_read(text: str, complaint: str, plugins: int) -> None:
    info = engine_info.read(text)
    assert (info.complaint, len(info.plugins)) == (complaint, plugins)
    assert info.answers is (not complaint)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("git version 2.39.5", (2, 39, 5)),
        ("uv 0.13.8 (abc 2026-10-01)", (0, 13, 8)),
        ("github.com/docker/buildx v0.13.1 788433953af1", (0, 13, 1)),
        ("no number", ()),
    ],
)
def test_versions_are_read(text: str, version: tuple[int, ...]) -> None:
    assert version_of(text) == version


def test_free_space_of_a_folder_elsewhere_is_unknown(tmp_path: Path) -> None:
    assert free_bytes([tmp_path / "none"]) is None
    assert (free_bytes([tmp_path, tmp_path / "none"]) or 0) > 0


def test_devices_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, vendor in (("D128", "0x1002"), ("D129", "0x8086"), ("D130", "0x1234")):
        node = tmp_path / "drm" / f"render{number}" / "device"
        node.mkdir(parents=True)
        (node / "vendor").write_text(f"{vendor}\n")
    (tmp_path / "dev/dri").mkdir(parents=True)
    for name in ("kfd", "dri/renderD128", "dri/renderD130"):
        (tmp_path / "dev" / name).touch()
    smi = tmp_path / "bin/nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\necho 'NVIDIA L4, 580.95.05'\necho 'NVIDIA T4, 580.95.05'\n")
    smi.chmod(0o755)
    (tmp_path / "cdi").mkdir()
    (tmp_path / "cdi/nvidia.yaml").touch()
    monkeypatch.setenv("PATH", f"{smi.parent}:/usr/bin:/bin")
    found = read_devices(tmp_path / "dev", tmp_path / "drm", [tmp_path / "cdi"])
    assert found.nvidia_gpus == ("NVIDIA L4", "NVIDIA T4")
    assert (found.nvidia_driver, found.nvidia_cdi, found.kfd) == ((580, 95, 5), True, True)
    assert found.render_nodes == (
        (f"{tmp_path}/dev/dri/renderD128", "amd"),
        (f"{tmp_path}/dev/dri/renderD130", "0x1234"),
    )
    nothing = read_devices(tmp_path / "none", tmp_path / "none", [tmp_path / "none"])
    assert (nothing.kfd, nothing.render_nodes, nothing.nvidia_cdi) == (False, (), False)


def test_passwords_of_proxies_are_not_shown() -> None:
    for secret in ("me:secret", "me:se/cr@et", "me"):
        shown = without_password(f"HTTPS_PROXY=http://{secret}@proxy:3128")
        assert shown == "HTTPS_PROXY=http://***@proxy:3128"
    assert without_password("ALL_PROXY=me:secret@proxy:3128") == "ALL_PROXY=***@proxy:3128"
    assert without_password("NO_PROXY=a.example,b.example") == "NO_PROXY=a.example,b.example"


def test_a_silent_origin_does_not_hold_up_the_others() -> None:
    def slow() -> str:
        time.sleep(5)
        return ""

    start = time.monotonic()
    checks = {"slow": slow, "bad": lambda: "refused", "good": lambda: ""}
    found = together(checks, deadline=0.2)
    assert found == (
        Answer(name="slow", fault="no answer within 0.2 s"),
        Answer(name="bad", fault="refused"),
        Answer(name="good", fault=""),
    )
    assert time.monotonic() - start < 3


def test_an_address_that_refuses_is_out_of_reach() -> None:
    address = "https://127.0.0.1:9/"
    assert ask_address(address, IndexSettings()) == f"{address}: Connection refused"
    assert ask_address(address, IndexSettings(ca_bundle=Path("/nowhere/ca.crt"))) == (
        "/nowhere/ca.crt holds no usable CA certificates: [Errno 2] No such file or directory"
    )


def test_the_index_is_asked_with_the_persons_settings(tmp_path: Path) -> None:
    settings = PipSettings(index_url="http://127.0.0.1:9/simple")
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    assert "Connection refused" in ask_index(environ, settings)
