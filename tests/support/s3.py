"""Real S3 servers on loopback: moto for semantics, rclone for signatures; each a child process."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfykiln.transfer.profiles import STATIC, Credentials, Profile
from comfykiln.transfer.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ACCESS_KEY = "CANARYACCESSKEY0001"
SECRET_KEY = "canary/secret/key/0002+never+shown"
PATIENCE = 30


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server: its address, and the folder of its buckets where it has one."""

    url: str
    folder: Path | None = None

    def profile(self, bucket: str = "bucket", **changes: Any) -> Profile:
        """Return the profile of one of its buckets."""
        values: dict[str, Any] = {
            "name": "",
            "provider": "Custom",
            "endpoint": self.url,
            "region": "us-east-1",
            "bucket": bucket,
        }
        return Profile(**(values | changes))

    def store(self, bucket: str = "bucket", **changes: Any) -> Store:
        """Return one of its buckets, opened with the right keys."""
        return Store(self.profile(bucket, **changes), keys())

    def environment(self, bucket: str = "bucket") -> dict[str, str]:
        """Return the environment variables that lead the node pack to a bucket."""
        return {
            "COMFY_S3_PROVIDER": "Custom",
            "COMFY_S3_ENDPOINT_URL": self.url,
            "COMFY_S3_ACCESS_KEY": ACCESS_KEY,
            "COMFY_S3_SECRET_KEY": SECRET_KEY,
            "COMFY_S3_BUCKET": bucket,
        }


def keys(**changes: str) -> Credentials:
    """Return the keys that the servers know."""
    values = {"kind": STATIC, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    return Credentials(**(values | changes))


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def moto(host: str = "127.0.0.1") -> Iterator[Server]:
    """Run moto's server: ranges, conditions and checksums as AWS has them, any key accepted."""
    port = free_port()
    argv = [_program("moto_server"), "-H", host, "-p", str(port)]
    with running(argv, port):
        yield Server(url=f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def rclone(folder: Path, host: str = "127.0.0.1") -> Iterator[Server]:
    """Run rclone's server, which checks signatures, over `folder` with one folder a bucket.

    What is put there by other means than S3 is seen only if the server has not looked yet.
    """
    port = free_port()
    argv = [_program("rclone"), "serve", "s3", str(folder)]
    argv += ["--addr", f"{host}:{port}", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
    argv += ["--etag-hash", "MD5", "--config", str(folder.parent / "rclone.conf")]
    argv += ["--log-level", "ERROR"]
    with running(argv, port):
        yield Server(url=f"http://127.0.0.1:{port}", folder=folder)


@contextlib.contextmanager
def running(argv: Sequence[str], port: int) -> Iterator[None]:
    """Run a server as a child for the time of the block, which begins when its port answers."""
    child = subprocess.Popen(  # stopped below, which neither capture nor stream could do
        [*_tied(), *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(child, port)
        yield
    finally:
        child.terminate()
        child.wait(PATIENCE)


def _tied() -> Sequence[str]:
    """Return the words before a command that end it with this process, even when that is killed.

    Linux alone has this; elsewhere a killed test leaves its servers behind.
    """
    found = shutil.which("setpriv")
    return [found, "--pdeathsig", "KILL"] if found else []


def _wait_for(child: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if child.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"{child.args!r} does not answer (status {child.poll()})")


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)
