"""./kiln's set-up on machines in every state that people have them in, with a real apt.

Debian 12 and 13 in containers that are thrown away. Where a whole run would only repeat what
another one shows, apt's own simulation of it is judged, and nothing is installed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.support.machines import DEB822, SOURCES, Judgement, Machine, Said
from tests.support.workshop import Workshop, as_deb822, backports

from comfykiln.network.client import UnavailableError
from comfykiln.origins import apt
from comfykiln.setup import daemon, trixie
from comfykiln.setup.engine import FROM_TRIXIE

if TYPE_CHECKING:
    from collections.abc import Iterator

SUITES = ("bookworm", "trixie")
PLUGINS = ("docker-cli", "docker-buildx", "docker-compose")
ALL = ["docker.io", *PLUGINS, "mmdebstrap"]
USER = {"SUDO_UID": "1000"}
LISTS_LOCK = "/var/lib/apt/lists/lock"
DPKG_LOCK = "/var/lib/dpkg/lock-frontend"


def unavailable() -> str:
    """Return why no Debian machine can be made here, or nothing."""
    if shutil.which("mmdebstrap") is None:
        return "mmdebstrap is not installed"
    try:
        apt.debian_sources("bookworm")
    except UnavailableError as error:
        return str(error)
    return ""


pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(unavailable() != "", reason=unavailable()),
]


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    made = Workshop()
    try:
        yield made
    finally:
        made.close()


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """A bare machine after its first set-up: what was said, what dpkg had before and after."""

    said: Said
    before: dict[str, str]
    after: dict[str, str]
    settings: dict[str, object]
    uplink: int
    connected: Said
    again: Said
    image: str


@pytest.fixture(scope="module", params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def fresh(suite: str, workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """Set a bare machine up, with sources in the newer of apt's two forms."""
    with workshop.machine(suite, bare=True, engine=True) as machine:
        machine.sh('rm "$1"', SOURCES)
        machine.write(DEB822, as_deb822(apt.debian_sources(suite)))
        before = machine.packages()
        said = machine.kiln()
        after = machine.packages()
        settings = json.loads(machine.sh(f"cat {daemon.SETTINGS}"))
        uplink = int(machine.sh("cat /sys/class/net/eth0/mtu"))
        connected, again = machine.connect(), machine.kiln()
        # The daemon that the next machines start must not find this one's remains.
        machine.sh("kill $(cat /run/docker.pid); while [ -e /run/docker.pid ]; do sleep 0.1; done")
        machine.sh("rm -rf /run/docker /run/docker.sock /run/containerd")
        image = workshop.keep(machine, tmp_path_factory.mktemp("machine"))
    return Fresh(
        said=said,
        before=before,
        after=after,
        settings=settings,
        uplink=uplink,
        connected=connected,
        again=again,
        image=image,
    )


def accepted(machine: Machine, **environ: str) -> Judgement:
    """Judge the machine's plan, which must be one that is carried out."""
    judgement, said = machine.judge(**environ)
    assert judgement is not None, said.err
    assert said.status == 0
    assert "could not read every package list" not in said.err
    return judgement


def refused(machine: Machine, **environ: str) -> Said:
    """Judge the machine's plan, which must be refused before anything is installed."""
    before = machine.packages()
    judgement, said = machine.judge(**environ)
    assert judgement is None
    assert said.status == 3, said.err
    assert machine.packages() == before
    assert machine.ours() == []
    return said


def told_as_it_is(said: Said, before: dict[str, str], after: dict[str, str]) -> None:
    """What was said to have changed is what dpkg has otherwise now."""
    assert said.installed == after.keys() - before.keys()
    assert said.upgraded == {
        (name, old, after[name]) for name, old in before.items() if after[name] != old
    }


def test_a_fresh_machine_gets_an_engine(fresh: Fresh, suite: str) -> None:
    assert fresh.said.status == 0, fresh.said.err
    assert fresh.said.installed >= {*ALL, "containerd", "runc", "iptables"}
    told_as_it_is(fresh.said, fresh.before, fresh.after)
    assert "dockerd started in the background" in fresh.said.err
    assert ("comfykiln-trixie.sources" in fresh.said.err) is (suite == "bookworm")
    # Larger frames than the uplink carries would be lost.
    expected = {"mtu": fresh.uplink} if fresh.uplink < daemon.ETHERNET_MTU else {}
    assert fresh.settings == {"features": {"containerd-snapshotter": True}, **expected}


def test_the_engine_serves_a_task_and_is_left_alone(fresh: Fresh) -> None:
    assert fresh.connected.status == 0, fresh.connected.err
    assert fresh.connected.out.startswith("26.1")
    assert fresh.again == Said(status=0, out="", err="")


def test_only_the_engine_comes_from_the_next_release(workshop: Workshop) -> None:
    with workshop.machine("bookworm") as machine:
        changes = accepted(machine, **USER).changes
    stable = {
        name
        for name, (_, *releases) in changes.items()
        if any("Debian:13" in release or "/stable" in release for release in releases)
    }
    assert stable == set(FROM_TRIXIE)
    assert "uidmap" in changes.keys() - stable


def test_one_line_sources_serve_as_well(workshop: Workshop, suite: str) -> None:
    with workshop.machine(suite) as machine:
        assert accepted(machine).packages == ALL


def test_a_machine_that_is_behind_is_brought_up_to_date_where_needed(workshop: Workshop) -> None:
    """Debian 12: uidmap brings its siblings of the same source with it, iptables its library."""
    older = ("login", "passwd", "libxtables12")
    with workshop.machine("bookworm", engine=True) as machine:
        machine.make_older(*older, "ca-certificates")
        before = machine.packages()
        said = machine.kiln(**USER)
        after = machine.packages()
    assert said.status == 0, said.err
    told_as_it_is(said, before, after)
    assert {name for name, _, _ in said.upgraded} == set(older)
    assert said.installed >= {"uidmap", "libsubid4", "docker.io"}


def test_a_machine_that_is_behind_may_be_set_up(workshop: Workshop) -> None:
    older = ("login.defs", "passwd", "libxtables12")
    with workshop.machine("trixie") as machine:
        machine.make_older(*older)
        changes = accepted(machine, **USER).changes
    assert {name for name, (old, *_) in changes.items() if old} == set(older)
    assert "uidmap" in changes


def test_a_hold_that_is_in_the_way_is_the_persons_to_take_off(
    workshop: Workshop, suite: str
) -> None:
    with workshop.machine(suite) as machine:
        machine.make_older("libxtables12")
        machine.sh("apt-mark hold libxtables12")
        said = refused(machine)
        assert "which is on hold" in said.err
        assert "libxtables12" in said.err
        assert said.commands == ["apt-mark unhold libxtables12"]
        machine.type(said.commands[0])
        assert "libxtables12" in accepted(machine).changes


def test_a_hold_that_is_in_nobodys_way_does_not_matter(workshop: Workshop, suite: str) -> None:
    held = ("passwd", "ca-certificates", "git")
    with workshop.machine(suite) as machine:
        machine.make_older(*held)
        machine.sh('apt-mark hold "$@"', *held)
        judgement = accepted(machine, **USER)
    assert not judgement.changes.keys() & set(held)
    assert judgement.packages == [*ALL, "uidmap"]


def test_a_client_without_a_daemon_gets_the_daemon(
    workshop: Workshop, fresh: Fresh, suite: str
) -> None:
    with workshop.machine(suite, image=fresh.image) as machine:
        machine.sh("dpkg --purge docker.io containerd")
        judgement = accepted(machine)
    assert judgement.packages == ["docker.io"]
    assert judgement.changes.keys() == {"docker.io", "containerd"}


def test_a_daemon_without_buildx_gets_it_and_goes_on(
    workshop: Workshop, fresh: Fresh, suite: str
) -> None:
    with workshop.machine(suite, image=fresh.image, engine=True) as machine:
        machine.sh("dpkg --purge docker-buildx")
        pid, before = machine.start_daemon(), machine.packages()
        assert machine.connect().status == 3
        said = machine.kiln()
        assert said.status == 0, said.err
        assert said.installed == {"docker-buildx"}
        told_as_it_is(said, before, machine.packages())
        assert machine.connect().status == 0
        assert machine.pid() == pid


def test_a_daemon_without_a_client_gets_one_and_goes_on(
    workshop: Workshop, fresh: Fresh, suite: str
) -> None:
    with workshop.machine(suite, image=fresh.image, engine=True) as machine:
        machine.sh('dpkg --purge "$@"', *PLUGINS)
        pid, before = machine.start_daemon(), machine.packages()
        said = machine.kiln()
        assert said.status == 0, said.err
        assert said.installed == {"docker-cli", "docker-buildx"}
        told_as_it_is(said, before, machine.packages())
        assert machine.connect().status == 0
        assert machine.pid() == pid


def test_a_client_from_elsewhere_is_used(workshop: Workshop, fresh: Fresh, suite: str) -> None:
    with workshop.machine(suite, image=fresh.image, engine=True) as machine:
        machine.sh("cp /usr/bin/docker /usr/local/bin/ && dpkg --purge docker-cli docker-buildx")
        pid = machine.start_daemon()
        said = machine.kiln()
        assert said.status == 0, said.err
        assert said.installed == {"docker-buildx"}
        assert machine.connect().status == 0
        assert machine.pid() == pid
        assert machine.sh("command -v docker") == "/usr/local/bin/docker"


def test_a_service_manager_that_does_not_run_is_none(
    workshop: Workshop, fresh: Fresh, suite: str
) -> None:
    with workshop.machine(suite, image=fresh.image, engine=True) as machine:
        machine.sh("dpkg --purge docker.io")
        machine.sh("apt-get install --yes --quiet --no-install-recommends systemd")
        assert machine.run("systemctl", "is-system-running").status != 0
        said = machine.kiln()
        assert said.status == 0, said.err
        assert "dockerd started in the background" in said.err
        assert machine.connect().status == 0


@pytest.fixture
def old_engine(workshop: Workshop) -> Iterator[Machine]:
    """Debian 12 with its own Docker 20.10, which does not run."""
    with workshop.machine("bookworm", engine=True) as machine:
        machine.sh("apt-get install --yes --quiet --no-install-recommends docker.io")
        yield machine


def test_debian_12s_own_engine_is_not_touched_and_can_be_replaced(old_engine: Machine) -> None:
    before = old_engine.packages()
    assert before["docker.io"].startswith("20.10")
    stopped = old_engine.kiln()
    assert stopped.status == 3
    assert "Docker Engine is 20.10.24, older than 26.1\n" in stopped.err
    assert stopped.commands == ["apt-get remove docker.io"]

    pid = old_engine.start_daemon()
    old_engine.sh("tar c -C /etc hostname | docker import - kept:1")
    assert old_engine.kiln() == Said(status=0, out="", err="")
    asked = old_engine.connect()
    assert asked.status == 3
    assert asked.err.startswith("Docker Engine is 20.10.24+dfsg1, older than 26.1\n")
    assert (old_engine.pid(), old_engine.packages()) == (pid, before)
    assert old_engine.ours() == []

    assert len(asked.commands) == 2
    for command in asked.commands:
        old_engine.type(command)
    said = old_engine.kiln()
    assert said.status == 0, said.err
    assert old_engine.connect().out.startswith("26.1")
    assert old_engine.sh("docker images --format '{{.Repository}}:{{.Tag}}'") == "kept:1"


def test_backports_give_nothing_unasked(workshop: Workshop, suite: str) -> None:
    with workshop.machine(suite) as machine:
        own = apt.debian_sources(suite)
        machine.write(SOURCES, own + backports(own, suite))
        changes = accepted(machine, **USER).changes
        assert f"{suite}-backports" in machine.sh("apt-cache policy")
    assert not [name for name, row in changes.items() if "ackports" in str(row)]


def a_backport(machine: Machine) -> str:
    """Make an archive of backports with a tini that is newer than the release's; its source."""
    fields = machine.sh(
        "apt-cache show --no-all-versions tini | grep -vE '^(Version|SHA256|Size):'"
    )
    packages = f"{fields}\nVersion: 99~bpo\nSize: 1\nSHA256: {'0' * 64}\n"
    data = packages.encode()
    digest = hashlib.sha256(data).hexdigest()
    architecture = machine.sh("dpkg --print-architecture")
    place = f"main/binary-{architecture}/Packages"
    folder = f"/srv/extra/dists/{machine.suite}-backports"
    machine.write(f"{folder}/{place}", packages)
    machine.write(
        f"{folder}/Release",
        "Origin: Debian Backports\nLabel: Debian Backports\nSuite: stable-backports\n"
        f"Codename: {machine.suite}-backports\nArchitectures: {architecture}\nComponents: main\n"
        "NotAutomatic: yes\nButAutomaticUpgrades: yes\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n"
        f"SHA256:\n {digest} {len(data)} {place}\n",
    )
    return f"deb [trusted=yes] file:/srv/extra {machine.suite}-backports main\n"


def test_backports_that_are_preferred_are_refused(workshop: Workshop, suite: str) -> None:
    with workshop.machine(suite) as machine:
        machine.write("/etc/apt/sources.list.d/extra.list", a_backport(machine))
        changes = accepted(machine).changes
        assert "ackports" not in str(changes["tini"])
        machine.write(
            "/etc/apt/preferences.d/extra",
            f"Package: *\nPin: release n={suite}-backports\nPin-Priority: 995\n",
        )
        said = refused(machine)
    assert "it would take tini 99~bpo from Debian Backports:stable-backports" in said.err


def test_what_apt_cannot_solve_is_told_in_its_own_words(workshop: Workshop, suite: str) -> None:
    with workshop.machine(suite) as machine:
        machine.write(
            "/etc/apt/preferences.d/extra", "Package: iptables\nPin: release *\nPin-Priority: -1\n"
        )
        said = refused(machine)
    assert "docker.io : Depends: iptables but it is not" in said.err


def test_a_removal_is_the_persons_to_decide(workshop: Workshop, suite: str) -> None:
    with workshop.machine(suite) as machine:
        assert machine.add_package("rival", "Conflicts: docker.io\n").status == 0
        said = refused(machine)
        assert "it would remove rival" in said.err
        machine.sh("apt-get remove --yes rival")
        assert accepted(machine).packages == ALL


def test_lists_that_another_apt_reads_are_waited_for(workshop: Workshop, suite: str) -> None:
    with workshop.machine(suite) as machine:
        machine.hold_lock(LISTS_LOCK)
        early = machine.kiln_with_patience(1)
        assert early.status == 3
        assert f"(python3) has held apt's lock {LISTS_LOCK} for 1 s\n" in early.err
        assert machine.ours() == []
        said = machine.kiln_watched("waiting for", machine.release_lock, only_judge=True)
    assert said.status == 0, said.err
    assert said.err.count(f"(python3), which holds apt's lock {LISTS_LOCK}\n") == 1
    assert "installing docker.io" in said.err


def test_another_dpkg_is_waited_for(workshop: Workshop, fresh: Fresh, suite: str) -> None:
    with workshop.machine(suite, image=fresh.image, engine=True) as machine:
        machine.sh("dpkg --purge docker-buildx")
        machine.start_daemon()
        machine.hold_lock(DPKG_LOCK)
        early = machine.kiln_with_patience(1)
        assert early.status == 3
        assert f"(python3) has held apt's lock {DPKG_LOCK} for 1 s\n" in early.err
        said = machine.kiln_watched("waiting for", machine.release_lock)
    assert said.status == 0, said.err
    assert said.err.count(f"(python3), which holds apt's lock {DPKG_LOCK}\n") == 1
    assert said.installed == {"docker-buildx"}


def test_a_dpkg_that_was_interrupted_is_the_persons_to_fix(workshop: Workshop, suite: str) -> None:
    with workshop.machine(suite) as machine:
        killed = machine.add_package(
            "halted", postinst="[ -e /halted ] || { touch /halted; kill -9 $PPID; }"
        )
        assert killed.status != 0
        said = machine.kiln()
        assert said.status == 3
        assert "you must manually run 'dpkg --configure -a'" in said.err
        assert "do what apt asks for there" in said.remedy
        assert machine.ours() == []
        assert said.installed == set()
        machine.sh("dpkg --configure -a")
        # What kept the installation away was this alone.
        machine.sh("apt-get install --yes --quiet --no-install-recommends tini")


def test_an_archive_out_of_reach_is_said_at_once(workshop: Workshop, suite: str) -> None:
    with workshop.cut_off(suite) as machine:
        said = refused(machine)
    assert "Failed to fetch" in said.err
    assert "fix" in said.remedy


def test_an_archive_without_the_next_release_is_said(workshop: Workshop) -> None:
    with workshop.machine("bookworm") as machine:
        place = "/srv/old/dists/bookworm"
        machine.sh(
            f"mkdir -p {place}/main/binary-$(dpkg --print-architecture)\n"
            f"cp /var/lib/apt/lists/*_dists_bookworm_InRelease {place}/InRelease\n"
            "ln -s /var/lib/apt/lists/*_dists_bookworm_main_binary-*_Packages "
            f"{place}/main/binary-$(dpkg --print-architecture)/Packages\n"
        )
        own = machine.sh(f"cat {SOURCES}")
        machine.write(SOURCES, f"deb [signed-by={trixie.KEYRING}] file:/srv/old bookworm main\n")
        said = refused(machine)
        assert "no source of this machine serves Debian 13 (trixie):" in said.err
        assert "file:/srv/old trixie Release" in said.err
        assert "add Debian's own to /etc/apt/sources.list.d" in said.remedy
        machine.write(SOURCES, own + "\n")
        assert accepted(machine).packages == ALL
