"""Setting up an engine: what is decided, what is written, and that a failure takes it back.

apt-get is a stand-in here, for the plans and faults that this machine's cannot be made to show.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from comfykiln.errors import NotPossibleError
from comfykiln.setup import apt, apt_lock, bootstrap, daemon, engine, engine_info, trixie
from comfykiln.setup.apt import Distribution
from comfykiln.setup.checkout import Checkout, Policy
from comfykiln.setup.engine import Machine
from comfykiln.setup.engine_info import EngineInfo

if TYPE_CHECKING:
    from pathlib import Path

BOOKWORM = Distribution(id="debian", codename="bookworm", name="Debian GNU/Linux 12 (bookworm)")
NOBLE = Distribution(id="ubuntu", codename="noble", name="Ubuntu 24.04 LTS")
FEDORA = Distribution(id="fedora", codename="", name="Fedora Linux 44")
SILENT = EngineInfo(complaint="Cannot connect to the Docker daemon")
NO_CLIENT = EngineInfo(complaint="the docker client is not installed", client=False)
NO_BUILDX = EngineInfo(facts={"ServerVersion": "26.1.5+dfsg1"})


def a_machine(
    distribution: Distribution = BOOKWORM,
    *,
    root: bool = True,
    daemon_installed: bool = False,
    policy: Policy = Policy.AUTO,
    remote: str = "",
) -> Machine:
    return Machine(
        distribution=distribution,
        root=root,
        daemon_installed=daemon_installed,
        policy=policy,
        remote=remote,
        for_user=not root,
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
    monkeypatch.setattr(engine_info, "PATIENCE", 1)
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
    with_buildx = EngineInfo(complaint="Cannot connect", plugins={"buildx": (0, 13, 1)})
    engine.refuse(with_buildx, a_machine(FEDORA, daemon_installed=True))


@pytest.mark.parametrize(
    ("found", "machine", "cause", "remedy"),
    [
        (
            NO_CLIENT,
            a_machine(policy=Policy.NEVER),
            "no Docker engine answers here, and KILN_SETUP=never forbids to set it up:",
            (
                "install these packages from Debian 13 (docs/setup.md has the pins): docker.io "
                "docker-cli docker-buildx docker-compose mmdebstrap ca-certificates; start "
                "dockerd; or allow ./kiln to do it"
            ),
        ),
        (
            NO_CLIENT,
            a_machine(NOBLE, root=False, policy=Policy.NEVER),
            "no Docker engine answers here, and KILN_SETUP=never forbids to set it up:",
            (
                "install these packages: docker.io docker-buildx docker-compose-v2 mmdebstrap "
                "ca-certificates uidmap; start dockerd; or allow ./kiln to do it"
            ),
        ),
        (
            EngineInfo(complaint="Cannot connect", plugins={"buildx": (0, 13, 1)}),
            a_machine(policy=Policy.NEVER, daemon_installed=True),
            "no Docker engine answers here, and KILN_SETUP=never forbids to set it up:",
            "start the Docker daemon (`systemctl start docker`, or `dockerd` as root)",
        ),
        (
            NO_BUILDX,
            a_machine(NOBLE, policy=Policy.NEVER),
            (
                "the docker command here has no buildx 0.13 or newer, and KILN_SETUP=never "
                "forbids to set it up"
            ),
            "install these packages: docker-buildx; or allow ./kiln to do it",
        ),
        (
            SILENT,
            a_machine(policy=Policy.UNSAID),
            "no Docker engine answers here, and only ./kiln sets it up:",
            "start the task with ./kiln",
        ),
        (
            SILENT,
            a_machine(FEDORA),
            (
                "no Docker engine answers here, and ./kiln installs it on Debian and Ubuntu only "
                "(this is Fedora Linux 44)"
            ),
            (
                "install Docker Engine 26.1 or newer with buildx 0.13 or newer, start it, and "
                "start the task again"
            ),
        ),
        (
            EngineInfo(complaint="dial tcp: refused"),
            a_machine(remote="context lab"),
            "the Docker engine at context lab does not answer:",
            (
                "start that engine and install a docker client for it, or unset DOCKER_HOST and "
                "DOCKER_CONTEXT (`docker context use default`) to use one of this machine"
            ),
        ),
        (
            EngineInfo(complaint="permission denied while trying to connect"),
            a_machine(root=False),
            "a Docker engine runs here, but you may not use it:",
            "run `sudo usermod -aG docker $USER`, log in again, and start the task again",
        ),
    ],
)
def test_everyone_else_is_told_what_to_do(
    apt_get: Path, found: EngineInfo, machine: Machine, cause: str, remedy: str
) -> None:
    assert apt_get.is_dir()
    with pytest.raises(NotPossibleError) as caught:
        engine.refuse(found, machine)
    assert caught.value.message.splitlines()[0] == cause
    assert caught.value.remedy == remedy


def test_who_is_not_root_gets_the_commands(apt_get: Path) -> None:
    assert apt_get.is_dir()
    with pytest.raises(NotPossibleError, match="only root can set it up") as caught:
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


@pytest.mark.parametrize(
    ("info", "machine", "packages"),
    [
        (
            NO_CLIENT,
            a_machine(),
            "docker.io docker-cli docker-buildx docker-compose mmdebstrap ca-certificates",
        ),
        # A client without a daemon, as people have who used another machine's engine.
        (SILENT, a_machine(), "docker.io docker-buildx docker-compose mmdebstrap ca-certificates"),
        (
            EngineInfo(complaint="x", plugins={"buildx": (0, 13, 1), "compose": (2, 26)}),
            a_machine(NOBLE),
            "docker.io mmdebstrap ca-certificates",
        ),
        # A daemon without buildx, or with one that is too old, or without a client.
        (NO_BUILDX, a_machine(daemon_installed=True), "docker-buildx"),
        (
            EngineInfo(facts={"ServerVersion": "26.1"}, plugins={"buildx": (0, 12, 9)}),
            a_machine(NOBLE, daemon_installed=True),
            "docker-buildx",
        ),
        (NO_CLIENT, a_machine(daemon_installed=True), "docker-cli docker-buildx"),
        (NO_CLIENT, a_machine(NOBLE, daemon_installed=True), "docker.io docker-buildx"),
    ],
)
def test_only_what_is_missing_is_installed(
    info: EngineInfo, machine: Machine, packages: str
) -> None:
    assert " ".join(engine.packages_for(info, machine)) == packages


def test_an_engine_that_is_too_old_is_not_for_the_set_up_to_change() -> None:
    assert engine.is_enough(EngineInfo(facts={"ServerVersion": "20.10.24+dfsg1"}))
    assert not engine.is_enough(NO_BUILDX)
    assert not engine.is_enough(SILENT)


@pytest.fixture
def apt_world(apt_get: Path) -> Path:
    """The programs beside apt-get, and a dpkg whose list the test writes."""
    programs = {
        "apt-cache": f"cat {apt_get}/policy",
        "apt-mark": f"cat {apt_get}/held",
        "dpkg-query": f"cat {apt_get}/list",
    }
    for name, script in programs.items():
        (apt_get / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (apt_get / "bin" / name).chmod(0o755)
    (apt_get / "policy").write_text(
        " 500 http://a/debian bookworm/main amd64 Packages\n"
        "     release v=12.15,o=Debian,a=oldstable,n=bookworm,l=Debian,c=main,b=amd64\n"
    )
    (apt_get / "held").write_text("")
    (apt_get / "list").write_text("installed\tpasswd\t1\ninstalled\told\t1\n")
    return apt_get


def test_a_refused_plan_is_not_carried_out(apt_world: Path, os_release: Path) -> None:
    assert os_release.is_file()
    (apt_world / "held").write_text("passwd\n")
    (apt_world / "answer").write_text(
        "echo 'Remv docker-ce [5:28]'\n"
        "echo 'Inst libc6 [2.36-9] (2.41-12 Debian:13.8/stable [amd64])'\n"
        "echo 'Inst passwd [1] (2 Debian:12.15/oldstable [amd64])'\n"
        "echo 'Inst docker.io (26.1.5 Debian:13.8/stable [amd64])'\n"
    )
    with pytest.raises(NotPossibleError) as caught:
        apt.install(["docker.io"], anywhere=["docker.io", "containerd"])
    assert str(caught.value) == (
        "./kiln does not install docker.io here:\n"
        "    it would remove docker-ce\n"
        "    it would take libc6 2.36-9 → 2.41-12 from Debian:13.8/stable\n"
        "    it would change passwd 1 → 2, which is on hold\n"
        "  → `apt-mark unhold passwd`, or install them by hand where that is what you want "
        "(docs/setup.md); then start the task again"
    )
    calls = (apt_world / "calls").read_text().splitlines()
    assert [("--simulate" in call) for call in calls] == [True]


@pytest.fixture
def os_release(apt_get: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = apt_get / "os-release"
    path.write_text("ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\n")
    monkeypatch.setattr(apt, "OS_RELEASE", path)
    return path


def test_maintenance_is_done_and_told(
    apt_world: Path, os_release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert os_release.is_file()
    after = "installed\\tpasswd\\t2\\ninstalled\\told\\t1\\ninstalled\\tuidmap\\t2\\n"
    (apt_world / "answer").write_text(
        'case "$*" in\n'
        "*--simulate*) echo 'Inst passwd [1] (2 Debian:12.15/oldstable [amd64])'"
        "; echo 'Inst uidmap (2 Debian:12.15/oldstable [amd64])' ;;\n"
        f"*) printf '{after}' >{apt_world}/list ;;\nesac\n"
    )
    apt.install(["uidmap"])
    assert capsys.readouterr().err == (
        "  changed: installed uidmap (for uidmap)\n  changed: upgraded passwd 1 → 2 (for uidmap)\n"
    )


def test_the_package_of_venv_is_told_once(
    apt_world: Path,
    os_release: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert os_release.is_file()
    monkeypatch.setattr("sys.executable", "/usr/bin/python3")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    package = f"python3.{sys.version_info.minor}-venv"
    (apt_world / "answer").write_text(
        'case "$*" in\n'
        f"*--simulate*) echo 'Inst {package} (3 Debian:12.15/oldstable [amd64])' ;;\n"
        f"install*) printf 'installed\\t{package}\\t3\\n' >>{apt_world}/list ;;\nesac\n"
    )
    bootstrap._install_venv_package(Checkout(root=apt_world, policy=Policy.AUTO))
    assert capsys.readouterr().err == f"  changed: installed {package} (for {package})\n"


@pytest.mark.parametrize(
    ("uid", "policy", "sudo"), [(0, Policy.NEVER, ""), (1000, Policy.AUTO, "sudo ")]
)
def test_who_is_to_install_the_package_of_venv_is_told_what_works_there(
    uid: int,
    policy: Policy,
    sudo: str,
    os_release: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.executable", "/usr/bin/python3")
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    package = f"python3.{sys.version_info.minor}-venv"
    with pytest.raises(NotPossibleError) as caught:
        bootstrap._install_venv_package(Checkout(root=os_release.parent, policy=policy))
    # A fresh machine has no package lists, and often no sudo.
    assert caught.value.remedy == (
        f"run `{sudo}apt-get update` and `{sudo}apt-get install {package}` (or install uv), "
        "and start the task again"
    )
    assert not (os_release.parent / "calls").exists()


def test_what_was_installed_before_a_failure_is_told(
    apt_world: Path, os_release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert os_release.is_file()
    after = "installed\\tpasswd\\t1\\ninstalled\\told\\t1\\ninstalled\\tiptables\\t1\\n"
    (apt_world / "answer").write_text(
        'case "$*" in *--simulate*) ;; *) '
        f"printf '{after}' >{apt_world}/list; echo 'E: dpkg was interrupted' >&2; exit 100 ;; esac"
    )
    with pytest.raises(NotPossibleError) as caught:
        apt.install(["docker.io"])
    assert str(caught.value) == (
        "apt-get could not install docker.io:\n    E: dpkg was interrupted\n"
        "  → do what apt asks for there, and start the task again"
    )
    assert capsys.readouterr().err == (
        "  changed: installed iptables (before `apt-get install docker.io` failed)\n"
    )


def test_a_success_that_installed_nothing_is_none(apt_world: Path, os_release: Path) -> None:
    assert apt_world.is_dir()
    assert os_release.is_file()
    with pytest.raises(NotPossibleError, match="reported success, but docker"):
        apt.install(["docker.io"])


def test_lists_that_another_apt_reads_are_waited_for(
    apt_get: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(apt_lock, "PAUSE", 0.01)
    (apt_get / "answer").write_text(
        f"[ $(wc -l <{apt_get}/calls) -gt 3 ] || {{ echo 'E: Could not get lock "
        "/var/lib/apt/lists/lock. It is held by process 812 (unattended-upgr)' >&2; exit 100; }"
    )
    apt.update("bookworm", sources=apt_get)
    assert len((apt_get / "calls").read_text().splitlines()) == 4
    assert capsys.readouterr().err == (
        "  waiting for process 812 (unattended-upgr), which holds apt's lock "
        "/var/lib/apt/lists/lock\n"
    )


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


def test_what_was_allowed_before_stays_allowed(apt_files: Path) -> None:
    assert apt_files.is_dir()
    trixie.allow(["docker.io", "containerd"], undo=ExitStack())
    before = trixie.PINS.read_text()
    undo = ExitStack()
    trixie.allow(["docker-buildx"], undo=undo)
    assert "Package: docker.io containerd docker-buildx\n" in trixie.PINS.read_text()
    undo.close()
    assert trixie.PINS.read_text() == before


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
    with pytest.raises(NotPossibleError, match="Unable to locate package"):
        engine._install(NO_CLIENT, a_machine())
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
        "# comment\nPRETTY_NAME='Ubuntu 24.04 LTS'\nID=ubuntu\nVERSION_ID='24.04'\n\n"
        'VERSION_CODENAME="noble"\nHOME_URL=x\n'
    )
    assert apt.distribution(path) == NOBLE
    assert apt.distribution(tmp_path / "none") == Distribution(
        id="", codename="", name="", rolling=True
    )


INFO = '{"ServerVersion":"27.5","ClientInfo":{"Plugins":[{"Name":"buildx","Version":"v0.20"}]}}'


@pytest.mark.parametrize("before", ["WARNING: a wrapper\n", "\n", "  "])
def test_lines_of_a_wrapper_do_not_hide_an_engine_that_answers(before: str) -> None:
    found = engine_info.read(f"{before}{INFO}\nWARNING: no swap limit\n")
    assert (found.version, found.buildx, found.complaint) == ("27.5", (0, 20), "")


@pytest.mark.parametrize(
    "said",
    [
        "{garbage",
        '{"host":{"arch":"amd64"},"store":{},"version":{"Version":"4.3.1"}}',
        '{"ServerVersion":"27.5","ClientInfo":"x"}',
        '{"ServerVersion":"27.5","ClientInfo":{"Plugins":[null]}}',
        '{"ServerVersion":"27.5","ClientInfo":{"Plugins":[{"Version":"1"}]}}',
        '{"ServerVersion":"27.5","DriverStatus":"x"}',
        '{"ServerVersion":"27.5","DriverStatus":["x"]}',
        '{"ServerVersion":"27.5","MemTotal":"much"}',
    ],
)
def test_another_program_under_dockers_name_is_told_and_gets_no_engine(
    dockerd: Path, said: str
) -> None:
    dockerd.with_name("docker").write_text(f"#!/bin/sh\necho '{said}'\n")
    with pytest.raises(NotPossibleError) as caught:
        engine.ensure(Policy.AUTO)
    start = f"the docker command here is not Docker's: its `docker info` prints {said[:60]!r}"
    assert caught.value.message == start
    assert "podman-docker" in caught.value.remedy
    assert not (dockerd.parents[1] / "calls").exists()


def test_a_client_for_another_machine_is_told_and_gets_no_engine(
    dockerd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dockerd.with_name("docker").write_bytes(b"\x7fELF of another processor")
    monkeypatch.setenv("PATH", str(dockerd.parent))
    with pytest.raises(NotPossibleError) as caught:
        engine.ensure(Policy.AUTO)
    assert caught.value.message == "the program `docker` cannot be started: Exec format error"


@pytest.mark.parametrize(
    ("chosen", "said", "told"),
    [("", "default", ""), ("", "lab", "context lab"), ("mine", "lab", "context mine")],
)
def test_the_context_is_asked_in_words_that_docker_20_10_knows(
    dockerd: Path, chosen: str, said: str, told: str
) -> None:
    dockerd.with_name("docker").write_text(
        f'#!/bin/sh\n[ "$1 $2" = "context inspect" ] && echo {said} && exit\n'
        "echo \"docker: 'show' is not a docker command.\" >&2; exit 1\n"
    )
    assert engine_info.chosen({"DOCKER_CONTEXT": chosen}) == told


def test_a_client_that_does_not_tell_its_context_is_told(dockerd: Path) -> None:
    assert dockerd.is_file()
    with pytest.raises(NotPossibleError, match="does not tell which engine it is set to use"):
        engine_info.chosen({})
