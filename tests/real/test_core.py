from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from comfykiln.engine import engine
from comfykiln.verify import question, receipt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.images import CoreImage

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
PORT = 18288


def docker(*words: str) -> str:
    return subprocess.run(
        ["docker", *words], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def server(core_image: str) -> Iterator[str]:
    """The real image on another port than its own, as `./kiln run` starts it."""
    name = docker(
        *["run", "-d", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"],
        *["--security-opt=no-new-privileges", f"--publish=127.0.0.1:{PORT}:{PORT}"],
        *[f"--env=COMFY_PORT={PORT}", core_image],
    )
    yield name
    docker("rm", "-f", "-v", name)


def get(path: str) -> Any:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=30) as reply:
                return json.load(reply)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def test_the_server_answers_on_the_port_asked_for(server: str) -> None:
    stats = get("/system_stats")["system"]
    assert stats["comfyui_version"] == "0.30.0"
    assert stats["pytorch_version"].startswith("2.13.0+")
    assert stats["python_version"].startswith("3.13.")
    nodes = get("/object_info")
    assert {"KSampler", "SaveImage", "CheckpointLoaderSimple"} <= set(nodes)
    while (health := docker("inspect", "-f", "{{.State.Health.Status}}", server)) == "starting":
        time.sleep(0.2)
    assert health == "healthy"


def test_a_picture_goes_in_and_out(server: str) -> None:
    """A workflow without a model runs to its end: it executes, not only answers."""
    get("/system_stats")
    size = {"width": 64, "height": 32, "batch_size": 1, "color": 255}
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": size},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "kiln"}},
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/prompt",
        data=json.dumps({"prompt": prompt}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        number = json.load(reply)["prompt_id"]
    deadline = time.monotonic() + 60
    while number not in (history := get(f"/history/{number}")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert history[number]["status"]["status_str"] == "success"
    picture = history[number]["outputs"]["2"]["images"][0]["filename"]
    assert docker("exec", server, "ls", "/app/output") == picture


def test_sigterm_ends_it_within_five_seconds(server: str) -> None:
    get("/system_stats")
    started = time.monotonic()
    docker("kill", "-s", "TERM", server)
    assert docker("wait", server) == "0"
    assert time.monotonic() - started < 5


def test_the_receipt_says_what_is_inside(core_build: CoreImage) -> None:
    record = receipt.read(engine.client(), core_build.ref)
    assert record["found"]["comfyui"] == "0.30.0"
    assert record["found"]["uid"] == 1000
    assert record["found"]["health"] == "healthy"
    assert record["found"]["read_only_root"] is True
    with tarfile.open(core_build.export) as tar:
        names = [name for name in tar.getnames() if name.endswith("receipt.json")]
        inside = json.load(tar.extractfile(names[0]) or sys.exit("no receipt"))
    assert inside == record


def test_it_starts_without_a_network_and_fetches_nothing(core_image: str) -> None:
    answers = question.question(engine.client(), core_image)
    assert answers.health == "healthy"
    assert [line for line in answers.log if "Traceback" in line] == []


def test_a_second_build_changes_nothing(core_build: CoreImage) -> None:
    before = core_build.export.read_bytes()
    command = ["./kiln", "build", "--target", "cpu", "--image", "core", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["digest"] == core_build.digest
    assert core_build.export.read_bytes() == before
    assert "is unchanged" in done.stderr


def test_it_holds_no_privileged_file_and_nothing_that_all_may_write(core_image: str) -> None:
    search = "find / -xdev ( -type f -perm /6000 ) -o ( -perm -0002 ! -type l ! -perm -1000 )"
    found = docker("run", "--rm", "--user=0", "--entrypoint=find", core_image, *search.split()[1:])
    assert [path for path in found.splitlines() if not path.startswith(("/proc", "/dev"))] == []


def test_every_bytecode_file_is_valid_whatever_its_source_time(core_image: str) -> None:
    """Unchecked hashes: the second word of a `.pyc` is 1 (PEP 552), not a time stamp."""
    script = (
        "import pathlib, sys\n"
        "files = list(pathlib.Path('/app').rglob('*.pyc'))\n"
        "print(len(files), sum(f.open('rb').read(8)[4] == 1 for f in files))\n"
    )
    counts = docker(
        "run", "--rm", "--entrypoint=/usr/bin/python3", core_image, "-c", script
    ).split()
    assert int(counts[0]) > 5000
    assert counts[0] == counts[1]
