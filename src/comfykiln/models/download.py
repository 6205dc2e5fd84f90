"""Bring files from their sources: in order, several at once, each byte verified."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.models import store
from comfykiln.models.inspecting import problem_of
from comfykiln.models.progress import Shown, Silent
from comfykiln.models.receiving import Received, receive
from comfykiln.models.records import Failed, Fetched
from comfykiln.models.sources.find import Found, find
from comfykiln.models.surroundings import handed_over
from comfykiln.transfer.errors import (
    AccessError,
    Cancelled,
    ChangedError,
    DamagedError,
    SpaceError,
    StorageError,
    UnreachableError,
)
from comfykiln.transfer.parts import MIB, Settings
from comfykiln.transfer.ranged import Watch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comfykiln.environment import Criticality
    from comfykiln.models.records import LockedModel, ModelSource

TRIES = 3
LARGE = 8 * MIB
# Two large files at a time of 64 MiB each in buffers, or eight small ones, stay below 256 MiB.
LARGE_JOBS, SMALL_JOBS = 2, 8
READ_SECONDS = 30.0
WORKERS = 6
SMALLEST_PART, LARGEST_PART = MIB // 2, 8 * MIB


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One file to bring: `sha256` and `layer` are "" and `size` None where they are not known.

    `source` and `version` are what models.lock says of the address that was used.
    """

    name: str
    destination: str
    criticality: Criticality
    sources: tuple[ModelSource, ...]
    sha256: str = ""
    size: int | None = None
    source: str = ""
    version: str = ""
    layer: str = ""
    pickle_allowed: bool = False


class NotHadError(KilnError):
    """No source has the model; `reasons` has a line for each that was tried."""

    def __init__(self, name: str, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        lines = "".join(f"\n  {reason}" for reason in reasons)
        super().__init__(
            f"{name} is not available:{lines or ' it has no source'}",
            remedy="fix a source, or add one: ./kiln models.add-source",
        )


def download_all(
    jobs: Sequence[Job], environ: Mapping[str, str], shown: Shown | None = None
) -> dict[str, Fetched | Failed]:
    """Bring several files into the store, some at a time, and say what became of each by name.

    Raises `NotPossibleError` for the disk; then all stop.
    """
    crew = _Crew(environ, shown or Silent())
    small = [job for job in jobs if job.size is not None and job.size < LARGE]
    large = [job for job in jobs if job.size is None or job.size >= LARGE]
    with handed_over(environ):
        return crew.run(small, SMALL_JOBS) | crew.run(large, LARGE_JOBS)


def settings_for(size: int) -> Settings:
    """Return how a file of `size` bytes is transferred.

    A killed program loses the parts that were under way, so they are small beside the whole: of
    what has come when half of the file is there, nine tenths are kept.
    """
    part = min(max(size // 128, SMALLEST_PART), LARGEST_PART) // 65536 * 65536
    return Settings(workers=WORKERS, part_size=part, read_seconds=READ_SECONDS)


def job_of(model: LockedModel) -> Job:
    """Return what there is to do for a locked model."""
    return Job(
        name=model.name,
        destination=model.destination,
        criticality=model.criticality,
        sources=model.sources,
        sha256=model.sha256,
        size=model.size,
        source=model.source,
        version=model.version,
        layer=model.layer,
        pickle_allowed=model.pickle_reason is not None,
    )


def download(
    job: Job, environ: Mapping[str, str], *, shown: Shown, stop: threading.Event
) -> Fetched:
    """Bring one file into the store from the first source that has it.

    Raises `NotHadError` with the reason of each source, `NotPossibleError` for the disk,
    `Cancelled` when `stop` is set.
    """
    if job.sha256 and store.verified(job.sha256):
        size = store.path_of(job.sha256).stat().st_size
        return Fetched(name=job.name, sha256=job.sha256, size=size)
    reasons = []
    for source in job.sources:
        try:
            return _from(source, job, environ, shown, stop)
        except SpaceError as error:
            raise NotPossibleError(
                error.message, remedy=f"{error.remedy} (COMFYKILN_STORE=DIR)"
            ) from None
        except Cancelled:
            raise
        except StorageError as error:
            reasons.append(f"{source.url}: {error.message} {error.remedy}".rstrip())
    raise NotHadError(job.name, reasons)


def _from(
    source: ModelSource,
    job: Job,
    environ: Mapping[str, str],
    shown: Shown,
    stop: threading.Event,
) -> Fetched:
    """Bring the file from one source; what another attempt may fix gets one."""
    attempt = 0
    while True:
        attempt += 1
        version = job.version if source.url == job.source else ""
        found = find(source, environ, sha256=job.sha256, version=version)
        _agree(found, job)
        arrived = _Arrived(job.name, shown, stop)
        try:
            received = arrived.receive(found, job)
        except (ChangedError, DamagedError, UnreachableError, AccessError) as error:
            if attempt == TRIES or not arrived.worth_another(error, attempt):
                raise
            continue
        _inspect(received, job)
        return Fetched(
            name=job.name,
            sha256=received.sha256,
            size=received.size,
            source=source.url,
            version=found.version,
            fetched=received.fetched,
            kept=received.kept,
            told_sha256=bool(found.sha256),
        )


def _agree(found: Found, job: Job) -> None:
    """Raise where the source says beforehand that it has another file."""
    if job.size is not None and found.size != job.size:
        raise DamagedError(
            f"it has {found.size:,} bytes there, not {job.size:,}.",
            remedy="check the source, or lock the new file: models.lock --upgrade",
        )
    if job.sha256 and found.sha256 and found.sha256 != job.sha256:
        raise DamagedError(
            f"the hub says that its sha256 is {found.sha256}, not {job.sha256}.",
            remedy="check the source, or lock the new file: models.lock --upgrade",
        )


def _inspect(received: Received, job: Job) -> None:
    path = store.path_of(received.sha256)
    problem = problem_of(path, job.destination, pickle_allowed=job.pickle_allowed)
    if problem:
        raise DamagedError(
            f"the file is refused: {problem}.", remedy="use another source of this model"
        )


class _Arrived:
    """One attempt: passes progress on and remembers what it began with."""

    def __init__(self, name: str, shown: Shown, stop: threading.Event) -> None:
        self._name, self._shown, self._stop = name, shown, stop
        self._first: int | None = None
        self._last = 0

    def receive(self, found: Found, job: Job) -> Received:
        """Bring the file, showing how far it is."""
        self._shown.begin(self._name, found.size)
        watch = Watch(progress=self._at, cancelled=self._stop.is_set)
        settings = settings_for(found.size)
        try:
            return receive(
                found,
                job.destination,
                sha256=job.sha256,
                layer=job.layer,
                settings=settings,
                watch=watch,
            )
        finally:
            self._shown.end(self._name)

    def worth_another(self, error: StorageError, attempt: int) -> bool:
        """Tell whether the fault may have been of this attempt alone.

        Bytes that turn out wrong get one fresh attempt, and a second one if old parts were among
        them. A refusal after the file was found may be an address that expired. A network that
        failed gets another attempt where anything had come.
        """
        if isinstance(error, ChangedError):
            return True
        first = attempt == 1 and not isinstance(error, UnreachableError)
        if isinstance(error, DamagedError):
            return first or (self._first or 0) > 0
        return first or self._last > (self._first or 0)

    def _at(self, done: int) -> None:
        if self._first is None:
            self._first = done
        self._last = done
        self._shown.at(self._name, done)


class _Crew:
    """Several models at a time; what stops one for good stops all."""

    def __init__(self, environ: Mapping[str, str], shown: Shown) -> None:
        self._environ, self._shown, self._stop = environ, shown, threading.Event()

    def run(self, jobs: Sequence[Job], at_a_time: int) -> dict[str, Fetched | Failed]:
        """Return what became of each file by its name."""
        with ThreadPoolExecutor(at_a_time, "model") as pool:
            try:
                futures = [pool.submit(self._one, job) for job in jobs]
                return dict(future.result() for future in as_completed(futures))
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _one(self, job: Job) -> tuple[str, Fetched | Failed]:
        try:
            return job.name, download(job, self._environ, shown=self._shown, stop=self._stop)
        except NotHadError as error:
            return job.name, Failed(
                name=job.name, criticality=job.criticality, reasons=error.reasons
            )
