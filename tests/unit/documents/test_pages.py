"""The page on documents names every rule that can refuse one."""

from __future__ import annotations

import re
from pathlib import Path

from comfykiln.documents import Kind

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
    pages = [ROOT / "docs" / name for name in ("documents.md", "manifest.md", "exports.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert {rule for rule in rules - NO_RULES if f"`{rule}`" not in text} == set()


def test_each_documented_kind_and_form_exists() -> None:
    page = (ROOT / "docs" / "documents.md").read_text(encoding="utf-8")
    for kind in Kind:
        assert f"\n| `{kind}` |" in page
