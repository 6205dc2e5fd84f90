"""The profile node: names the place that the other nodes talk to."""

from __future__ import annotations

from comfy_api.latest import io

from .compat import schema, system_directory
from .shared.errors import ProfileError
from .shared.profiles import Profiles
from .shared.providers import PROVIDERS

FROM_ENV = "(env vars)"
FROM_PROFILE = "(from profile)"
S3Profile = io.Custom("S3_PROFILE")


def profiles() -> Profiles:
    """Return the sources of profiles of this ComfyUI."""
    return Profiles(path=system_directory() / "profiles.json")


class CloudStorageProfile(io.ComfyNode):
    """Resolve a profile once and hand its name and non-secret fields to other nodes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return schema(
            node_id="CloudStorageProfile",
            display_name="Cloud Storage Profile",
            category="cloud_storage",
            description="Names the bucket and the keys for the other cloud storage nodes. "
            "The keys stay on the server; no workflow holds them.",
            search_aliases=["s3", "bucket", "credentials", "backblaze", "r2", "minio", "wasabi"],
            inputs=[
                io.Combo.Input("profile", options=cls._choices(), default=FROM_ENV),
                io.Combo.Input(
                    "provider",
                    options=[FROM_PROFILE, *PROVIDERS],
                    default=FROM_PROFILE,
                    optional=True,
                ),
                io.String.Input("bucket", default="", optional=True),
                io.String.Input("path_prefix", default="", optional=True),
            ],
            outputs=[S3Profile.Output("profile", display_name="profile")],
        )

    @classmethod
    def _choices(cls) -> list[str]:
        try:
            return [FROM_ENV, *profiles().names()]
        except ProfileError:  # said in full by validate_inputs and when the node runs
            return [FROM_ENV]

    @classmethod
    def validate_inputs(cls, profile: str) -> bool | str:
        """Say what is wrong with the profile's name or file, in our words."""
        if profile == FROM_ENV:
            return True
        try:
            known = profiles().names()
        except ProfileError as error:
            return str(error)
        return profile in known or f"no profile {profile!r} in profiles.json"

    @classmethod
    def execute(
        cls,
        profile: str,
        provider: str = FROM_PROFILE,
        bucket: str = "",
        path_prefix: str = "",
    ) -> io.NodeOutput:
        """Resolve the profile; raise `ProfileError` with a remedy where it is incomplete."""
        resolved = profiles().resolve(
            "" if profile == FROM_ENV else profile,
            provider="" if provider == FROM_PROFILE else provider,
            bucket=bucket.strip(),
            path_prefix=path_prefix,
        )
        return io.NodeOutput(resolved, ui={"text": [str(resolved)]})
