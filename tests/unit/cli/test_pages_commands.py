"""Every command that the pages print is one: its task is there and takes its options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tests.support.pages import pages

from comfykiln.cli.program import Kiln
from comfykiln.plan.targets import load_targets

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
PLACEHOLDER = re.compile(r"…|\bTASK\b")
IN_TEXT = re.compile(r"(?<!`)`(\./kiln [^`\n]+)`")


def commands(word: str) -> list[tuple[str, str]]:
    """Return page and line of every command that has `word` in it, in blocks of shell and texts."""
    found = [
        (page.relative_to(ROOT).as_posix(), line.strip())
        for page in pages(ROOT)
        for text in [page.read_text("utf-8")]
        for block in [*BLOCK.findall(text), *IN_TEXT.findall(text)]
        for line in block.replace("\\\n", " ").splitlines()
        if re.search(rf"(^|\s){re.escape(word)}\s", line.strip()) and not PLACEHOLDER.search(line)
    ]
    return list(dict.fromkeys(found))


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
