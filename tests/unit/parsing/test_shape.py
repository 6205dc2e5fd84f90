"""The shape check against the reference validator, and the schemas themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator

import comfykiln
from comfykiln.parsing import shape
from comfykiln.parsing.faults import Faults

SCHEMAS = Path(comfykiln.__file__).parent / "schemas"
PUBLISHED = Path(__file__).parents[3] / "docs" / "schemas"
DOCUMENTS = [
    "export",
    "comfylock",
    "comfypack",
    "migration-1.0",
    "models",
    "models-lock",
    "snapshot",
    "workflow",
]
UNDERSTOOD = {
    "$defs",
    "$id",
    "$ref",
    "$schema",
    "additionalProperties",
    "const",
    "description",
    "enum",
    "items",
    "maxLength",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
    "x-expected",
    "x-remedy",
    "x-rule",
    "x-secret",
}


def subschemas(schema: dict[str, Any]) -> list[dict[str, Any]]:
    found = [schema]
    for key in ("properties", "$defs"):
        found += [entry for inner in schema.get(key, {}).values() for entry in subschemas(inner)]
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found += subschemas(schema[key])
    return found


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_schema_is_valid_and_uses_what_the_check_understands(name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    root = {key: value for key, value in schema.items() if key != "anyOf"}
    for entry in subschemas(root):
        assert set(entry) <= UNDERSTOOD, sorted(set(entry) - UNDERSTOOD)
        pattern = entry.get("pattern", "^$")
        assert pattern.startswith("^")
        assert pattern.endswith("$")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_published_schema_is_the_shipped_one(name: str) -> None:
    file = f"{name}.schema.json"
    assert (PUBLISHED / file).read_bytes() == (SCHEMAS / file).read_bytes()


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([0.5, 1.0, "", "x", "main", "a" * 40, "3.11", "f" * 64, "enabled", "1.0.7"]),
)
KEYS = [
    *("comfyui", "git_custom_nodes", "cnr_custom_nodes", "file_custom_nodes", "pips", "models"),
    *("downloads", "custom_nodes", "hash", "disabled", "state", "url", "filename", "name"),
    *("basic", "auth", "paths", "path", "hashes", "type", "python", "sha256", "size", "source"),
    *("snapshot_json", "files", "download_url", "dest_relative_path", "commit_hash", "other"),
]
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    ),
    max_leaves=12,
)
FORMS = [
    ("snapshot", "manager"),
    ("snapshot", "nested"),
    ("snapshot", "map"),
    ("snapshot", "launcher"),
    ("comfylock", None),
    ("comfypack", None),
]


@pytest.mark.parametrize(("name", "definition"), FORMS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_check_agrees_with_the_reference(
    name: str, definition: str | None, data: st.DataObject
) -> None:
    value = data.draw(st.dictionaries(st.sampled_from(KEYS), trees, max_size=6))
    schema = shape.schema(name)
    if definition:
        schema = {"$defs": schema["$defs"], "$ref": f"#/$defs/{definition}"}
    expected = {error.json_path for error in Draft202012Validator(schema).iter_errors(value)}
    faults = Faults("x")
    shape.check(value, name, faults, definition=definition)
    assert {fault.path for fault in faults.records} == expected


def test_words_of_a_fault() -> None:
    faults = Faults("x")
    shape.check({"custom_nodes": [{"url": 1}], "python": 3.11}, "comfypack", faults)
    assert "\n".join(str(fault) for fault in faults.records) == (
        "$.custom_nodes[0].url: 1 is a whole number; expected a text; put quotes around it "
        "[comfypack.type]\n"
        '$.python: 3.11 is a number; expected a version such as "3.11"; put it in quotes '
        "[comfypack.type]"
    )


def test_patterns_take_the_whole_text_in_ascii() -> None:
    for python in ("3.11\n", "\u0663.\u0661\u0661", " 3.11", "3.11.x"):
        faults = Faults("x")
        shape.check({"custom_nodes": [], "python": python}, "comfypack", faults)
        assert [fault.rule for fault in faults.records] == ["comfypack.pattern"]
