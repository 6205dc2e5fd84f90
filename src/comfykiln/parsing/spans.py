"""Where each value stands in the text of a JSON or YAML document, to change one and keep the rest.

The text has been read before: it is valid, shallow and has no key twice.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from comfykiln.parsing.faults import child

_SPACE = re.compile(r"[ \t\r\n]*")
_decoder = json.JSONDecoder()


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A value from `start` to before `end`, in characters.

    `style` is `json`, or for YAML the scalar's quote (`'`, `"`, empty for plain).
    For a map, `first_key` is where its first key begins, None when it is empty or no map.
    """

    start: int
    end: int
    style: str
    first_key: int | None = None
    flow: bool = True


Spans = dict[str, Span]


def spans(text: str, *, yaml: bool) -> Spans:
    """Return the span of every value by its JSON path."""
    return _yaml_spans(text) if yaml else _JsonSpans(text).spans


def set_text(text: str, found: Spans, path: str, key: str, value: str) -> tuple[int, int, str]:
    """Return the edit that sets `key` of the map at `path` to the text `value`.

    An edit is (start, end, replacement); a key that is missing is put before the first one.
    """
    span = found.get(child(path, key))
    if span is not None:
        lead = " " if span.start == span.end and text[span.start - 1 : span.start] == ":" else ""
        return span.start, span.end, lead + _scalar(value, span.style)
    owner = found[path]
    name = json.dumps(key) if owner.style == "json" else key
    entry = f"{name}: {_scalar(value, owner.style)}"
    if owner.first_key is None:
        return owner.start, owner.end, f"{{{entry}}}"
    separator = "," if owner.flow else ""
    return owner.first_key, owner.first_key, entry + separator + _gap(text, owner)


def apply(text: str, edits: list[tuple[int, int, str]]) -> str:
    """Return `text` with the edits made; they do not overlap."""
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text


def _gap(text: str, owner: Span) -> str:
    """Return what stands between two members of a map: a line break and indentation, or a blank."""
    at = owner.first_key or 0
    line = text[text.rfind("\n", 0, at) + 1 : at]
    broken = not line.strip() or not owner.flow
    if not broken:
        return " "
    end = "\r\n" if "\r\n" in text else "\n"
    return end + (line if not line.strip() else " " * len(line))


def _scalar(value: str, style: str) -> str:
    if style == "json":
        return json.dumps(value, ensure_ascii=False)
    if style in ("'", '"'):
        return f"{style}{value}{style}"
    looks_plain = re.fullmatch(r"[A-Za-z0-9._/-]+", value) and re.search(r"[A-DF-Za-df-z]", value)
    return value if looks_plain else f'"{value}"'


class _JsonSpans:
    """A scanner that remembers positions; values themselves are not built."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.spans: Spans = {}
        self.value(self.skip(0), "$")

    def skip(self, at: int) -> int:
        match = _SPACE.match(self.text, at)
        return match.end() if match else at

    def value(self, at: int, path: str) -> int:
        """Scan the value at `at` and return where it ends."""
        first = None
        if self.text[at] == "{":
            first, end = self.map(at, path)
        elif self.text[at] == "[":
            end = self.list(at, path)
        else:
            end = _decoder.raw_decode(self.text, at)[1]
        self.spans[path] = Span(start=at, end=end, style="json", first_key=first)
        return end

    def map(self, at: int, path: str) -> tuple[int | None, int]:
        at = self.skip(at + 1)
        first = at if self.text[at] != "}" else None
        while self.text[at] != "}":
            key, at = _decoder.raw_decode(self.text, at)
            at = self.skip(self.skip(at) + 1)
            at = self.skip(self.value(at, child(path, key)))
            at = self.skip(at + 1) if self.text[at] == "," else at
        return first, at + 1

    def list(self, at: int, path: str) -> int:
        at = self.skip(at + 1)
        index = 0
        while self.text[at] != "]":
            at = self.skip(self.value(at, child(path, index)))
            at = self.skip(at + 1) if self.text[at] == "," else at
            index += 1
        return at + 1


def _yaml_spans(text: str) -> Spans:
    import yaml  # noqa: PLC0415  # 18 ms, YAML only

    found: Spans = {}
    # The pure Python loader: its marks count characters.
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is not None:
        _collect(node, "$", found)
    return found


def _collect(node: Any, path: str, found: Spans) -> None:
    value = node.value
    pairs = value if value and isinstance(value[0], tuple) else []
    found[path] = Span(
        start=node.start_mark.index,
        end=node.end_mark.index,
        style=(node.style or "") if isinstance(value, str) else "",
        first_key=pairs[0][0].start_mark.index if pairs else None,
        flow=bool(getattr(node, "flow_style", True)),
    )
    for key, member in pairs:
        _collect(member, child(path, key.value), found)
    if isinstance(value, list) and not pairs:
        for index, member in enumerate(value):
            _collect(member, child(path, index), found)
