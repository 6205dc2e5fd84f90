"""A stranger's program comes to an end, and so does everything that it started."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# In a process of its own: whatever is below that one and was not before is killed.
RUN = """\
import json, pathlib, sys
from comfykiln.restore.script import run_to_end
script, seconds = sys.argv[1:]
argv = [sys.executable, "-c", script]
ended = run_to_end(argv, env={}, cwd=pathlib.Path("."), seconds=float(seconds))
print(json.dumps([ended.status, ended.text, ended.left]))
"""
DAEMON = """\
import os, sys, time
print("started", flush=True)
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
open("daemon", "w").write(str(os.getpid()))
time.sleep(600)
"""


def ended(folder: Path, script: str, seconds: float = 60) -> list[object]:
    argv = [sys.executable, "-c", RUN, script, str(seconds)]
    env = {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        argv, cwd=folder, env=env, check=True, capture_output=True, text=True, timeout=120
    )
    found: list[object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ("print('done')", [0, "done\n", []]),
        ("import sys; sys.exit('no')", [1, "no\n", []]),
        ("print(input())", [1, None, []]),
    ],
)
def test_a_program_that_ends(tmp_path: Path, script: str, wanted: list[object]) -> None:
    found = ended(tmp_path, script)
    assert [found[0], found[1] if wanted[1] else None, found[2]] == wanted


def test_a_program_that_hangs_is_ended_with_what_it_printed(tmp_path: Path) -> None:
    script = "import time; print('wait', flush=True); time.sleep(600)"
    assert ended(tmp_path, script, 2) == [None, "wait\n", []]


def test_a_daemon_in_a_session_of_its_own_is_found_and_killed(tmp_path: Path) -> None:
    status, text, left = ended(tmp_path, DAEMON + "# a daemon\n")
    assert (status, text) == (0, "started\n")
    assert isinstance(left, list)
    (command,) = left
    assert command.endswith("# a daemon\n ")
    pid = (tmp_path / "daemon").read_text("utf-8") if (tmp_path / "daemon").exists() else "0"
    assert not Path("/proc", pid, "cmdline").is_file()
