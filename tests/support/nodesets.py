"""Gathered nodes as records, where no test fetches them."""

from __future__ import annotations

from pathlib import Path

from comfykiln.gather.git_nodes import GatheredNode
from comfykiln.gather.pins import NodePin
from comfykiln.git.repository import GitTree

COMMIT = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"


def git_node(
    name: str,
    *,
    requirements: str | None = None,
    disabled: bool = False,
    submodule: str = "",
    lacking: tuple[str, ...] = (),
) -> GatheredNode:
    """Return a node from git; `submodule` is mounted there, and is without the files `lacking`."""
    url = f"https://git.example/nodes/{name}"
    own = _tree(url, requirements, () if submodule else lacking)
    inner = {submodule: _tree(f"{url}-inner", None, lacking)} if submodule else {}
    pin = NodePin(directory=name, url=url, commit=COMMIT, disabled=disabled)
    return GatheredNode(pin=pin, repositories={"": own, **inner})


def _tree(url: str, requirements: str | None, lacking: tuple[str, ...]) -> GitTree:
    return GitTree(
        url=url,
        commit=COMMIT,
        pack=Path("/packs/none"),
        sha256="0" * 64,
        requirements=requirements,
        pyproject=None,
        install_script=False,
        submodules=(),
        lfs=lacking,
        lacking=lacking,
    )
