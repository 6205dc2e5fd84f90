"""The ladder of errors: one class per exit code, each message ending with what to do.

KilnError            1  something failed on the way
├── DocumentError    2  wrong usage, or a document with faults (all of them, each with its place)
├── NotPossibleError 3  this machine or network cannot do it
└── DriftError       4  two things that must agree do not

Ctrl-C and SIGTERM are no errors of the program: exit code 130 (`comfykiln.system.ending`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence


class KilnError(Exception):
    """A failure with a cause and a remedy, meant to be shown to a person as it is.

    `message` says what happened and where; `remedy` says what to do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.remedy}" if self.remedy else self.message


class DocumentError(KilnError):
    """Wrong usage or a faulty document: `faults` are whole lines, sorted by place."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, faults: Sequence[str] = (), remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        head = "\n".join([self.message, *(f"  {fault}" for fault in self.faults)])
        return f"{head}\n  → {self.remedy}" if self.remedy else head


class NotPossibleError(KilnError):
    """This machine, engine or network cannot do what was asked."""

    exit_code: ClassVar[int] = 3


class DriftError(KilnError):
    """Two things that must agree do not: a generated file, a lock, a pin."""

    exit_code: ClassVar[int] = 4
