# ruff: noqa: INP001  # a program of its own, no part of a package
"""Print the class names of the nodes that a ComfyUI tree brings along, as JSON.

Run it with the tree's own interpreter, inside the tree; the shipped list was made so:

    cd ComfyUI && .venv/bin/python …/scripts/core_nodes.py > …/documents/workflow/core.json

The nodes are registered by ComfyUI's own code: reading the sources instead misses those whose
names are put together at import, and lists those that are never registered.
"""

import asyncio
import json
import sys
from pathlib import Path

SHIPPED = str(Path("custom_nodes/websocket_image_save.py").resolve())


async def registered() -> list[str]:
    """Return the names that `nodes.py`, the extra, the API and the bundled nodes register."""
    import nodes  # noqa: PLC0415  # only found inside the tree, after the options are set

    failed = await nodes.init_builtin_extra_nodes() + await nodes.init_builtin_api_nodes()
    # It talks to the running server and registers no class.
    if missing := set(failed) - {"nodes_replacements.py"}:
        raise SystemExit(f"these files of nodes cannot be imported: {sorted(missing)}")
    await nodes.load_custom_node(SHIPPED)
    return sorted(nodes.NODE_CLASS_MAPPINGS)


def main() -> None:
    """Register the nodes and print their names."""
    sys.argv = ["main.py", "--cpu"]
    sys.path.insert(0, str(Path.cwd()))
    import comfy.options  # noqa: PLC0415  # only found inside the tree

    comfy.options.enable_args_parsing()
    from comfyui_version import __version__  # noqa: PLC0415  # only found inside the tree

    listed = {"comfyui": f"v{__version__}", "classes": asyncio.run(registered())}
    print(json.dumps(listed, indent=1))


if __name__ == "__main__":
    main()
