"""Run inside an image: print which model files are there, with their sizes, and can be read."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def size_of(path: Path) -> int | str:
    """Return the size after reading the file's end, or why that is not possible."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            return size if len(file.read()) == min(size, 1) else "ends early"
    except OSError as error:
        return error.strerror or "cannot be read"


if __name__ == "__main__":
    print(json.dumps({name: size_of(Path("/app/models") / name) for name in sys.argv[1:]}))
