"""One bucket as one profile sees it: look, list, share, read, write."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .client import make_client
from .connections import Request
from .errors import (
    AccessError,
    MissingError,
    ProfileError,
    RegionError,
    StorageError,
    UnreachableError,
)
from .faults import explained
from .parts import Remote
from .providers import AWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .profiles import Credentials, Profile

PAGE = 1000
RANGE_URL_SECONDS = 3600
LONGEST_SHARE_HOURS = 168


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """An object as the store describes it; `size` in bytes, `modified` as seconds since 1970."""

    key: str
    size: int
    etag: str
    modified: float
    content_type: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


class Store:
    """The bucket of `profile`; safe to use from several threads."""

    def __init__(self, profile: Profile, credentials: Credentials) -> None:
        self.profile = profile
        self._credentials = credentials
        self._lock = threading.Lock()
        self._region = ""
        self._client: Any = None
        self.knows_conditions = True  # until the store says that it does not

    def __repr__(self) -> str:
        return f"Store({self.profile})"

    @property
    def bucket(self) -> str:
        """Return the bucket's name."""
        return self.profile.bucket

    @property
    def on_aws(self) -> bool:
        """Say whether AWS itself answers, which knows more than the others."""
        return self.profile.provider == AWS and not self.profile.endpoint

    @property
    def keeps_conditions(self) -> bool:
        """Say whether the store is known to refuse a conditional write rather than to ignore it."""
        return self.on_aws or self.profile.provider == "Cloudflare R2"

    def url(self, key: str) -> str:
        """Return the address that people write: `s3://bucket/key`."""
        return f"s3://{self.bucket}/{key}"

    def client(self) -> Any:
        """Return the boto3 client, made at the first call."""
        with self._lock:
            if self._client is None:
                self._client = make_client(self.profile, self._credentials, region=self._region)
            return self._client

    def call(self, operation: str, key: str = "", **arguments: Any) -> Any:
        """Call the client's `operation` on the bucket (and `key`); raise `StorageError` alone.

        A bucket of another region is asked there, once, where the server says where that is.
        """
        if key:
            arguments["Key"] = key
        try:
            return self._call(operation, key, arguments)
        except RegionError as error:
            if not error.region or error.region == self._region or not self.on_aws:
                raise
            self.move(error.region)
        return self._call(operation, key, arguments)

    def move(self, region: str) -> None:
        """Talk to `region` from now on."""
        with self._lock:
            self._region, self._client = region, None

    def head(self, key: str) -> Found:
        """Describe one object; raise `MissingError` naming the object, or the bucket."""
        try:
            answer = self._head(key)
        except StorageError as error:
            if isinstance(error, UnreachableError):
                raise
            self.say_more(error)
            raise
        return Found(
            key=key,
            size=answer["ContentLength"],
            etag=answer.get("ETag", ""),
            modified=answer["LastModified"].timestamp(),
            content_type=answer.get("ContentType", ""),
            metadata={k.lower(): v for k, v in answer.get("Metadata", {}).items()},
        )

    def say_more(self, error: StorageError) -> None:
        """Raise what a listing says is wrong; the answer to HEAD has no body."""
        try:
            self.look()
        except AccessError:
            # A key that may read objects and not list them knows no more than it was told.
            if not isinstance(error, MissingError):
                raise

    def exists(self, key: str) -> bool:
        """Say whether the object exists; a key that may only write cannot know, so it gets no."""
        try:
            self._head(key)
        except (MissingError, AccessError):
            return False
        return True

    def _head(self, key: str) -> Any:
        answer = self.call("head_object", key)
        if "LastModified" not in answer:
            raise UnreachableError(
                f"{self.profile.endpoint or 'AWS'} does not answer as S3 storage does.",
                remedy="check the endpoint: it is the address of the S3 interface",
            )
        return answer

    def listed(self, prefix: str, limit: int) -> Iterator[Found]:
        """Yield up to `limit` objects whose key begins with `prefix`, in the order of keys."""
        token: dict[str, str] = {}
        while limit > 0:
            answer = self.call("list_objects_v2", Prefix=prefix, MaxKeys=min(limit, PAGE), **token)
            for entry in answer.get("Contents", [])[:limit]:
                limit -= 1
                yield Found(
                    key=entry["Key"],
                    size=entry["Size"],
                    etag=entry.get("ETag", ""),
                    modified=entry["LastModified"].timestamp(),
                )
            if not answer.get("IsTruncated"):
                return
            token = {"ContinuationToken": answer["NextContinuationToken"]}

    def share(self, key: str, hours: int) -> str:
        """Return a URL that lets anyone read the object for `hours` (1 to 168)."""
        if not 1 <= hours <= LONGEST_SHARE_HOURS:
            raise ProfileError(
                f"A sharing URL cannot live {hours} hours.",
                remedy=f"choose 1 to {LONGEST_SHARE_HOURS}",
            )
        return self._presigned(key, hours * 3600)

    def remote(self, found: Found) -> Remote:
        """Return what the downloader needs to read exactly this object."""
        return Remote(
            label=self.url(found.key),
            size=found.size,
            etag=found.etag,
            request=self.signed(found.key),
        )

    def signed(self, key: str, **arguments: Any) -> Callable[[], Request]:
        """Return a maker of requests that read the object, each valid for half an hour at least.

        `arguments` are further ones of the client's `get_object`, such as `VersionId`.
        """
        return _fresh(lambda: self._presigned(key, RANGE_URL_SECONDS, **arguments))

    def probe(self) -> tuple[float, list[str]]:
        """Return the milliseconds that a look at the bucket takes, and up to three of its keys."""
        self.look()  # the first request also connects
        start = time.monotonic()
        keys = [found.key for found in self.listed(self.profile.root, 3)]
        return (time.monotonic() - start) * 1000, keys

    def look(self) -> None:
        """Ask for one entry of the bucket; raise what the store says is wrong, in its words.

        Below the profile's prefix, since a key may be bound to it.
        """
        self.call("list_objects_v2", Prefix=self.profile.root, MaxKeys=1)

    def _call(self, operation: str, key: str, arguments: dict[str, Any]) -> Any:
        client = self.client()
        with explained(self.profile, self._credentials, key):
            return getattr(client, operation)(Bucket=self.bucket, **arguments)

    def _presigned(self, key: str, seconds: int, **arguments: Any) -> str:
        client = self.client()
        with explained(self.profile, self._credentials, key):
            url: str = client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self.bucket, "Key": key, **arguments},
                ExpiresIn=seconds,
            )
        return url


def _fresh(sign: Callable[[], str]) -> Callable[[], Request]:
    """Return a maker of requests that signs anew at half the life of the last signature."""
    lock = threading.Lock()
    kept: list[Any] = [Request(url=""), 0.0]

    def request() -> Request:
        with lock:
            if time.monotonic() >= kept[1]:
                kept[:] = [Request(url=sign()), time.monotonic() + RANGE_URL_SECONDS / 2]
            made: Request = kept[0]
            return made

    return request
