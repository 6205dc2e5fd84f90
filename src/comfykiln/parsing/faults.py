"""Faults and notes of a document: each with its place, its rule, the cause and what to do."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NoReturn

from comfykiln.errors import DocumentError
from comfykiln.system import gate

if TYPE_CHECKING:
    from collections.abc import Iterable

_PART = re.compile(r"\[(\d+)\]|\d+")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def child(path: str, key: str | int) -> str:
    """Return the JSON path of a member: `child("$.a", 0)` is `$.a[0]`, odd keys are quoted."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if _PLAIN_KEY.fullmatch(key):
        return f"{path}.{key}"
    import json  # noqa: PLC0415  # only odd keys need it

    return f"{path}[{json.dumps(key, ensure_ascii=not key.isprintable())}]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing wrong with a document.

    `path` is a JSON path (`$.nodes[0].url`) or, where nothing could be parsed, a line and column.
    `rule` is the stable id (`snapshot.hash`), `problem` what is there, `expected` what should be,
    `remedy` what to do about it.
    """

    path: str
    rule: str
    problem: str
    expected: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        parts = [self.problem]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.remedy:
            parts.append(self.remedy)
        return gate.one_line(f"{self.path}: {'; '.join(parts)} [{self.rule}]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """Something worth saying about a valid document or a conversion: not wrong, not silent."""

    path: str
    rule: str
    message: str

    def __str__(self) -> str:
        return gate.one_line(f"{self.path}: {self.message} [{self.rule}]")


MAX_FAULTS = 2_000
"""Faults that are told at once; more would take a hostile document more than a second to tell."""
_TOO_MANY = Fault(
    path="$",
    rule="reading.length",
    problem=f"more than {MAX_FAULTS:,} faults, the rest is not told",
    remedy="fix these first",
)


class FaultyDocumentError(DocumentError):
    """A document with faults: `records` hold them as data, sorted by place; exit code 2."""

    def __init__(self, source: str, records: Iterable[Fault]) -> None:
        self.source = source
        self.records = tuple(sorted(set(records), key=_place))
        count = len(self.records)
        super().__init__(
            f"{gate.one_line(source)}: {count} fault{'' if count == 1 else 's'}",
            faults=tuple(str(record) for record in self.records),
        )

    def as_data(self) -> dict[str, object]:
        """Return what `--json` prints: the file's name and every fault."""
        return {"source": self.source, "faults": [asdict(record) for record in self.records]}


class Faults:
    """Collects every fault of one document, so that all are told at once."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.records: list[Fault] = []
        self.notes: list[Note] = []

    def add(
        self, path: str, rule: str, problem: str, *, expected: str = "", remedy: str = ""
    ) -> None:
        """Record a fault; reading goes on, but for a document of thousands of them."""
        if len(self.records) >= MAX_FAULTS:
            self.records.append(_TOO_MANY)
            self.stop()
        self.records.append(
            Fault(path=path, rule=rule, problem=problem, expected=expected, remedy=remedy)
        )

    def note(self, path: str, rule: str, message: str) -> None:
        """Record something to say that does not stop the document from being used."""
        self.notes.append(Note(path=path, rule=rule, message=message))

    def stop(self) -> None:
        """Raise `FaultyDocumentError` if there is any fault."""
        if self.records:
            raise FaultyDocumentError(self.source, self.records)


def refuse(
    source: str, path: str, rule: str, problem: str, *, expected: str = "", remedy: str = ""
) -> NoReturn:
    """Raise `FaultyDocumentError` with one fault."""
    fault = Fault(path=path, rule=rule, problem=problem, expected=expected, remedy=remedy)
    raise FaultyDocumentError(source, [fault])


def _place(fault: Fault) -> tuple[list[tuple[int, int, str]], str, str]:
    """Sort `$.a[2]` before `$.a[10]`, and `line 2` before `line 10`."""
    parts: list[tuple[int, int, str]] = []
    end = 0
    for match in _PART.finditer(fault.path):
        parts.append((1, 0, fault.path[end : match.start()]))
        parts.append((0, int(match[1] or match[0]), ""))
        end = match.end()
    parts.append((1, 0, fault.path[end:]))
    return parts, fault.rule, fault.problem
