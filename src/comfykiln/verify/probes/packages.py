"""What verification asks of the packages in an image, run by the Python inside it.

Standard library only; prints one JSON object: what `uv pip check` complains about, and which
native libraries of the packages named on the command line cannot be loaded.
"""

import ctypes
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

PYTHON = "/app/.venv/bin/python"
# What the loader says when a library that is needed is not there; other refusals (a symbol that
# only its own program provides) are no fault of the image.
MISSING = "cannot open shared object file"


def complaints() -> list[str]:
    """Return the lines of `uv pip check` that name a package."""
    argv = ["/app/.venv/bin/uv", "pip", "check", "--no-cache", "--offline", "--no-config"]
    done = subprocess.run([*argv, "--python", PYTHON], capture_output=True, text=True, check=False)
    found = [line for line in done.stderr.splitlines() if line.startswith("The package ")]
    if done.returncode and not found:
        return [f"uv pip check: {done.stderr.strip()}"]
    return found


def unloadable(names: list[str]) -> list[str]:
    """Return one line for every library of the packages that misses another one."""
    found = []
    for name in names:
        try:
            files = importlib.metadata.distribution(name).files or []
        except importlib.metadata.PackageNotFoundError:
            continue
        paths = [
            Path(str(file.locate())) for file in files if re.search(r"\.so(\.\d+)*$", file.name)
        ]
        found += [f"{name}: {line}" for line in _in_a_child(sorted(paths))] if paths else []
    return found


def _in_a_child(paths: list[Path]) -> list[str]:
    """Load the libraries in a process of their own: some end it, and all of them take memory."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as report:
            for path in paths:
                if path.is_file() and (reason := _refusal(path)):
                    report.write(f"{path.name}: {reason}\n")
                    report.flush()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as report:
        lines = report.read().splitlines()
    os.waitpid(child, 0)
    return lines


def _refusal(path: Path) -> str:
    try:
        ctypes.CDLL(str(path), mode=os.RTLD_LAZY | os.RTLD_LOCAL)
    except OSError as error:
        return str(error) if MISSING in str(error) else ""
    return ""


if __name__ == "__main__":
    json.dump({"complaints": complaints(), "unloadable": unloadable(sys.argv[1:])}, sys.stdout)
