# Generated from src/comfykiln/transfer: change it there, then run `invoke render`.
"""From what boto3 raises to errors that say what to do, without a secret in them."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from .errors import (
    AccessError,
    ExistsError,
    MissingError,
    ProfileError,
    RegionError,
    StorageError,
    UnreachableError,
)
from .profiles import CHAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .profiles import Credentials, Profile

LONGEST = 300
OK, UNAUTHORIZED, FORBIDDEN, SERVER_FAULT = 200, 401, 403, 500
REFUSED = (400, UNAUTHORIZED, FORBIDDEN)
LARGEST_SKEW = 300  # seconds; stores take a quarter of an hour
PLAIN = ("", "access denied", "forbidden", "unauthorized")  # a text that says no more than the code
NO_KEYS = ("NoCredentialsError", "CredentialRetrievalError", "PartialCredentialsError")


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a code of the store means: the class of error, what to say, what to do."""

    kind: type[StorageError]
    message: str
    remedy: str


_NO_BUCKET = _Meaning(
    MissingError,
    "Bucket not found: {bucket}",
    "check the bucket and the region ({region}) of {profile}",
)
_NO_OBJECT = _Meaning(
    MissingError, "Object not found: {where}", "check the key and the path_prefix of {profile}"
)
_EXISTS = _Meaning(ExistsError, "{where} exists already.", "choose another name")
_WRONG_KEY = _Meaning(
    AccessError,
    "Invalid access key. ({code})",
    "check COMFY_S3_ACCESS_KEY, or access_key in the profile, and the region ({region})",
)
_WRONG_SECRET = _Meaning(
    AccessError,
    "Access denied: the secret key does not belong to the access key. ({code})",
    "check COMFY_S3_SECRET_KEY, or secret_key in the profile",
)
_EXPIRED = _Meaning(
    AccessError,
    "The session token is no longer valid. ({code})",
    "get new temporary keys and set COMFY_S3_SESSION_TOKEN, or session_token in the profile",
)
_CLOCK = _Meaning(
    AccessError,
    "The clock of this machine is wrong. ({code})",
    "set it; stores refuse signatures that are more than some minutes old or early",
)
_DENIED = _Meaning(
    AccessError,
    "Access denied. Check credentials and bucket policy. ({code}, {where}{said})",
    "give the key the right to read, write and list this bucket",
)
_NO_STORE = _Meaning(
    UnreachableError,
    "{host} answers with a web page, not as S3 storage does.",
    "set the endpoint to the address of the S3 interface (of MinIO port 9000, not the console's)",
)
_BUSY = _Meaning(UnreachableError, "S3 error [{code}]: {text}", "try again later")
_OTHER = _Meaning(StorageError, "S3 error [{code}]: {text}", "the request was about {where}")

_MEANINGS = {
    "NoSuchBucket": _NO_BUCKET,
    "NoSuchKey": _NO_OBJECT,
    "NotFound": _NO_OBJECT,
    "404": _NO_OBJECT,
    "PreconditionFailed": _EXISTS,
    "ConditionalRequestConflict": _EXISTS,
    "412": _EXISTS,
    "InvalidAccessKeyId": _WRONG_KEY,
    "InvalidClientTokenId": _WRONG_KEY,
    "SignatureDoesNotMatch": _WRONG_SECRET,
    "ExpiredToken": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": _CLOCK,
    "AccessDenied": _DENIED,
    "SlowDown": _BUSY,
    "RequestTimeout": _BUSY,
}
# What to do where the keys are neither a profile's nor of our own variables.
_OF_CHAIN = (
    "check what the AWS chain finds first: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
    "AWS_SESSION_TOKEN, else the files that AWS_PROFILE chooses from"
)
_ELSEWHERE = ("PermanentRedirect", "AuthorizationHeaderMalformed", "301")


@contextlib.contextmanager
def explained(profile: Profile, credentials: Credentials, key: str = "") -> Iterator[None]:
    """Turn every exception of boto3 about `key` (or the bucket) into a `StorageError`.

    The original is dropped on purpose: its text can hold whatever the server chose to send.
    """
    import botocore.exceptions  # noqa: PLC0415  # only users of storage pay for it

    fault: StorageError | None = None
    try:
        yield
    except botocore.exceptions.ClientError as error:
        fault = _told(error.response, profile, credentials, key)
    except botocore.exceptions.BotoCoreError as error:
        fault = _untold(type(error).__name__, str(error), profile)
    if fault is not None:
        raise fault from None


def _told(answer: Any, profile: Profile, credentials: Credentials, key: str) -> StorageError:
    """Return the error for what the server answered."""
    code = _clean(str(answer.get("Error", {}).get("Code", "")), credentials)[:60]
    if code in _ELSEWHERE:
        return _elsewhere(answer, profile)
    told = answer.get("ResponseMetadata", {})
    meaning = _seen(told) or _meaning(code, told.get("HTTPStatusCode", 0), key)
    text = _clean(str(answer.get("Error", {}).get("Message", "")), credentials)
    values = {
        "host": profile.endpoint or "AWS",
        "bucket": profile.bucket,
        "region": profile.region,
        "profile": profile.shown_name,
        "where": f"s3://{profile.bucket}/{key}".rstrip("/"),
        "code": code,
        "text": text,
        "said": f": {text}" if text.rstrip(".").lower() not in PLAIN else "",
    }
    of_chain = credentials.kind == CHAIN and meaning in (_WRONG_KEY, _WRONG_SECRET, _EXPIRED)
    remedy = _OF_CHAIN if of_chain else meaning.remedy.format_map(values)
    return meaning.kind(meaning.message.format_map(values), remedy=remedy, code=code)


def _seen(told: Any) -> _Meaning | None:
    """Return what the head of an answer gives away, whatever its code."""
    headers, status = told.get("HTTPHeaders", {}), told.get("HTTPStatusCode")
    if status in (OK, SERVER_FAULT) and headers.get("content-type", "").startswith("text/html"):
        return _NO_STORE  # boto3 calls a success that it cannot read a fault of the server
    if status not in REFUSED:
        return None
    with contextlib.suppress(TypeError, ValueError):
        theirs = parsedate_to_datetime(headers.get("date")).timestamp()
        if abs(time.time() - theirs) > LARGEST_SKEW:
            return _CLOCK
    return None


def _meaning(code: str, status: int, key: str) -> _Meaning:
    meaning = _MEANINGS.get(code)
    if meaning is _NO_OBJECT and not key:
        return _NO_BUCKET
    if meaning is not None:
        return meaning
    if status in (UNAUTHORIZED, FORBIDDEN):
        return _DENIED
    return _BUSY if status >= SERVER_FAULT else _OTHER


def _elsewhere(answer: Any, profile: Profile) -> RegionError:
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region", "")
    return RegionError(
        f"The bucket {profile.bucket} is in another region{f' ({region})' if region else ''}.",
        remedy="set the region of the profile to the bucket's",
        region=region,
    )


def _untold(name: str, text: str, profile: Profile) -> StorageError:
    """Return the error for a request that got no answer.

    `name` is the exception's class, `text` its words, which are looked at and never repeated.
    """
    host = profile.endpoint or f"AWS S3 in {profile.region}"
    if name in NO_KEYS:
        return ProfileError(
            "Cloud storage access key not configured: the AWS chain (environment, files, role of "
            f"the instance) has none either. ({name})",
            remedy="set COMFY_S3_ACCESS_KEY and COMFY_S3_SECRET_KEY (or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY), or create a profile",
        )
    if name == "SSLError" and "CERTIFICATE_VERIFY_FAILED" not in text:
        return UnreachableError(
            f"{host} does not speak HTTPS. ({name})",
            remedy="check the endpoint: its port, and whether it is http:// instead",
        )
    if name == "SSLError":
        return UnreachableError(
            f"The certificate of {host} is not trusted.",
            remedy="set AWS_CA_BUNDLE to the file with your organisation's certificates",
        )
    if name.endswith("ValidationError"):
        return StorageError(
            f"{profile.shown_name} asks for something impossible. ({name})",
            remedy="check bucket, key and region",
        )
    return UnreachableError(
        f"{host} cannot be reached. ({name})",
        remedy="check the network, and the endpoint and the region of the profile",
    )


def _clean(text: str, credentials: Credentials) -> str:
    """Return the server's words, short, printable and without any value that is ours alone."""
    for secret in credentials.secrets:
        text = text.replace(secret, "***")
    return "".join(c if c.isprintable() else " " for c in text)[:LONGEST].strip()
