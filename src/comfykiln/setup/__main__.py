"""`python -m comfykiln.setup environment run|dev` and `… engine`: the work behind ./kiln."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from comfykiln.errors import DocumentError, KilnError
from comfykiln.setup import engine
from comfykiln.setup.checkout import Checkout, Policy, policy_of
from comfykiln.setup.environment import Part, prepare
from comfykiln.system import console

ROOT = Path(__file__).resolve().parents[3]


def main(arguments: list[str]) -> int:
    """Do one part of the set-up and return the exit code; the only place that catches errors."""
    try:
        # Who starts this by name wants it done, unless KILN_SETUP says otherwise.
        _dispatch(arguments, policy_of({"KILN_SETUP": "auto"} | os.environ))
    except KilnError as error:
        console.warn(str(error))
        return error.exit_code
    except OSError as error:
        console.warn(f"{error}\n  → fix the permissions or the space there, and start again")
        return KilnError.exit_code
    except KeyboardInterrupt:
        console.warn("interrupted; nothing half-made is left in place")
        return 130
    return 0


def _dispatch(arguments: list[str], policy: Policy) -> None:
    match arguments:
        case ["environment", ("run" | "dev") as part]:
            prepare(Checkout(root=ROOT, policy=policy), Part(part))
        case ["engine"]:
            engine.ensure(policy)
        case _:
            raise DocumentError(
                f"unknown arguments: {' '.join(arguments)}",
                remedy="give `environment run`, `environment dev` or `engine`",
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
