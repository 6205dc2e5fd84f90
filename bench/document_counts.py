"""Reads every file of a folder and counts which kind it is, or by which rule it is refused.

`python bench/document_counts.py FOLDER` prints the table of docs/documents.md; FOLDER holds one
folder for each sort of document. With `--cpu` it also tells the CPU seconds of the slowest.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

from comfykiln.documents import read
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import FaultyDocumentError


def main() -> None:
    """Print the table for the folder that is named."""
    folder = Path(sys.argv[1])
    counts: Counter[tuple[str, str, str]] = Counter()
    slowest = (0.0, "")
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        begin = time.process_time()
        kind, reason = outcome(path)
        slowest = max(slowest, (time.process_time() - begin, path.name))
        counts[path.parent.relative_to(folder).as_posix(), kind, reason] += 1
    print("| folder | files | read as | or refused, because |")
    print("|---|---|---|---|")
    for (name, kind, reason), count in sorted(counts.items()):
        print(f"| {name} | {count} | {kind} | {reason} |")
    if "--cpu" in sys.argv:
        print(f"\nslowest: {slowest[1]}, {slowest[0]:.3f} s CPU")


def outcome(path: Path) -> tuple[str, str]:
    """Return the kind of a document and nothing, or nothing and the rules that refuse it."""
    try:
        parsed = read(path)
    except FaultyDocumentError as error:
        return "", "; ".join(
            dict.fromkeys(_reason(record.rule, record.problem) for record in error.records)
        )
    except DocumentError as error:
        return "", error.message.partition(": ")[2]
    return f"{parsed.kind} ({parsed.form})" if parsed.form else str(parsed.kind), ""


def _reason(rule: str, problem: str) -> str:
    return f"`{rule}`: {problem}" if rule == "document.kind" else f"`{rule}`"


if __name__ == "__main__":
    main()
