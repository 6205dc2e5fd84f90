"""Reads every file of a folder and counts which `plan --from` takes, and why not the others.

`python bench/from_counts.py FOLDER` prints the table of docs/from.md: what happens to a document as
it stands, then on the pinned ComfyUI whatever it says (`--comfyui`, `--python-match any`).
With `--each` one line for each file goes before it.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from comfykiln.errors import DocumentError, KilnError
from comfykiln.intake import FromOptions, choices, take
from comfykiln.plan.project import Project

ROOT = Path(__file__).parents[1]
REASONS = {
    "another ComfyUI": r"is for ComfyUI",
    "another Python": r"asks for Python",
    "a node without a commit or version": r"is no commit|no exact version",
    "a commit whose repository only the registry knows": r"only the registry knows",
    "a file of the node's that no document holds": r"a single file",
    "a node's code that is not there": r"of another machine|neither its code",
    "a package from elsewhere than the index": r"no lock can hold its hash",
    "two nodes in one folder": r"want this folder",
    "not https": r"not reached over https",
}


def main() -> None:
    """Print the table for the folder that is named."""
    folder = Path(sys.argv[1])
    project = Project(root=ROOT)
    pinned = f"v{choices.newest(project.origins).version}"
    counts: Counter[tuple[str, str, str]] = Counter()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        wanted = FromOptions(source=str(path), name="counted")
        lenient = replace(wanted, comfyui=pinned, python_match="any")
        found = (outcome(project, wanted), outcome(project, lenient))
        if "--each" in sys.argv:
            print(path.relative_to(folder), *found, sep="\t")
        counts[path.parent.relative_to(folder).as_posix(), *found] += 1
    print("| folder | files | as it stands | on the pinned ComfyUI |")
    print("|---|---|---|---|")
    for (name, first, second), count in sorted(counts.items()):
        print(f"| {name} | {count} | {first} | {second} |")


def outcome(project: Project, wanted: FromOptions) -> str:
    """Return `planned`, or why the document is refused."""
    try:
        take(project, wanted)
    except DocumentError as error:
        lines = error.faults or (error.message,)
        named = {
            reason
            for reason, pattern in REASONS.items()
            if any(re.search(pattern, line) for line in lines)
        }
        rules = {match for line in lines for match in re.findall(r"\[([a-z]+\.[a-z-]+)\]$", line)}
        return "; ".join(sorted(named | rules)) or lines[0].partition(": ")[2]
    except KilnError as error:
        return f"{type(error).__name__}: {error.message}"
    return "planned"


if __name__ == "__main__":
    main()
