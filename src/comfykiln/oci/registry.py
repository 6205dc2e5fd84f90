"""One repository of a registry by the OCI Distribution Specification: what a push needs of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfykiln.errors import KilnError
from comfykiln.oci import logins
from comfykiln.oci.transport import TRIES, BrokenError, Transport
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from comfykiln.network.indexes import IndexSettings
    from comfykiln.oci.references import Reference
    from comfykiln.oci.transport import Answer

DIGEST = "Docker-Content-Digest"
_MISSING = 404
_CREATED = 201
_STREAM = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """A blob to send; `open_at` gives its bytes from an offset on, as often as it is called."""

    digest: str
    size: int
    open_at: Callable[[int], Iterator[bytes | memoryview]]


@dataclass(frozen=True, kw_only=True)
class Repository:
    """The repository of one reference."""

    transport: Transport

    @property
    def reference(self) -> Reference:
        """The reference that is pushed to."""
        return self.transport.reference

    def has(self, digest: str, size: int | None) -> bool:
        """Tell whether the blob is there; one of another size than `size` raises `KilnError`."""
        answer = self.transport.ask(
            "HEAD", self.transport.url(f"blobs/{digest}"), expected=(200, _MISSING)
        )
        if answer.status == _MISSING:
            return False
        self._expect(answer, digest)
        length = answer.header("Content-Length")
        if size is not None and length and length != str(size):
            raise KilnError(
                f"{self.reference.registry} has {digest} with {length} bytes, not {size}",
                remedy="its storage is damaged: report it to who runs the registry",
            )
        return True

    def require_push(self) -> None:
        """Raise `KilnError` when the registry cannot be reached or lets us push nothing there."""
        self._dropped(self._opened())

    def mount(self, digest: str, size: int, other: str) -> bool:
        """Try to take the blob over from the repository `other`, without sending it.

        False where that is not possible, because it is not there or not ours to read.
        """
        scope = f"repository:{other}:pull"
        self.transport.allow(scope)
        try:
            answer = self.transport.ask(
                "POST",
                self.transport.url(f"blobs/uploads/?mount={digest}&from={other}"),
                expected=(_CREATED, 202),
                body=b"",
            )
        except KilnError:  # the upload that follows tells what is more than a refusal
            self.transport.disallow(scope)
            return False
        if answer.status != _CREATED:  # an upload was opened instead: it is not used
            self._dropped(self.transport.joined(answer))
        return answer.status == _CREATED and self.has(digest, size)

    def upload(self, blob: Blob, *, tries: int = TRIES) -> None:
        """Send the blob; after a break only what the registry does not have yet is sent again.

        Raises `KilnError` when it was cut off too often, or the registry has something else then.
        """
        place, start = self._opened(), 0
        for attempt in range(tries):
            try:
                if start:
                    place = self._append(place, blob, start)
                self._close(place, blob, whole=not start)
                break
            except BrokenError as error:
                if attempt == tries - 1:
                    raise BrokenError(
                        f"{error.message} (the upload of {blob.digest} was cut off "
                        f"{tries} time{'s' if tries > 1 else ''})",
                        remedy="push again: what is there already is not sent again",
                    ) from error
                self.transport.wait(attempt)
                if self._finished(blob):
                    break
                place, start = self._resumed(place)
        if not self.has(blob.digest, blob.size):
            raise KilnError(
                f"{self.reference.registry} took {blob.digest} and does not have it",
                remedy="push again; report it to who runs the registry when it stays so",
            )

    def put_manifest(self, name: str, data: bytes, media_type: str) -> str:
        """Store the manifest under `name` (a tag or digest), and return its digest.

        Raises `KilnError` when the registry names or gives back another one.
        """
        digest = f"sha256:{files.sha256(data)}"
        url = self.transport.url(f"manifests/{name}")
        answer = self.transport.ask(
            "PUT", url, expected=(_CREATED,), headers={"Content-Type": media_type}, body=data
        )
        self._expect(answer, digest)
        back = self.transport.ask("GET", url, expected=(200,), headers={"Accept": media_type})
        if back.body != data:
            raise KilnError(
                f"{self.reference.registry} gives another manifest for {name} than it was given: "
                f"sha256:{files.sha256(back.body)}, not {digest}",
                remedy="somebody else pushes that tag, or the registry is damaged: push again",
            )
        return digest

    def _opened(self) -> str:
        answer = self.transport.ask(
            "POST", self.transport.url("blobs/uploads/"), expected=(202,), body=b""
        )
        return self.transport.joined(answer)

    def _dropped(self, place: str) -> None:
        """End an upload that is not used; not every registry knows how."""
        self.transport.ask("DELETE", place, expected=(200, 202, 204, 400, 404, 405))

    def _append(self, place: str, blob: Blob, start: int) -> str:
        if start == blob.size:
            return place
        headers = {
            **_STREAM,
            "Content-Length": str(blob.size - start),
            "Content-Range": f"{start}-{blob.size - 1}",
        }
        answer = self.transport.once(
            "PATCH", place, expected=(202, 204), headers=headers, body=blob.open_at(start)
        )
        return self.transport.joined(answer)

    def _close(self, place: str, blob: Blob, *, whole: bool) -> None:
        """End the upload; the `whole` blob goes with the same request, which saves a round."""
        joint = "&" if "?" in place else "?"
        answer = self.transport.once(
            "PUT",
            f"{place}{joint}digest={blob.digest}",
            expected=(_CREATED, 204),
            headers={**_STREAM, "Content-Length": str(blob.size if whole else 0)},
            body=blob.open_at(0) if whole else b"",
        )
        self._expect(answer, blob.digest)

    def _finished(self, blob: Blob) -> bool:
        """Tell whether the upload had succeeded, and only the answer to it got lost."""
        return self.has(blob.digest, blob.size)

    def _resumed(self, place: str) -> tuple[str, int]:
        """Return where to go on, and the bytes that are there; a new upload where it was lost."""
        answer = self.transport.ask("GET", place, expected=(204, 202, 200, 400, _MISSING))
        end = answer.header("Range").rpartition("-")[2]
        # "0-0" is said of one byte and of none.
        if answer.status >= 400 or not end.isdecimal() or end == "0":  # noqa: PLR2004  # it is gone
            return self._opened(), 0
        return self.transport.joined(answer) if answer.header("Location") else place, int(end) + 1

    def _expect(self, answer: Answer, digest: str) -> None:
        found = answer.header(DIGEST)
        if found and found != digest:
            raise KilnError(
                f"{self.reference.registry} says {found} where {digest} was expected",
                remedy="something between here and the registry changes the bytes: do not use it",
            )


def repository(reference: Reference, settings: IndexSettings) -> Repository:
    """Return the repository, with docker's login for its registry."""
    transport = Transport(
        reference=reference, settings=settings, login=logins.of_docker(reference.registry)
    )
    transport.allow(f"repository:{reference.repository}:pull,push")
    return Repository(transport=transport)
