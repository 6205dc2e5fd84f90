"""A task's options as the fields of a record: what stands in them, and what invoke makes of it."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, Field, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = 11
"""So many options of a task have a letter each: where letters run out, invoke makes a dash."""


def option(meaning: str, default: Any = None, *, unset: str = "", choices: Any = None) -> Any:
    """Return a field for an option.

    `unset` says what holds where the option is not given, if its default does not tell; `choices`
    is the `Literal` of its values, or a function that returns them.
    """
    told = {"meaning": meaning, "unset": unset, "choices": choices, "required": False}
    return field(default=default, metadata=told)


def required(meaning: str) -> Any:
    """Return a field for an option that must be given, which the task itself checks."""
    told = {"meaning": meaning, "unset": "", "choices": None, "required": True}
    return field(default=None, metadata=told)


def place(meaning: str) -> Any:
    """Return a field for a word that is given without a flag, in the order of the fields."""
    return field(metadata={"meaning": meaning, "unset": "", "choices": None, "required": True})


def places(options: type) -> list[str]:
    """Return the fields that are given without their flags, in their order."""
    return [entry.name for entry in _fields(options) if entry.default is MISSING]


def has_letters(options: type) -> bool:
    """Tell whether the options have a letter each beside their names."""
    return len(_fields(options)) <= MANY


def choices(options: type, name: str) -> tuple[str, ...]:
    """Return the values that the option `name` may have; none where it may have any."""
    (known,) = (entry.metadata["choices"] for entry in _fields(options) if entry.name == name)
    return _choices(known)


def help_texts(options: type) -> dict[str, str]:
    """Return by name what each option means, its choices and its default."""
    return {entry.name: _help(entry) for entry in _fields(options)}


def signature(options: type) -> inspect.Signature:
    """Return the signature of a task with these options, as invoke reads it."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    found = [inspect.Parameter("_", inspect.Parameter.POSITIONAL_ONLY)]
    for entry in _fields(options):
        default = inspect.Parameter.empty if entry.default is MISSING else entry.default
        found.append(inspect.Parameter(entry.name, keyword, default=default))
    return inspect.Signature(found)


def _fields(options: type) -> tuple[Field[Any], ...]:
    return fields(options)


def _choices(known: type | Callable[[], tuple[str, ...]] | None) -> tuple[str, ...]:
    if get_origin(known) is Literal:
        return get_args(known)
    return known() if known else ()


def _help(entry: Field[Any]) -> str:
    told = entry.metadata
    known = _choices(told["choices"])
    among = f": {', '.join(known)}" if known else ""
    usual = "required" if told["required"] else f"default: {told['unset'] or _word(entry.default)}"
    return f"{told['meaning']}{among} ({usual})"


def _word(value: object) -> object:
    return value if not isinstance(value, bool) else "yes" if value else "no"
