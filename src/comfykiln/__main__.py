"""What ./kiln runs: its tasks, under the one catch of every error."""

from __future__ import annotations

import re
import sys

from comfykiln.system import console, ending


def main() -> int:
    """Run the tasks named on the command line and return the exit code."""
    console.accept_any_text()
    return ending.exit_code(_run)


def _run() -> None:
    from comfykiln.cli.program import Kiln  # noqa: PLC0415  # so that Ctrl-C meets the catch

    Kiln().run(["./kiln", *_help_first(sys.argv[1:])])


def _help_first(words: list[str]) -> list[str]:
    """Return the words with `TASK --help` as `--help TASK`, which no positional argument takes."""
    others = [word for word in words if word not in ("--help", "-h")]
    task = next((word for word in others if re.fullmatch(r"[a-z][a-z.-]*", word)), None)
    if task is None or len(others) == len(words):
        return words
    return [*others[: others.index(task)], "--help", task]


if __name__ == "__main__":
    sys.exit(main())
