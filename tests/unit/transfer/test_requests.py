"""What goes over the wire to each provider, seen just before it is sent: no provider is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from tests.support.s3 import keys

from comfykiln.transfer.errors import RegionError, StorageError
from comfykiln.transfer.parts import MIB
from comfykiln.transfer.profiles import Profiles
from comfykiln.transfer.providers import PROVIDERS
from comfykiln.transfer.store import Store
from comfykiln.transfer.upload import upload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Answer = tuple[int, dict[str, str], bytes]
FINE: Answer = (200, {"ETag": '"e"'}, b"")
BEGUN: Answer = (
    200,
    {},
    b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
)
DONE: Answer = (
    200,
    {},
    b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>",
)


class Wire:
    """Stands where the network begins: keeps each request and answers it."""

    def __init__(self, store: Store, answer: Callable[[Any], Answer] = lambda _: FINE) -> None:
        self.requests: list[Any] = []
        self._answer = answer
        made = store.client

        def client() -> Any:
            found = made()
            found.meta.events.register("before-send.s3", self._send, unique_id="wire")
            return found

        store.client = client  # type: ignore[method-assign]  # each client of the store is watched

    def _send(self, request: Any, **_: Any) -> Any:
        from botocore.awsrequest import AWSResponse  # only this class needs it
        from botocore.compat import HTTPHeaders  # the same

        self.requests.append(request)
        status, headers, body = self._answer(request)

        told = HTTPHeaders()
        for name, value in headers.items():
            told[name] = value

        class Raw:
            def stream(self) -> Any:
                yield body

        return AWSResponse(request.url, status, told, Raw())

    def header(self, name: str) -> list[str]:
        found = [request.headers.get(name, b"") for request in self.requests]
        return [v.decode() if isinstance(v, bytes) else str(v) for v in found]


def opened(path: Path, provider: str, **more: str) -> Store:
    env = {"COMFY_S3_PROVIDER": provider, "COMFY_S3_BUCKET": "bucket", **more}
    env |= {"COMFY_S3_ACCESS_KEY": "AK", "COMFY_S3_SECRET_KEY": "SK"}
    profiles = Profiles(path=path / "none", env=env)
    return Store(*profiles.credentials(profiles.resolve()))


OFF_AWS = [
    ("Backblaze B2", {}, "s3.us-west-004.backblazeb2.com", "/bucket/k"),
    ("Cloudflare R2", {"COMFY_S3_ACCOUNT_ID": "acc"}, "acc.r2.cloudflarestorage.com", "/bucket/k"),
    ("MinIO", {}, "localhost:9000", "/bucket/k"),
    ("Wasabi", {}, "s3.us-east-1.wasabisys.com", "/bucket/k"),
    ("DigitalOcean Spaces", {}, "nyc3.digitaloceanspaces.com", "/bucket/k"),
    ("GCS (S3 interop)", {}, "storage.googleapis.com", "/bucket/k"),
    ("Custom", {"COMFY_S3_ENDPOINT_URL": "https://s3.example"}, "s3.example", "/bucket/k"),
    (
        "Custom",
        {
            "COMFY_S3_ENDPOINT_URL": "https://s3.example",
            "COMFY_S3_ADDRESSING_STYLE": "virtual",
        },
        "bucket.s3.example",
        "/k",
    ),
]


@pytest.mark.parametrize(("provider", "more", "host", "path"), OFF_AWS)
def test_w24_uploads_off_aws_carry_what_every_provider_accepts(
    tmp_path: Path, provider: str, more: dict[str, str], host: str, path: str
) -> None:
    """Checksum trailers, which several providers refuse, went to everyone."""
    store = opened(tmp_path, provider, **more)
    wire = Wire(store)
    upload(store, "k", b"hello", content_type="text/plain")
    (request,) = wire.requests
    address = urlsplit(request.url)
    assert (address.netloc, address.path, request.method) == (host, path, "PUT")
    assert wire.header("Content-MD5") == ["XUFAKrxLKna5cZ2REBfFkg=="]
    assert wire.header("Content-Type") == ["text/plain"]
    assert not [name for name in request.headers if name.lower().startswith("x-amz-checksum")]
    assert "x-amz-trailer" not in request.headers
    assert "aws-chunked" not in wire.header("Content-Encoding")
    assert "AWS4-HMAC-SHA256" in wire.header("Authorization")[0]


@pytest.mark.parametrize(("provider", "more"), [given[:2] for given in OFF_AWS[:-1]])
def test_w22_no_provider_is_told_another_s_name(
    tmp_path: Path, provider: str, more: dict[str, str]
) -> None:
    store = opened(tmp_path, provider, **more)
    wire = Wire(store)
    upload(store, "k", b"hello", content_type="text/plain")
    (told,) = wire.header("User-Agent")
    assert told.startswith("Boto3/")
    assert not [name for name in PROVIDERS if name.split()[0].lower() in told.lower()]
    assert "b2ai" not in told


def test_uploads_to_aws_carry_a_sha256(tmp_path: Path) -> None:
    store = opened(tmp_path, "AWS S3")
    wire = Wire(store)
    upload(store, "k", b"hello", content_type="text/plain", absent=True)
    (request,) = wire.requests
    assert urlsplit(request.url).netloc == "bucket.s3.amazonaws.com"
    assert wire.header("x-amz-checksum-sha256") == ["LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="]
    assert wire.header("If-None-Match") == ["*"]
    assert wire.header("Content-MD5") == [""]


@pytest.mark.parametrize(
    ("provider", "name"), [("AWS S3", "x-amz-checksum-sha256"), ("Wasabi", "Content-MD5")]
)
def test_every_part_of_a_large_upload_is_checked(tmp_path: Path, provider: str, name: str) -> None:
    def answer(request: Any) -> Answer:
        if request.url.endswith("?uploads"):
            return BEGUN
        return DONE if request.method == "POST" else FINE

    store = opened(tmp_path, provider)
    wire = Wire(store, answer)
    source = tmp_path / "large"
    source.write_bytes(bytes(33 * MIB))
    upload(store, "k", source, content_type="video/mp4")
    parts = [request for request in wire.requests if request.method == "PUT"]
    assert len(parts) == 3
    assert all(request.headers.get(name) for request in parts)


def test_a_store_that_knows_no_conditions_is_asked_first(tmp_path: Path) -> None:
    def answer(request: Any) -> Answer:
        if request.method == "HEAD":
            return 404, {}, b""
        if "If-None-Match" in request.headers:
            return 501, {}, b"<Error><Code>NotImplemented</Code></Error>"
        return FINE

    store = opened(tmp_path, "Wasabi")
    wire = Wire(store, answer)
    for _ in range(2):
        upload(store, "k", b"x", content_type="a/b", absent=True)
    told = [(r.method, "If-None-Match" in r.headers) for r in wire.requests]
    refused = told.count(("PUT", True))
    assert refused >= 1
    assert told[-2:] == [("HEAD", False), ("PUT", False)]
    assert not store.knows_conditions


def test_a_bucket_of_another_region_is_asked_there(tmp_path: Path) -> None:
    def answer(request: Any) -> Answer:
        if "eu-west-3" in request.url:
            return (
                200,
                {"Content-Length": "3", "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT"},
                b"",
            )
        return 301, {"x-amz-bucket-region": "eu-west-3"}, b""

    store = opened(tmp_path, "AWS S3")
    Wire(store, answer)
    assert store.head("k").size == 3
    assert "eu-west-3" in store.share("k", 1)
    other = opened(tmp_path, "Custom", COMFY_S3_ENDPOINT_URL="https://s3.example")
    Wire(other, lambda _: (301, {"x-amz-bucket-region": "eu-west-3"}, b""))
    with pytest.raises(RegionError, match="in another region \\(eu-west-3\\)"):
        other.head("k")


LISTS: dict[str, Answer] = {
    "denied": (403, {}, b"<Error><Code>AccessDenied</Code></Error>"),
    "gone": (404, {}, b"<Error><Code>NoSuchBucket</Code></Error>"),
}


@pytest.mark.parametrize(
    ("head", "listing", "told"),
    [
        (404, "denied", "Object not found: s3://bucket/team/k"),
        (404, "gone", "Bucket not found: bucket"),
        (403, "denied", "Access denied."),
    ],
)
def test_a_key_that_may_not_list_is_told_what_is_known(
    tmp_path: Path, head: int, listing: str, told: str
) -> None:
    store = opened(tmp_path, "Backblaze B2", COMFY_S3_PATH_PREFIX="/team")
    wire = Wire(store, lambda r: (head, {}, b"") if r.method == "HEAD" else LISTS[listing])
    with pytest.raises(StorageError) as caught:
        store.head("team/k")
    assert caught.value.message.startswith(told)
    asked = [r.url for r in wire.requests if r.method == "GET"]
    assert all("prefix=team%2F&" in f"{url}&" for url in asked)
    assert asked


def test_the_first_fault_of_a_large_upload_is_told(tmp_path: Path) -> None:
    def answer(request: Any) -> Answer:
        if request.url.endswith("?uploads"):
            return BEGUN
        if request.method == "DELETE":
            return 403, {}, b"<Error><Code>AccessDenied</Code></Error>"
        return 400, {}, b"<Error><Code>EntityTooLarge</Code><Message>Full</Message></Error>"

    store = opened(tmp_path, "Wasabi")
    Wire(store, answer)
    source = tmp_path / "large"
    source.write_bytes(bytes(33 * MIB))
    with pytest.raises(StorageError, match="S3 error \\[EntityTooLarge\\]: Full"):
        upload(store, "k", source, content_type="video/mp4")


def test_w25_every_request_has_limits(tmp_path: Path) -> None:
    """No time limits, no attempts, no pool."""
    config = opened(tmp_path, "MinIO").client().meta.config
    assert (config.connect_timeout, config.read_timeout, config.max_pool_connections) == (
        10,
        60,
        16,
    )
    assert config.retries["total_max_attempts"] == 4


def test_a_session_token_is_sent_and_signed(
    tmp_path: Path,
) -> None:
    store = opened(tmp_path, "MinIO")
    with_token = Store(store.profile, keys(session_token="TOKEN"))
    wire = Wire(with_token)
    upload(with_token, "k", b"x", content_type="a/b")
    assert wire.header("X-Amz-Security-Token") == ["TOKEN"]
    assert "x-amz-security-token" in wire.header("Authorization")[0]
