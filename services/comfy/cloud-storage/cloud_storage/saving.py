"""Upload what a node made: several at once, each under a name that was free."""

from __future__ import annotations

import os
import shutil
import uuid
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from . import compat
from .names import Naming, first_free
from .shared.errors import AccessError, Cancelled, ExistsError, StorageError
from .shared.store import PAGE
from .shared.upload import Written, upload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .runtime import Task
    from .shared.profiles import Profile
    from .shared.store import Store

WORKERS = 8
PREVIEWS = "cloud_storage"
# Names that are being written: two prompts of one server never take the same.
_claimed: set[tuple[Profile, str]] = set()
_lock = Lock()


@dataclass(frozen=True, kw_only=True)
class Item:
    """Something to save: `make` returns its bytes, or the path of a file that may be moved."""

    make: Callable[[], bytes | Path]
    content_type: str


@dataclass(frozen=True, kw_only=True)
class Saved:
    """An object that was written and, for the UI, its copy in ComfyUI's temp folder."""

    written: Written
    preview: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The items of one run, their names and where they go."""

    store: Store
    naming: Naming
    items: Sequence[Item]
    overwrite: bool
    task: Task

    def save(self) -> list[Saved]:
        """Make and upload every item, eight at a time, and return them in order.

        Unless `overwrite`, no object that exists is touched: the name gets the next free number.
        If one fails, those on their way end first, and the error says how many were written.
        """
        self.task.expect(len(self.items))
        start = 0 if self.overwrite else first_free(self._taken)
        present = self._present(start)
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="save") as pool:
            jobs = [
                pool.submit(self._save, index, start, present) for index in range(len(self.items))
            ]
            try:
                self._follow(jobs)
            except BaseException:
                self.task.stopped = True
                pool.shutdown(wait=True, cancel_futures=True)
                self._explain(jobs)
                raise
        return [job.result() for job in jobs]

    def _follow(self, jobs: Sequence[Future[Saved]]) -> None:
        for done, job in enumerate(as_completed(jobs), start=1):
            job.result()
            if len(jobs) > 1:
                self.task.reach(done, f"{done} of {len(jobs)} uploaded")

    def _explain(self, jobs: Sequence[Future[Saved]]) -> None:
        """Raise the first fault with the number of objects that exist now."""
        ended = [job for job in jobs if not job.cancelled()]
        written = sum(job.exception() is None for job in ended)
        faults = [job.exception() for job in ended]
        first = next((f for f in faults if isinstance(f, StorageError)), None)
        if first is not None and written and not isinstance(first, Cancelled):
            raise type(first)(
                f"{first.message} ({written} of {len(jobs)} were written before.)",
                remedy=first.remedy,
                code=first.code,
            ) from None

    def _taken(self, number: int) -> bool:
        return self.store.exists(self.naming.key(0, number))

    def _present(self, start: int) -> frozenset[str] | None:
        """Return the objects among which the names are, by one listing; None where that is long.

        Without it every name would have to be asked for, which doubles the requests.
        """
        if self.overwrite or self.store.keeps_conditions or len(self.items) == 1:
            return frozenset()
        names = [self.naming.key(index, start) for index in range(len(self.items))]
        common = os.path.commonprefix(names)  # noqa: RUF071  # keys are text, not paths
        try:
            found = [f.key for f in self.store.listed(common, PAGE)]
        except AccessError:  # a key that may write and not list
            return None
        return frozenset(found) if len(found) < PAGE else None

    def _save(self, index: int, start: int, present: frozenset[str] | None) -> Saved:
        self._go_on()
        body = self.items[index].make()
        try:
            self._go_on()  # encoding takes its time, and what it was stopped in is not whole
            return self._write(index, body, start, present)
        except BaseException:
            if isinstance(body, Path):
                body.unlink(missing_ok=True)
            raise

    def _go_on(self) -> None:
        if self.task.stopped:
            raise Cancelled("The save was cancelled.")

    def _write(
        self, index: int, body: bytes | Path, number: int, present: frozenset[str] | None
    ) -> Saved:
        start = number
        while True:
            key = self.naming.key(index, number)
            if key not in (present or ()) and self._claim(key):
                ask = present is None or number != start
                try:
                    written = self._upload(self.items[index], key, body, ask=ask)
                    return Saved(written=written, preview=_preview(body, key))
                except ExistsError:
                    pass
                finally:
                    _claimed.discard((self.store.profile, key))
            number += self.naming.count if self.naming.counts else 1

    def _claim(self, key: str) -> bool:
        claim = (self.store.profile, key)
        with _lock:
            if claim in _claimed:
                return self.overwrite
            _claimed.add(claim)
            return True

    def _upload(self, item: Item, key: str, body: bytes | Path, *, ask: bool) -> Written:
        show: Callable[[int], None] = lambda _: None  # noqa: E731  # of many the count is enough
        if isinstance(body, Path) and len(self.items) == 1:
            self.task.expect(body.stat().st_size)
            show = self.task.bytes
        return upload(
            self.store,
            key,
            body,
            content_type=item.content_type,
            absent=not self.overwrite,
            ask=ask,
            progress=show,
            cancelled=lambda: self.task.stopped,
        )


def _preview(body: bytes | Path, key: str) -> dict[str, str]:
    """Put what was uploaded where the UI can show it, without making it again."""
    folder = compat.temp_directory() / PREVIEWS
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{uuid.uuid4().hex}{Path(key).suffix}"
    if isinstance(body, bytes):
        (folder / name).write_bytes(body)
    else:
        shutil.move(body, folder / name)
    return {"filename": name, "subfolder": PREVIEWS, "type": "temp"}


def outcome(
    store: Store, saved: Sequence[Saved], hours: int
) -> tuple[list[str], list[str], list[str]]:
    """Return the keys, the sharing URLs ("" without `hours`) and the lines that the UI shows."""
    keys = [entry.written.key for entry in saved]
    urls = [store.share(key, hours) if hours else "" for key in keys]
    lines = [f"{store.url(key)}\n{url}".strip() for key, url in zip(keys, urls, strict=True)]
    return keys, urls, lines
