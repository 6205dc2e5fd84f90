"""The pages lead to each other: none is out of reach, no link is dead, no list has a gap."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from tests.support.pages import dead, pages, reached, targets

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FRONT = DOCS / "README.md"
PACKAGE = ROOT / "src" / "comfykiln"
PAGES = pages(ROOT)


def named(paths: set[Path]) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_link_is_dead(page: Path) -> None:
    assert dead(page) == []


def test_everything_in_docs_is_reached_from_its_front_page() -> None:
    assert named({path for path in DOCS.rglob("*") if path.is_file()} - reached(FRONT)) == []


def test_the_front_page_of_docs_names_each_page_and_each_decision_itself() -> None:
    listed = {*DOCS.glob("*.md"), *DOCS.glob("*/README.md"), *DOCS.glob("decisions/*.md")}
    assert named(listed - {FRONT} - set(targets(FRONT))) == []


def test_the_first_page_leads_to_all_others() -> None:
    assert named(set(PAGES) - reached(ROOT / "README.md")) == []


def test_decisions_are_numbered_without_gaps() -> None:
    files = sorted((DOCS / "decisions").iterdir())
    assert [file.name[:5] for file in files] == [f"{n:04}-" for n in range(1, len(files) + 1)]
    headings = [file.read_text("utf-8").partition(" ")[2].partition(" ")[0] for file in files]
    assert headings == [f"{n}." for n in range(1, len(files) + 1)]


def rooms() -> list[str]:
    """Return the rooms from the top, as the contract that lint checks has them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return [room for floor in layers for room in re.split(r" [|:] ", floor)]


def test_the_rooms_of_the_contract_are_those_of_the_package() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert sorted(rooms()) == sorted(folders | modules)


def test_the_page_on_the_architecture_names_each_room_from_the_top() -> None:
    page = (DOCS / "architecture.md").read_text("utf-8")
    table = page.partition("\n| room | job |\n")[2].partition("\n\n")[0]
    rows = [row.split("|")[1] for row in table.splitlines()[1:]]
    assert re.findall(r"`(\w+)`", " ".join(rows)) == rooms()


def test_the_page_for_contributors_names_each_room_from_the_top() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    house = page.partition("\n## The house\n")[2].partition("```\n")[2].partition("```")[0]
    assert [
        name for line in house.splitlines() for name in line.partition("  ")[0].split()
    ] == rooms()


# What the walk finds: files by name, then the dead links of a.md, and what it does not reach.
WALKS = {
    "a link to a page": ({"a.md": "[b](b.md)", "b.md": "# B"}, [], []),
    "a link to a heading": ({"a.md": "[b](b.md#it-is-b)", "b.md": "## It is `B`!"}, [], []),
    "the second heading of a name": ({"a.md": "# T\n# T\n[t](#t-1)"}, [], []),
    "a page over another": ({"a.md": "[b](b.md)", "b.md": "[c](c/d.md)", "c/d.md": ""}, [], []),
    "the data of a folder": ({"a.md": "[c](c)", "c/d.json": "{}"}, [], []),
    "the page of a folder": ({"a.md": "[c](c)", "c/README.md": ""}, [], []),
    "another host": ({"a.md": "[b](https://example.org/b.md)"}, [], []),
    "no page": ({"a.md": "[b](b.md)"}, ["b.md"], []),
    "no heading": ({"a.md": "[b](b.md#c) [a](#b)", "b.md": "# B"}, ["b.md#c", "#b"], []),
    "a heading in code": ({"a.md": "```sh\n# T\n```\n[t](#t)"}, ["#t"], []),
    "a link in code": ({"a.md": "```\n[b](b.md)\n```\n`[c](c.md)`"}, [], []),
    "a page that nobody links": ({"a.md": "", "b.md": ""}, [], ["b.md"]),
    "a page in a folder of data": ({"a.md": "[c](c)", "c/d.md": ""}, [], ["c/d.md"]),
}


@pytest.mark.parametrize(("texts", "wrong", "beyond"), WALKS.values(), ids=list(WALKS))
def test_the_walk_finds(
    texts: dict[str, str], wrong: list[str], beyond: list[str], tmp_path: Path
) -> None:
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    every = {path for path in tmp_path.rglob("*") if path.is_file()}
    unseen = every - reached(tmp_path / "a.md")
    assert dead(tmp_path / "a.md") == wrong
    assert [path.relative_to(tmp_path).as_posix() for path in unseen] == beyond
