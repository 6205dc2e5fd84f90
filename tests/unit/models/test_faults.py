"""Faults of the line itself: TLS that drops, bytes that trickle, a host that never answers."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from tests.support.fakenet import certificate
from tests.support.modelfiles import locked, safetensors, sha256
from tests.support.sites import Answer, closed, silent, site

from comfykiln.errors import NotPossibleError
from comfykiln.models import download, store
from comfykiln.models.fetch import fetch
from comfykiln.models.progress import Silent
from comfykiln.models.sources import web
from comfykiln.transfer.parts import Settings
from comfykiln.transfer.ranged import fetch as ranged
from comfykiln.transfer.sink import Sink

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.faultserver import FaultServer

DATA = safetensors(2_000_000)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYKILN_NETWORK_TIMEOUT", "0.3")
    monkeypatch.setattr(web, "ATTEMPTS", 2)


@pytest.mark.usefixtures("impatient")
def test_a_host_that_never_answers_is_left_for_the_next_source(faults: FaultServer) -> None:
    faults.add("/m", DATA)
    with silent() as url:
        begin = time.monotonic()
        result = fetch([locked(DATA, f"{url}/m", f"{closed()}/m", f"{faults.url}/m")])
    assert time.monotonic() - begin < 10
    assert [entry.source for entry in result.done] == [f"{faults.url}/m"]


def test_a_trickle_is_no_transfer(faults: FaultServer, tmp_path: Path) -> None:
    faults.add("/m", DATA, rate=2000)
    target = tmp_path / "m"
    settings = Settings(part_size=1 << 20, stall_seconds=0.5)
    with (
        target.open("w+b") as file,
        pytest.raises(Exception, match=r"nothing worth the name came for 0\.5 s"),
    ):
        ranged(faults.remote("/m"), Sink(fd=file.fileno()), settings=settings)


@contextmanager
def dropping_tls(context: ssl.SSLContext, drops: int) -> Iterator[str]:
    """Serve DATA over TLS; the first `drops` transfers end in the middle, without a good-bye."""
    left = [drops]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    raw, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(raw,), daemon=True).start()

        def answer(raw: socket.socket) -> None:
            with suppress(OSError), raw, context.wrap_socket(raw, server_side=True) as line:
                while request := line.recv(8192).decode():
                    begin, end = _range(request)
                    body = DATA[begin:end]
                    line.sendall(_head(begin, end))
                    if end - begin > 1 and left[0]:
                        left[0] -= 1
                        line.sendall(body[: len(body) // 2])
                        raw.close()
                        return
                    line.sendall(body)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"https://localhost:{server.getsockname()[1]}/m"
        finally:
            # Left waiting on a closed number, it would take the connections of whoever has it next.
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def _range(request: str) -> tuple[int, int]:
    text = request.partition("Range: bytes=")[2].partition("\r\n")[0]
    begin, _, last = text.partition("-")
    return int(begin), int(last) + 1


def _head(begin: int, end: int) -> bytes:
    return (
        f"HTTP/1.1 206 Partial Content\r\nContent-Length: {end - begin}\r\n"
        f'Content-Range: bytes {begin}-{end - 1}/{len(DATA)}\r\nETag: "x"\r\n\r\n'
    ).encode()


def test_tls_that_drops_on_the_way_costs_an_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, context = certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with dropping_tls(context, drops=2) as url:
        result = fetch([locked(DATA, url)])
    assert result.failed == ()
    assert store.path_of(sha256(DATA)).read_bytes() == DATA


@pytest.mark.usefixtures("impatient")
def test_a_certificate_of_nobody_is_not_trusted(tmp_path: Path) -> None:
    _, context = certificate(tmp_path, "localhost")
    with dropping_tls(context, drops=0) as url:
        reasons = fetch([locked(DATA, url)]).failed[0].reasons
    assert "is not trusted" in reasons[0]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(body=b"x", headers={"Content-Encoding": "gzip"}), "compresses the file"),
        (Answer(status=500), "status 500"),
        (
            Answer(status=302, headers={"Location": "file:///etc/passwd"}),
            "redirects to file, which is refused",
        ),
        (Answer(status=302, headers={"Location": "/m"}), "redirects in a circle"),
        (Answer(status=302), "redirects to nowhere"),
        (Answer(status=302, headers={"Location": "http://[::"}), "redirects to what is no address"),
        (Answer(status=302, headers={"Location": "http://h:99999/"}), "to what is no address"),
        (Answer(status=206, headers={"Content-Range": f"bytes 0-0/{'9' * 5000}"}), "how large"),
        (Answer(status=200, headers={"Content-Length": "²"}), "how large"),
        (Answer(status=418), "answers with status 418"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_an_answer_that_is_no_file_is_told(answer: Answer, said: str) -> None:
    with site({"/m": answer}) as running:
        reasons = fetch([locked(DATA, f"{running.url}/m")]).failed[0].reasons
    assert said in reasons[0]


def test_a_redirect_with_spaces_and_utf8_is_followed() -> None:
    """Many hosts put file names into Location as they are; a request line cannot hold them."""
    there = "/m%20%C3%A9.safetensors?a=%2F"
    answers = {
        "/m": Answer(status=302, headers={"Location": "/m \u00c3\u00a9.safetensors?a=%2F"}),
        there: Answer(body=DATA, headers={"Content-Length": str(len(DATA))}),
    }
    with site(answers) as running:
        result = fetch([locked(DATA, f"{running.url}/m")])
    assert result.failed == ()
    assert running.paths[:2] == ["/m", there]


def test_a_server_that_announces_a_petabyte_costs_no_memory(faults: FaultServer) -> None:
    faults.add("/m", DATA, extra={"Content-Range": f"bytes 0-0/{1 << 50}"}, always="ignore-range")
    model = locked(DATA, f"{faults.url}/m", size=1 << 50)
    started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NotPossibleError, match="needs 1073741824 MiB more") as caught:
        fetch([model])
    assert caught.value.remedy.endswith("(COMFYKILN_STORE=DIR)")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - started < 64 << 10  # KiB


def test_a_server_without_ranges_and_etags_still_gives_the_file() -> None:
    with site({"/m": Answer(body=DATA, headers={"Content-Length": str(len(DATA))})}) as running:
        result = fetch([locked(DATA, f"{running.url}/m")])
    assert result.failed == ()
    assert store.path_of(sha256(DATA)).read_bytes() == DATA


def test_an_empty_file_is_a_file(faults: FaultServer) -> None:
    faults.add("/m", b"")
    model = locked(b"", f"{faults.url}/m", destination="configs/empty.yaml")
    assert fetch([model]).failed == ()
    assert store.path_of(sha256(b"")).read_bytes() == b""


def test_a_stop_ends_all_transfers_at_once(faults: FaultServer) -> None:
    faults.add("/m", DATA, rate=200_000)
    stop = threading.Event()
    job = download.job_of(locked(DATA, f"{faults.url}/m"))
    timer = threading.Timer(0.5, stop.set)
    timer.start()
    begin = time.monotonic()
    with pytest.raises(Exception, match="cancelled"):
        download.download(job, {}, shown=Silent(), stop=stop)
    assert time.monotonic() - begin < 4
    timer.join()
    assert not store.path_of(sha256(DATA)).exists()


FULL = """
import os, resource, sys, threading
from comfykiln.errors import NotPossibleError
from comfykiln.models import download, store
from comfykiln.models.progress import Silent
from comfykiln.models.records import ModelSource
url, sha256, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
job = download.Job(name="m", destination="vae/m.safetensors", criticality="required",
                   sources=(ModelSource(url=url),), sha256=sha256, size=size)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for percent in range(1, 100):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size * percent // 100, hard))
    try:
        download.download(job, os.environ, shown=Silent(), stop=threading.Event())
    except NotPossibleError as error:
        assert "the disk or the quota is full" in str(error), error
    else:
        raise SystemExit(f"{percent} %: no error")
    assert not store.path_of(sha256).exists()
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
download.download(job, os.environ, shown=Silent(), stop=threading.Event())
"""


def test_a_disk_that_fills_at_any_percent_leaves_nothing_wrong(faults: FaultServer) -> None:
    faults.add("/m", DATA)
    argv = [sys.executable, "-c", FULL, f"{faults.url}/m", sha256(DATA), str(len(DATA))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert store.path_of(sha256(DATA)).read_bytes() == DATA
