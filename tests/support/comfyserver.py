"""The image's ComfyUI as its clients see it: prompts, results, logs."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.s3 import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

START_SECONDS = 180
PROMPT_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class ComfyServer:
    """A running container and the address of its interface."""

    name: str
    url: str

    def get(self, path: str) -> bytes:
        """Return what the server answers; an error status raises `HTTPError`."""
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:  # ours
            body: bytes = answer.read()
        return body

    def json(self, path: str) -> Any:
        """Return the JSON that the server answers."""
        return json.loads(self.get(path))

    def status(self, path: str, **headers: str) -> int:
        """Return the status alone, whatever it is."""
        request = urllib.request.Request(self.url + path, headers=headers)  # ours
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # ours
                found: int = answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        return found

    def post(self, prompt: Mapping[str, Any], client: str = "") -> dict[str, Any]:
        """Queue a prompt and return the answer, that of a refusal too."""
        body = {"prompt": prompt, "client_id": client or uuid.uuid4().hex}
        request = urllib.request.Request(  # ours
            self.url + "/prompt",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # ours
                told: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                told = json.load(error)
        return told

    def run(self, prompt: Mapping[str, Any]) -> dict[str, Any]:
        """Run a prompt and return its entry of the history."""
        told = self.post(prompt)
        assert "prompt_id" in told, told
        end = time.monotonic() + PROMPT_SECONDS
        while time.monotonic() < end:
            history = self.json(f"/history/{told['prompt_id']}")
            if history:
                entry: dict[str, Any] = history[told["prompt_id"]]
                return entry
            time.sleep(0.1)
        raise TimeoutError(f"the prompt did not end within {PROMPT_SECONDS} s")

    def succeed(self, prompt: Mapping[str, Any]) -> dict[str, Any]:
        """Run a prompt that must succeed and return what its nodes show, by their ids."""
        entry = self.run(prompt)
        assert entry["status"]["status_str"] == "success", entry["status"]
        shown: dict[str, Any] = entry["outputs"]
        return shown

    def fail(self, prompt: Mapping[str, Any]) -> dict[str, Any]:
        """Run a prompt that must fail and return what the client is told."""
        told = dict(self.run(prompt)["status"]["messages"])
        error: dict[str, Any] = told["execution_error"]
        return error

    def view(self, shown: Mapping[str, str]) -> bytes:
        """Return a file that a node showed."""
        return self.get("/view?" + urllib.parse.urlencode(shown))

    def log(self) -> str:
        """Return all that the container has printed."""
        done = subprocess.run(
            ["docker", "logs", self.name], capture_output=True, text=True, check=True
        )
        return done.stdout + done.stderr

    def execute(self, *argv: str, stdin: str = "") -> str:
        """Run a program in the container as its user."""
        words = ["docker", "exec", "-i", self.name, *argv]
        return subprocess.run(words, input=stdin, capture_output=True, text=True, check=True).stdout


@contextmanager
def comfy_server(
    image: str, env: Mapping[str, str], mounts: Mapping[str, Path]
) -> Iterator[ComfyServer]:
    """Run the image as it is meant to be run: read-only, without rights, on the host's network.

    The host's network, so that it reaches the S3 servers that the tests run on loopback.
    """
    options = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"]
    options += ["--security-opt=no-new-privileges"]
    with _container(image, options, (), env, mounts) as server:
        yield server


# What the pack alone brings along: gone from a Python that has all that ComfyUI asks for.
BARE = """
cd /app/.venv/lib/python3.*/site-packages
rm -rf boto3 boto3-* botocore botocore-* s3transfer s3transfer-* jmespath jmespath-*
cd /plain && exec /app/.venv/bin/python main.py --cpu --port "$COMFY_PORT"
"""


@contextmanager
def plain_server(image: str, folder: Path, env: Mapping[str, str]) -> Iterator[ComfyServer]:
    """Run the ComfyUI at `folder` with the image's Python, nothing else of the image.

    What lies in `folder`/../packages is installed beside ComfyUI's own requirements.
    """
    mounts = {"/plain": folder, "/packages": folder.parent / "packages"}
    options = ["--user=0", "--entrypoint=/bin/sh"]
    with _container(
        image, options, ("-c", BARE), {**env, "PYTHONPATH": "/packages"}, mounts
    ) as server:
        yield server


@contextmanager
def _container(
    image: str,
    options: Sequence[str],
    words: Sequence[str],
    env: Mapping[str, str],
    mounts: Mapping[str, Path],
) -> Iterator[ComfyServer]:
    port = free_port()
    name = f"comfykiln-pack-{uuid.uuid4().hex[:12]}"
    argv = ["docker", "run", "--detach", "--name", name, "--network=host", *options]
    for key, value in {**env, "COMFY_PORT": str(port)}.items():
        argv.append(f"--env={key}={value}")
    for inside, outside in mounts.items():
        argv.append(f"--volume={outside}:{inside}")
    subprocess.run([*argv, image, *words], check=True, capture_output=True)
    try:
        server = ComfyServer(name=name, url=f"http://127.0.0.1:{port}")
        _wait_for(server)
        yield server
    finally:
        subprocess.run(["docker", "rm", "-f", "-v", name], check=True, capture_output=True)


def _wait_for(server: ComfyServer) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            server.json("/system_stats")
        except OSError:
            if time.monotonic() > end:
                raise RuntimeError(server.log()) from None
            time.sleep(0.3)
        else:
            return
