"""Each of the 25 weaknesses has a test that bears its number, and the table names them all."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDERS = ("tests", "services/comfy/cloud-storage/tests")


def test_the_table_names_every_test_of_a_weakness() -> None:
    written = {
        (int(number), name)
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("test_*.py")
        for name, number in re.findall(r"^def (test_w(\d\d)_\w+)\(", path.read_text(), re.MULTILINE)
    }
    text = (ROOT / "docs/cloud-storage.md").read_text()
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", text, re.MULTILINE)
    named = {(int(row), name) for row, tests in rows for name in re.findall(r"`(\w+)`", tests)}
    assert named == written
    assert sorted({number for number, _ in written}) == list(range(1, 26))
