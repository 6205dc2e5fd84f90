"""Names of objects: tokens, prefixes, and a first free number where a name is taken."""

from __future__ import annotations

import re
import unicodedata
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .shared.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TOKEN = re.compile(r"%([A-Za-z_]+)(?::([^%]*))?%")
OF_A_NODE = re.compile(r"%([^%.:/]+)\.([^%.:/]+)%")
NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')
COUNTER = "counter"
LONGEST_KEY = 1024
STRANGE = ("Cc", "Cs", "Zl", "Zp")
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
MOST_OF_A_NAME = 1_000_000
# How ComfyUI's own %date:…% writes its parts.
DATE_PARTS = (
    ("yyyy", "%Y"),
    ("yy", "%y"),
    ("MM", "%m"),
    ("dd", "%d"),
    ("hh", "%H"),
    ("mm", "%M"),
    ("ss", "%S"),
)


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How the objects of one run are named.

    `prefix` and `template` may hold tokens; `number` of a taken name is counted up from there.
    """

    prefix: str
    template: str
    suffix: str
    count: int = 1
    width: int = 0
    height: int = 0
    now: datetime = field(default_factory=lambda: datetime.now().astimezone())
    run: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        if not self.template.strip():
            raise StorageError("The filename is empty.", remedy="type one, for example ComfyUI")

    @property
    def counts(self) -> bool:
        """Say whether the names have a counter of their own."""
        return any(match[1] == COUNTER for match in TOKEN.finditer(self.prefix + self.template))

    def key(self, index: int, number: int) -> str:
        """Return the key of item `index` (from 0); `number` is 0 for the name as it was typed."""
        name = self._expand(self.template, index, number)
        if self.count > 1 and not self._differs:
            name = f"{name}_{index}"
        if number and not self.counts:
            name = f"{name}_{number:05d}"
        return checked_key(self._expand(self.prefix, index, number) + name + self.suffix)

    @property
    def _differs(self) -> bool:
        used = {match[1] for match in TOKEN.finditer(self.prefix + self.template)}
        return bool(used & {"batch_num", "uuid", COUNTER})

    def _expand(self, text: str, index: int, number: int) -> str:
        values = {
            "batch_num": str(index),
            "counter": f"{number + index + 1:05d}",
            "uuid": uuid.uuid5(uuid.UUID(self.run), f"{index}.{number}").hex,
            "width": str(self.width),
            "height": str(self.height),
            "time": self.now.strftime("%H-%M-%S"),
            "year": self.now.strftime("%Y"),
            "month": self.now.strftime("%m"),
            "day": self.now.strftime("%d"),
            "hour": self.now.strftime("%H"),
            "minute": self.now.strftime("%M"),
            "second": self.now.strftime("%S"),
        }

        def replaced(match: re.Match[str]) -> str:
            if match[1] == "date":
                return self._date(match[2] or "yyyy-MM-dd")
            if match[1] not in values:
                known = ", ".join(f"%{name}%" for name in ("date", *values))
                raise StorageError(
                    f"Unknown token {match[0]} in the name.", remedy=f"there are: {known}"
                )
            return values[match[1]]

        return TOKEN.sub(replaced, text)

    def _date(self, pattern: str) -> str:
        for part, code in DATE_PARTS:
            pattern = pattern.replace(part, self.now.strftime(code))
        return pattern


def with_values_of_nodes(text: str, prompt: Mapping[str, Any] | None) -> str:
    """Replace `%node.widget%` by what is typed there, as ComfyUI's own nodes for saving do.

    A node is named by its title or its class. Raises `StorageError` where nothing is typed.
    """

    def replaced(match: re.Match[str]) -> str:
        for node in (prompt or {}).values():
            value = node["inputs"].get(match[2])
            names = (node.get("_meta", {}).get("title"), node["class_type"])
            if match[1] in names and value is not None and not isinstance(value, (list, dict)):
                return NOT_IN_NAMES.sub("_", str(value))
        raise StorageError(
            f"{match[0]} in the name stands for nothing: no node {match[1]!r} of the graph has "
            f"a {match[2]!r} that is typed in.",
            remedy="name a node by its title or its class, for example %KSampler.seed%",
        )

    return OF_A_NODE.sub(replaced, text)


def has_strange_character(text: str) -> bool:
    """Say whether `text` has control characters, line ends or marks that turn text around.

    Spaces of every script and the joiners of emoji are none.
    """
    return any(unicodedata.category(c) in STRANGE or c in TURNING for c in text)


def checked_key(key: str) -> str:
    """Return `key` if every store keeps it as it is; raise `StorageError` otherwise."""
    parts = key.split("/")
    if "" in parts or "." in parts or ".." in parts:
        problem = "has an empty part, . or .. between slashes"
    elif has_strange_character(key) or "\\" in key:
        problem = "has a backslash or a character that cannot be printed"
    elif len(key.encode("utf-8", "replace")) > LONGEST_KEY:
        problem = f"is longer than {LONGEST_KEY} bytes"
    else:
        return key
    raise StorageError(f"The key {key!r} {problem}.", remedy="change key_prefix or filename")


def first_free(taken: Callable[[int], bool]) -> int:
    """Return a number that is not `taken`, with about 2 log n questions for n taken ones."""
    if not taken(0):
        return 0
    low, high = 0, 1
    while taken(high):
        low, high = high, high * 2
        if high > MOST_OF_A_NAME:
            raise StorageError(
                f"The name is taken more than {MOST_OF_A_NAME:,} times.",
                remedy="put %date%, %time% or %uuid% into the filename",
            )
    while high - low > 1:
        middle = (low + high) // 2
        if taken(middle):
            low = middle
        else:
            high = middle
    return high
