"""Which keys go where: one source at a time, nothing mixed, nothing shown."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from comfykiln.transfer.errors import ProfileError
from comfykiln.transfer.profiles import ANONYMOUS, CHAIN, STATIC, Profile, Profiles
from comfykiln.transfer.providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ENV = {
    "COMFY_S3_PROVIDER": "MinIO",
    "COMFY_S3_ACCESS_KEY": "CANARY-env-access",
    "COMFY_S3_SECRET_KEY": "CANARY-env-secret",
    "COMFY_S3_BUCKET": "env-bucket",
    "COMFY_S3_ENDPOINT_URL": "http://127.0.0.1:9000/",
    "COMFY_S3_REGION": "eu-1",
    "COMFY_S3_PATH_PREFIX": "env/",
}
NAMED = {
    "provider": "AWS S3",
    "access_key": "CANARY-named-access",
    "secret_key": "CANARY-named-secret",
    "bucket": "named-bucket",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "profiles.json"


@pytest.fixture
def sources(path: Path) -> Callable[..., Profiles]:
    """Return a maker of sources: an environment, and the profiles of the file by name."""

    def make(env: dict[str, str] | None = None, **named: Any) -> Profiles:
        if named:
            path.write_text(json.dumps({"profiles": named}))
            path.chmod(0o600)
        return Profiles(path=path, env=ENV if env is None else env)

    return make


Sources = "Callable[..., Profiles]"


def keys(profiles: Profiles, profile: Profile) -> tuple[str, str]:
    _, found = profiles.credentials(profile)
    return found.access_key, found.secret_key


def test_the_environment_alone(sources: Callable[..., Profiles]) -> None:
    profiles = sources()
    profile = profiles.resolve()
    assert profile == Profile(
        name="",
        provider="MinIO",
        endpoint="http://127.0.0.1:9000",
        region="eu-1",
        bucket="env-bucket",
        path_prefix="env/",
        addressing="path",
    )
    assert keys(profiles, profile) == ("CANARY-env-access", "CANARY-env-secret")


def test_w16_a_named_profile_takes_nothing_of_the_connection_from_the_environment(
    sources: Callable[..., Profiles],
) -> None:
    """The environment's endpoint leaked into a named AWS profile."""
    profiles = sources(aws=NAMED)
    profile = profiles.resolve("aws")
    assert profile == Profile(
        name="aws",
        provider="AWS S3",
        endpoint="",
        region="us-east-1",
        bucket="named-bucket",
        path_prefix="env/",
        addressing="auto",
    )
    assert keys(profiles, profile) == ("CANARY-named-access", "CANARY-named-secret")


def test_w16_half_a_pair_of_keys_is_never_completed_from_elsewhere(
    sources: Callable[..., Profiles],
) -> None:
    half = {k: v for k, v in NAMED.items() if k != "secret_key"}
    with pytest.raises(ProfileError) as caught:
        sources(aws=half).resolve("aws")
    assert str(caught.value) == (
        "Cloud storage secret key not configured.\n"
        "  → set secret_key in the profile 'aws' of profiles.json"
    )


def test_w17_an_unknown_profile_is_an_error(sources: Callable[..., Profiles], path: Path) -> None:
    """An unknown name silently used the environment's keys."""
    with pytest.raises(ProfileError) as caught:
        sources(aws=NAMED, b2=NAMED).resolve("awz")
    assert str(caught.value) == (
        f"There is no cloud storage profile 'awz' in {path} (there: aws, b2).\n"
        "  → choose one of these, or add it to the file"
    )


def test_bucket_and_prefix_are_layers_and_empty_values_override_nothing(
    sources: Callable[..., Profiles],
) -> None:
    bare = {k: v for k, v in NAMED.items() if k != "bucket"}
    profiles = sources(aws=NAMED, bare=bare | {"bucket": "", "path_prefix": "own/"})
    found = [
        (p.bucket, p.path_prefix)
        for p in (
            profiles.resolve("aws"),
            profiles.resolve("bare"),
            profiles.resolve("bare", bucket="", path_prefix=""),
            profiles.resolve("bare", bucket="node-bucket", path_prefix="node/"),
        )
    ]
    assert found == [
        ("named-bucket", "env/"),
        ("env-bucket", "own/"),
        ("env-bucket", "own/"),
        ("node-bucket", "node/"),
    ]


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("ACCESS_KEY", "access key not configured.\n  → set COMFY_S3_ACCESS_KEY env var"),
        ("SECRET_KEY", "secret key not configured.\n  → set COMFY_S3_SECRET_KEY env var"),
        ("BUCKET", "bucket not configured.\n  → set COMFY_S3_BUCKET env var"),
    ],
)
def test_what_is_missing_is_named(
    sources: Callable[..., Profiles], missing: str, told: str
) -> None:
    env = {name: value for name, value in ENV.items() if name != f"COMFY_S3_{missing}"}
    with pytest.raises(ProfileError) as caught:
        sources(env).resolve()
    assert str(caught.value).startswith(f"Cloud storage {told}")
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("name", "region", "account", "endpoint", "addressing"),
    [
        ("Backblaze B2", "us-west-004", "", "https://s3.us-west-004.backblazeb2.com", "auto"),
        ("AWS S3", "us-east-1", "", "", "auto"),
        ("Cloudflare R2", "auto", "abc", "https://abc.r2.cloudflarestorage.com", "auto"),
        ("MinIO", "us-east-1", "", "http://localhost:9000", "path"),
        ("Wasabi", "us-east-1", "", "https://s3.us-east-1.wasabisys.com", "auto"),
        ("DigitalOcean Spaces", "nyc3", "", "https://nyc3.digitaloceanspaces.com", "auto"),
        ("GCS (S3 interop)", "auto", "", "https://storage.googleapis.com", "auto"),
    ],
)
def test_every_provider_of_the_table(
    sources: Callable[..., Profiles],
    name: str,
    region: str,
    account: str,
    endpoint: str,
    addressing: str,
) -> None:
    profile = sources(x=NAMED | {"provider": name, "account_id": account}).resolve("x")
    found = (profile.provider, profile.region, profile.endpoint, profile.addressing)
    assert found == (name, region, endpoint, addressing)


def test_the_table_is_complete_and_no_region_is_empty() -> None:
    assert list(PROVIDERS) == [
        "AWS S3",
        "Backblaze B2",
        "Cloudflare R2",
        "MinIO",
        "Wasabi",
        "DigitalOcean Spaces",
        "GCS (S3 interop)",
        "Custom",
    ]
    assert all(provider.region for provider in PROVIDERS.values())


def test_a_region_and_an_endpoint_override_the_preset(sources: Callable[..., Profiles]) -> None:
    b2 = NAMED | {"provider": "backblaze b2", "region": "eu-central-003"}
    assert sources(x=b2).resolve("x").endpoint == "https://s3.eu-central-003.backblazeb2.com"
    own = b2 | {"endpoint_url": "https://store.example:8443/"}
    assert sources(x=own).resolve("x").endpoint == "https://store.example:8443"


@pytest.mark.parametrize(
    ("provider", "endpoint", "region"),
    [
        ("Backblaze B2", "https://s3.eu-central-003.backblazeb2.com", "eu-central-003"),
        ("Custom", "https://s3.eu-central-003.backblazeb2.com/", "eu-central-003"),
        ("Custom", "https://S3.ap-southeast-1.wasabisys.com", "ap-southeast-1"),
        ("DigitalOcean Spaces", "https://fra1.digitaloceanspaces.com", "fra1"),
        ("AWS S3", "https://s3.eu-west-1.amazonaws.com", "eu-west-1"),
        ("AWS S3", "https://s3.amazonaws.com", "us-east-1"),
        ("Wasabi", "https://s3.wasabisys.com", "us-east-1"),
        ("Backblaze B2", "https://store.example", "us-west-004"),
    ],
)
def test_the_region_of_a_known_address_counts_where_none_is_given(
    sources: Callable[..., Profiles], provider: str, endpoint: str, region: str
) -> None:
    named = NAMED | {"provider": provider, "endpoint_url": endpoint}
    assert sources(x=named).resolve("x").region == region
    assert sources(x=named | {"region": "told"}).resolve("x").region == "told"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"provider": "Cloudflare R2"},
            "Cloudflare R2 needs an account id.\n  → set COMFY_S3_ACCOUNT_ID",
        ),
        ({"provider": "Custom"}, "Provider Custom has no endpoint.\n  → set COMFY_S3_ENDPOINT_URL"),
        (
            {"provider": "Blackblaze"},
            "Unknown cloud storage provider 'Blackblaze'.\n  → use one of",
        ),
        ({"endpoint_url": "store.example"}, "The endpoint URL does not begin with http://"),
        ({"endpoint_url": "https://CANARY:x@store"}, "The endpoint URL holds a user name"),
        ({"endpoint_url": "https://s?key=CANARY"}, "The endpoint URL holds a query"),
        ({"provider": "Wasabi", "region": "x.evil/#"}, "The region has characters that cannot"),
        ({"bucket": "s3://b"}, "'s3://b' cannot be the name of a bucket."),
        ({"addressing_style": "x"}, "Unknown value of addressing_style."),
        ({"credentials": "magic"}, "Unknown value of credentials in the profile 'x'."),
        ({"credentials": CHAIN}, "There are keys beside credentials = aws-chain in the profile"),
    ],
)
def test_w23_a_contradiction_says_what_is_wrong(
    sources: Callable[..., Profiles], changes: dict[str, str], told: str
) -> None:
    """R2 without an account and Custom without an endpoint gave riddles."""
    with pytest.raises(ProfileError) as caught:
        sources(x=NAMED | changes).resolve("x")
    assert str(caught.value).startswith(told)
    assert "CANARY" not in str(caught.value)


def test_the_place_of_the_bucket_can_be_chosen(sources: Callable[..., Profiles]) -> None:
    base = NAMED | {"provider": "Custom", "endpoint_url": "https://store.example.org"}
    profiles = sources(a=base, b=base | {"addressing_style": "virtual"})
    assert [profiles.resolve(name).addressing for name in "ab"] == ["auto", "virtual"]


def test_an_empty_profile_is_named_whatever_the_environment_has(
    sources: Callable[..., Profiles],
) -> None:
    with pytest.raises(ProfileError) as caught:
        sources(x={"bucket": " ", "region": None}).resolve("x", bucket="b")
    assert str(caught.value) == (
        "The profile 'x' is empty.\n"
        "  → give it a provider, access_key, secret_key and bucket in profiles.json"
    )


def test_keys_never_go_to_another_provider(sources: Callable[..., Profiles]) -> None:
    profiles = sources(aws=NAMED)
    with pytest.raises(ProfileError, match="keys are never sent to another provider"):
        profiles.resolve("aws", provider="Wasabi")
    with pytest.raises(ProfileError, match="keys are never sent to another provider"):
        profiles.resolve("", provider="Wasabi")
    assert profiles.resolve("aws", provider="AWS S3") == profiles.resolve("aws")
    silent = {
        k: v for k, v in ENV.items() if k not in ("COMFY_S3_PROVIDER", "COMFY_S3_ENDPOINT_URL")
    }
    chosen = sources(silent).resolve("", provider="Wasabi")
    assert chosen.endpoint == "https://s3.eu-1.wasabisys.com"
    assert sources(silent).credentials(chosen)[0] == chosen


def test_a_value_that_came_over_a_wire_cannot_redirect_the_keys(
    sources: Callable[..., Profiles],
) -> None:
    profiles = sources(aws=NAMED)
    forged = Profile(
        name="aws",
        provider="AWS S3",
        endpoint="https://evil.example",
        region="x",
        bucket="b",
        path_prefix="",
    )
    real, _ = profiles.credentials(forged)
    assert (real.endpoint, real.region, real.bucket, real.path_prefix) == ("", "us-east-1", "b", "")


def test_w19_session_tokens_the_aws_chain_and_public_buckets(
    sources: Callable[..., Profiles],
) -> None:
    """Static keys were mandatory."""
    bare = {"provider": "AWS S3", "bucket": "b"}
    minio = {"provider": "MinIO", "bucket": "b"}
    profiles = sources(
        {"COMFY_S3_BUCKET": "b"},
        token=NAMED | {"session_token": "CANARY-token"},
        role=bare,
        files=bare | {"credentials": CHAIN, "aws_profile": "work"},
        public=minio | {"credentials": ANONYMOUS},
        asked=minio | {"credentials": CHAIN},
        minio=minio,
    )
    found = {
        name: profiles.credentials(profiles.resolve(name))[1]
        for name in ("token", "role", "files", "public", "asked", "")
    }
    assert {name: entry.kind for name, entry in found.items()} == {
        "token": STATIC,
        "role": CHAIN,
        "files": CHAIN,
        "public": ANONYMOUS,
        "asked": CHAIN,
        "": CHAIN,
    }
    assert found["token"].session_token == "CANARY-token"
    assert found["files"].aws_profile == "work"
    with pytest.raises(ProfileError, match="access key not configured"):
        profiles.resolve("minio")  # the chain's keys are AWS's, unless asked for


def test_w15_nothing_that_travels_or_is_printed_has_a_key(sources: Callable[..., Profiles]) -> None:
    """The value on the wire held the secret, and every error published it."""
    profiles = sources(aws=NAMED | {"session_token": "CANARY-token"})
    profile = profiles.resolve("aws")
    _, credentials = profiles.credentials(profile)
    shown = [
        f(value)
        for f in (str, repr, "{}".format, lambda v: json.dumps(v, default=str))
        for value in (profile, credentials, profiles)
    ]
    assert not any("CANARY" in text for text in shown)
    assert b"CANARY" not in pickle.dumps(profile)
    with pytest.raises(TypeError, match="not to be written"):
        pickle.dumps(credentials)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_w18_a_file_open_to_others_is_refused_with_the_command_that_fixes_it(
    sources: Callable[..., Profiles], path: Path, mode: int
) -> None:
    """The mode was never looked at."""
    profiles = sources(aws=NAMED)
    path.chmod(mode)
    with pytest.raises(ProfileError) as caught:
        profiles.names()
    assert str(caught.value) == (
        f"{path} holds keys and is open to others (mode {mode:o}).\n  → run: chmod 600 {path}"
    )
    subprocess.run(["sh", "-c", str(caught.value).split("run: ")[1]], check=True)
    assert profiles.names() == ["aws"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"profiles": {"a": {"secret_key": "CANARY",}}}', "is no valid JSON (line 1)."),
        (b"\xff\xfeCANARY", "is not UTF-8."),
        (b"[]", '$: expected an object with "profiles", which maps names to profiles'),
        (b"[" * 100_000, "is no valid JSON."),
        (
            b'{"profiles": {"a": {"bucket": "CANARY", "bucket": "b"}, "a": {}}}',
            "has faults:\n  $: 'bucket' stands there twice\n  $: 'a' stands there twice\n",
        ),
        (
            json.dumps(
                {
                    "profiles": {
                        "": {},
                        "(env vars)": {},
                        "a": {"secretkey": "CANARY", "bucket": 3},
                        "b": ["CANARY"],
                    },
                    "version": 1,
                }
            ).encode(),
            (
                "has faults:\n"
                "  $: unknown field 'version'\n"
                "  $.profiles['']: a name is not empty and does not begin with a parenthesis\n"
                "  $.profiles['(env vars)']: a name is not empty and does not begin with a "
                "parenthesis\n"
                "  $.profiles['a']: unknown field 'secretkey'\n"
                "  $.profiles['a'].bucket: expected text\n"
                "  $.profiles['b']: expected an object\n"
            ),
        ),
    ],
)
def test_every_fault_of_the_file_is_named_and_no_value_is(
    path: Path, content: bytes, told: str
) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ProfileError) as caught:
        Profiles(path=path, env={}).names()
    assert told in str(caught.value)
    assert "CANARY" not in str(caught.value)


def test_no_file_means_no_profiles_and_a_folder_is_an_error(path: Path) -> None:
    assert Profiles(path=path, env={}).names() == []
    path.mkdir()
    with pytest.raises(ProfileError, match="cannot be read: Is a directory"):
        Profiles(path=path, env={}).names()


def test_importing_everything_imports_no_boto3() -> None:
    names = ["client", "connections", "download", "faults", "partfile", "profiles", "ranged"]
    names += ["reader", "store", "upload"]
    code = f"import sys, {', '.join('comfykiln.transfer.' + name for name in names)}\n"
    unwanted = {"boto3", "botocore", "urllib3", "comfykiln.system.files"}
    code += f"print(sorted({unwanted!r} & set(sys.modules)))"
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ
    )
    assert out.stdout == "[]\n"
