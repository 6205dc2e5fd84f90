"""YAML built from the event stream, so that a bomb ends at the first event that goes too far."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import yaml

from comfykiln.parsing.faults import child, refuse
from comfykiln.parsing.limits import MAX_DEPTH

MAX_EVENTS = 150_000
"""Scalars, starts and ends of collections: what bounds time and memory of a YAML document."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_constructor = yaml.constructor.SafeConstructor()
_resolver = yaml.resolver.Resolver()
_PREFIX = "tag:yaml.org,2002:"
_BUILDERS = {
    "null": _constructor.construct_yaml_null,
    "bool": _constructor.construct_yaml_bool,
    "int": _constructor.construct_yaml_int,
    "float": _constructor.construct_yaml_float,
}


def construct(text: str, source: str) -> Any:
    """Return the value of the one YAML document in `text`, of JSON's types only.

    Dates stay text. Raises `FaultyDocumentError` naming line and column.
    """
    builder = _Builder(source)
    try:
        for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
            if count > MAX_EVENTS:
                builder.refuse(event, "reading.length", f"more than {MAX_EVENTS:,} values")
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        _refuse_syntax(source, error)
    except yaml.YAMLError as error:
        refuse(source, "$", "reading.syntax", f"no YAML: {' '.join(str(error).split())}")
    return builder.result


class _Frame:
    """A list or map under construction."""

    def __init__(self, value: Any, path: str) -> None:
        self.value = value
        self.path = path
        self.key: str | None = None


class _Builder:
    def __init__(self, source: str) -> None:
        self.source = source
        self.result: Any = None
        self.documents = 0
        self.stack: list[_Frame] = []

    def take(self, event: Any) -> None:
        if getattr(event, "anchor", None) is not None:
            self.refuse(event, "reading.alias", "an anchor or alias", "write the value out")
        if getattr(event, "tag", None) is not None:
            self.refuse(event, "reading.tag", f"the tag {event.tag[:40]}", "remove the tag")
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self.refuse(event, "reading.syntax", "a second document", "keep one per file")
        elif isinstance(event, yaml.ScalarEvent):
            self.put(self.scalar(event), event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self.open({} if isinstance(event, yaml.MappingStartEvent) else [], event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self.stack.pop()

    def open(self, value: Any, event: Any) -> None:
        if len(self.stack) >= MAX_DEPTH:
            self.refuse(event, "reading.depth", "lists and maps are nested too deeply", "flatten")
        self.stack.append(_Frame(value, self.put(value, event)))

    def put(self, value: Any, event: Any) -> str:
        """Add `value` to the innermost collection and return its path."""
        if not self.stack:
            self.result = value
            return "$"
        frame = self.stack[-1]
        if isinstance(frame.value, list):
            frame.value.append(value)
            return child(frame.path, len(frame.value) - 1)
        if frame.key is None:
            frame.key = self.key(value, frame, event)
            return frame.path
        path = child(frame.path, frame.key)
        frame.value[frame.key] = value
        frame.key = None
        return path

    def key(self, value: Any, frame: _Frame, event: Any) -> str:
        if not isinstance(value, str):
            self.refuse(event, "reading.key", "a key that is no text", "put the key in quotes")
        if value == "<<" and not event.style:
            self.refuse(event, "reading.alias", "a merge key", "write the values out")
        if value in frame.value:
            path = child(frame.path, value)
            self.refuse(event, "reading.duplicate-key", f"{path} occurs twice", "keep one")
        return value

    def scalar(self, event: Any) -> Any:
        if event.style or not event.implicit[0]:
            return event.value
        tag = _resolver.resolve(yaml.ScalarNode, event.value, (True, False))  # type: ignore[no-untyped-call]  # PyYAML carries no types
        build = _BUILDERS.get(tag.removeprefix(_PREFIX))
        if build is None:
            return event.value
        try:
            value = build(yaml.ScalarNode(tag, event.value))
        except ValueError as error:
            problem = "a number of thousands of digits" if "digits" in str(error) else str(error)
            self.refuse(event, "reading.number", problem, "put it in quotes")
        if isinstance(value, float) and not math.isfinite(value):
            self.refuse(event, "reading.number", "a number that is not finite", "write a number")
        return value

    def refuse(self, event: Any, rule: str, problem: str, remedy: str = "") -> NoReturn:
        mark = event.start_mark
        place = f"line {mark.line + 1} column {mark.column + 1}"
        refuse(self.source, place, rule, problem, remedy=remedy)


def _refuse_syntax(source: str, error: yaml.MarkedYAMLError) -> NoReturn:
    mark = error.problem_mark
    place = f"line {mark.line + 1} column {mark.column + 1}" if mark else "$"
    refuse(
        source,
        place,
        "reading.syntax",
        f"no YAML: {error.problem or error.context}",
        expected="YAML",
        remedy="look for wrong indentation, a tab or an unquoted colon there",
    )
