"""What the page on documents says of the kinds, rendered from their records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfykiln.documents.formats import formats
from comfykiln.errors import DocumentError

if TYPE_CHECKING:
    from pathlib import Path

    from comfykiln.documents.formats import Format

BEGIN, END = "<!-- kinds, by ./kiln render -->", "<!-- end of kinds -->"


def render(page: Path) -> bytes:
    """Return the text of `page` with the table of kinds between its two marks."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise DocumentError(
            f"{page}: the marks of the table of kinds are missing",
            remedy=f"put `{BEGIN}` and `{END}` where it is to stand",
        )
    return f"{before}{BEGIN}\n{table()}{END}{after}".encode()


def packages(folder: Path) -> dict[Path, bytes]:
    """Return the `__init__.py` of each kind below `folder` that has none: one line, its title.

    Without it linters see no package there, and would check nothing of it.
    """
    places = [(found.title, folder / found.kind / "__init__.py") for found in formats()]
    return {
        path: f'"""{title[0].upper()}{title[1:]}."""\n'.encode()
        for title, path in places
        if not path.exists()
    }


def table() -> str:
    """Return the table of all kinds as Markdown."""
    rows = ["| kind | file | forms |", "|---|---|---|", *map(_row, formats())]
    return "\n".join(rows) + "\n"


def _row(found: Format) -> str:
    forms = ", ".join(f"`{form}`" for form in found.forms)
    return f"| `{found.kind}` | {found.files} | {forms} |".replace("|  |", "| |")
