"""What ./kiln runs: its tasks, under the one catch of every error."""

from __future__ import annotations

import sys

from comfykiln.system import console, ending


def main() -> int:
    """Run the tasks named on the command line and return the exit code."""
    console.accept_any_text()
    sys.excepthook = console.traceback
    return ending.exit_code(_run)


def _run() -> None:
    from comfykiln.cli.program import Kiln  # noqa: PLC0415  # so that Ctrl-C meets the catch

    Kiln().run(["./kiln", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
