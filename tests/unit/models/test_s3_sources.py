"""S3 sources: which keys go where, and the version that was locked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.modelfiles import locked, safetensors, sha256
from tests.support.s3 import ACCESS_KEY, SECRET_KEY

from comfykiln.models import store
from comfykiln.models.fetch import fetch
from comfykiln.models.records import ModelSource
from comfykiln.models.sources.find import find
from comfykiln.models.sources.s3 import open_store
from comfykiln.transfer.errors import ProfileError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import s3

OLD, NEW = safetensors(1000), safetensors(1000, seed=1)
KEYS = {"COMFY_S3_ACCESS_KEY": "a", "COMFY_S3_SECRET_KEY": "b", "COMFY_S3_BUCKET": "x"}


def leads_to(environ: dict[str, str], **source: Any) -> tuple[str, str, str, str]:
    """Return kind of keys, provider, endpoint and region that a source leads to."""
    opened = open_store(ModelSource(url="s3://models/k", **source), "models", environ)
    place = opened.profile
    assert place.bucket == "models"
    return opened._credentials.kind, place.provider, place.endpoint, place.region


@pytest.mark.parametrize(
    ("environ", "source", "wanted"),
    [
        ({}, {}, ("aws-chain", "AWS S3", "", "us-east-1")),
        ({"AWS_REGION": "eu-west-1"}, {}, ("aws-chain", "AWS S3", "", "eu-west-1")),
        ({}, {"region": "eu-west-3"}, ("aws-chain", "AWS S3", "", "eu-west-3")),
        ({}, {"auth": "anonymous"}, ("anonymous", "AWS S3", "", "us-east-1")),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"},
            {},
            ("aws-chain", "Custom", "http://127.0.0.1:9000", "us-east-1"),
        ),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000", "AWS_REGION": "eu-west-1"},
            {"provider": "Wasabi"},
            ("aws-chain", "Wasabi", "https://s3.us-east-1.wasabisys.com", "us-east-1"),
        ),
        (
            {},
            {"provider": "Cloudflare R2", "account_id": "abc"},
            ("aws-chain", "Cloudflare R2", "https://abc.r2.cloudflarestorage.com", "auto"),
        ),
        (KEYS, {}, ("keys", "AWS S3", "", "us-east-1")),
        (KEYS, {"auth": "anonymous"}, ("anonymous", "AWS S3", "", "us-east-1")),
        # Keys for one provider never go to another.
        (
            KEYS | {"COMFY_S3_PROVIDER": "Wasabi"},
            {"provider": "AWS S3"},
            ("aws-chain", "AWS S3", "", "us-east-1"),
        ),
        (
            KEYS,
            {"endpoint": "https://elsewhere.example"},
            ("aws-chain", "Custom", "https://elsewhere.example", "us-east-1"),
        ),
    ],
)
def test_where_a_source_leads_and_with_which_keys(
    environ: dict[str, str], source: dict[str, str], wanted: tuple[str, str, str, str]
) -> None:
    assert leads_to(environ, **source) == wanted


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"provider": "Cloudflare R2"}, "Cloudflare R2 needs an account id."),
        ({"provider": "Custom"}, "Provider Custom has no endpoint."),
    ],
)
def test_a_source_that_leads_nowhere_says_what_to_write(
    source: dict[str, str], message: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        leads_to({}, **source)
    assert (caught.value.message, caught.value.remedy) == (
        message,
        (
            "write `endpoint` or `account_id` beside the url of the source, or name a profile in "
            "its `auth`"
        ),
    )


def test_wrong_keys_of_the_aws_chain_are_told_as_such(
    rclone: s3.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", rclone.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-of-another-key")
    failed = fetch([locked(OLD, "s3://models/m")]).failed
    assert failed[0].reasons == (
        (
            "s3://models/m: Access denied: the secret key does not belong to the access key. "
            "(SignatureDoesNotMatch) check what the AWS chain finds first: AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, else the files that AWS_PROFILE "
            "chooses from"
        ),
    )


def test_a_bucket_that_is_not_there_is_said_of_the_source(
    rclone: s3.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", rclone.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    assert fetch([locked(OLD, "s3://nowhere/m")]).failed[0].reasons == (
        (
            "s3://nowhere/m: Bucket not found: nowhere check the bucket and the region (us-east-1) "
            "of this source"
        ),
    )


def test_a_profile_of_the_node_packs_file(
    home: Path, rclone: s3.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = rclone.store("profiled")
    bucket.client().create_bucket(Bucket="profiled")
    bucket.client().put_object(Bucket="profiled", Key="m", Body=OLD)
    path = home / ".comfyui-cloud-storage" / "profiles.json"
    path.parent.mkdir()
    profile = {
        "provider": "Custom",
        "endpoint_url": rclone.url,
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
    }
    path.write_text(json.dumps({"profiles": {"team": profile}}))
    path.chmod(0o600)
    model = locked(OLD, "s3://profiled/m")
    source = replace(model.sources[0], auth="team")
    # What the environment says is for others.
    monkeypatch.setenv("COMFY_S3_ENDPOINT_URL", "http://127.0.0.1:1")
    assert fetch([replace(model, sources=(source,))]).failed == ()
    with pytest.raises(ProfileError, match="There is no cloud storage profile 'other'"):
        find(replace(source, auth="other"), {"HOME": str(home)})
    moved = home / "moved.json"
    path.rename(moved)
    store.path_of(sha256(OLD)).unlink()
    monkeypatch.setenv("COMFYKILN_PROFILES", str(moved))
    assert fetch([replace(model, sources=(source,))]).failed == ()


def test_the_locked_version_is_fetched_though_the_object_was_replaced(
    moto: s3.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = moto.store("versioned").client()
    client.create_bucket(Bucket="versioned")
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    version = client.put_object(Bucket="versioned", Key="m", Body=OLD)["VersionId"]
    client.put_object(Bucket="versioned", Key="m", Body=NEW)
    for name, value in moto.environment("versioned").items():
        monkeypatch.setenv(name, value)
    url = "s3://versioned/m"
    assert fetch([locked(NEW, url)]).done[0].version not in ("", version)
    again = fetch([locked(OLD, url, source=url, version=version)])
    assert again.failed == ()
    assert again.done[0].version == version
    assert store.path_of(sha256(OLD)).read_bytes() == OLD
