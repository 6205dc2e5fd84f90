"""`python3 -m comfykiln.restore STEP INPUT`: do one row of the image, inside its build stage."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from comfykiln.restore import locked, nodes, torch, trees
from comfykiln.restore.running import StepError

STEPS = {
    "torch": torch.install,
    "packages": locked.install,
    "comfyui": trees.install_comfyui,
    "nodes": nodes.restore,
    "services": trees.install_services,
}


def main(arguments: list[str]) -> int:
    """Run one step; returns the exit status: 0 done, 1 failed with one message, 2 wrong usage."""
    if len(arguments) != 2 or arguments[0] not in STEPS:  # noqa: PLR2004  # STEP and INPUT
        print(f"usage: python3 -m comfykiln.restore {{{','.join(STEPS)}}} INPUT", file=sys.stderr)
        return 2
    try:
        STEPS[arguments[0]](Path(arguments[1]))
    except StepError as error:
        print(f"kiln: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # BuildKit reads two streams, and a last word on the one may reach it before the text above it.
    os.dup2(1, 2)
    sys.exit(main(sys.argv[1:]))
