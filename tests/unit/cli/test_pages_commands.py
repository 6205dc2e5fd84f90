"""Every command that the pages print is one: its task is there and takes its options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from comfykiln.cli.program import Kiln
from comfykiln.plan.targets import load_targets

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(word: str) -> list[tuple[str, str]]:
    """Return page and line of every command in a block of shell that has `word` in it."""
    return [
        (page.name, line.strip())
        for page in PAGES
        for block in BLOCK.findall(page.read_text("utf-8"))
        for line in block.replace("\\\n", " ").splitlines()
        if re.search(rf"(^|\s){re.escape(word)}\s", line.strip()) and "…" not in line
    ]


@pytest.mark.parametrize(("page", "line"), commands("./kiln"))
def test_a_printed_task_takes_its_options(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    given = words[words.index("./kiln") + 1 :]
    program = Kiln()
    program.create_config()
    program.parse_core(["kiln", "--search-root", str(ROOT), *given])
    program.parse_collection()
    program.parse_tasks()
    named = [context.name for context in program.tasks]
    assert named or {"--list", "--help"} & set(given), (page, line)


def test_a_printed_compose_command_names_an_image_that_a_build_makes() -> None:
    tags = [
        (page, tag)
        for page, line in commands("compose")
        for tag in re.findall(r"COMFYKILN_TAG=(\S+)", line)
    ]
    targets = load_targets(ROOT / "images" / "targets.yaml").by_name
    assert [(page, tag) for page, tag in tags if tag.split("-")[0] in targets] == []
