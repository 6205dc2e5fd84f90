"""Load the pack as ComfyUI does at its start; run by bench/pack.py in a fresh process each time.

Prints one line of JSON: the seconds of ComfyUI's own imports, those of the pack, and which
heavy modules came with the pack.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time

HEAVY = ("boto3", "botocore", "urllib3", "s3transfer")


def main() -> None:
    """Measure both in this process."""
    from comfy.cli_args import args  # noqa: PLC0415  # measured

    args.cpu = True
    args.base_directory = tempfile.mkdtemp()
    begun = time.perf_counter()
    import nodes  # noqa: PLC0415  # measured

    asyncio.run(nodes.init_builtin_extra_nodes())
    own = time.perf_counter() - begun
    before = set(sys.modules)
    begun = time.perf_counter()
    if not asyncio.run(nodes.load_custom_node(sys.argv[1])):
        sys.exit("the pack does not load")
    pack = time.perf_counter() - begun
    heavy = sorted((set(sys.modules) - before) & set(HEAVY))
    print(json.dumps({"comfyui": own, "pack": pack, "heavy": heavy}))


if __name__ == "__main__":
    main()
