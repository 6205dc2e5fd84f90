"""An object of S3 as a source names it: which store, which keys, which version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfykiln.models.sources.addresses import parts_of
from comfykiln.models.sources.credentials import profiles_path
from comfykiln.network.client import CA_ADVICE
from comfykiln.transfer.errors import AccessError, MissingError, ProfileError, UnreachableError
from comfykiln.transfer.parts import Remote
from comfykiln.transfer.profiles import ANONYMOUS, CHAIN, Credentials, Profile, Profiles
from comfykiln.transfer.providers import AWS, CUSTOM, addressing_for, endpoint_for, find_provider
from comfykiln.transfer.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comfykiln.models.records import ModelSource
    from comfykiln.transfer.providers import Provider

# What messages call a place that no profile describes.
_SHOWN = "this source"
NOBODY = "anonymous"
AWS_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def find_s3(source: ModelSource, environ: Mapping[str, str], version: str) -> tuple[Remote, str]:
    """Return the object and its version id, else its ETag.

    `version` is what models.lock has: a version id is asked for again, an ETag is not.
    Raises `ProfileError`, `AccessError`, `MissingError` or `UnreachableError`.
    """
    parts = parts_of(source.url)
    key = parts["key"]
    store = open_store(source, parts["bucket"], environ)
    asked = {"VersionId": version} if version and '"' not in version else {}
    try:
        answer = store.call("head_object", key, **asked)
    except (MissingError, AccessError) as error:
        store.say_more(error)
        raise
    except UnreachableError as error:
        remedy = CA_ADVICE if "AWS_CA_BUNDLE" in error.remedy else error.remedy
        raise UnreachableError(error.message, remedy=remedy) from None
    etag = str(answer.get("ETag", ""))
    found = str(answer.get("VersionId") or "")
    remote = Remote(
        label=source.url,
        size=answer["ContentLength"],
        etag=etag,
        request=store.signed(key, **asked),
    )
    return remote, etag if found in ("", "null") else found


def open_store(source: ModelSource, bucket: str, environ: Mapping[str, str]) -> Store:
    """Return the bucket with the keys that the source leads to; keys go to no other provider.

    The profile it names; else the variables COMFY_S3_…, where they are for this provider; else
    the AWS chain.
    """
    profiles = Profiles(path=profiles_path(environ), env=environ)
    if source.auth and source.auth != NOBODY:
        found = profiles.resolve(source.auth, provider=source.provider or "", bucket=bucket)
        return Store(*profiles.credentials(found))
    if source.auth != NOBODY and _is_meant(source, environ):
        found = profiles.resolve(provider=source.provider or "", bucket=bucket)
        return Store(*profiles.credentials(found))
    kind = ANONYMOUS if source.auth == NOBODY else CHAIN
    return Store(_described(source, bucket, environ), Credentials(kind=kind))


def _is_meant(source: ModelSource, environ: Mapping[str, str]) -> bool:
    """Tell whether the variables COMFY_S3_… are there and lead to where the source does."""
    if not environ.get("COMFY_S3_ACCESS_KEY"):
        return False
    endpoint = environ.get("COMFY_S3_ENDPOINT_URL", "").rstrip("/")
    provider = environ.get("COMFY_S3_PROVIDER") or AWS
    if source.endpoint and source.endpoint.rstrip("/") != endpoint:
        return False
    return not source.provider or find_provider(source.provider) == find_provider(provider)


def _described(source: ModelSource, bucket: str, environ: Mapping[str, str]) -> Profile:
    """Return the place that the source itself describes, AWS unless it says more."""
    endpoint = source.endpoint or ""
    if not endpoint and not source.provider:
        endpoint = next((environ[name] for name in AWS_ENDPOINTS if environ.get(name)), "")
    preset = find_provider(source.provider or (CUSTOM if endpoint else AWS))
    region = source.region or _own_region(preset.name, environ) or preset.region
    return Profile(
        name=_SHOWN,
        provider=preset.name,
        endpoint=_endpoint(preset, endpoint, region, source),
        region=region,
        bucket=bucket,
        addressing=addressing_for(preset, ""),
    )


def _endpoint(preset: Provider, endpoint: str, region: str, source: ModelSource) -> str:
    account = source.account_id or ""
    try:
        return endpoint_for(preset, endpoint_url=endpoint, region=region, account_id=account)
    except ProfileError as error:
        raise ProfileError(
            error.message,
            remedy="write `endpoint` or `account_id` beside the url of the source, or name a "
            "profile in its `auth`",
        ) from None


def _own_region(provider: str, environ: Mapping[str, str]) -> str:
    """Return the region of the AWS variables, which says nothing about other providers' regions."""
    if provider not in (AWS, CUSTOM):
        return ""
    return environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ""
