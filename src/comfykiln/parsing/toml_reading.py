"""TOML that may be hostile: bounded before it is parsed, then walked as JSON and YAML are.

`tomllib` builds a table per part of a dotted key, and its time and memory grow with the square of
a key's length: 600 KB of dots take gigabytes. So the text is measured first.
"""

from __future__ import annotations

import math
import re
import tomllib
from typing import Any

from comfykiln.parsing.faults import Faults, child, refuse
from comfykiln.parsing.reading import decoded, walk

MAX_TOML = 1024 * 1024
MAX_PARTS = 16
"""Parts of a dotted key; six are the most that an export has."""
MAX_TOKENS = 50_000
"""Dots, opening brackets and braces in a whole document."""

_PART = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![A-Za-z0-9_-])(?:{_PART}[ \t]*+\.[ \t]*+){{{MAX_PARTS}}}")
_SYNTAX = re.compile(r"(.*?) \(at (?:line (\d+), column (\d+)|end of document)\)")


def toml_value(data: bytes, source: str) -> dict[str, Any]:
    """Return the value of a TOML document; dates and times become text.

    Raises `FaultyDocumentError` with the rules of `reading`.
    """
    if len(data) > MAX_TOML:
        refuse(
            source,
            "$",
            "reading.size",
            f"{len(data):,} bytes",
            expected=f"at most {MAX_TOML:,}",
            remedy="remove what no build needs",
        )
    text = decoded(data, source)
    _bound(text, source)
    try:
        value: dict[str, Any] = _plain(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        match = _SYNTAX.fullmatch(str(error))
        place = f"line {match[2]} column {match[3]}" if match and match[2] else "its end"
        problem = f"no TOML: {match[1] if match else error}"
        refuse(source, place, "reading.syntax", problem, expected="TOML", remedy="fix that line")
    except RecursionError:
        refuse(source, "$", "reading.depth", "nested too deeply", remedy="flatten the document")
    walk(value, source)
    _check_numbers(value, source)
    return value


def _bound(text: str, source: str) -> None:
    tokens = text.count(".") + text.count("[") + text.count("{")
    if tokens > MAX_TOKENS:
        refuse(
            source,
            "$",
            "reading.length",
            f"{tokens:,} dots and opening brackets",
            expected=f"at most {MAX_TOKENS:,} in a document",
            remedy="remove what no build needs",
        )
    if match := _LONG_KEY.search(text):
        line = text.count("\n", 0, match.start()) + 1
        refuse(
            source,
            f"line {line}",
            "reading.depth",
            "a key of many parts",
            expected=f"at most {MAX_PARTS} parts",
            remedy="flatten the document",
        )


def _plain(value: Any) -> Any:
    """Return the value with JSON's types only."""
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    return value if isinstance(value, str | int | float) else value.isoformat()


def _check_numbers(value: Any, source: str) -> None:
    faults = Faults(source)
    stack = [(value, "$")]
    while stack:
        item, path = stack.pop()
        pairs = item.items() if isinstance(item, dict) else enumerate(item)
        for key, member in pairs:
            if isinstance(member, dict | list):
                stack.append((member, child(path, key)))
            elif isinstance(member, float) and not math.isfinite(member):
                faults.add(child(path, key), "reading.number", f"{member} is no finite number")
    faults.stop()
