"""What stands between invoke and the library: tasks from records of options, the program itself."""

from __future__ import annotations

import functools
import inspect
import sys
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import invoke

from comfykiln import __version__
from comfykiln.cli import fields, usage
from comfykiln.errors import KilnError
from comfykiln.system import console

if TYPE_CHECKING:
    from collections.abc import Callable

Options = TypeVar("Options")
OPTIONS = {
    "help": "say what the program, or with TASK --help what one task, takes",
    "list": "name the tasks, or those of one group",
    "list-depth": "name groups in place of their tasks from this depth on",
    "list-format": "how to name them: flat, nested, json (default: flat)",
    "version": "say which version this is",
    "print-completion-script": "print what completes ./kiln in a shell: bash, zsh, fish",
    "complete": "used by that script",
    "search-root": "the checkout to work on (default: that of ./kiln)",
}
"""The options of the program itself; invoke has more, which mean nothing here."""


class KilnTask(invoke.Task["Callable[..., None]"]):
    """A task of the command line: a function of one record, whose fields are its options.

    The record is named by the function's annotation and read when the task is parsed, so that
    a list of all tasks costs none of them.
    """

    def __init__(self, function: Callable[[Any], None]) -> None:
        @functools.wraps(function)
        def body(_: invoke.Context, **given: Any) -> None:
            function(self.options(**given))

        super().__init__(body, positional=())
        self.function = function

    @functools.cached_property
    def options(self) -> type:
        """The record of this task, one of `comfykiln.cli.options`."""
        from comfykiln.cli import options  # noqa: PLC0415  # not for lists

        hints = get_type_hints(self.function, localns={"options": options})
        record: type = next(iter(hints.values()))
        return record

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[invoke.Argument]:  # noqa: FBT001  # as invoke has it
        """Return the options for invoke's parser."""
        self.positional = fields.places(self.options)
        self.auto_shortflags = fields.has_letters(self.options)
        self.body.__signature__ = fields.signature(self.options)  # type: ignore[attr-defined]  # as functions may have
        return super().get_arguments(ignore_unknown_help)


def task(function: Callable[[Options], None]) -> KilnTask:
    """Make a task of a function that takes a record of its options."""
    return KilnTask(function)


class Kiln(invoke.Program):
    """The program ./kiln: invoke's parsing and listing, with this project's words and errors."""

    def __init__(self) -> None:
        super().__init__(name="kiln", binary="./kiln", version=__version__)

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:  # noqa: A002, ARG002, FBT001, FBT002  # as invoke has it
        """Do what the words of the command line say. Raises `KilnError`."""
        try:
            self.create_config()
            self.parse_core(argv)
            self.parse_collection()
            self.parse_tasks()
            self.parse_cleanup()
            self.update_config()
            self.execute()
        except invoke.Exit as error:  # help or a list was printed, or there is no tasks.py
            if error.code:
                raise KilnError(error.message or "there are no tasks here") from error

    def core_args(self) -> list[invoke.Argument]:
        """Return the options of the program, those that are ours with their meaning."""
        return _explained(super().core_args())

    def task_args(self) -> list[invoke.Argument]:
        """Return the options about where the tasks are, in the same way."""
        return _explained(super().task_args())

    def parse_core(self, argv: list[str] | None) -> None:
        """Parse the options of the program, and let Python keep what it compiles.

        invoke forbids that, which would cost every start in a fresh checkout the compilation.
        """
        compiles_anew = sys.dont_write_bytecode
        words = usage.help_first((argv or [])[1:])
        usage.check_program(words, self._known())
        super().parse_core(["./kiln", *words])
        sys.dont_write_bytecode = compiles_anew

    def parse_tasks(self) -> None:
        """Parse the tasks and their options, when nothing is wrong with them."""
        listed = self.args.list.value
        tasks = self.collection.task_names
        usage.check_names(self.args.help.value, listed, [*tasks, *chain(*tasks.values())])
        if listed and not self.core.unparsed:
            self.tasks = invoke.ParseResult()
            return
        if not self.args.complete.value:
            named = {name: c for c in self._contexts for name in (c.name or "", *c.aliases)}
            usage.check_tasks(self.core.unparsed, self._known(), named, self._choices)
        super().parse_tasks()

    def print_help(self) -> None:
        """Say how the program is called, and what it takes besides tasks."""
        console.out("Usage: ./kiln TASK [options]\n\nOptions:\n")
        self.print_columns(self._known().help_tuples())
        console.out("`./kiln --list` names the tasks, `./kiln TASK --help` says what one takes.")

    def print_task_help(self, name: str) -> None:
        """Say what a task does and what it takes."""
        context = self.parser.contexts[name]
        texts = fields.help_texts(self.collection[name].options)
        for entry in context.args.values():
            entry.help = texts[entry.name]
        words = "".join(f" {entry.names[0].upper()}" for entry in context.positional_args)
        console.out(f"Usage: ./kiln {name}{words}{' [options]' if context.flags else ''}\n")
        console.out(f"{inspect.getdoc(self.collection[name])}\n")
        if context.flags:
            console.out("Options:\n")
            self.print_columns(context.help_tuples())

    @functools.cached_property
    def _contexts(self) -> list[invoke.ParserContext]:
        """The tasks as the parser reads them, made once."""
        return self.collection.to_contexts()

    def _make_parser(self) -> invoke.Parser:
        return invoke.Parser(initial=self.initial_context, contexts=self._contexts)

    def _known(self) -> invoke.ParserContext:
        known = [entry for entry in self.initial_context.args.values() if entry.names[0] in OPTIONS]
        return invoke.ParserContext(args=known)

    def _choices(self, name: str, option: str) -> tuple[str, ...]:
        return fields.choices(self.collection[name].options, option)


def _explained(arguments: list[invoke.Argument]) -> list[invoke.Argument]:
    for entry in arguments:
        entry.help = OPTIONS.get(entry.names[0], entry.help)
    return arguments
