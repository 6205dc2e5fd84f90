from __future__ import annotations

import hashlib
import http.client
import io
import json
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from comfykiln.errors import KilnError
from comfykiln.oci import local
from comfykiln.oci.receiver import receiving

if TYPE_CHECKING:
    from io import BufferedIOBase

    from docker.models.images import Image as EngineImage


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Kept:
    """A sink that has one blob and keeps the others, but for one that it cannot."""

    def __init__(self, known: str, refused: str = "") -> None:
        self.known, self.refused = known, refused
        self.taken: dict[str, bytes] = {}

    def has(self, blob: str) -> bool:
        return blob == self.known

    def take(self, blob: str, size: int, stream: BufferedIOBase) -> None:
        if blob == self.refused:
            raise KilnError("no room")
        self.taken[blob] = stream.read(size)


def request(address: str, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, timeout=5)
    connection.request(method, path, body=body)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.getheader("Docker-Content-Digest", "")


def test_what_an_engine_asks_when_it_pushes() -> None:
    known, new = digest(b"known"), digest(b"new")
    sink = Kept(known)
    with receiving(sink) as receiver:
        at, _, secret = receiver.address.partition("/")
        below = f"/v2/{secret}/a/b"
        assert request(at, "GET", "/v2/") == (200, "")
        assert request(at, "HEAD", f"{below}/blobs/{known}") == (200, "")
        assert request(at, "HEAD", f"{below}/blobs/{new}") == (404, "")
        assert request(at, "HEAD", f"{below}/manifests/t") == (404, "")
        assert request(at, "POST", f"{below}/blobs/uploads/?mount=x", b"")[0] == 202
        put = f"{below}/blobs/uploads/1?digest={new.replace(':', '%3A')}"
        assert request(at, "PUT", put, b"new") == (201, new)
        assert request(at, "PUT", f"{below}/manifests/t", b"{}") == (201, digest(b"{}"))
        assert request(at, "PUT", "/elsewhere", b"")[0] == 404
    assert (sink.taken, receiver.manifests) == ({new: b"new"}, {digest(b"{}"): b"{}"})


def test_who_does_not_know_the_secret_is_told_and_given_nothing() -> None:
    known, new = digest(b"known"), digest(b"new")
    sink = Kept(known)
    with receiving(sink) as receiver:
        at, _, secret = receiver.address.partition("/")
        assert len(secret) == 32
        for guess in ("stranger", "a" * 32, secret[:-1], f"{secret}x", f"x/{secret}", ""):
            below = f"/v2/{guess}/a"
            assert request(at, "HEAD", f"{below}/blobs/{known}") == (404, "")
            assert request(at, "POST", f"{below}/blobs/uploads/", b"") == (404, "")
            put = f"{below}/blobs/uploads/1?digest={new}"
            assert request(at, "PUT", put, b"new") == (404, "")
            assert request(at, "PUT", f"{below}/manifests/t", b"{}") == (404, "")
    assert (sink.taken, receiver.manifests, receiver.fault) == ({}, {}, None)
    with receiving(sink) as another:
        assert another.secret != secret


def test_an_engine_that_tries_tls_first_is_sent_to_plain_http() -> None:
    with receiving(Kept("")) as receiver:
        host, _, port = receiver.address.partition("/")[0].partition(":")
        with socket.create_connection((host, int(port)), 5) as connection:
            connection.sendall(b"\x16\x03\x01\x00\x05hello")
            assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_what_a_sink_raises_ends_the_push_and_is_kept() -> None:
    refused = digest(b"refused")
    with receiving(Kept("", refused)) as receiver:
        at, _, secret = receiver.address.partition("/")
        put = f"/v2/{secret}/a/b/blobs/uploads/1?digest={refused}"
        assert request(at, "PUT", put, b"refused")[0] == 400
        assert receiver.fault is not None
        assert receiver.fault.message == "no room"


def test_the_one_image_of_an_index() -> None:
    image, statement = b'{"layers":[]}', b'{"layers":["in-toto"]}'
    listed = [
        {"digest": digest(image), "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": digest(statement), "platform": {"os": "unknown", "architecture": "unknown"}},
    ]
    index = json.dumps({"manifests": listed}).encode()
    pushed = {digest(entry): entry for entry in (image, statement, index)}
    assert local._of_one_image(pushed) == image
    listed[1]["platform"] = {"os": "linux", "architecture": "arm64"}
    both = json.dumps({"manifests": listed}).encode()
    pushed = {digest(entry): entry for entry in (image, statement, both)}
    assert local._of_one_image(pushed) == both


def test_a_blob_with_another_content_is_refused() -> None:
    head = local._Head([])
    head.take(digest(b"{}"), 2, io.BytesIO(b"{}"))
    with pytest.raises(local.RefusedError, match="has another content"):
        head.take(digest(b"{}"), 2, io.BytesIO(b"[]"))
    assert head.blobs == {digest(b"{}"): b"{}"}


@pytest.mark.parametrize("identity", ["manifest", "index", "config"])
def test_what_the_engine_hands_out_is_the_image_that_was_asked_for(identity: str) -> None:
    config = digest(b"{}")
    manifest = json.dumps({"config": {"digest": config}}).encode()
    index = b'{"manifests":[]}'
    digests = {"manifest": digest(manifest), "index": digest(index), "config": config}
    pushed = {digest(manifest): manifest, digest(index): index}
    image = SimpleNamespace(id=digests[identity])
    local._require_same(cast("EngineImage", image), pushed, manifest, "x:y")
    other = SimpleNamespace(id=digest(b"other"))
    with pytest.raises(local.RefusedError, match="handed out another image than x:y"):
        local._require_same(cast("EngineImage", other), pushed, manifest, "x:y")
