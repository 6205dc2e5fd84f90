"""Tasks that need an engine ask for it when nothing that was given is at fault, and not before."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NO_DAEMON = 'case $1 in context) echo default;; *) echo "no daemon" >&2; exit 1;; esac'


def start(folder: Path, *words: str, docker: str = NO_DAEMON, **more: str) -> subprocess.Popen[str]:
    """Start a task beside a docker client that behaves as `docker` says, and notes its start."""
    client = folder / "docker"
    client.write_text(f"#!/bin/sh\necho started >>{folder}/log\n{docker}\n")
    client.chmod(0o755)
    environ = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder), "KILN_SETUP": "never"}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "comfykiln", "--search-root", str(ROOT), *words],
        env=environ | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def task(folder: Path, *words: str, docker: str = NO_DAEMON, **more: str) -> tuple[int, str, bool]:
    """Run such a task; return the exit code, standard error, whether the client was started."""
    with start(folder, *words, docker=docker, **more) as child:
        out, err = child.communicate(timeout=60)
    assert out == ""
    return child.returncode, err, (folder / "log").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["build", "--target", "cpu", "--image", "core"],
        ["run", "--target", "cpu", "--image", "core"],
        ["verify", "--ref", "comfykiln/core:cpu"],
    ],
)
def test_without_an_engine(tmp_path: Path, words: list[str]) -> None:
    code, err, started = task(tmp_path, *words)
    assert (code, started) == (3, True)
    assert "no Docker engine answers here, and KILN_SETUP=never forbids to set it up" in err
    assert "no daemon" in err


REFUSING = """case $1 in context) echo default;; *)
echo 'permission denied while trying to connect to the docker API at unix:///run/docker.sock' >&2
exit 1;; esac"""


@pytest.mark.parametrize(
    "words",
    [
        ["build", "--target", "cpu", "--image", "core"],
        ["run", "--target", "cpu", "--image", "core"],
        ["verify", "--ref", "comfykiln/core:cpu"],
        ["snapshot.save", "comfykiln/core:cpu"],
        ["manifest.capture", "comfykiln/core:cpu"],
    ],
)
def test_who_may_not_use_the_engine_is_told_so_by_every_task(
    tmp_path: Path, words: list[str]
) -> None:
    code, err, _ = task(tmp_path, *words, docker=REFUSING)
    assert code == 3
    assert err == (
        "error: a Docker engine runs here, but you may not use it:\n"
        "    permission denied while trying to connect to the docker API at "
        "unix:///run/docker.sock\n"
        "  → run `sudo usermod -aG docker $USER`, log in again, and start the task again\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["build", "--target", "nonsense"], "nonsense"),
        (["build", "--target", "cpu", "--image", "nonsense"], "nonsense"),
        (["build", "--target", "cpu", "--image", "core", "--tag", "a/b"], "'a/b' cannot be a tag"),
        (["run", "--target", "nonsense"], "nonsense"),
        (["verify"], "no image given"),
    ],
)
def test_what_is_given_wrong_is_said_before_an_engine_is_wanted(
    tmp_path: Path, words: list[str], said: str
) -> None:
    code, err, started = task(tmp_path, *words)
    assert (code, started) == (2, False)
    assert said in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [("build", "--target", "cpu"), ("verify", "--ref", "x")])
def test_a_signal_while_the_engine_is_asked_is_130(
    tmp_path: Path, words: tuple[str, ...], number: signal.Signals
) -> None:
    mark = tmp_path / "asking"
    with start(tmp_path, *words, docker=f"touch {mark}; exec sleep 60") as child:
        while not mark.exists():
            time.sleep(0.05)
        child.send_signal(number)
        out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (
        130,
        "",
        "! stopped; nothing half-made is in place, and what was finished is kept\n",
    )


def test_without_a_home_folder_it_says_to_name_one(tmp_path: Path) -> None:
    # As for a user in no list of users: the home folder cannot be told.
    code, err, _ = task(tmp_path, "lock.check", HOME="~")
    assert code == 3
    assert err == (
        "error: this user has no home folder, and HOME names none\n"
        "  → set HOME to a folder of yours: what is fetched is kept below it\n"
    )


def test_a_remote_engine_that_is_silent_is_never_replaced(tmp_path: Path) -> None:
    code, err, _ = task(
        tmp_path,
        *("build", "--target", "cpu", "--image", "core"),
        docker="echo 'cannot connect' >&2; exit 1",
        DOCKER_HOST="tcp://127.0.0.1:9",
        KILN_SETUP="auto",
    )
    assert code == 3
    assert err == (
        "error: the Docker engine at tcp://127.0.0.1:9 does not answer:\n    cannot connect\n"
        "  → start that engine and install a docker client for it, or unset DOCKER_HOST and "
        "DOCKER_CONTEXT (`docker context use default`) to use one of this machine\n"
    )
