"""Markdown pages as a graph: the links of each, those that lead nowhere, the files they reach."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FENCE = re.compile(r"^(```+).*?^\1$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:")


def pages(root: Path) -> list[Path]:
    """Return every page that is written for people, the first one first."""
    folders = [root / "docs", *root.glob("services/comfy/*")]
    inner = {page for folder in folders for page in folder.rglob("*.md")}
    return [
        root / "README.md",
        root / "CONTRIBUTING.md",
        *sorted({*root.glob("[!.]*/README.md"), *inner}),
    ]


def links(page: Path) -> list[str]:
    """Return where the page's links lead, in order, without those to other hosts and in code."""
    text = CODE.sub("", FENCE.sub("", page.read_text("utf-8")))
    return [link for link in LINK.findall(text) if not ELSEWHERE.match(link)]


def anchors(page: Path) -> set[str]:
    """Return what `#…` may follow the page's name, as GitHub makes it of the headings."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(FENCE.sub("", page.read_text("utf-8"))):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def dead(page: Path) -> list[str]:
    """Return the page's links to files that are not there, and to headings that no page has."""
    return [link for link in links(page) if not _leads_somewhere(page, link)]


def reached(start: Path) -> set[Path]:
    """Return every file that links lead to from `start`, itself included, over pages between."""
    found: set[Path] = set()
    waiting = [start.resolve()]
    while waiting:
        page = waiting.pop()
        if page in found or not page.is_file():
            continue
        found.add(page)
        waiting += targets(page)
    return found


def targets(page: Path) -> Iterator[Path]:
    """Yield the files that the page's own links lead to; of a folder its README, else its data."""
    for link in links(page) if page.suffix == ".md" else ():
        path = (page.parent / link.partition("#")[0]).resolve()
        if not path.is_dir():
            yield path
        elif (path / "README.md").is_file():
            yield path / "README.md"
        else:
            yield from (file for file in path.iterdir() if file.suffix != ".md")


def _leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    path = page.parent / name if name else page
    return path.exists() and (not anchor or (path.suffix == ".md" and anchor in anchors(path)))
