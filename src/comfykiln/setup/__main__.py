"""`python -m comfykiln.setup environment run|dev` and `… engine`: the work behind ./kiln.

With `-- WORDS` behind the environment, its program goes on with these words.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from comfykiln.errors import DocumentError
from comfykiln.setup import engine
from comfykiln.setup.checkout import Checkout, Policy, policy_of
from comfykiln.setup.environment import Part, prepare
from comfykiln.system import ending

ROOT = Path(__file__).resolve().parents[3]


def main(arguments: list[str]) -> int:
    """Do one part of the set-up and return the exit code."""
    # Who starts this by name wants it done, unless KILN_SETUP says otherwise.
    given = {"KILN_SETUP": "auto"} | os.environ
    return ending.exit_code(lambda: _dispatch(arguments, policy_of(given)))


def _dispatch(arguments: list[str], policy: Policy) -> None:
    match arguments:
        case ["environment", ("run" | "dev") as part, *rest] if rest[:1] in ([], ["--"]):
            checkout = Checkout(root=ROOT, policy=policy)
            prepare(checkout, Part(part))
            if rest:
                _go_on(checkout, rest[1:])
        case ["engine"]:
            engine.ensure(policy)
        case _:
            raise DocumentError(
                f"unknown arguments: {' '.join(arguments)}",
                remedy="give `environment run`, `environment dev` or `engine`",
            )


def _go_on(checkout: Checkout, words: list[str]) -> NoReturn:
    """Become the program of the environment, as ./kiln does where there is nothing to set up."""
    programs = checkout.venv / "bin"
    path = f"{programs}:{os.environ.get('PATH', '')}"
    argv = ["python", "-P", "-m", "comfykiln", "--search-root", str(checkout.root), *words]
    os.execve(programs / "python", argv, os.environ | {"PATH": path})  # noqa: S606  # no shell: words


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
