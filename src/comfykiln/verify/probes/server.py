"""The questions that verification asks, run by the Python inside the image under test.

Standard library only; prints one JSON object. `ask` waits for nothing: the caller does.
"""

import importlib.metadata
import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any


def answer(path: str, port: str) -> Any:
    """Return what the server answers to a GET of `path`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as reply:
        return json.load(reply)


def packages() -> dict[str, str]:
    """Return name → version of every distribution in the image's environment."""
    found = importlib.metadata.distributions()
    return {dist.metadata["Name"]: dist.version for dist in found}


def server_process() -> dict[str, object]:
    """Return under which user the first process runs and whether its root can be written to."""
    lines = Path("/proc/1/status").read_text("utf-8").splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return {
        "uid": int(status["Uid"].split()[0]),
        "root_writable": os.access("/app", os.W_OK),
        "state_writable": all(
            os.access(f"/app/{name}", os.W_OK) for name in ("input", "output", "temp", "user")
        ),
    }


def main() -> None:
    """Print everything that the receipt records."""
    port = sys.argv[1]
    nodes = answer("/object_info", port)
    json.dump(
        {
            "system_stats": answer("/system_stats", port),
            "node_classes": {
                name: info.get("python_module", "") for name, info in sorted(nodes.items())
            },
            "packages": packages(),
            "process": server_process(),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
