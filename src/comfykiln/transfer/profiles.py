"""Who we are to the store: one profile, from the environment or from `profiles.json`.

What travels between nodes is a `Profile`, which has no secret in it;
the keys stay in `Credentials`, which are looked up again by the profile's name where they are used.
Provider, endpoint, region, account and keys always come from one source as a unit.
Only `bucket` and `path_prefix` are resolved in layers: environment, named profile, node.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import ProfileError
from .profile_file import FIELDS, read_profiles
from .providers import AWS, addressing_for, endpoint_for, find_provider, region_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PREFIX = "COMFY_S3_"
STATIC, CHAIN, ANONYMOUS = "keys", "aws-chain", "anonymous"


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """Where to and under which name, without any secret: this is what a node hands to the next.

    `name` is "" for the environment variables, `endpoint` is "" for AWS's own.
    """

    name: str
    provider: str
    endpoint: str
    region: str
    bucket: str
    path_prefix: str = ""
    addressing: str = "auto"

    @property
    def shown_name(self) -> str:
        """Return the name as a person knows it."""
        return self.name or "environment variables"

    @property
    def root(self) -> str:
        """Return what keys begin with: the prefix with a slash at its end alone, or ""."""
        return as_folder(self.path_prefix)

    def __str__(self) -> str:
        where = self.endpoint or "AWS"
        return f"{self.shown_name}: {self.provider} ({where}, {self.region}), bucket {self.bucket}"


def as_folder(prefix: str) -> str:
    """Return a prefix so that a name can follow: with a slash at its end, none at its begin."""
    prefix = prefix.strip().lstrip("/")
    return prefix if not prefix or prefix.endswith("/") else prefix + "/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """The keys themselves; they show up in no `repr`, `str` or pickle."""

    kind: str
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    aws_profile: str = ""

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("credentials are not to be written anywhere")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the values that must never appear in any text."""
        return tuple(v for v in (self.access_key, self.secret_key, self.session_token) if v)


@dataclass(frozen=True, kw_only=True, slots=True)
class Profiles:
    """The two sources of profiles: the environment `env` and the file at `path`."""

    path: Path
    env: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def names(self) -> list[str]:
        """Return the names in the file, sorted; raise `ProfileError` where it cannot be read."""
        return sorted(read_profiles(self.path))

    def resolve(
        self, name: str = "", *, provider: str = "", bucket: str = "", path_prefix: str = ""
    ) -> Profile:
        """Return the profile `name` ("" is the environment) with the node's own values on top.

        `provider` chooses where the source leaves it open and must agree where it does not.
        Raises `ProfileError` for a name that does not exist and for whatever is missing.
        """
        profile, _ = self._unit(name, provider=provider, bucket=bucket, path_prefix=path_prefix)
        return profile

    def credentials(self, profile: Profile) -> tuple[Profile, Credentials]:
        """Return `profile` as its source has it now, with its keys.

        The place to go to is taken from the source, never from the value that came in:
        no graph can send one provider's keys to another.
        """
        return self._unit(
            profile.name,
            provider=profile.provider,
            bucket=profile.bucket,
            path_prefix=profile.path_prefix,
            whole=True,
        )

    def _unit(
        self,
        name: str,
        *,
        provider: str = "",
        bucket: str = "",
        path_prefix: str = "",
        whole: bool = False,
    ) -> tuple[Profile, Credentials]:
        base = self._from_env()
        source = self._named(name) if name else base
        if name and not source:
            raise ProfileError(
                f"The profile {name!r} is empty.",
                remedy="give it a provider, access_key, secret_key and bucket in profiles.json",
            )
        if not (source or bucket):
            raise ProfileError(
                "Cloud storage access key not configured: no COMFY_S3_ variable is set.",
                remedy="set COMFY_S3_ACCESS_KEY, COMFY_S3_SECRET_KEY and COMFY_S3_BUCKET env vars "
                f"(and restart), or choose a profile of {self.path}",
            )
        preset = find_provider(_agreed_provider(source, provider, name))
        endpoint_url = source.get("endpoint_url", "")
        region = source.get("region", "") or region_of(endpoint_url) or preset.region
        keys = _credentials(source, name, on_aws=preset.name == AWS and not endpoint_url)
        chosen = bucket or source.get("bucket", "") or base.get("bucket", "")
        if not chosen:
            raise ProfileError(
                "Cloud storage bucket not configured.",
                remedy=f"{_remedy('bucket', name)}, or bucket on the profile node",
            )
        endpoint = endpoint_for(
            preset,
            endpoint_url=endpoint_url,
            region=region,
            account_id=source.get("account_id", ""),
            bucket=chosen,
        )
        if not whole:
            path_prefix = (
                path_prefix or source.get("path_prefix", "") or base.get("path_prefix", "")
            )
        profile = Profile(
            name=name,
            provider=preset.name,
            endpoint=endpoint,
            region=region,
            bucket=_bucket(chosen),
            path_prefix=path_prefix,
            addressing=addressing_for(preset, source.get("addressing_style", "")),
        )
        return profile, keys

    def _from_env(self) -> dict[str, str]:
        values = {name: self.env.get(PREFIX + name.upper(), "").strip() for name in FIELDS}
        return {name: value for name, value in values.items() if value}

    def _named(self, name: str) -> dict[str, str]:
        profiles = read_profiles(self.path)
        if name not in profiles:
            known = ", ".join(sorted(profiles)) or "none"
            raise ProfileError(
                f"There is no cloud storage profile {name!r} in {self.path} (there: {known}).",
                remedy="choose one of these, or add it to the file",
            )
        return profiles[name]


def _place(name: str) -> str:
    return f"the profile {name!r}" if name else "the environment"


def _remedy(field_name: str, name: str) -> str:
    """Say where a missing value can be set."""
    if name:
        return f"set {field_name} in the profile {name!r} of profiles.json"
    variable = PREFIX + field_name.upper()
    return f"set {variable} env var, or create a profile with {field_name} in profiles.json"


def _agreed_provider(source: Mapping[str, str], wanted: str, name: str) -> str:
    """Return the provider's name: the source's word counts, the node's only where it is silent."""
    told = source.get("provider", "")
    if not wanted:
        return told or AWS
    if not told and not name and not source.get("endpoint_url"):
        return wanted
    if find_provider(told or AWS) != find_provider(wanted):
        raise ProfileError(
            f"The node asks for {wanted}, but {_place(name)} "
            f"is for {told or AWS}; keys are never sent to another provider.",
            remedy="set the node to (from profile), or choose a profile of that provider",
        )
    return wanted


def _credentials(source: Mapping[str, str], name: str, *, on_aws: bool) -> Credentials:
    """Return the one source of keys: the pair that is written down, the AWS chain, or none."""
    access, secret = source.get("access_key", ""), source.get("secret_key", "")
    kind = source.get("credentials", "") or (STATIC if access or secret or not on_aws else CHAIN)
    if kind not in (STATIC, CHAIN, ANONYMOUS):
        raise ProfileError(
            f"Unknown value of credentials in {_place(name)}.",
            remedy=f"use {STATIC}, {CHAIN} or {ANONYMOUS}",
        )
    if kind != STATIC:
        if access or secret:
            raise ProfileError(
                f"There are keys beside credentials = {kind} in {_place(name)}.",
                remedy="remove the keys or the field credentials: one source at a time",
            )
        return Credentials(kind=kind, aws_profile=source.get("aws_profile", ""))
    token = source.get("session_token", "")
    for value, what in ((access, "access_key"), (secret, "secret_key")):
        if not value:
            raise ProfileError(
                f"Cloud storage {what.replace('_', ' ')} not configured.",
                remedy=_remedy(what, name),
            )
        _check_key(value, what, name)
    if token:
        _check_key(token, "session_token", name)
    return Credentials(kind=STATIC, access_key=access, secret_key=secret, session_token=token)


def _check_key(value: str, what: str, name: str) -> None:
    """Raise `ProfileError`, which does not repeat it, for a key that no request could carry."""
    if not re.fullmatch(r"[!-~]+", value) or value[0] in "\"'" or value[-1] in "\"'":
        raise ProfileError(
            f"The {what} of {_place(name)} has a character that is in no key: "
            "a quote around it, white space, or a letter of another alphabet.",
            remedy="copy it again from the provider's page, without quotes",
        )


def _bucket(name: str) -> str:
    """Return `name` if it can be a bucket's name anywhere."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", name):
        return name
    raise ProfileError(
        f"{name!r} cannot be the name of a bucket.",
        remedy="give the name alone: no s3://, no slash, no endpoint",
    )
