"""The page on documents names every rule that can refuse one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from comfykiln.documents import pages
from comfykiln.errors import DocumentError

ROOT = Path(__file__).parents[3]
RULE = re.compile(
    r'"((?:archive|comfylock|comfypack|convert|document|name|path|reading|record|ref|requirement'
    r'|snapshot|url)\.[a-z][a-z0-9-]+)"'
)
NO_RULES = {"snapshot.json", "snapshot.yaml", "comfylock.basic", "comfypack.source"}


def test_each_rule_is_documented() -> None:
    package = ROOT / "src" / "comfykiln"
    rooms = [package / "documents", package / "git", package / "parsing"]
    files = [path for room in rooms for path in room.rglob("*.py")]
    files += (package / "schemas").glob("*.schema.json")
    rules = {rule for file in files for rule in RULE.findall(file.read_text(encoding="utf-8"))}
    names = ("documents.md", "manifest.md", "exports.md")
    text = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in names)
    assert {rule for rule in rules - NO_RULES if f"`{rule}`" not in text} == set()


def test_the_table_of_kinds_is_as_rendered() -> None:
    page = ROOT / "docs" / "documents.md"
    assert page.read_bytes() == pages.render(page), "run: ./kiln render"


def test_a_page_without_a_place_for_the_table_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "documents.md"
    page.write_text(f"# Documents\n{pages.BEGIN}\n")
    with pytest.raises(DocumentError, match="the marks of the table of kinds are missing"):
        pages.render(page)
