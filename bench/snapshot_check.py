"""CPU of `snapshot.check` over the start of the interpreter, the smallest of nine runs.

`python bench/snapshot_check.py FILE`; ends with status 1 above the limit of 0.3 s.
"""

from __future__ import annotations

import resource
import subprocess
import sys

LIMIT = 0.3
ROUNDS = 9
CHECK = """
import sys
from comfykiln.cli.documents import snapshot_check
snapshot_check(sys.argv[1])
"""


def main() -> None:
    """Print the figure for the file that is named."""
    start = min(_seconds("pass") for _ in range(ROUNDS))
    check = min(_seconds(CHECK) for _ in range(ROUNDS))
    print(f"start {start:.3f} s, check {check - start:.3f} s over it, limit {LIMIT} s")
    sys.exit(check - start > LIMIT)


def _seconds(program: str) -> float:
    """Return the CPU seconds, user and system, of a Python process with `program`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    argv = [sys.executable, "-c", program, *sys.argv[1:]]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
