"""The folders of one checkout that the set-up works on, and what it may change beside them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from comfykiln.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Policy(StrEnum):
    """What KILN_SETUP says about changes to the machine outside the checkout."""

    AUTO = "auto"
    NEVER = "never"
    UNSAID = ""  # the task was not started by ./kiln


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkout:
    """One clone of this repository; `root` is its top folder."""

    root: Path
    policy: Policy

    @property
    def venv(self) -> Path:
        """Where the Python environment is used."""
        return self.root / ".venv"

    @property
    def scratch(self) -> Path:
        """Where things are made before they are moved to their place."""
        return self.root / ".kiln"

    def lock(self, part: str) -> Path:
        """Return the lock file of `part`: "run", "dev" or "uv"."""
        return self.root / "locks" / f"{part}.txt"


def policy_of(environ: Mapping[str, str]) -> Policy:
    """Read KILN_SETUP; a value that means nothing raises `DocumentError`."""
    value = environ.get("KILN_SETUP", "")
    try:
        return Policy(value)
    except ValueError as error:
        raise DocumentError(
            f"KILN_SETUP is {value!r}",
            remedy='set it to "never" (change nothing on this machine) or leave it out',
        ) from error
