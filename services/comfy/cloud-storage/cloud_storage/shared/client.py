# Generated from src/comfykiln/transfer: change it there, then run `invoke render`.
"""A boto3 client that does what the profile says and nothing that the surroundings say.

boto3 reads endpoints, profiles and checksum defaults from files and variables on its own.
For keys of ours all of that is switched off, since it would send them to another place.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .errors import ProfileError
from .profiles import ANONYMOUS, CHAIN

if TYPE_CHECKING:
    from .profiles import Credentials, Profile

POOL = 16
# At DEBUG they write signed headers, and with them session tokens, into the log.
TALKATIVE = ("botocore", "boto3", "s3transfer", "urllib3")
NOT_SET = (None, None, None, None)


def make_client(profile: Profile, credentials: Credentials, *, region: str = "") -> Any:
    """Return a thread-safe S3 client; `region` overrides the profile's.

    Nothing is sent yet. Raises `ProfileError` where boto3 is missing or no keys can be found.
    """
    try:
        import boto3  # noqa: PLC0415  # a third of a second that only users of storage pay
        import botocore.exceptions  # noqa: PLC0415  # the same
    except ImportError:
        raise ProfileError(
            "boto3 is not installed in the Python that runs this.",
            remedy="run: python -m pip install boto3 (with the Python of ComfyUI)",
        ) from None
    for name in TALKATIVE:
        logger = logging.getLogger(name)
        if logger.level < logging.INFO:
            logger.setLevel(logging.INFO)
    try:
        session = boto3.Session(**_session_arguments(credentials))
        return session.client(
            "s3",
            endpoint_url=profile.endpoint or None,
            region_name=region or profile.region,
            config=_config(profile, credentials),
        )
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise ProfileError(
            f"No client can be made of {profile.shown_name} ({type(error).__name__}).",
            remedy="check region, endpoint_url and aws_profile",
        ) from None


def _session_arguments(credentials: Credentials) -> dict[str, Any]:
    if credentials.kind == CHAIN:
        return {"profile_name": credentials.aws_profile} if credentials.aws_profile else {}
    alone = _lonely_session()
    if credentials.kind == ANONYMOUS:
        return {"botocore_session": alone}
    return {
        "botocore_session": alone,
        "aws_access_key_id": credentials.access_key,
        "aws_secret_access_key": credentials.secret_key,
        "aws_session_token": credentials.session_token or None,
    }


def _lonely_session() -> Any:
    """Return a session of botocore that reads neither the files nor the profile of AWS."""
    import botocore.session  # noqa: PLC0415  # as boto3 above

    session = botocore.session.Session(
        session_vars={"profile": NOT_SET, "config_file": NOT_SET, "credentials_file": NOT_SET}
    )
    session.register_component("data_loader", _loader())
    return session


@lru_cache(maxsize=1)
def _loader() -> Any:
    """Return the reader of boto3's descriptions of services: reading them is half of a start."""
    from botocore.loaders import create_loader  # noqa: PLC0415  # as boto3 above

    return create_loader()


def _config(profile: Profile, credentials: Credentials) -> Any:
    import botocore  # noqa: PLC0415  # as boto3 above
    from botocore.config import Config  # noqa: PLC0415  # as boto3 above

    signature = botocore.UNSIGNED if credentials.kind == ANONYMOUS else "s3v4"
    # The stubs do not know ignore_configured_endpoint_urls yet, and a style must be a literal.
    return Config(  # type: ignore[call-arg]
        signature_version=signature,
        s3={"addressing_style": profile.addressing},  # type: ignore[arg-type]  # as above
        retries={"mode": "standard", "total_max_attempts": 4},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=POOL,
        tcp_keepalive=True,
        # Providers other than AWS refuse or ignore the trailers that boto3 sends by default.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        ignore_configured_endpoint_urls=True,
        use_dualstack_endpoint=False,
        use_fips_endpoint=False,
    )
