"""Wrong usage, told in this project's words before invoke parses anything: exit code 2."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, NoReturn

from comfykiln.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from invoke import Argument, ParserContext

    Choices = Callable[[str, str], tuple[str, ...]]

PROGRAM = "./kiln"
CHOICES = {
    "--list-format": ("flat", "nested", "json"),
    "-F": ("flat", "nested", "json"),
    "--print-completion-script": ("bash", "zsh", "fish"),
}
"""The values that options of the program itself may have."""
LETTER = 2
"""The length of a flag of one letter; more behind it is its value, or more such flags."""


def help_first(words: list[str]) -> list[str]:
    """Return the words with `TASK --help` as `--help TASK`, which no positional argument takes."""
    others = [word for word in words if word not in ("--help", "-h")]
    task = next((word for word in others if re.fullmatch(r"[a-z][a-z.-]*", word)), None)
    if task is None or len(others) == len(words):
        return words
    return [*others[: others.index(task)], "--help", task]


def check_program(words: Sequence[str], program: ParserContext) -> None:
    """Check the options before the first task. Raises `DocumentError`."""
    reader = _Reader(words, program, {}, lambda _name, _option: ())
    while reader.words and reader.words[0].startswith("-") and reader.words[0] != "--":
        reader.read()


def check_tasks(
    words: Sequence[str],
    program: ParserContext,
    tasks: Mapping[str, ParserContext],
    choices: Choices,
) -> None:
    """Check the tasks and their options. Raises `DocumentError` for the first that is wrong.

    `choices` returns, for the names of a task and an option, the values that the option may have.
    """
    reader = _Reader(words, program, tasks, choices)
    while reader.words and reader.words[0] != "--":
        reader.read()
    reader.end_task()


def check_names(asked: object, listed: object, tasks: Collection[str]) -> None:
    """Check the task whose help is asked for and the group whose tasks are to be listed."""
    if isinstance(asked, str) and asked not in tasks:
        raise _no_task(asked, tasks)
    groups = sorted({name.partition(".")[0] for name in tasks if "." in name})
    if isinstance(listed, str) and listed not in groups:
        raise DocumentError(
            f"there is no group of tasks {listed!r}{did_you_mean(listed, groups)}",
            remedy=f"use one of: {', '.join(groups)}",
        )


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return the end of a message that names what is nearest to `word`, if anything is near."""
    import difflib  # noqa: PLC0415  # wrong usage only

    # Dashes would make any two options alike.
    plain = {name.lstrip("-"): name for name in known}
    near = [name for name in known if name.endswith(f".{word}")]
    near = near or [plain[name] for name in difflib.get_close_matches(word.lstrip("-"), plain, n=1)]
    return f"; did you mean {' or '.join(near)}?" if near else ""


class _Reader:
    """Reads words as invoke does: flags with values, words at their places, further tasks."""

    def __init__(
        self,
        words: Sequence[str],
        program: ParserContext,
        tasks: Mapping[str, ParserContext],
        choices: Choices,
    ) -> None:
        self.words = deque(words)
        self.program = program
        self.tasks = tasks
        self.choices = choices
        self.name = PROGRAM
        self.context = program
        self.seen: set[str] = set()
        self.places: list[Argument] = []
        self.alone = ""  # the flag without a value that was read last

    def read(self) -> None:
        """Read the next word, and its value where it is a flag that has one."""
        word = self.words.popleft()
        if word.startswith("-") and word != "-":
            self._flag(word)
        elif self.places:
            self._place(word)
        elif word in self.tasks:
            self.end_task()
            self.name, self.context = word, self.tasks[word]
            self.seen, self.alone = set(), ""
            self.places = list(self.context.positional_args)
        else:
            self._too_much(word)

    def end_task(self) -> None:
        """Check that the task has all that it cannot do without."""
        if self.places:
            names = " ".join(entry.names[0].upper() for entry in self.places)
            raise DocumentError(f"{self.name} lacks {names}", remedy=self._ask_help())

    def _place(self, word: str) -> None:
        self.alone = ""
        entry = self.places.pop(0)
        self.seen.add(entry.names[0])
        if not word:
            raise DocumentError(
                f"{self.name}: {entry.names[0].upper()} is empty", remedy=self._ask_help()
            )

    def _flag(self, word: str) -> None:
        flag, value = self._split(word)
        entry = self._find(flag)
        if entry.names[0] in self.seen:
            raise DocumentError(f"{self.name} {flag} is given twice", remedy="give it once")
        self.seen.add(entry.names[0])
        self.places = [place for place in self.places if place is not entry]
        self.alone = "" if entry.takes_value else flag
        if not entry.takes_value:
            if value is not None:
                raise self._with_value(value)
        elif value is not None or self._has_value(entry):
            self._value(entry, flag, self.words.popleft() if value is None else value)

    def _split(self, word: str) -> tuple[str, str | None]:
        """Return a flag and the value in the same word: --flag=value, -fvalue; -jk is two flags."""
        flag, equals, value = word.partition("=")
        if flag.startswith("--") or len(flag) <= LETTER:
            return flag, value if equals else None
        flag, rest = word[:LETTER], word[LETTER:]
        if self._find(flag).takes_value:
            return flag, rest
        self.words.extendleft(f"-{letter}" for letter in reversed(rest))
        return flag, None

    def _find(self, flag: str) -> Argument:
        known = self.context.flags
        name = self.context.inverse_flags.get(flag, flag)
        if name not in known:
            near = did_you_mean(flag, self.context.flag_names())
            raise DocumentError(f"{self.name} has no option {flag}{near}", remedy=self._ask_help())
        found: Argument = known[name]
        return found

    def _has_value(self, entry: Argument) -> bool:
        """Tell whether the next word is the value. Raises `DocumentError` where it must be."""
        if self.words and not self._is_flag(self.words[0]):
            return True
        if entry.optional:
            return False
        flag = f"--{entry.names[0]}"
        raise DocumentError(
            f"{self.name} {flag} has no value",
            remedy=f"write {flag} VALUE, or leave it out; {self._ask_help()}",
        )

    def _is_flag(self, word: str) -> bool:
        return word.startswith("--") or word in self.context.flags

    def _value(self, entry: Argument, flag: str, value: str) -> None:
        option = f"{self.name} {flag}"
        if not value:
            raise DocumentError(f"{option} is empty", remedy=f"write {flag} VALUE, or leave it out")
        if entry.kind is int and not re.fullmatch(r"[+-]?[0-9]{1,9}", value):
            raise DocumentError(
                f"{option} is {value!r}, which is no whole number",
                remedy=f"write a number, such as {flag} {entry.default}",
            )
        own = self.context is self.program
        known = CHOICES.get(flag, ()) if own else self.choices(self.name, entry.name or "")
        if own and entry.kind is int and int(value) < 0:
            raise DocumentError(f"{option} is {value}", remedy="write 0 or more")
        if known and value not in known:
            raise DocumentError(
                f"{option} is {value!r}{did_you_mean(value, known)}",
                remedy=f"use one of: {', '.join(known)}",
            )

    def _with_value(self, value: str) -> DocumentError:
        return DocumentError(
            f"{self.name} {self.alone} takes no value, such as {value!r}",
            remedy=f"write {self.alone} alone",
        )

    def _too_much(self, word: str) -> NoReturn:
        if self.context is self.program:
            raise _no_task(word, self.tasks)
        if self.alone:
            raise self._with_value(word)
        known = did_you_mean(word, self.tasks)
        raise DocumentError(
            f"{word!r} is one word too many for {self.name}, and no task{known}",
            remedy=self._ask_help(),
        )

    def _ask_help(self) -> str:
        task = PROGRAM if self.context is self.program else f"{PROGRAM} {self.name}"
        return f"`{task} --help` says what it takes"


def _no_task(word: str, tasks: Collection[str]) -> DocumentError:
    inside = sorted(name for name in tasks if name.startswith(f"{word}."))
    near = f"; it is a group: {', '.join(inside)}" if inside else did_you_mean(word, tasks)
    return DocumentError(
        f"there is no task {word!r}{near}", remedy="`./kiln --list` names the tasks"
    )
