"""An engine that is too old: what is said of it depends on where it came from and how it runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from comfykiln.errors import NotPossibleError
from comfykiln.setup import apt, apt_lock, daemon, engine, old_engine
from comfykiln.setup.checkout import Policy
from comfykiln.system.process import ProgramError

if TYPE_CHECKING:
    from pathlib import Path

BY_HAND = "upgrade to 26.1 or newer (docs/setup.md)"
AFTERWARDS = (
    ", which stops its containers and keeps its images and volumes; then start the task with "
    "./kiln, which installs a newer one"
)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Debian machine with a dockerd 20.10 of the distribution's, and no service manager."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in {
        "apt-get": "exit 0",
        "docker": "echo 'Cannot connect' >&2; exit 1",
        "dockerd": "echo 'Docker version 20.10.24+dfsg1, build 5d6db84'",
        "dpkg-query": f"echo 'docker.io: {folder}/dockerd'",
    }.items():
        write(folder / name, script)
    (tmp_path / "os-release").write_text("ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\n")
    monkeypatch.setattr(apt, "OS_RELEASE", tmp_path / "os-release")
    monkeypatch.setattr(daemon, "SYSTEMD", tmp_path / "systemd")
    monkeypatch.setattr(daemon, "PID", tmp_path / "docker.pid")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return folder


def write(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_the_distributions_own_one_is_removed_by_a_person(programs: Path) -> None:
    assert programs.is_dir()
    assert old_engine.too_old("20.10.24").remedy == f"run `apt-get remove docker.io`{AFTERWARDS}"


def test_one_that_runs_alone_is_ended_too(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.PID.write_text("1")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert old_engine.too_old("20.10.24").remedy == (
        f"run `sudo apt-get remove docker.io` and `sudo kill $(cat {daemon.PID})`{AFTERWARDS}"
    )
    (programs.parent / "systemd").mkdir()
    assert "kill" not in old_engine.too_old("20.10.24").remedy


@pytest.mark.parametrize(
    "owner", ["echo 'docker-ce: /usr/bin/dockerd'", "echo 'no path found' >&2; exit 1"]
)
def test_one_from_elsewhere_is_upgraded_the_way_it_came(programs: Path, owner: str) -> None:
    write(programs / "dpkg-query", owner)
    assert old_engine.too_old("20.10.24").remedy == BY_HAND


def test_one_of_another_machine_is_not_taken_for_this_ones(programs: Path) -> None:
    assert programs.is_dir()
    assert old_engine.too_old("20.10.24", remote="ssh://lab").remedy == BY_HAND


def test_one_that_does_not_run_is_neither_completed_nor_started(programs: Path) -> None:
    assert old_engine.version() == "20.10.24"
    write(programs / "docker", 'if [ "$1" = context ]; then echo default; else exit 1; fi')
    with pytest.raises(NotPossibleError, match=r"Docker Engine is 20\.10\.24, older than 26\.1"):
        engine.ensure(Policy.AUTO)


@pytest.mark.parametrize("script", ["echo 'Docker version 26.1.5, build x'", "exit 1", "echo hm"])
def test_one_that_is_new_or_says_nothing_is_not_too_old(programs: Path, script: str) -> None:
    write(programs / "dockerd", script)
    assert old_engine.version() == ""


def test_a_lock_whose_holder_apt_cannot_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    monkeypatch.setattr(apt_lock, "PAUSE", 0.01)
    monkeypatch.setattr(apt_lock, "PATIENCE", 0.1)

    def locked() -> None:
        said = f"E: Could not get lock {lock} - open (11: Resource temporarily unavailable)"
        raise ProgramError(["apt-get"], 100, said)

    with pytest.raises(NotPossibleError) as caught:
        apt_lock.waiting(locked)
    assert caught.value.message == f"another program has held apt's lock {lock} for 0.1 s"
    waits = f"  waiting for another program, which holds apt's lock {lock}\n"
    assert capsys.readouterr().err == waits


def test_another_fault_than_a_lock_is_not_waited_for() -> None:
    def broken() -> None:
        raise ProgramError(["apt-get"], 100, "E: Could not open lock file /x - open (13: …)")

    with pytest.raises(ProgramError):
        apt_lock.waiting(broken)
