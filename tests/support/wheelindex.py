"""A package index on loopback that serves empty wheels, for a real uv to solve and install from."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping, Sequence

Wheels = dict[str, bytes]


@dataclass(frozen=True)
class Index:
    """A running server: `url` has no path; `requests` are the paths asked for."""

    url: str
    port: int
    requests: list[str]


def wheel(name: str, version: str, *requires: str) -> tuple[str, bytes]:
    """Return file name and bytes of a wheel that installs an empty module of that name."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    content = {
        f"{module}.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": "\n".join(lines) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "".join(
            f"{path},,\n" for path in (f"{module}.py", f"{info}/METADATA", f"{info}/WHEEL")
        )
        + f"{info}/RECORD,,\n",
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, text in content.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return f"{module}-{version}-py3-none-any.whl", packed.getvalue()


@contextmanager
def serving(
    sites: Mapping[str, Sequence[tuple[str, bytes]]],
    *,
    pages: Mapping[str, bytes] | None = None,
    login: str = "",
    tls: ssl.SSLContext | None = None,
) -> Iterator[Index]:
    """Serve `sites`, path prefix (`/simple`, `/whl/cpu`) to wheels, until the block ends.

    `pages` are served as they are, path to bytes.
    With `login` (`user:password`) nobody else gets an answer; files then carry a token.
    """
    requests: list[str] = []
    wheels = {prefix: dict(files) for prefix, files in sites.items()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(wheels, pages or {}, login, requests))
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    scheme = "https" if tls else "http"
    try:
        port = server.server_address[1]
        yield Index(url=f"{scheme}://127.0.0.1:{port}", port=port, requests=requests)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(
    sites: Mapping[str, Wheels], pages: Mapping[str, bytes], login: str, requests: list[str]
) -> type[BaseHTTPRequestHandler]:
    wanted = f"Basic {base64.b64encode(login.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server names it so
            requests.append(self.path)
            if login and self.headers.get("Authorization") != wanted:
                self._answer(401, b"", {"WWW-Authenticate": "Basic"})
                return
            path = unquote(urlsplit(self.path).path)
            body = pages.get(path) or _page(sites, path, token=bool(login))
            kind = "text/html" if path.endswith("/") else "application/octet-stream"
            self._answer(404 if body is None else 200, body or b"", {"Content-Type": kind})

        do_HEAD = do_GET  # noqa: N815  # http.server names it so

        def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing; `requests` has it."""

    return Handler


def _page(sites: Mapping[str, Wheels], path: str, *, token: bool) -> bytes | None:
    """Return a project's page or a wheel; None where there is neither."""
    prefix, _, last = path.rstrip("/").rpartition("/")
    if prefix in sites:
        files = {
            name: data
            for name, data in sites[prefix].items()
            if name.split("-")[0].replace("_", "-") == last
        }
        query = "?token=canary-token" if token else ""
        links = [
            f'<a href="{prefix}/files/{name.replace("+", "%2B")}{query}'
            f'#sha256={hashlib.sha256(data).hexdigest()}">{name}</a>'
            for name, data in files.items()
        ]
        return "\n".join(links).encode() if files else None
    site, _, name = path.partition("/files/")
    return sites.get(site, {}).get(name)
