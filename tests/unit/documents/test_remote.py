"""Documents at an address, from an HTTPS server on loopback."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from comfykiln.documents import read
from comfykiln.documents.remote import _raw, is_address
from comfykiln.errors import DocumentError, NotPossibleError
from comfykiln.parsing.faults import FaultyDocumentError
from comfykiln.parsing.limits import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parent / "data"
PAGES = {
    "/lock/comfy-lock.yaml": (
        "text/plain",
        (DATA / "comfy-lock-auth.yaml").read_bytes(),
    ),
    "/s.json": ("application/json", (DATA / "snapshot-map.json").read_bytes()),
    "/bad.json": ("application/json", b'{"git_custom_nodes": []}'),
    "/page.json": ("text/html", b"<html></html>"),
    "/big.json": ("application/json", b" " * (MAX_BYTES + 1)),
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        kind, body = PAGES.get(self.path.partition("?")[0], ("text/plain", b""))
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Say nothing: the test's output is its own."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, file = folder / "key.pem", folder / "cert.pem"
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(file)]
    subprocess.run([*new, *names, *files], check=True, capture_output=True)
    return key, file


@pytest.fixture
def base(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    key, file = certificate
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("no_proxy", "localhost")
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_document_is_fetched_and_read(base: str) -> None:
    parsed = read(f"{base}/lock/comfy-lock.yaml?token=canary")
    assert parsed.kind == "comfylock"
    assert parsed.source == f"{base}/lock/comfy-lock.yaml?token=***"
    assert parsed.environment == read(DATA / "comfy-lock-auth.yaml").environment
    assert read(f"{base}/s.json").environment == read(DATA / "snapshot-map.json").environment


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("bad.json", r"snapshot\.type"),
        ("big.json", r"reading\.size"),
        ("page.json", "answers with a web page"),
    ],
)
def test_what_is_wrong_with_it_is_wrong_with_the_document(
    base: str, path: str, problem: str
) -> None:
    with pytest.raises(DocumentError, match=problem):
        read(f"{base}/{path}")


def test_what_cannot_be_had_is_status_3(base: str) -> None:
    with pytest.raises(NotPossibleError, match="answers 404"):
        read(f"{base}/none.json")
    with pytest.raises(NotPossibleError):
        read("https://localhost:1/s.json")


def test_a_page_about_a_file_names_the_file() -> None:
    page = "https://github.com/o/r/blob/main/nodes/s.json?plain=1"
    assert _raw(page) == "name https://raw.githubusercontent.com/o/r/main/nodes/s.json"


@pytest.mark.parametrize(
    "address", ["http://localhost/s.json", "ftp://h/s.json", "ext::sh", "file:///etc/passwd"]
)
def test_only_https_is_fetched(address: str) -> None:
    with pytest.raises((DocumentError, FaultyDocumentError)):
        read(address)


def test_what_is_an_address() -> None:
    for source in ("https://h/x", "git@h:o/r", "ssh://h/r", "s3://b/k"):
        assert is_address(source)
    for source in ("a.json", "./a@b/c.json", "C:\\x", "/srv/x"):
        assert not is_address(source)
