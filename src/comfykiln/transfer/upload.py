"""Write an object: whole, checked by the server, never over another unless told to."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import Cancelled, DamagedError, ExistsError, StorageError
from .parts import MIB, Part, cut

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .store import Store

SINGLE_LIMIT = 32 * MIB
PART_SIZE = 16 * MIB
MOST_PARTS = 10_000
WORKERS = 4
# What a store answers that does not know conditional writes.
NOT_CONDITIONAL = ("NotImplemented", "InvalidArgument", "InvalidRequest", "MalformedHeader")


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """An object that the store has acknowledged."""

    key: str
    size: int
    etag: str


def upload(
    store: Store,
    key: str,
    body: bytes | Path,
    *,
    content_type: str,
    absent: bool = False,
    ask: bool = True,
    progress: Callable[[int], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Written:
    """Write `body` to `key`; a file of more than 32 MiB goes in parts, four at a time.

    With `absent` an object that exists stays untouched and `ExistsError` is raised. A store that
    may not know such conditions is asked first, unless the caller has just done so (`ask`).
    Every part carries a checksum that the server compares. Memory is at most four parts.
    """
    size = len(body) if isinstance(body, bytes) else body.stat().st_size
    if size <= SINGLE_LIMIT:
        data = body if isinstance(body, bytes) else body.read_bytes()
        _refuse_existing(store, key, ask=absent and ask)
        etag = _put(store, key, data, content_type, absent=absent)
        progress(size)
    else:
        etag = _Parts(store, key, body, size, progress=progress, cancelled=cancelled).send(
            content_type, absent=absent
        )
    return Written(key=key, size=size, etag=etag)


def checksum(store: Store, data: bytes) -> dict[str, str]:
    """Return the header that makes the store compare what it got: MD5 is what all of them know."""
    if store.on_aws:
        return {"ChecksumSHA256": base64.b64encode(hashlib.sha256(data).digest()).decode()}
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    return {"ContentMD5": base64.b64encode(md5).decode()}


def _put(store: Store, key: str, data: bytes, content_type: str, *, absent: bool) -> str:
    arguments = {"Body": data, "ContentType": content_type, **checksum(store, data)}

    def send(condition: dict[str, str]) -> Any:
        return store.call("put_object", key, **arguments, **condition)

    etag: str = _only_if(store, send, absent=absent).get("ETag", "")
    return etag


def _refuse_existing(store: Store, key: str, *, ask: bool) -> None:
    if ask and not store.keeps_conditions and store.exists(key):
        raise ExistsError(f"{store.url(key)} exists already.", remedy="choose another name")


def _only_if(store: Store, send: Callable[[dict[str, str]], Any], *, absent: bool) -> Any:
    """Call `send` with the condition that nothing is overwritten, in the way this store knows."""
    if not absent:
        return send({})
    if store.knows_conditions:
        try:
            return send({"IfNoneMatch": "*"})
        except StorageError as error:
            if error.code not in NOT_CONDITIONAL:
                raise
            store.knows_conditions = False
    return send({})


class _Parts:
    """A multipart upload: begun, filled by four threads, completed or taken back."""

    def __init__(
        self,
        store: Store,
        key: str,
        body: bytes | Path,
        size: int,
        *,
        progress: Callable[[int], None],
        cancelled: Callable[[], bool],
    ) -> None:
        self.store, self.key, self.body = store, key, body
        self.parts = cut(size, max(PART_SIZE, -(-size // MOST_PARTS)))
        self.progress, self.cancelled = progress, cancelled

    def send(self, content_type: str, *, absent: bool) -> str:
        algorithm = {"ChecksumAlgorithm": "SHA256"} if self.store.on_aws else {}
        begun = self.store.call(
            "create_multipart_upload", self.key, ContentType=content_type, **algorithm
        )
        upload_id = begun["UploadId"]
        try:
            etags = self._send_parts(upload_id)

            def complete(condition: dict[str, str]) -> Any:
                return self.store.call(
                    "complete_multipart_upload",
                    self.key,
                    UploadId=upload_id,
                    MultipartUpload={"Parts": etags},
                    **condition,
                )

            # The parts took their time, so whatever was known before says nothing now.
            _refuse_existing(self.store, self.key, ask=absent)
            etag: str = _only_if(self.store, complete, absent=absent).get("ETag", "")
        except BaseException:
            with contextlib.suppress(StorageError):  # what went wrong before is what matters
                self.store.call("abort_multipart_upload", self.key, UploadId=upload_id)
            raise
        return etag

    def _send_parts(self, upload_id: str) -> list[dict[str, Any]]:
        done = 0
        answers: dict[int, dict[str, Any]] = {}
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="upload") as pool:
            waiting = {pool.submit(self._send_part, upload_id, part): part for part in self.parts}
            try:
                for future in as_completed(waiting):
                    part = waiting[future]
                    answers[part.index] = future.result()
                    done += part.size
                    self.progress(done)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return [answers[part.index] for part in self.parts]

    def _send_part(self, upload_id: str, part: Part) -> dict[str, Any]:
        if self.cancelled():
            raise Cancelled("The upload was cancelled; nothing has been written.")
        data = self._data(part)
        sums = checksum(self.store, data)
        answer = self.store.call(
            "upload_part",
            self.key,
            UploadId=upload_id,
            PartNumber=part.index + 1,
            Body=data,
            **sums,
        )
        kept = {"ChecksumSHA256": sums["ChecksumSHA256"]} if "ChecksumSHA256" in sums else {}
        return {"PartNumber": part.index + 1, "ETag": answer["ETag"], **kept}

    def _data(self, part: Part) -> bytes:
        if isinstance(self.body, bytes):
            return self.body[part.start : part.stop]
        with self.body.open("rb") as file:
            file.seek(part.start)
            data = file.read(part.size)
        if len(data) != part.size:
            raise DamagedError(
                f"{self.body} changed while it was being uploaded.", remedy="try again"
            )
        return data
