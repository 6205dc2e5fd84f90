"""From another program to ./kiln of a checkout: any `invoke`, and the installed command `kiln`.

Standard library only: it runs where nothing of the toolkit's environment is installed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

WRONG_USAGE = 2


def hand_over(root: Path) -> None:
    """Become `./kiln` of the checkout `root`, with the same words, when invoke itself runs.

    Whichever invoke that is, the environment, the messages and the exit codes are then those of
    ./kiln; when ./kiln or a test runs, nothing happens.
    """
    program = Path(sys.argv[0])
    if program.stem in {"invoke", "inv"} or program.parts[-2:] == ("invoke", "__main__.py"):
        become_kiln(root)


def main() -> NoReturn:
    """Run the checkout that the current folder lies in: the command that `pip install .` makes."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "kiln").is_file() and (folder / "src/comfykiln/__init__.py").is_file():
            become_kiln(folder)
    print(
        f"error: {here} is in no checkout of comfykiln, and images are built from one\n"
        "  → clone the repository, and start kiln there",
        file=sys.stderr,
    )
    sys.exit(WRONG_USAGE)


def become_kiln(root: Path) -> NoReturn:
    """Replace this process by `./kiln` of `root`; through sh, since a download loses modes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvp("sh", ["sh", str(root / "kiln"), *sys.argv[1:]])  # noqa: S606  # no shell text: words
