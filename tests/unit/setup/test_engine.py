"""Setting up an engine: what is decided, what is written, and that a failure takes it back.

apt-get is a stand-in here, for the plans and faults that this machine's cannot be made to show.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from comfykiln.errors import NotPossibleError
from comfykiln.setup import apt, daemon, engine, trixie
from comfykiln.setup.apt import Distribution
from comfykiln.setup.checkout import Policy
from comfykiln.setup.engine import Engine, Machine
from comfykiln.system.process import ProgramError

if TYPE_CHECKING:
    from pathlib import Path

BOOKWORM = Distribution(id="debian", codename="bookworm", name="Debian GNU/Linux 12 (bookworm)")
NOBLE = Distribution(id="ubuntu", codename="noble", name="Ubuntu 24.04 LTS")
FEDORA = Distribution(id="fedora", codename="", name="Fedora Linux 44")
SILENT = Engine(complaint="Cannot connect to the Docker daemon")


def a_machine(
    distribution: Distribution = BOOKWORM,
    *,
    root: bool = True,
    daemon_installed: bool = False,
    policy: Policy = Policy.AUTO,
) -> Machine:
    return Machine(
        distribution=distribution, root=root, daemon_installed=daemon_installed, policy=policy
    )


@pytest.fixture
def apt_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an apt-get on PATH that notes its arguments and runs the script written beside it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "apt-get"
    program.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/calls\n. {tmp_path}/answer\n')
    program.chmod(0o755)
    (tmp_path / "answer").write_text("exit 0")
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return tmp_path


def test_an_engine_that_hangs_gets_no_other_one_beside_it(
    dockerd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dockerd.with_name("docker").write_text("#!/bin/sh\nexec sleep 20\n")
    monkeypatch.setattr(engine, "PATIENCE", 1)
    with pytest.raises(NotPossibleError) as caught:
        engine.ensure(Policy.AUTO)
    assert str(caught.value) == (
        "a Docker engine is there, but gave no answer within 1 s\n"
        "  → look at its log, and restart it (`systemctl restart docker`)"
    )


def test_root_on_debian_and_ubuntu_may_get_an_engine(apt_get: Path) -> None:
    assert apt_get.is_dir()
    engine.refuse(SILENT, a_machine())
    engine.refuse(SILENT, a_machine(NOBLE))
    engine.refuse(SILENT, a_machine(FEDORA, daemon_installed=True))


@pytest.mark.parametrize(
    ("found", "machine", "cause", "remedy"),
    [
        (
            SILENT,
            a_machine(policy=Policy.NEVER),
            "no Docker engine answers here, and KILN_SETUP=never forbids to set one up:",
            (
                "install these packages from Debian 13 (docs/setup.md has the pins): docker.io "
                "docker-cli docker-buildx docker-compose mmdebstrap uidmap ca-certificates; start "
                "dockerd; or allow ./kiln to do it"
            ),
        ),
        (
            SILENT,
            a_machine(NOBLE, policy=Policy.NEVER),
            "no Docker engine answers here, and KILN_SETUP=never forbids to set one up:",
            (
                "install these packages: docker.io docker-buildx docker-compose-v2 mmdebstrap "
                "uidmap ca-certificates; start dockerd; or allow ./kiln to do it"
            ),
        ),
        (
            SILENT,
            a_machine(policy=Policy.NEVER, daemon_installed=True),
            "no Docker engine answers here, and KILN_SETUP=never forbids to set one up:",
            "start the Docker daemon (`systemctl start docker`, or `dockerd` as root)",
        ),
        (
            SILENT,
            a_machine(policy=Policy.UNSAID),
            "no Docker engine answers here, and only ./kiln sets one up:",
            "start the task with ./kiln",
        ),
        (
            SILENT,
            a_machine(FEDORA),
            (
                "no Docker engine answers here, and ./kiln installs one on Debian and Ubuntu only "
                "(this is Fedora Linux 44)"
            ),
            (
                "install Docker Engine 26.1 or newer with buildx 0.13 or newer, start it, and "
                "start the task again"
            ),
        ),
        (
            Engine(complaint="dial tcp: refused", remote="context lab"),
            a_machine(),
            "the Docker engine at context lab does not answer:",
            (
                "start that engine and install a docker client for it, or unset DOCKER_HOST and "
                "DOCKER_CONTEXT (`docker context use default`) to use one of this machine"
            ),
        ),
        (
            Engine(complaint="permission denied while trying to connect"),
            a_machine(root=False),
            "a Docker engine runs here, but you may not use it:",
            "run `sudo usermod -aG docker $USER`, log in again, and start the task again",
        ),
    ],
)
def test_everyone_else_is_told_what_to_do(
    apt_get: Path, found: Engine, machine: Machine, cause: str, remedy: str
) -> None:
    assert apt_get.is_dir()
    with pytest.raises(NotPossibleError) as caught:
        engine.refuse(found, machine)
    assert caught.value.message.splitlines()[0] == cause
    assert caught.value.remedy == remedy


def test_who_is_not_root_gets_the_commands(apt_get: Path) -> None:
    assert apt_get.is_dir()
    with pytest.raises(NotPossibleError, match="only root can set one up") as caught:
        engine.refuse(SILENT, a_machine(NOBLE, root=False))
    assert "/bin/python -P -m comfykiln.setup engine`" in caught.value.remedy
    assert caught.value.remedy.startswith("run `sudo /")


@pytest.mark.parametrize(
    ("mtu", "proxies", "fresh", "written"),
    [
        (1500, {}, True, {"features": {"containerd-snapshotter": True}}),
        (9001, {}, True, {"features": {"containerd-snapshotter": True}}),
        (None, {}, True, {"features": {"containerd-snapshotter": True}}),
        (1400, {}, True, {"features": {"containerd-snapshotter": True}, "mtu": 1400}),
        # The containerd store would hide the images that are there.
        (1500, {}, False, {}),
        (
            1500,
            {"HTTPS_PROXY": "http://me:secret@proxy:3128", "NO_PROXY": "lan", "ALL_PROXY": "x"},
            False,
            {"proxies": {"https-proxy": "http://me:secret@proxy:3128", "no-proxy": "lan"}},
        ),
    ],
)
def test_settings_of_a_fresh_engine(
    mtu: int | None,
    proxies: dict[str, str],
    fresh: bool,  # noqa: FBT001  # a table of cases
    written: dict[str, object],
) -> None:
    assert daemon.settings(mtu=mtu, proxies=proxies, fresh=fresh) == written


def test_the_mtu_is_that_of_the_default_route(tmp_path: Path) -> None:
    routes = tmp_path / "route"
    routes.write_text(
        "Iface\tDestination\tGateway \tFlags\n"
        "docker0\t000011AC\t00000000\t0001\n"
        "wg0\t00000000\t00000000\t0001\n"
    )
    for name, mtu in (("docker0", "1500"), ("wg0", "1420")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mtu").write_text(f"{mtu}\n")
    assert daemon.uplink_mtu(routes, tmp_path) == 1420
    routes.write_text("Iface\tDestination\tGateway \tFlags\n")
    assert daemon.uplink_mtu(routes, tmp_path) is None
    assert daemon.uplink_mtu(tmp_path / "none", tmp_path) is None


def test_settings_that_are_there_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "daemon.json"
    settings.write_text("{not even json")
    monkeypatch.setattr(daemon, "SETTINGS", settings)
    with ExitStack() as undo:
        daemon.configure(undo=undo)
    assert settings.read_text() == "{not even json"
    assert capsys.readouterr().err == f"  kept: {settings} as it is\n"


def test_new_settings_are_closed_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "docker/daemon.json"
    monkeypatch.setattr(daemon, "SETTINGS", settings)
    monkeypatch.setattr(daemon, "DATA", tmp_path)
    undo = ExitStack()
    daemon.configure(undo=undo)
    assert json.loads(settings.read_text())["features"] == {"containerd-snapshotter": True}
    assert settings.stat().st_mode & 0o777 == 0o600
    undo.close()
    assert not settings.exists()


def test_only_the_distributions_own_sources_are_read(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    for name, text in {
        "debian.sources": "Types: deb\nURIs: http://a/debian\nSuites: bookworm bookworm-updates\n",
        "third.list": "deb https://b.example/apt stable main\n",
        "pg.list": "deb https://c.example bookworm-pgdg main\n",
        "old.list.save": "deb http://d bookworm main\n",
        "ours.sources": "Suites: trixie\n",
        "other.sources": "Suites: bookworms\n",
    }.items():
        (parts / name).write_text(text)
    (tmp_path / "sources.list").write_text("deb http://e bookworm-security main\n")
    chosen = [path.name for path in apt.naming_files("bookworm", "trixie", sources=tmp_path)]
    assert chosen == ["sources.list", "debian.sources", "ours.sources", "pg.list"]
    assert apt.naming_files("", sources=tmp_path) == []


def test_unreadable_lists_are_said_and_do_not_stop_it(
    apt_get: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (apt_get / "answer").write_text("echo 'Get:1 fine'; echo 'E: Failed to fetch x' >&2; exit 100")
    apt.update("bookworm", sources=apt_get)
    assert capsys.readouterr().err == (
        "! apt could not read every package list:\n    E: Failed to fetch x\n"
    )


def test_a_plan_that_upgrades_something_else_is_refused(apt_get: Path) -> None:
    (apt_get / "answer").write_text(
        "echo 'Inst libc6 [2.36-9] (2.41-12 Debian:13/stable [amd64])'\n"
        "echo 'Inst containerd [1.6] (1.7.24 Debian:13/stable [amd64])'\n"
        "echo 'Inst docker.io (26.1.5 Debian:13/stable [amd64])'\n"
    )
    with pytest.raises(NotPossibleError) as caught:
        apt.install(["docker.io"], may_upgrade=["containerd"])
    assert str(caught.value) == (
        "installing docker.io would also upgrade libc6\n"
        "  → upgrade this machine by `apt-get upgrade` first, or install them by hand"
    )
    calls = (apt_get / "calls").read_text().splitlines()
    assert len(calls) == 1
    assert "--simulate" in calls[0]
    assert "--no-remove" in calls[0]


PRINTED = (
    "'http://mirror.example/debian/dists/bookworm/InRelease' a 0 \n"
    "'http://mirror.example/debian/dists/bookworm-updates/InRelease' b 0 \n"
    "'https://vendor.example/apt/dists/bookworm/InRelease' c 0 \n"
    "'http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' d 0 \n"
)


@pytest.fixture
def apt_files(apt_get: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(trixie, "SOURCE", apt_get / "etc/comfykiln-trixie.sources")
    monkeypatch.setattr(trixie, "PINS", apt_get / "etc/comfykiln-trixie")
    (apt_get / "printed").write_text(PRINTED)
    (apt_get / "answer").write_text(f'[ "$2" != --print-uris ] || cat {apt_get}/printed\n')
    return apt_get


def test_the_engine_alone_comes_from_trixie(apt_files: Path) -> None:
    undo = ExitStack()
    trixie.allow(["docker.io", "containerd"], undo=undo)
    assert trixie.SOURCE.read_text() == (
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )
    assert trixie.PINS.read_text() == (
        "Package: *\nPin: release o=Debian,n=trixie\nPin-Priority: -10\n\n"
        "Package: docker.io containerd\nPin: release o=Debian,n=trixie\nPin-Priority: 990\n"
    )
    before = trixie.PINS.read_bytes()
    # Its own source of an earlier run must not count as somebody's.
    with (apt_files / "printed").open("a") as printed:
        printed.write("'http://mirror.example/debian/dists/trixie/InRelease' e 0 \n")
    trixie.allow(["docker.io", "containerd"], undo=ExitStack())
    assert trixie.PINS.read_bytes() == before
    undo.close()
    assert list((apt_files / "etc").iterdir()) == []


def test_the_next_archive_is_tried_when_one_does_not_serve_trixie(apt_files: Path) -> None:
    (apt_files / "answer").write_text(
        f'if [ "$2" = --print-uris ]; then cat {apt_files}/printed; exit; fi\n'
        'for word in "$@"; do\n'
        "  case $word in Dir::Etc::SourceParts=*) folder=${word#*=};; esac\n"
        "done\n"
        'grep -q vendor.example "$folder"/* || { echo "E: no Release file" >&2; exit 100; }\n'
    )
    trixie.allow(["docker.io"], undo=ExitStack())
    assert "URIs: https://vendor.example/apt\n" in trixie.SOURCE.read_text()


def test_no_archive_with_trixie_is_an_error_that_leaves_nothing(apt_files: Path) -> None:
    (apt_files / "answer").write_text(
        f'if [ "$2" = --print-uris ]; then cat {apt_files}/printed; exit; fi\n'
        'echo "E: The repository is not signed." >&2; exit 100\n'
    )
    with pytest.raises(NotPossibleError) as caught:
        trixie.allow(["docker.io"], undo=ExitStack())
    assert caught.value.message == (
        "no source of this machine serves Debian 13 (trixie):\n"
        "    E: The repository is not signed.\n    E: The repository is not signed."
    )
    assert not trixie.SOURCE.exists()
    assert not trixie.PINS.exists()


def test_whoever_has_trixie_already_keeps_their_own_pins(apt_files: Path) -> None:
    (apt_files / "printed").write_text("'http://m/debian/dists/trixie/InRelease' a 0 \n")
    trixie.allow(["docker.io"], undo=ExitStack())
    assert not trixie.SOURCE.exists()
    assert trixie.PINS.read_text() == (
        "Package: docker.io\nPin: release o=Debian,n=trixie\nPin-Priority: 990\n"
    )


def test_a_failed_installation_takes_its_settings_back(
    apt_files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(daemon, "SETTINGS", apt_files / "etc/daemon.json")
    monkeypatch.setattr(daemon, "DATA", apt_files)
    with (apt_files / "answer").open("a") as answer:
        answer.write('[ "$1" != install ] || { echo "E: Unable to locate package" >&2; exit 100; }')
    with pytest.raises(ProgramError, match="Unable to locate package"):
        engine._install(a_machine())
    assert list((apt_files / "etc").iterdir()) == []
    said = capsys.readouterr().err
    assert f"  taken back: {apt_files}/etc/daemon.json\n" in said
    assert "changed: installed" not in said


@pytest.fixture
def dockerd(apt_get: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dockerd to be written by the test, beside a docker client that reaches no engine."""
    log = apt_get / "dockerd.log"
    log.write_text("failed to start daemon: an older start\n")
    monkeypatch.setattr(daemon, "LOG", log)
    monkeypatch.setattr(daemon, "SYSTEMD", apt_get / "none")
    programs = [apt_get / "bin" / name for name in ("docker", "dockerd")]
    for program in programs:
        program.write_text("#!/bin/sh\nexit 1\n")
        program.chmod(0o755)
    return programs[1]


@pytest.mark.parametrize(
    "words",
    ["failed to start daemon: no iptables", "unable to configure the Docker daemon with file x"],
)
def test_a_daemon_that_gives_up_is_shown_with_its_own_words(dockerd: Path, words: str) -> None:
    dockerd.write_text(f"#!/bin/sh\nsleep 0.2; echo '{words}' >&2; exit 1\n")
    start = time.monotonic()
    with pytest.raises(NotPossibleError) as caught:
        daemon.start()
    assert time.monotonic() - start < daemon.PATIENCE / 2
    assert caught.value.message == (
        f"the Docker daemon does not answer; the end of its log:\n    {words}"
    )


def test_a_daemon_finds_its_programs_where_the_path_of_su_has_no_system_folders(
    dockerd: Path,
) -> None:
    dockerd.write_text('#!/bin/sh\necho "PATH is $PATH" >&2\n')
    with pytest.raises(NotPossibleError) as caught:
        daemon.start()
    assert caught.value.message.endswith(f"PATH is {os.environ['PATH']}{daemon.SYSTEM_PATH}")


def test_the_distribution_is_read_from_os_release(tmp_path: Path) -> None:
    path = tmp_path / "os-release"
    path.write_text(
        "# comment\nPRETTY_NAME='Ubuntu 24.04 LTS'\nID=ubuntu\n\n"
        'VERSION_CODENAME="noble"\nHOME_URL=x\n'
    )
    assert apt.distribution(path) == NOBLE
    assert apt.distribution(tmp_path / "none") == Distribution(id="", codename="", name="")
