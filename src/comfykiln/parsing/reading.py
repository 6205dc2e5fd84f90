"""The one way to read a document that may be hostile: limits first, then JSON or YAML, then a walk.

Rules, each a refusal: `reading.size`, `.bom`, `.utf8`, `.syntax`, `.depth`, `.length`,
`.duplicate-key`, `.number`, `.nul`, `.surrogate`, and for YAML `.alias`, `.tag`, `.key`.
A refusal takes less than a second and 128 MB whatever the document holds.
"""

from __future__ import annotations

import json
import math
import stat
from typing import TYPE_CHECKING, Any, NoReturn

from comfykiln.errors import DocumentError, KilnError
from comfykiln.parsing.faults import Faults, child, refuse
from comfykiln.parsing.limits import MAX_BYTES, MAX_DEPTH, MAX_ITEMS, MAX_KEY, MAX_TOKENS

if TYPE_CHECKING:
    from pathlib import Path


def load(path: Path, *, limit: int = MAX_BYTES) -> bytes:
    """Return the bytes of a regular file, never reading more than `limit` + 1 of them.

    Raises `DocumentError` for a missing file or folder, `FaultyDocumentError` for one too large.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise DocumentError(f"{path}: not a file", remedy="name the document itself")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DocumentError(f"{path}: no such file", remedy="check the name") from error
    except OSError as error:
        raise KilnError(
            f"{path}: cannot be read: {error.strerror}", remedy="check its permissions"
        ) from error
    if len(data) > limit:
        refuse(
            str(path),
            "$",
            "reading.size",
            f"the file is larger than {limit:,} bytes",
            expected=f"at most {limit:,} bytes",
            remedy="split it, or remove what no build needs",
        )
    return data


def value(data: bytes, source: str, *, max_items: int | None = MAX_ITEMS) -> Any:
    """Return the value of a JSON or YAML document; which one its name or first character says."""
    if source.endswith((".yaml", ".yml")) or not (
        source.endswith(".json") or data.lstrip()[:1] in (b"{", b"[")
    ):
        return yaml_value(data, source, max_items=max_items)
    return json_value(data, source, max_items=max_items)


def json_value(data: bytes, source: str, *, max_items: int | None = MAX_ITEMS) -> Any:
    """Return the value of a JSON document: dict, list, str, int, float, bool or None.

    `max_items` bounds the members of one list or map, None leaves only the bound on the whole.
    Raises `FaultyDocumentError`.
    """
    text = decode(data, source)
    _bound(text, source)
    reader = _JsonReader()
    try:
        result = json.loads(
            text,
            object_pairs_hook=reader.pairs,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except json.JSONDecodeError as error:
        _refuse_syntax(source, error)
    except RecursionError:
        _refuse_depth(source)
    except ValueError as error:
        problem = "a whole number of thousands of digits" if "digits" in str(error) else str(error)
        refuse(source, "$", "reading.number", problem, expected="finite numbers of common size")
    walk(result, source, max_items=max_items, duplicates=reader.duplicates)
    return result


def yaml_value(data: bytes, source: str, *, max_items: int | None = MAX_ITEMS) -> Any:
    """Return the value of a YAML document, with the rules of `json_value`.

    Anchors, aliases, merge keys, tags and several documents in one file are refused.
    """
    from comfykiln.parsing.yaml_reading import construct  # noqa: PLC0415  # 18 ms, YAML only

    text = decode(data, source)
    result = construct(text, source)
    walk(result, source, max_items=max_items)
    return result


def walk(
    result: Any,
    source: str,
    *,
    max_items: int | None = MAX_ITEMS,
    duplicates: dict[int, list[str]] | None = None,
) -> None:
    """Check depth, lengths and characters of a value tree; every fault at once, with its path.

    `duplicates` maps the id of a dict in the tree to the keys it was given twice.
    """
    faults = Faults(source)
    stack: list[tuple[Any, str, int]] = [(result, "$", 1)]
    while stack:
        item, path, depth = stack.pop()
        if depth > MAX_DEPTH:
            _refuse_depth(source, path)
        if isinstance(item, dict | list):
            _check_length(item, path, max_items, faults)
            for key in duplicates.get(id(item), ()) if duplicates else ():
                _duplicate(faults, path, key)
            stack.extend(_containers(item, path, depth, faults))
        else:
            _check_leaf(item, path, faults)
    faults.stop()


def _containers(
    item: dict[str, Any] | list[Any], path: str, depth: int, faults: Faults
) -> list[tuple[Any, str, int]]:
    """Check the leaves of `item` and return its members that have members of their own."""
    pairs = item.items() if isinstance(item, dict) else enumerate(item)
    found = []
    for key, member in pairs:
        if isinstance(key, str):
            _check_key(key, path, faults)
        if isinstance(member, dict | list):
            found.append((member, child(path, key), depth + 1))
        elif isinstance(member, str) and not _clean(member):
            _check_leaf(member, child(path, key), faults)
    return found


def _check_key(key: str, path: str, faults: Faults) -> None:
    """Check a key, which would stand in the place of every fault below it."""
    if len(key) > MAX_KEY:
        _refuse_key(faults.source, path, key)
    if not _clean(key):
        _characters(faults, path, key)


def _refuse_key(source: str, path: str, key: str) -> NoReturn:
    refuse(
        source,
        path,
        "reading.length",
        f"a key of {len(key):,} characters, which begins {key[:40]!r}",
        expected=f"keys of at most {MAX_KEY:,}",
        remedy="remove what no build needs",
    )


def _check_length(item: Any, path: str, max_items: int | None, faults: Faults) -> None:
    if max_items is not None and len(item) > max_items:
        faults.add(
            path,
            "reading.length",
            f"{len(item):,} members",
            expected=f"at most {max_items:,}",
            remedy="remove what no build needs",
        )


def _clean(text: str) -> bool:
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_leaf(item: Any, path: str, faults: Faults) -> None:
    if isinstance(item, str) and not _clean(item):
        _characters(faults, path, item)


def _characters(faults: Faults, path: str, text: str) -> None:
    if "\0" in text:
        faults.add(path, "reading.nul", "a NUL character", remedy="remove it")
    else:
        faults.add(
            path,
            "reading.surrogate",
            "half of a surrogate pair, which no file can hold",
            remedy="write the character itself",
        )


def _duplicate(faults: Faults, path: str, key: str) -> None:
    faults.add(
        child(path, key),
        "reading.duplicate-key",
        "the key occurs twice",
        expected="each key once",
        remedy="keep the one that is meant: programs disagree on which counts",
    )


class _JsonReader:
    """Builds dicts and remembers the keys that a document gives twice."""

    def __init__(self) -> None:
        self.duplicates: dict[int, list[str]] = {}
        self.kept: list[dict[str, Any]] = []

    def pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            twice = {key for key, _ in pairs if key in seen or seen.add(key)}  # type: ignore[func-returns-value]  # add() returns None on purpose
            self.duplicates[id(result)] = sorted(twice)
            self.kept.append(result)  # a dict dropped by an outer duplicate must keep its id
        return result


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no finite number")
    return number


def decode(data: bytes, source: str) -> str:
    """Return a document's bytes as text: UTF-8 without a byte order mark, else a refusal."""
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        refuse(
            source,
            "line 1 column 1",
            "reading.bom",
            "the file begins with a byte order mark",
            expected="UTF-8 without one",
            remedy="save it as plain UTF-8",
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        refuse(
            source,
            f"line {line} column {column}",
            "reading.utf8",
            f"the byte 0x{data[error.start]:02x} is no UTF-8 here",
            expected="UTF-8",
            remedy="save it as UTF-8",
        )


def _bound(text: str, source: str) -> None:
    count = text.count(",") + text.count("[") + text.count("{")
    if count > MAX_TOKENS:
        refuse(
            source,
            "$",
            "reading.length",
            f"{count:,} commas and opening brackets",
            expected=f"at most {MAX_TOKENS:,} in a document",
            remedy="remove what no build needs",
        )


def _refuse_syntax(source: str, error: json.JSONDecodeError) -> NoReturn:
    refuse(
        source,
        f"line {error.lineno} column {error.colno}",
        "reading.syntax",
        f"no JSON: {error.msg[0].lower()}{error.msg[1:]}",
        expected="JSON",
        remedy="look for a missing quote, a trailing comma or a comment there",
    )


def _refuse_depth(source: str, path: str = "$") -> NoReturn:
    refuse(
        source,
        path if len(path) <= 80 else f"{path[:80]}…",  # noqa: PLR2004  # one line of a terminal
        "reading.depth",
        "lists and maps are nested too deeply",
        expected=f"at most {MAX_DEPTH} levels",
        remedy="flatten the document",
    )
