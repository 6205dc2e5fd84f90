"""Buckets on two real servers, and the errors that people get to see."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import os
import threading
import traceback
import uuid
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, keys

from comfykiln.transfer import store as store_module
from comfykiln.transfer import upload as upload_module
from comfykiln.transfer.connections import Connections, Request
from comfykiln.transfer.download import download
from comfykiln.transfer.errors import (
    AccessError,
    ExistsError,
    MissingError,
    ProfileError,
    StorageError,
    UnreachableError,
)
from comfykiln.transfer.parts import MIB, Settings
from comfykiln.transfer.profiles import ANONYMOUS, CHAIN, Credentials, Profiles
from comfykiln.transfer.store import Found, Store
from comfykiln.transfer.upload import Written, upload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.s3 import Server

ODD_KEYS = ["plain.bin", "a/b/c d+e&f=g.bin", "ümläut/日本語.bin", "per%cent/%2F.bin"]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send in parts from 6 MiB on; S3 knows none below 5."""
    monkeypatch.setattr(upload_module, "SINGLE_LIMIT", 6 * MIB)
    monkeypatch.setattr(upload_module, "PART_SIZE", 5 * MIB)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_what_is_written_is_found_and_read_back(store: Store, tmp_path: Path, key: str) -> None:
    data = os.urandom(300_000)
    written = upload(store, key, data, content_type="application/x-test")
    found = store.head(key)
    assert written == Written(key=key, size=len(data), etag=found.etag)
    assert found == Found(
        key=key,
        size=len(data),
        etag=found.etag,
        modified=found.modified,
        content_type="application/x-test",
        metadata=found.metadata,
    )
    assert store.exists(key)
    small = Settings(part_size=65536, workers=3)
    done = download(store.remote(found), tmp_path / "got", settings=small)
    assert done is not None
    assert (tmp_path / "got").read_bytes() == data


@pytest.mark.usefixtures("small_parts")
def test_large_files_go_in_parts_and_come_back(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "large"
    data = os.urandom(11 * MIB + 3)
    source.write_bytes(data)
    seen: list[int] = []
    written = upload(store, "large", source, content_type="video/mp4", progress=seen.append)
    assert written.etag.strip('"').endswith("-3")
    assert sorted(seen) == seen
    assert seen[-1] == len(data)
    done = download(store.remote(store.head("large")), tmp_path / "got")
    assert done is not None
    assert (tmp_path / "got").read_bytes() == data


@pytest.mark.usefixtures("small_parts")
def test_a_cancelled_upload_leaves_nothing(moto: Server, tmp_path: Path) -> None:
    store = moto.store(f"b-{uuid.uuid4().hex}")
    store.client().create_bucket(Bucket=store.bucket)
    source = tmp_path / "large"
    source.write_bytes(bytes(11 * MIB))
    with pytest.raises(StorageError, match="The upload was cancelled"):
        upload(store, "x", source, content_type="a/b", cancelled=lambda: True)
    assert not store.exists("x")
    assert "Uploads" not in store.call("list_multipart_uploads")


@pytest.mark.usefixtures("small_parts")
def test_nothing_is_overwritten_unless_told_to(store: Store, tmp_path: Path) -> None:
    upload(store, "x", b"first", content_type="a/b", absent=True)
    with pytest.raises(ExistsError) as caught:
        upload(store, "x", b"second", content_type="a/b", absent=True)
    assert str(caught.value) == (f"s3://{store.bucket}/x exists already.\n  → choose another name")
    large = tmp_path / "large"
    large.write_bytes(bytes(7 * MIB))
    with pytest.raises(ExistsError):
        upload(store, "x", large, content_type="a/b", absent=True)
    assert store.head("x").size == 5
    upload(store, "x", b"second!", content_type="a/b")
    assert store.head("x").size == 7


def test_the_store_itself_refuses_when_two_write_at_once(
    moto: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = moto.store(f"b-{uuid.uuid4().hex}")
    store.client().create_bucket(Bucket=store.bucket)
    upload(store, "x", b"first", content_type="a/b")
    monkeypatch.setattr(Store, "exists", lambda *_: False)  # the moment between the two
    with pytest.raises(ExistsError):
        upload(store, "x", b"second", content_type="a/b", absent=True)
    assert store.head("x").size == 5


def test_lists_come_in_order_in_pages_and_bounded(store: Store) -> None:
    names = [f"p/{n:04d}" for n in range(5)] + ["q"]
    for name in names:
        upload(store, name, b"x" * 10, content_type="a/b")
    assert [f.key for f in store.listed("p/", 1000)] == names[:5]
    assert [(f.key, f.size) for f in store.listed("", 3)] == [(n, 10) for n in names[:3]]
    assert list(store.listed("none/", 10)) == []


def test_more_than_a_page_is_listed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "PAGE", 3)
    names = [f"{n:02d}" for n in range(8)]
    for name in names:
        upload(store, name, b"", content_type="a/b")
    assert [f.key for f in store.listed("", 100)] == names
    assert [f.key for f in store.listed("", 7)] == names[:7]
    assert [f.key for f in store.listed("", 6)] == names[:6]


def test_a_shared_url_opens_without_keys_and_not_when_tampered_with(rclone: Server) -> None:
    store = rclone.store(f"b-{uuid.uuid4().hex}")
    store.client().create_bucket(Bucket=store.bucket)
    upload(store, "a b.txt", b"hello", content_type="text/plain")
    url = store.share("a b.txt", 1)
    assert fetched(url) == (200, b"hello")
    assert fetched(url.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200"))[0] == 403
    assert SECRET_KEY not in url


def fetched(url: str) -> tuple[int, bytes]:
    with contextlib.closing(Connections()) as connections:
        answer = connections.get(Request(url=url))
        return answer.status, answer.read()


@pytest.mark.parametrize("hours", [0, -1, 169])
def test_a_shared_url_lives_an_hour_to_a_week(moto: Server, hours: int) -> None:
    with pytest.raises(ProfileError, match="choose 1 to 168"):
        moto.store().share("x", hours)


def test_missing_things_are_told_apart(store: Store) -> None:
    with pytest.raises(MissingError) as caught:
        store.head("gone/x.bin")
    assert caught.value.message == f"Object not found: s3://{store.bucket}/gone/x.bin"
    other = Store(replace(store.profile, bucket="no-such-bucket-here"), keys())
    with pytest.raises(MissingError) as caught:
        other.head("x")
    assert caught.value.message == "Bucket not found: no-such-bucket-here"
    with pytest.raises(MissingError, match="Bucket not found"):
        list(other.listed("", 1))
    with pytest.raises(MissingError, match="Bucket not found"):
        upload(other, "x", b"", content_type="a/b")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"secret_key": "CANARY-wrong-secret"}, "the secret key does not belong"),
        ({"access_key": "CANARYWRONGACCESS"}, "Access denied|Invalid access key"),
    ],
)
def test_wrong_keys_are_named_without_being_shown(
    rclone: Server, changes: dict[str, str], told: str
) -> None:
    store = Store(rclone.profile("b"), keys(**changes))
    with pytest.raises(AccessError, match=told) as caught:
        list(store.listed("", 1))
    assert "CANARY" not in str(caught.value)
    printed = "".join(traceback.format_exception(caught.value))
    assert "CANARY" not in printed
    assert "ClientError" not in printed


def test_a_refused_head_is_an_access_error(rclone: Server) -> None:
    store = Store(rclone.profile("b"), keys(secret_key="wrong-secret"))
    with pytest.raises(AccessError, match="the secret key does not belong"):
        store.head("x")
    assert store.exists("x") is False


def test_an_unreachable_store_is_named(moto: Server) -> None:
    profile = moto.profile(endpoint="http://127.0.0.1:1")
    with pytest.raises(UnreachableError) as caught:
        Store(profile, keys()).head("x")
    assert caught.value.message == (
        "http://127.0.0.1:1 cannot be reached. (EndpointConnectionError)"
    )


def test_public_buckets_need_no_keys(moto: Server) -> None:
    owner = moto.store(f"b-{uuid.uuid4().hex}")
    owner.client().create_bucket(Bucket=owner.bucket, ACL="public-read")
    owner.client().put_object(Bucket=owner.bucket, Key="x", Body=b"public", ACL="public-read")
    store = Store(owner.profile, Credentials(kind=ANONYMOUS))
    assert store.head("x").size == 6
    assert "Signature" not in store.share("x", 1)


def test_the_aws_chain_is_used_where_it_is_asked_for_and_nowhere_else(
    rclone: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = f"b-{uuid.uuid4().hex}"
    rclone.store().client().create_bucket(Bucket=bucket)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    profile = rclone.profile(bucket)
    assert list(Store(profile, Credentials(kind=CHAIN)).listed("", 1)) == []
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(AccessError):
        list(Store(profile, Credentials(kind=CHAIN)).listed("", 1))
    assert list(Store(profile, keys()).listed("", 1)) == []


@pytest.fixture
def role() -> Iterator[str]:
    """The address at which a machine in the cloud finds the keys of its role."""
    later = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    keys_of_role = {
        "Code": "Success",
        "AccessKeyId": ACCESS_KEY,
        "SecretAccessKey": SECRET_KEY,
        "Token": "CANARY-token-of-the-role",
        "Expiration": later,
    }
    answers = {
        "/latest/api/token": "session",
        "/latest/meta-data/iam/security-credentials/": "reader",
        "/latest/meta-data/iam/security-credentials/reader": json.dumps(keys_of_role),
    }

    class Machine(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.get(self.path, "").encode()
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Machine)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_w19_the_role_of_an_instance_is_enough(
    rclone: Server, role: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The server checks the signature that is made with the role's keys and its token."""
    bucket = f"b-{uuid.uuid4().hex}"
    rclone.store().client().create_bucket(Bucket=bucket)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", role)
    profiles = Profiles(
        path=tmp_path / "none",
        env={
            "COMFY_S3_PROVIDER": "Custom",
            "COMFY_S3_ENDPOINT_URL": rclone.url,
            "COMFY_S3_BUCKET": bucket,
            "COMFY_S3_CREDENTIALS": CHAIN,
        },
    )
    store = Store(*profiles.credentials(profiles.resolve()))
    upload(store, "x", b"by its role", content_type="a/b")
    assert store.head("x").size == 11


def test_the_surroundings_change_nothing_for_keys_of_ours(
    rclone: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\nendpoint_url = http://127.0.0.1:1\ns3 =\n  use_dualstack=true\n")
    for name, value in {
        "AWS_PROFILE": "ghost",
        "AWS_CONFIG_FILE": str(config),
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_supported",
        "AWS_SESSION_TOKEN": "foreign",
        "AWS_USE_FIPS_ENDPOINT": "true",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"b-{uuid.uuid4().hex}"
    store = rclone.store(bucket)
    store.client().create_bucket(Bucket=bucket)
    upload(store, "x", b"data", content_type="a/b")
    assert store.head("x").size == 4
    aws = Store(rclone.profile(provider="AWS S3", endpoint=""), keys())
    assert aws.client().meta.endpoint_url == "https://s3.amazonaws.com"


def test_no_key_on_disk_is_told_as_such(
    moto: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ProfileError, match="access key not configured: the AWS chain"):
        Store(moto.profile(), Credentials(kind=CHAIN)).head("x")
    with pytest.raises(ProfileError, match="check region, endpoint_url and aws_profile"):
        Store(moto.profile(), Credentials(kind=CHAIN, aws_profile="ghost")).head("x")


def test_debug_logs_hold_no_signature_and_no_token(
    moto: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store = Store(moto.profile(), keys(session_token="CANARY-token"))
    with pytest.raises(StorageError):
        store.head("x")
    store.share("x", 1)
    told = "\n".join(record.getMessage() for record in caplog.records)
    assert not [word for word in (SECRET_KEY, ACCESS_KEY, "CANARY", "Signature") if word in told]


def test_a_probe_answers_with_time_and_keys(store: Store) -> None:
    for name in "abcd":
        upload(store, name, b"", content_type="a/b")
    milliseconds, found = store.probe()
    assert found == ["a", "b", "c"]
    assert 0 < milliseconds < 5000


@pytest.mark.parametrize("prefix", ["team", "/team/", "team/"])
def test_a_probe_looks_where_the_nodes_look(moto: Server, prefix: str) -> None:
    bucket = f"b-{uuid.uuid4().hex}"
    moto.store(bucket).client().create_bucket(Bucket=bucket)
    store = moto.store(bucket, path_prefix=prefix)
    for name in ("team-b/other", "team/ours"):
        upload(store, name, b"", content_type="a/b")
    assert store.probe()[1] == ["team/ours"]
