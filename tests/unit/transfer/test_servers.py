"""The servers of the tests end with the tests, however those end."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys, time
from pathlib import Path
from tests.support import s3
with s3.moto() as moto, s3.rclone(Path(sys.argv[1])) as rclone:
    print(moto.url, rclone.url, flush=True)
    time.sleep(600)
"""


def answers(url: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not shutil.which("setpriv"), reason="only Linux ends children with a parent")
def test_servers_end_with_a_test_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "buckets").mkdir()
    argv = [sys.executable, "-c", HOLDER, str(tmp_path / "buckets")]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        urls = holder.stdout.readline().split()
        assert [answers(url) for url in urls] == [True, True]
        holder.kill()
    end = time.monotonic() + 10
    while any(answers(url) for url in urls):
        assert time.monotonic() < end, "a server outlives the test"
        time.sleep(0.05)
