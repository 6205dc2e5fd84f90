from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.machine import ENGINE, GOOD, reached

from comfykiln.cli import doctor
from comfykiln.doctor.answers import REFUSED, Answer, ask_address, ask_index, together
from comfykiln.doctor.findings import State, limited, missing, ok, unknown
from comfykiln.doctor.judge import judge
from comfykiln.doctor.machine import (
    ca_bundle_fault,
    engine_of,
    free_bytes,
    is_here,
    program_version,
    why_no_base,
    without_password,
)
from comfykiln.doctor.needs import addresses, read_needs
from comfykiln.network.indexes import IndexSettings
from comfykiln.network.pip import PipSettings
from comfykiln.origins import apt
from comfykiln.setup import engine_info
from comfykiln.setup.engine_info import version_of

if TYPE_CHECKING:
    from comfykiln.doctor.findings import Finding
    from comfykiln.doctor.machine import Machine

ROOT = Path(__file__).parents[3]
NEEDS = read_needs(ROOT)
GIGA = 10**9


def states(machine: Machine) -> dict[str, str]:
    """Return the state of everything that is not ok."""
    report = judge(machine, NEEDS)
    return {f.id: f.state.value for f in report.findings if f.state is not State.OK}


def test_a_good_machine_in_full() -> None:
    four = [need for need in NEEDS if need.target in {"cpu", "cuda", "rocm", "xpu"}]
    assert doctor.as_text(judge(GOOD, four)).splitlines() == [
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
        (
            "missing  run.cuda                      nvidia-smi is not installed: no NVIDIA GPU is "
            "known"
        ),
        "                                       → install the driver of the device",
        "missing  run.rocm                      this machine has no /dev/kfd",
        "                                       → install the driver of the device",
        "missing  run.xpu                       this machine has no /dev/dri/renderD*",
        "                                       → install the driver of the device",
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
    machine = replace(
        GOOD,
        engine=None,
        engine_complaint="Cannot connect to the Docker daemon.\nIs it running?",
        buildx=None,
        compose=None,
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
            for name in (need.target for need in NEEDS)
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
        "not from here, for want of: 16 GB of free disk"
    )
    older = replace(small, engine=replace(ENGINE, free=5 * GIGA, containerd_store=False))
    assert judge(older, NEEDS)["build.cpu"].text == (
        "not from here, for want of: 9 GB of free disk"
    )
    built = replace(small, images=("comfykiln/core:cpu",))
    assert judge(built, NEEDS)["build.cpu"].state is State.OK
    assert judge(built, NEEDS)["build.cuda"].state is State.MISSING
    assert judge(built, NEEDS)["disk"].state is State.LIMITED


def test_an_engine_elsewhere_has_an_unknown_disk() -> None:
    report = judge(replace(GOOD, engine=replace(ENGINE, free=None)), NEEDS)
    assert report["disk"] == unknown(
        "disk", "/var/lib/docker of the engine cannot be seen from here: how much is free?"
    )
    text = "core and complete, but cannot be judged here: disk"
    assert report["build.rocm"] == unknown("build.rocm", text)
    assert report.ready


ELSEWHERE = replace(ENGINE, here=False, free=None)


@pytest.mark.parametrize(
    ("change", "finding", "builds", "runs"),
    [
        (
            {"git": ()},
            unknown("git", "git is there, but tells no version", "run `git --version`"),
            "unknown",
            "ok",
        ),
        (
            {"uv": ()},
            unknown("uv", "uv is there, but tells no version", "run `uv --version`"),
            "unknown",
            "ok",
        ),
        (
            {"engine": replace(ENGINE, version=())},
            missing(
                "engine",
                "the engine tells no version that can be read, so it is taken for one before 26.1",
                "install Docker Engine 26.1 or newer",
            ),
            "missing",
            "missing",
        ),
        (
            {"engine": replace(ENGINE, architecture="aarch64")},
            unknown(
                "engine",
                (
                    "Docker 26.1.5 on Debian GNU/Linux 12 (bookworm), aarch64: images are built "
                    "and tried on x86_64 only"
                ),
            ),
            "unknown",
            "unknown",
        ),
        (
            {"buildx": ()},
            missing(
                "buildx",
                (
                    "tells no version that can be read, so it is taken for one before 0.13: "
                    "nothing can be built"
                ),
                "install docker-buildx 0.13 or newer (a plugin of the docker client)",
            ),
            "missing",
            "missing",
        ),
        (
            {"compose": ()},
            limited(
                "compose",
                (
                    "tells no version that can be read, so it is taken for one before 2: "
                    "compose.yaml cannot be used"
                ),
                "install docker-compose 2 or newer (a plugin of the docker client)",
            ),
            "ok",
            "ok",
        ),
        (
            {"engine": replace(ENGINE, memory=0)},
            unknown("memory", "the engine does not tell"),
            "ok",
            "ok",
        ),
        (
            {"engine": replace(ENGINE, cpus=0)},
            unknown("cpus", "the engine does not tell"),
            "ok",
            "ok",
        ),
        (
            {"engine": ELSEWHERE},
            unknown(
                "disk", "/var/lib/docker of the engine cannot be seen from here: how much is free?"
            ),
            "unknown",
            "ok",
        ),
        (
            {"mmdebstrap_fault": "the keyring is missing"},
            limited(
                "mmdebstrap",
                ("of no use here: the keyring is missing; base images come from docker.io only"),
                "",
            ),
            "ok",
            "ok",
        ),
        (
            {"ca_bundle_fault": "holds no certificate of a CA"},
            missing(
                "ca-bundle",
                "/etc/ssl/certs/ca-certificates.crt: holds no certificate of a CA",
                "fix SSL_CERT_FILE, PIP_CERT or REQUESTS_CA_BUNDLE",
            ),
            "missing",
            "ok",
        ),
        (
            {
                "engine": None,
                "engine_complaint": "a Docker engine is there, but gave no answer\n within 30 s",
                "engine_remedy": "restart it",
            },
            missing(
                "engine", "a Docker engine is there, but gave no answer within 30 s", "restart it"
            ),
            "missing",
            "missing",
        ),
    ],
)
def test_what_cannot_be_judged_is_never_ok(
    change: dict[str, Any], finding: Finding, builds: str, runs: str
) -> None:
    report = judge(replace(GOOD, **change), NEEDS)
    assert report[finding.id] == finding
    assert (report["build.cpu"].state, report["run.cpu"].state) == (builds, runs)


def test_a_base_needs_a_mmdebstrap_that_works() -> None:
    change = {"mmdebstrap_fault": "no namespace", "reach": reached("package-index")}
    report = judge(replace(GOOD, **change), NEEDS)  # type: ignore[arg-type]  # two of its fields
    assert report["build.cpu"].text == (
        "not from here, for want of: a base image (docker.io or mmdebstrap)"
    )


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        ({"git": None}, "git"),
        ({"uv": None}, "uv"),
        ({"ca_bundle_fault": "[Errno 13] Permission denied"}, "ca-bundle"),
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
    engine = engine_of(DOCKER_INFO, here=True)
    assert (engine.version, engine.containerd_store, engine.rootless) == ((26, 1, 5), True, True)
    assert engine.runtimes == ("nvidia", "runc")
    older = DOCKER_INFO | {"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]]}
    assert engine_of(older | {"DriverStatus": None}, here=True).containerd_store is False
    assert engine_of(older, here=True).storage == "overlay2"
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


def test_a_program_that_tells_no_version_is_there_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("comfykiln.doctor.machine.PATIENCE", 1)
    program = tmp_path / "kiln-tool"
    assert program_version(["kiln-tool"]) is None
    for body, version in (
        ("echo 1.2.3", (1, 2, 3)),
        ("echo hello", ()),
        ("exit 3", ()),
        ("exec sleep 9", ()),
    ):
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        assert program_version(["kiln-tool"]) == version
    program.write_bytes(b"\x7fELF of another processor")
    assert program_version(["kiln-tool"]) == ()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"cpus": 0}, "an unknown number of CPUs, 16 GB of memory"),
        ({"memory": 0}, "4 CPUs, an unknown amount of memory"),
    ],
)
def test_an_engine_that_tells_no_size_is_not_given_one(change: dict[str, int], text: str) -> None:
    assert GOOD.engine is not None
    engine = replace(GOOD.engine, **{"cpus": 4, "memory": 16 * 10**9, **change})  # type: ignore[arg-type]  # sizes alone
    report = judge(replace(GOOD, engine=engine), NEEDS)
    assert report["run.cpu"] == ok("run.cpu", text)


def test_only_an_engine_that_is_surely_here_is_taken_for_it(tmp_path: Path) -> None:
    info = {"Name": socket.gethostname(), "DockerRootDir": str(tmp_path)}
    assert is_here(info, {})
    assert is_here(info, {"DOCKER_HOST": "unix:///run/docker.sock"})
    assert not is_here(info, {"DOCKER_HOST": "tcp://127.0.0.1:2375"})
    assert not is_here(info | {"Name": "docker-desktop"}, {})
    assert not is_here(info | {"DockerRootDir": str(tmp_path / "none")}, {})
    assert not is_here({}, {})
    engine = engine_of(DOCKER_INFO | {"DockerRootDir": str(tmp_path)}, here=False)
    assert (engine.here, engine.free) == (False, None)


def test_an_engine_that_says_little_is_read() -> None:
    engine = engine_of({"ServerVersion": "dev"}, here=False)
    assert (engine.version, engine.memory, engine.cpus, engine.architecture) == ((), 0, 0, "")


@pytest.mark.parametrize(
    ("user", "programs", "why"),
    [
        (1000, {"newuidmap": "", "mmdebstrap": "exit 1"}, "this user may make no namespace of"),
        (1000, {"newuidmap": "", "mmdebstrap": ""}, "this host has no apt, so no Debian archive"),
        (0, {"mmdebstrap": "exit 1"}, "this host has no apt, so no Debian archive is known"),
        (0, {"apt-get": "exit 1"}, "apt-get tells no sources"),
        (0, {"apt-get": ""}, "apt on this host names no Debian archive for trixie"),
    ],
)
def test_why_mmdebstrap_could_make_no_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, programs: dict[str, str], why: str
) -> None:
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr(apt, "KEYRING", tmp_path / "keyring")
    assert why_no_base(["trixie"]) == (
        f"{tmp_path}/keyring is missing (the package debian-archive-keyring)"
    )
    (tmp_path / "keyring").touch()
    assert why_no_base(["trixie"]).startswith(why)


def test_a_ca_bundle_has_certificates(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.crt"
    assert "No such file" in ca_bundle_fault(bundle)
    assert "Is a directory" in ca_bundle_fault(tmp_path)
    bundle.write_text("nonsense")
    assert "no certificate" in ca_bundle_fault(bundle).lower()


def test_a_proxy_that_answers_in_an_origins_place_is_no_answer() -> None:
    assert {502, 503, 504} < REFUSED


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
