"""What people get wrong, and what they are told: the cause and what to do, and never a key."""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import botocore.auth
import pytest
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, Server

from comfykiln.transfer.errors import AccessError, ProfileError, StorageError, UnreachableError
from comfykiln.transfer.profiles import Profiles
from comfykiln.transfer.store import Store
from comfykiln.transfer.upload import upload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def page() -> Iterator[str]:
    """A web page under every address, as a console of storage has it."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", "28")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"<!doctype html><p>Log in</p>")

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_PUT(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def opened(path: Path, endpoint: str, **changes: str) -> Store:
    """Return the store that the environment variables lead to."""
    env = {"PROVIDER": "Custom", "ENDPOINT_URL": endpoint, "BUCKET": "bucket"}
    env |= {"ACCESS_KEY": ACCESS_KEY, "SECRET_KEY": SECRET_KEY} | changes
    profiles = Profiles(path=path / "none", env={f"COMFY_S3_{k}": v for k, v in env.items()})
    return Store(*profiles.credentials(profiles.resolve()))


def told(store: Store) -> set[str]:
    """Return what listing, looking and writing say, the first line of each."""
    found = set()
    for work in (
        lambda: list(store.listed("", 1)),
        lambda: store.head("x"),
        lambda: upload(store, "x", b"x", content_type="a/b", absent=True),
    ):
        with pytest.raises(StorageError) as caught:
            work()
        found.add(caught.value.message)
    return found


def test_a_host_that_does_not_exist(tmp_path: Path) -> None:
    assert told(opened(tmp_path, "http://no-such-host.invalid")) == {
        "http://no-such-host.invalid cannot be reached. (EndpointConnectionError)"
    }


def test_https_where_http_is_spoken(tmp_path: Path, page: str) -> None:
    url = page.replace("http", "https")
    assert told(opened(tmp_path, url)) == {f"{url} does not speak HTTPS. (SSLError)"}


def test_the_address_of_a_console(tmp_path: Path, page: str) -> None:
    assert told(opened(tmp_path, page)) == {
        f"{page} answers with a web page, not as S3 storage does.",
        f"{page} does not answer as S3 storage does.",
    }
    with pytest.raises(UnreachableError, match="does not answer as S3 storage does"):
        opened(tmp_path, page).exists("x")  # or a search for a free name would never end


def signed_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have requests signed as if it were two hours ago."""
    now: Any = getattr(botocore.auth, "get_current_datetime")  # noqa: B009  # the stubs lack it
    behind = dt.timedelta(hours=2)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *given: now(*given) - behind)


def test_a_clock_that_is_two_hours_behind(
    tmp_path: Path, rclone: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = f"b-{uuid.uuid4().hex}"
    rclone.store(bucket).client().create_bucket(Bucket=bucket)
    signed_behind(monkeypatch)
    now = time.time
    monkeypatch.setattr("comfykiln.transfer.faults.time.time", lambda: now() - 7200)
    store = opened(tmp_path, rclone.url, BUCKET=bucket)
    lines = told(store)
    assert {line.partition(" (")[0] for line in lines} == {"The clock of this machine is wrong."}


def test_what_the_store_says_about_a_refusal_is_passed_on(
    tmp_path: Path, rclone: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_behind(monkeypatch)
    with pytest.raises(AccessError) as caught:
        opened(tmp_path, rclone.url).look()
    assert caught.value.message == (
        "Access denied. Check credentials and bucket policy. (AccessDenied, s3://bucket: "
        "The difference between the request time and the server's time exceeds the maximum "
        "allowed.)"
    )


@pytest.mark.parametrize(
    "key", [f'"{ACCESS_KEY}"', f"{ACCESS_KEY}'", "AB\nCD", "AB CD", "ÄB", "AB\u200b"]
)
@pytest.mark.parametrize("which", ["ACCESS_KEY", "SECRET_KEY", "SESSION_TOKEN"])
def test_a_key_that_was_copied_wrongly(tmp_path: Path, which: str, key: str) -> None:
    with pytest.raises(ProfileError) as caught:
        opened(tmp_path, "https://s3.example", **{which: key})
    assert str(caught.value) == (
        f"The {which.lower()} of the environment has a character that is in no key: a quote "
        "around it, white space, or a letter of another alphabet.\n"
        "  → copy it again from the provider's page, without quotes"
    )


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://s3.example/media",
        "https://acc.r2.cloudflarestorage.com/media",
        "https://media.nyc3.digitaloceanspaces.com",
        "https://media.s3.us-west-004.backblazeb2.com",
        "https://media.s3.eu-west-1.amazonaws.com/",
    ],
)
def test_an_endpoint_with_the_bucket_in_it(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(ProfileError, match="has the bucket in it") as caught:
        opened(tmp_path, endpoint, BUCKET="media")
    assert "take media out of COMFY_S3_ENDPOINT_URL" in caught.value.remedy


@pytest.mark.parametrize(
    ("bucket", "endpoint"),
    [
        ("storage", "https://storage.googleapis.com"),
        ("nyc3", "https://nyc3.digitaloceanspaces.com"),
        ("media", "https://media.example.org"),
        ("s3", "https://s3.us-west-004.backblazeb2.com"),
    ],
)
def test_a_host_that_only_looks_like_it(tmp_path: Path, bucket: str, endpoint: str) -> None:
    assert opened(tmp_path, endpoint, BUCKET=bucket).profile.endpoint == endpoint


def test_nothing_configured_at_all(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        Profiles(path=tmp_path / "profiles.json", env={}).resolve()
    assert str(caught.value) == (
        "Cloud storage access key not configured: no COMFY_S3_ variable is set.\n"
        "  → set COMFY_S3_ACCESS_KEY, COMFY_S3_SECRET_KEY and COMFY_S3_BUCKET env vars (and "
        f"restart), or choose a profile of {tmp_path / 'profiles.json'}"
    )


def test_a_region_with_a_space(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="The region has characters"):
        opened(tmp_path, "https://s3.example", REGION="us east")
