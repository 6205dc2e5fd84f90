"""The shape of a document, by the JSON Schema that ships with the package.

Interprets the part of Draft 2020-12 that our schemas use, because importing a full validator takes
longer than all other work on a document; a test holds it against `jsonschema`.
Patterns match the whole text, in ASCII. Keywords of ours: `x-rule`, `x-expected`, `x-remedy`,
`x-secret` (the value is not shown).
"""

from __future__ import annotations

import functools
import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from comfykiln.parsing.faults import child
from comfykiln.parsing.values import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from comfykiln.parsing.faults import Faults

Schema = dict[str, Any]


@functools.cache
def schema(name: str) -> Schema:
    """Return the shipped schema `name`, such as `snapshot`."""
    file = resources.files("comfykiln") / "schemas" / f"{name}.schema.json"
    found: Schema = json.loads(file.read_text(encoding="utf-8"))
    return found


def check(
    value: Any,
    name: str,
    faults: Faults,
    *,
    path: str = "$",
    rules: str = "",
    definition: str | None = None,
) -> None:
    """Add a fault for each place where `value` has not the shape of schema `name`.

    Ids of rules that the schema does not name begin with `rules`, or else with `name`.
    `definition` names one of the schema's `$defs`, where it holds several forms.
    """
    root = schema(name)
    start = root["$defs"][definition] if definition else root
    _Checker(root, rules or name, faults).check(value, start, path)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
    ),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
_WORDS = {
    "object": "a map",
    "array": "a list",
    "string": "a text",
    "boolean": "true or false",
    "null": "null",
    "integer": "a whole number",
    "number": "a number",
}


class _Checker:
    def __init__(self, root: Schema, name: str, faults: Faults) -> None:
        self.root = root
        self.name = name
        self.faults = faults

    def check(self, value: Any, schema: Schema, path: str) -> None:
        if "$ref" in schema:
            target = self.root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
            schema = {**target, **{key: schema[key] for key in schema if key != "$ref"}}
        if not self.type(value, schema, path):
            return
        self.scalar(value, schema, path)
        if isinstance(value, dict):
            self.object(value, schema, path)
        elif isinstance(value, list):
            self.array(value, schema, path)

    def type(self, value: Any, schema: Schema, path: str) -> bool:
        types = schema.get("type", [])
        types = [types] if isinstance(types, str) else types
        if not types or any(_TYPES[name](value) for name in types):
            return True
        expected = " or ".join(_WORDS[name] for name in types)
        remedy = ""
        if isinstance(value, int | float) and "string" in types:
            remedy = "put quotes around it"
        what = "a value (not shown)" if schema.get("x-secret") else shown(value)
        self.add(path, schema, "type", f"{what} is {_word(value)}", expected, remedy)
        return False

    def scalar(self, value: Any, schema: Schema, path: str) -> None:
        if "const" in schema and not _same(value, schema["const"]):
            self.add(path, schema, "const", shown(value), json.dumps(schema["const"]))
        if "enum" in schema and not any(_same(value, entry) for entry in schema["enum"]):
            options = ", ".join(json.dumps(entry) for entry in schema["enum"])
            self.add(path, schema, "enum", shown(value), f"one of {options}")
        if isinstance(value, str):
            self.text(value, schema, path)
        elif _TYPES["number"](value) and value < schema.get("minimum", value):
            self.add(path, schema, "minimum", shown(value), f"at least {schema['minimum']}")

    def text(self, value: str, schema: Schema, path: str) -> None:
        if len(value) < schema.get("minLength", 0):
            self.add(path, schema, "length", "an empty text", "a text")
        if len(value) > schema.get("maxLength", len(value)):
            limit = f"at most {schema['maxLength']:,} characters"
            self.add(path, schema, "length", f"{len(value):,} characters", limit)
        pattern = schema.get("pattern")
        if pattern and not is_like(value, pattern):
            self.add(path, schema, "pattern", shown(value), f"a text like {pattern}")

    def object(self, value: dict[str, Any], schema: Schema, path: str) -> None:
        known: Schema = schema.get("properties", {})
        for key in schema.get("required", []):
            if key not in value:
                problem, remedy = f"the key `{key}` is missing", f"add `{key}`"
                self.add(path, known.get(key, {}), "required", problem, "", remedy)
        rest = schema.get("additionalProperties", True)
        for key, member in value.items():
            if key in known:
                self.check(member, known[key], child(path, key))
            elif rest is False:
                problem = f"the key {shown(key)} is unknown"
                self.add(child(path, key), schema, "unknown-key", problem, "", "remove it")
            elif isinstance(rest, dict):
                self.check(member, rest, child(path, key))

    def array(self, value: list[Any], schema: Schema, path: str) -> None:
        if len(value) < schema.get("minItems", 0):
            self.add(path, schema, "length", "an empty list", "at least one member")
        if "items" in schema:
            for index, member in enumerate(value):
                self.check(member, schema["items"], child(path, index))

    def add(
        self, path: str, schema: Schema, keyword: str, problem: str, expected: str, remedy: str = ""
    ) -> None:
        self.faults.add(
            path,
            schema.get("x-rule", f"{self.name}.{keyword}"),
            problem,
            expected=schema.get("x-expected", expected),
            remedy=schema.get("x-remedy", remedy),
        )


def is_like(text: str, pattern: str) -> bool:
    """Say whether a schema's pattern, `^…$`, matches the whole text: no newline may follow."""
    return _pattern(pattern).fullmatch(text) is not None


@functools.cache
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.removeprefix("^").removesuffix("$"), re.ASCII)


def _same(left: Any, right: Any) -> bool:
    """Compare as JSON does: true is no 1, but 1.0 is 1."""
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _word(value: Any) -> str:
    return next(_WORDS[name] for name, test in _TYPES.items() if test(value))
