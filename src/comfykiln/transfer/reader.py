"""Read one part of an object; refuse whatever is not that part of that object."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

from .connections import BROKEN, Connections, Request
from .errors import (
    AccessError,
    ChangedError,
    MissingError,
    RegionError,
    StorageError,
    UnreachableError,
)

if TYPE_CHECKING:
    import http.client
    from collections.abc import Callable

    from .parts import Part, Remote

OK, PARTIAL = 200, 206
CHANGED = (412, 416)
BUSY = (408, 425, 429, 500, 502, 503, 504)
LONGEST_WAIT = 30.0
BODY_LIMIT = 16384


class Again(Exception):  # noqa: N818  # a signal between two functions
    """This attempt failed in a way that another may not; `wait` is the server's wish in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class RangeIgnored(Exception):  # noqa: N818  # a signal between two functions
    """The server sends the whole object whatever range is asked for."""


def read_part(
    connections: Connections,
    remote: Remote,
    part: Part,
    fill: Callable[[http.client.HTTPResponse], None],
) -> None:
    """Ask for `part` and hand the answer to `fill` if it is that part of that object.

    Raises `Again` for what another attempt may mend, `RangeIgnored`, or a final `StorageError`.
    """
    response = _ask(connections, remote, f"bytes={part.start}-{part.stop - 1}")
    try:
        _accept(response, remote, part)
        fill(response)
        _ended(response)
    except BaseException:
        response.close()
        connections.close()  # the rest of the answer would be read as the next one
        raise


def open_whole(connections: Connections, remote: Remote) -> http.client.HTTPResponse:
    """Return the answer to a request for the whole object, checked as `read_part` does."""
    response = _ask(connections, remote, "")
    try:
        _refuse(response, remote)
        _same_object(response, remote)
        _has_length(response, remote.size)
    except BaseException:
        response.close()
        connections.close()
        raise
    return response


def _has_length(response: http.client.HTTPResponse, size: int) -> None:
    if response.length is not None and response.length != size:
        raise Again(f"the server announced {response.length} bytes instead of {size}")


def _ended(response: http.client.HTTPResponse) -> None:
    try:
        more = response.read(1)
    except BROKEN as error:
        raise Again(f"the connection broke ({type(error).__name__})") from None
    if more:
        raise Again("the answer is longer than the range")


def _ask(connections: Connections, remote: Remote, byte_range: str) -> http.client.HTTPResponse:
    base = remote.request()
    headers = dict(base.headers)
    if byte_range:
        headers["Range"] = byte_range
    if remote.etag and not remote.etag.startswith("W/"):
        headers["If-Match"] = remote.etag
    try:
        return connections.get(Request(url=base.url, headers=headers))
    except BROKEN as error:
        connections.close()
        raise Again(f"the connection failed ({type(error).__name__})") from None


def _accept(response: http.client.HTTPResponse, remote: Remote, part: Part) -> None:
    """Return for the right part of the right object; 200 counts where the headers prove it."""
    _refuse(response, remote)
    _same_object(response, remote)
    told = response.getheader("Content-Range", "")
    whole = part.size == remote.size
    if not told and response.status == OK:
        if not whole:
            raise RangeIgnored
    elif not _is_range(told, part, remote.size):
        raise Again("the server sent another range")
    _has_length(response, part.size)


def _is_range(told: str, part: Part, size: int) -> bool:
    match = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d+|\*)", told.strip())
    return (
        match is not None
        and int(match[1]) == part.start
        and int(match[2]) == part.stop - 1
        and match[3] in ("*", str(size))
    )


def _same_object(response: http.client.HTTPResponse, remote: Remote) -> None:
    etag = response.getheader("ETag", "")
    if remote.etag and etag and _bare(etag) != _bare(remote.etag):
        raise ChangedError(f"{remote.label} changed while it was being read.", remedy="try again")


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def _refuse(response: http.client.HTTPResponse, remote: Remote) -> None:
    """Raise for every status other than 200 and 206."""
    status = response.status
    if status in (OK, PARTIAL):
        return
    if status in CHANGED:
        raise ChangedError(f"{remote.label} changed while it was being read.", remedy="try again")
    if status in BUSY:
        raise Again(f"status {status}", _wanted_wait(response))
    raise _final(remote, status, response)


def _final(remote: Remote, status: int, response: http.client.HTTPResponse) -> StorageError:
    region = response.getheader("x-amz-bucket-region", "")
    code = _code(response)
    if region or code in ("PermanentRedirect", "AuthorizationHeaderMalformed"):
        where = f" ({region})" if region else ""
        return RegionError(
            f"{remote.label} is in another region{where}. ({code or status})",
            remedy="set the region of the profile to the bucket's",
            region=region,
        )
    if status == 404:  # noqa: PLR2004  # the status everyone knows
        return MissingError(f"Object not found: {remote.label}", remedy="check bucket and key")
    if status in (401, 403):
        return AccessError(
            f"Access denied to {remote.label}. Check credentials and bucket policy. "
            f"({code or status})",
            remedy="the key needs the right to read this object",
        )
    return UnreachableError(
        f"{remote.label} cannot be read: status {status} {code}".rstrip(),
        remedy="try again later, or ask the provider",
    )


def _code(response: http.client.HTTPResponse) -> str:
    try:
        body = response.read(BODY_LIMIT)
    except BROKEN:
        return ""
    match = re.search(rb"<Code>([A-Za-z]{1,60})</Code>", body)
    return match[1].decode() if match else ""


def _wanted_wait(response: http.client.HTTPResponse) -> float:
    told = response.getheader("Retry-After", "")
    return min(float(told), LONGEST_WAIT) if told.isdecimal() else 0.0


def pause(attempt: int, wanted: float) -> float:
    """Return how long to wait in seconds before attempt number `attempt` (1 is the second)."""
    return max(wanted, min(0.2 * 2.0**attempt, 8.0) * random.uniform(0.5, 1.0))  # noqa: S311  # jitter
