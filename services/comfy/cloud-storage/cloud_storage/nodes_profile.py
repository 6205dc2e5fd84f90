"""The profile node: names the place that the other nodes talk to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from . import compat
from .runtime import FROM_ENV, FROM_PROFILE, S3Profile, digest, profiles
from .shared.errors import ProfileError, StorageError
from .shared.providers import PROVIDERS

if TYPE_CHECKING:
    from .shared.profiles import Profile


class CloudStorageProfile(io.ComfyNode):
    """Resolve a profile once and hand its name and non-secret fields to other nodes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return compat.schema(
            node_id="CloudStorageProfile",
            display_name="Cloud Storage Profile",
            category="cloud_storage",
            description="Names the bucket and the keys for the other cloud storage nodes. "
            "The keys stay on the server: no workflow holds them.",
            search_aliases=["s3", "bucket", "credentials", "backblaze", "r2", "minio", "wasabi"],
            inputs=[
                io.Combo.Input(
                    "profile",
                    options=_choices(),
                    default=FROM_ENV,
                    tooltip="A profile of profiles.json, or the COMFY_S3_… environment variables.",
                ),
                io.Combo.Input(
                    "provider",
                    options=[FROM_PROFILE, *PROVIDERS],
                    default=FROM_PROFILE,
                    optional=True,
                    tooltip="Counts where the environment names none; must agree otherwise.",
                ),
                io.String.Input(
                    "bucket", default="", optional=True, tooltip="Instead of the profile's bucket."
                ),
                io.String.Input(
                    "path_prefix",
                    default="",
                    optional=True,
                    tooltip="Comes before every key, instead of the profile's prefix.",
                ),
            ],
            outputs=[S3Profile.Output("profile", display_name="profile")],
        )

    @classmethod
    def validate_inputs(cls, profile: str) -> bool | str:
        """Say what is wrong with the profile's name or file, in our words."""
        if profile == FROM_ENV:
            return True
        try:
            known = profiles().names()
        except ProfileError as error:
            return str(error)
        return profile in known or f"there is no profile {profile!r} in profiles.json"

    @classmethod
    def fingerprint_inputs(
        cls,
        profile: str | None,
        provider: str | None = FROM_PROFILE,
        bucket: str | None = "",
        path_prefix: str | None = "",
    ) -> str:
        """Change whenever the profile leads to another place."""
        if None in (profile, provider, bucket, path_prefix):
            return compat.always()
        try:
            return digest(resolve(profile, provider, bucket, path_prefix))
        except StorageError:
            return compat.always()

    @classmethod
    def execute(
        cls,
        profile: str,
        provider: str = FROM_PROFILE,
        bucket: str = "",
        path_prefix: str = "",
    ) -> io.NodeOutput:
        """Resolve the profile; raise `ProfileError` with a remedy where it is incomplete."""
        resolved = resolve(profile, provider, bucket, path_prefix)
        return io.NodeOutput(resolved, ui={"text": [str(resolved)]})


def resolve(
    profile: str | None = FROM_ENV,
    provider: str | None = FROM_PROFILE,
    bucket: str | None = "",
    path_prefix: str | None = "",
) -> Profile:
    """Return the profile that the node's widgets stand for."""
    return profiles().resolve(
        "" if profile in (FROM_ENV, None) else str(profile),
        provider="" if provider in (FROM_PROFILE, None) else str(provider),
        bucket=(bucket or "").strip(),
        path_prefix=path_prefix or "",
    )


def _choices() -> list[str]:
    try:
        return [FROM_ENV, *profiles().names()]
    except ProfileError:  # said in full by validate_inputs
        return [FROM_ENV]
