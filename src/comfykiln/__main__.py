"""`invoke` with this project's exit codes: what ./kiln runs."""

from __future__ import annotations

import os
import re
import sys
from typing import NoReturn

from invoke import Exit, Program
from invoke.exceptions import ParseError

from comfykiln import __version__
from comfykiln.errors import DocumentError
from comfykiln.system import console


class Kiln(Program):
    """The task runner; wrong usage is exit code 2 and says where to look."""

    def parse_core(self, argv: list[str] | None) -> None:
        """Parse the options of the runner itself."""
        try:
            super().parse_core(argv)
        except ParseError as error:
            _usage(str(error), error)

    def parse_tasks(self) -> None:
        """Parse the tasks and their options."""
        try:
            super().parse_tasks()
        except ParseError as error:
            _usage(str(error), error)
        except ValueError as error:  # the runner turns the value of a number's option into one
            _usage(f"an option wants a whole number: {error}", error)

    def print_task_help(self, name: str) -> None:
        """Print what a task does and its options, with the kinds of documents in their place.

        A task's text has `{kinds}` for them, so that --list need not ask the formats.
        """
        task = self.collection[name]
        if "{kinds}" in (task.__doc__ or ""):
            from comfykiln.documents.formats import writable  # noqa: PLC0415  # see above

            *most, last = writable()
            task.__doc__ = task.__doc__.replace("{kinds}", f"{', '.join(most)} or {last}")
        super().print_task_help(name)


def _usage(message: str, error: Exception) -> NoReturn:
    wrong = DocumentError(
        message, remedy="./kiln --list names the tasks, ./kiln TASK --help the options of one"
    )
    raise Exit(f"error: {wrong}", wrong.exit_code) from error


def _help_first(words: list[str]) -> list[str]:
    """Return the words with `TASK --help` as `--help TASK`, which no positional argument takes."""
    asked = {"--help", "-h"} & set(words)
    task = next((word for word in words if re.fullmatch(r"[a-z][a-z.-]*", word)), None)
    options = words[: words.index(task)] if task else words
    return [*options, "--help", task] if asked and task else words


def main() -> None:
    """Run the tasks named on the command line."""
    console.accept_any_text()
    try:
        words = _help_first(sys.argv[1:])
        Kiln(name="kiln", binary="kiln", version=__version__).run(["kiln", *words])
    except BrokenPipeError:  # whoever reads has seen enough, as in `./kiln --list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
