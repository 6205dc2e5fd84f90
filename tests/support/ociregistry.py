"""A registry on loopback for what a healthy one cannot be made to show: logins and faults."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import re
import socket
import threading
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

USER, PASSWORD = "someone", "canary-password"
IDENTITY = "canary-identity-token"


@dataclass(kw_only=True)
class Behaviour:
    """What the registry does; faults happen as often as their number says."""

    auth: str = ""  # "", "basic", "bearer"
    cut_uploads: int = 0
    cut_after: int = 0
    forget_uploads: bool = False
    busy: int = 0
    expire_tokens: int = 0
    wrong_digest: bool = False
    wrong_manifest: bool = False
    lose_blobs: bool = False
    wrong_size: bool = False
    refuse_scope: str = ""
    too_large: bool = False
    mount_status: int = 0  # what every wish to mount is answered with


@dataclass(kw_only=True)
class State:
    """What it holds and what it was asked."""

    behaviour: Behaviour
    blobs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    tokens: dict[str, list[str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    received: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def serve(**behaviour: object) -> Iterator[tuple[str, State]]:
    """Run a registry and yield its address and its state."""
    state = State(behaviour=Behaviour(**behaviour))  # type: ignore[arg-type]  # each test's own
    handler = type("Handler", (_Handler,), {"state": state})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", state
    finally:
        server.shutdown()
        server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: State

    def log_message(self, *words: object) -> None:
        pass

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def do_GET(self) -> None:
        self._route()

    def do_HEAD(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self._route()

    def do_PATCH(self) -> None:
        self._route()

    def do_PUT(self) -> None:
        self._route()

    def do_DELETE(self) -> None:
        self._route()

    def _route(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        self.state.requests.append(f"{self.command} {self.path}")
        if parts.path == "/token":
            self._token(parse_qs(parts.query).get("scope", []))
            return
        match = re.fullmatch(r"/v2/(.+)/(blobs/uploads|blobs|manifests)/(.*)", parts.path)
        if match is None:
            self._answer(200 if parts.path == "/v2/" else 404)
        elif self._authorized():
            repository, kind, name = match.groups()
            if self.state.behaviour.busy > 0:
                self.state.behaviour.busy -= 1
                self._body()
                self._answer(503)
            elif kind == "manifests":
                self._manifest(repository, name)
            elif kind == "blobs":
                self._blob(repository, name)
            else:
                self._upload(repository, name, query)

    def _authorized(self) -> bool:
        kind = self.state.behaviour.auth
        given = self.headers.get("Authorization", "")
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if not kind or (kind == "basic" and given == f"Basic {pair}"):
            return True
        if kind == "bearer" and given.removeprefix("Bearer ") in self.state.tokens:
            if self.command != "PUT" or self.state.behaviour.expire_tokens == 0:
                return True
            self.state.behaviour.expire_tokens -= 1
            self.state.tokens.clear()
        self._body()
        host = self.headers["Host"]
        challenge = {
            "basic": 'Basic realm="stand-in"',
            "bearer": f'Bearer realm="http://{host}/token",service="stand-in",scope="asked"',
        }[kind]
        error = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
        self._answer(401, json.dumps(error).encode(), headers={"WWW-Authenticate": challenge})
        return False

    def _token(self, scopes: list[str]) -> None:
        form = {key: values[-1] for key, values in parse_qs(self._body().decode()).items()}
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        right = self.headers.get("Authorization") == f"Basic {pair}"
        if form.get("refresh_token") == IDENTITY:
            right, scopes = True, form["scope"].split()
        if not right:
            self._answer(401)
            return
        token = uuid.uuid4().hex
        self.state.tokens[token] = scopes
        self._answer(200, json.dumps({"token": token}).encode())

    def _blob(self, repository: str, digest: str) -> None:
        data = self.state.blobs.get(repository, {}).get(digest)
        if data is None or (self.state.behaviour.lose_blobs and self.command == "HEAD"):
            self._answer(404)
            return
        length = len(data) + (1 if self.state.behaviour.wrong_size else 0)
        self._answer(200, data, length=length, headers={"Docker-Content-Digest": digest})

    def _upload(self, repository: str, name: str, query: dict[str, str]) -> None:
        if self.command == "POST" and "mount" in query and self.state.behaviour.mount_status:
            self._answer(self.state.behaviour.mount_status)
        elif self.command == "POST":
            known = self.state.blobs.get(query.get("from", ""), {})
            if query.get("mount") in known:
                self._keep(repository, known[query["mount"]])
                self._answer(201, headers={"Location": f"/v2/{repository}/blobs/{query['mount']}"})
                return
            name = uuid.uuid4().hex
            self.state.uploads[name] = bytearray()
            place = f"/v2/{repository}/blobs/uploads/{name}?state=0"
            self._answer(202, headers={"Location": place})
        elif name not in self.state.uploads:
            self._body()
            self._answer(404)
        elif self.command == "GET":
            end = max(len(self.state.uploads[name]) - 1, 0)
            place = f"/v2/{repository}/blobs/uploads/{name}?state=1"
            self._answer(204, headers={"Range": f"0-{end}", "Location": place})
        elif self.command == "DELETE":
            del self.state.uploads[name]
            self._answer(204)
        else:
            self._grow(repository, name, query)

    def _grow(self, repository: str, name: str, query: dict[str, str]) -> None:
        behaviour, upload = self.state.behaviour, self.state.uploads[name]
        length = int(self.headers.get("Content-Length", 0))
        if behaviour.too_large:
            self._body()
            self._answer(413, b"<html>")
            return
        if behaviour.cut_uploads > 0 and length > behaviour.cut_after:
            behaviour.cut_uploads -= 1
            self._take(upload, behaviour.cut_after)
            if behaviour.forget_uploads:
                del self.state.uploads[name]
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self._take(upload, length)
        if self.command == "PATCH":
            place = f"/v2/{repository}/blobs/uploads/{name}?state=2"
            self._answer(202, headers={"Location": place, "Range": f"0-{len(upload) - 1}"})
            return
        data = bytes(self.state.uploads.pop(name))
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if digest != query["digest"]:
            error = {"errors": [{"code": "DIGEST_INVALID", "message": "other bytes came"}]}
            self._answer(400, json.dumps(error).encode())
            return
        self._keep(repository, data)
        told = "sha256:" + "0" * 64 if behaviour.wrong_digest else digest
        self._answer(201, headers={"Docker-Content-Digest": told})

    def _take(self, upload: bytearray, length: int) -> None:
        data = self.rfile.read(length)
        upload.extend(data)
        with self.state.lock:
            self.state.received += len(data)

    def _manifest(self, repository: str, name: str) -> None:
        key = f"{repository}:{name}"
        if self.command == "PUT":
            data = self._body()
            self.state.manifests[key] = data
            digest = hashlib.sha256(data).hexdigest()
            if self.state.behaviour.wrong_digest:
                digest = "0" * 64
            self._answer(201, headers={"Docker-Content-Digest": f"sha256:{digest}"})
            return
        found = self.state.manifests.get(key)
        if found is None:
            self._answer(404)
        else:
            self._answer(200, found + (b" " if self.state.behaviour.wrong_manifest else b""))

    def _keep(self, repository: str, data: bytes) -> None:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.state.blobs.setdefault(repository, {})[digest] = data

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(
        self,
        status: int,
        body: bytes = b"",
        *,
        length: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
