"""Every model of the repository in a table: size, source, licence, where it is used."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from comfykiln.errors import DriftError
from comfykiln.models import store
from comfykiln.models.document import load_models
from comfykiln.models.lockfile import load_lock
from comfykiln.models.progress import amount
from comfykiln.system.gate import masked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from comfykiln.models.records import Image, LockedModel, ModelEntry

HEADINGS = ("name", "size", "need", "state", "source", "licence", "used by")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One model: `state` is stored, locked or not locked; `used_by` images and their workflows."""

    name: str
    destination: str
    criticality: str
    state: str
    size: int | None
    sha256: str | None
    sources: tuple[str, ...]
    source: str
    licence: str
    used_by: tuple[str, ...]

    def as_data(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return asdict(self)


def listed(services: Iterable[Image]) -> list[Row]:
    """Return the models of the images, each once, in the order of their destinations.

    The newest lock that fits is read; nothing is asked of a network.
    """
    rows: dict[tuple[str, str | None], Row] = {}
    for service in services:
        locks = _locks(service)
        workflows = _workflows(service)
        for entry in load_models(service).entries:
            users = (service.name, *(w for w in workflows if entry.destination in workflows[w]))
            row = _row(entry, locks.get(entry.name), users)
            key = (row.destination, row.sha256)
            if key in rows:
                row = replace(row, used_by=tuple(dict.fromkeys((*rows[key].used_by, *users))))
            rows[key] = row
    return sorted(rows.values(), key=lambda row: (row.destination, row.sha256 or ""))


def table(rows: Sequence[Row]) -> str:
    """Return the rows as lines of columns."""
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    total = sum(row.size or 0 for row in rows)
    return "\n".join([*lines, f"{len(rows)} model(s), {amount(total)}"])


def _locks(service: Image) -> dict[str, LockedModel]:
    """Return the lock by name, nothing where it does not fit models.yaml any more."""
    try:
        return {model.name: model for model in load_lock(service)}
    except DriftError:
        return {}


def _workflows(service: Image) -> dict[str, frozenset[str]]:
    """Return the destinations that each workflow beside the image's description names."""
    from comfykiln.documents import read  # noqa: PLC0415  # only images with workflows need it

    found = {}
    for path in sorted((service.folder / "workflows").glob("*.json")):
        models = read(path).environment.models
        paths = (place.removeprefix("models/") for model in models for place in model.paths)
        found[f"{service.name}/{path.name}"] = frozenset(paths)
    return found


def _row(entry: ModelEntry, locked: LockedModel | None, users: tuple[str, ...]) -> Row:
    stored = locked is not None and store.known(locked.sha256) is not None
    return Row(
        name=entry.name,
        destination=entry.destination,
        criticality=entry.criticality,
        state="stored" if stored else "locked" if locked else "not locked",
        size=locked.size if locked else entry.size,
        sha256=locked.sha256 if locked else entry.sha256,
        sources=tuple(masked(source.url) for source in entry.sources),
        source=masked(_source(entry, locked)),
        licence=locked.licence if locked else "",
        used_by=users,
    )


def _source(entry: ModelEntry, locked: LockedModel | None) -> str:
    used = locked.source if locked else ""
    return used or (entry.sources[0].url if entry.sources else "")


def _cells(row: Row) -> tuple[str, ...]:
    return tuple(_texts(row))


def _texts(row: Row) -> Iterator[str]:
    yield row.name
    yield amount(row.size) if row.size is not None else "?"
    yield row.criticality
    yield row.state
    yield row.source or "NONE"
    yield row.licence or "-"
    yield ", ".join(row.used_by)
