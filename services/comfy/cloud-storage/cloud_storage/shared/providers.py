# Generated from src/comfykiln/transfer: change it there, then run `invoke render`.
"""The presets: how each provider of S3-compatible storage is reached."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from .errors import ProfileError

CUSTOM = "Custom"
AWS = "AWS S3"
AWS_HOST = "https://s3.{region}.amazonaws.com"
SHORTEST_BUCKET = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Provider:
    """One preset. `endpoint` is a template over `{region}` and `{account_id}`; "" is AWS's own."""

    name: str
    endpoint: str
    region: str
    path_style: bool = False


PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(name=AWS, endpoint="", region="us-east-1"),
        Provider(
            name="Backblaze B2",
            endpoint="https://s3.{region}.backblazeb2.com",
            region="us-west-004",
        ),
        Provider(
            name="Cloudflare R2",
            endpoint="https://{account_id}.r2.cloudflarestorage.com",
            region="auto",
        ),
        Provider(
            name="MinIO", endpoint="http://localhost:9000", region="us-east-1", path_style=True
        ),
        Provider(name="Wasabi", endpoint="https://s3.{region}.wasabisys.com", region="us-east-1"),
        Provider(
            name="DigitalOcean Spaces",
            endpoint="https://{region}.digitaloceanspaces.com",
            region="nyc3",
        ),
        Provider(
            name="GCS (S3 interop)",
            endpoint="https://storage.googleapis.com",
            region="auto",
        ),
        # A region is part of every signature, so it is never empty.
        Provider(name=CUSTOM, endpoint="", region="us-east-1"),
    )
}


def find_provider(name: str) -> Provider:
    """Return the preset called `name`, whatever its case; raise `ProfileError` for any other."""
    for provider in PROVIDERS.values():
        if provider.name.lower() == name.strip().lower():
            return provider
    raise ProfileError(
        f"Unknown cloud storage provider {name!r}.",
        remedy=f"use one of: {', '.join(PROVIDERS)} (Custom takes any endpoint)",
    )


def endpoint_for(
    provider: Provider, *, endpoint_url: str, region: str, account_id: str, bucket: str = ""
) -> str:
    """Return the endpoint to talk to; "" stands for the one that AWS gives to the region.

    Raises `ProfileError` where the preset needs a value that is missing, for a faulty URL,
    and for one with the bucket in it, as the pages of some providers show it.
    """
    for name, value in (("region", region), ("account_id", account_id)):
        if value and not value.replace("-", "").replace(".", "").replace("_", "").isalnum():
            raise ProfileError(
                f"The {name} has characters that cannot stand in a host name.",
                remedy=f"correct {name}; it is made of letters, digits and hyphens",
            )
    if endpoint_url:
        return _without(bucket, _checked(endpoint_url))
    if provider.name == CUSTOM:
        raise ProfileError(
            "Provider Custom has no endpoint.",
            remedy="set COMFY_S3_ENDPOINT_URL, or endpoint_url in the profile, to https://host",
        )
    if "{account_id}" in provider.endpoint and not account_id:
        raise ProfileError(
            f"{provider.name} needs an account id.",
            remedy="set COMFY_S3_ACCOUNT_ID, or account_id in the profile",
        )
    return provider.endpoint.format(region=region, account_id=account_id)


def region_of(endpoint_url: str) -> str:
    """Return the region that an address of a known provider names, "" where it names none.

    It is part of every signature, so the preset's would not do for another region's address.
    """
    try:
        host = urlsplit(endpoint_url).hostname or ""
    except ValueError:  # said in full where the address is checked
        return ""
    for template in (AWS_HOST, *(provider.endpoint for provider in PROVIDERS.values())):
        before, named, after = urlsplit(template).netloc.partition("{region}")
        if named and host.startswith(before) and host.endswith(after):
            region = host[len(before) : len(host) - len(after)]
            if region and "." not in region:
                return region
    return ""


def addressing_for(provider: Provider, told: str) -> str:
    """Return where the bucket stands in a URL: `path`, `virtual` (the host), or boto3's `auto`.

    `auto` is the host on AWS and the path elsewhere, which every provider of the table takes.
    """
    if told in ("", "auto"):
        return "path" if provider.path_style else "auto"
    if told in ("path", "virtual"):
        return told
    raise ProfileError(
        "Unknown value of addressing_style.", remedy="use path or virtual, or leave it out"
    )


def _checked(url: str) -> str:
    """Return `url` without a slash at its end; no error repeats it, since it may hold a key."""
    problem = _fault_of(url)
    if problem:
        raise ProfileError(
            f"The endpoint URL {problem}.",
            remedy="set COMFY_S3_ENDPOINT_URL, or endpoint_url in the profile, to https://host[:port]",
        )
    return url.rstrip("/")


def _without(bucket: str, url: str) -> str:
    """Return `url` if the bucket is not in it: the bucket is added to every request."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    known = (
        "amazonaws.com",
        *(urlsplit(p.endpoint).netloc.rpartition("}.")[2] for p in PROVIDERS.values()),
    )
    named = len(bucket) >= SHORTEST_BUCKET and host.startswith(f"{bucket.lower()}.")
    hosted = named and any(
        rest and host.count(".") > rest.count(".") + 1 and host.endswith(f".{rest}")
        for rest in known
    )
    if bucket and (hosted or parts.path.rpartition("/")[2] == bucket):
        raise ProfileError(
            "The endpoint URL has the bucket in it, which is added to every request.",
            remedy=f"take {bucket} out of COMFY_S3_ENDPOINT_URL, or endpoint_url in the profile",
        )
    return url


def _fault_of(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "cannot be read"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "does not begin with http:// or https:// and a host"
    if parts.username or parts.password:
        return "holds a user name or password, which do not belong there"
    if parts.query or parts.fragment or any(c.isspace() or not c.isprintable() for c in url):
        return "holds a query, a fragment or white space"
    return ""
