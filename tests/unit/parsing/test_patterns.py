"""A pattern judges the whole text: no line can begin where one value was asked for."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

import comfykiln
from comfykiln.parsing.shape import is_like

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(comfykiln.__file__).parent
SEPARATORS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
EXEMPT = {
    "restore": "its bytes are in the digests of rows; what it reads was checked before",
    "transfer": "copied into the node pack byte by byte",
    "verify/probes": "run inside the image; they judge names of files there",
}
"""Rooms whose regular expressions may end in `$`, each with the reason."""


CALLS = {
    f"re.{name}" for name in ("compile", "findall", "finditer", "match", "search", "split", "sub")
}


def patterns_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("pattern"), str):
            yield value["pattern"]
        value = list(value.values())
    if isinstance(value, list):
        for member in value:
            yield from patterns_of(member)


PATTERNS = sorted(
    {
        (file.name.partition(".")[0], pattern)
        for file in (PACKAGE / "schemas").glob("*.json")
        for pattern in patterns_of(json.loads(file.read_text("utf-8")))
    }
)


@pytest.mark.parametrize(("schema", "pattern"), PATTERNS)
def test_no_line_may_follow_in_any_schema(schema: str, pattern: str) -> None:
    assert pattern.startswith("^"), schema
    assert pattern.endswith("$"), schema
    # Without the classes of Unicode, `\s` leaves separators out: they are spelt out instead.
    assert not re.search(r"\\[swdb]", pattern, re.IGNORECASE), schema

    @settings(max_examples=5, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.from_regex(re.compile(pattern, re.ASCII)).filter(lambda s: is_like(s, pattern)))
    def refused(text: str) -> None:
        for separator in SEPARATORS:
            for spoilt in (f"{text}{separator}", f"{text}{separator}RUN id", f"{separator}{text}"):
                assert not is_like(spoilt, pattern), spoilt

    refused()


def ends_loosely(pattern: str) -> bool:
    """Say whether a regular expression has a `$` outside a class that is not escaped."""
    return "$" in re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "", pattern)


def loose_patterns(path: Path) -> Iterator[int]:
    """Yield the line of each call of `re` whose pattern takes a newline at its end."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) in CALLS):
            continue
        words = "".join(
            entry.value
            for entry in ast.walk(node.args[0])
            if isinstance(entry, ast.Constant) and isinstance(entry.value, str)
        )
        by_line = "(?m)" in words or "MULTILINE" in ast.unparse(node)
        if ends_loosely(words) and not by_line:
            yield node.lineno


def test_no_regular_expression_takes_a_newline_at_its_end() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if not any(path.is_relative_to(PACKAGE / room) for room in EXEMPT)
        for line in loose_patterns(path)
        # The schemas' own ending, which is taken off.
        if "removesuffix" not in path.read_text("utf-8").splitlines()[line - 1]
    ]
    assert found == []


def test_a_loose_pattern_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        'import re\nre.search("a$", x)\nre.compile(r"[$]|\\$")\nre.sub("(?m)a$", "", x)\n'
        're.match(f"{a}b(/|$)", x)\nre.search("^a$", x, re.MULTILINE)\n'
    )
    assert list(loose_patterns(path)) == [2, 5]
