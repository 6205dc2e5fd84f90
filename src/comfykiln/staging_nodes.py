"""The part of a build context that the nodes row reads: the snapshot, packs, one plan in JSON."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from comfykiln import files
from comfykiln.nodepins import https
from comfykiln.plan import source_files

if TYPE_CHECKING:
    from pathlib import Path

    from comfykiln.gather import Gathered
    from comfykiln.origins.nodes import GatheredNode
    from comfykiln.services import Service

SNAPSHOT = "production-snapshot.json"


def write_nodes(service: Service, gathered: Gathered, folder: Path) -> None:
    """Write what the nodes row is restored from into `folder`.

    Apart from files that a mirror lacks, all of it follows from the pins alone.
    """
    _write_snapshot(service, folder / SNAPSHOT)
    (folder / "packs").mkdir()
    for node in gathered.nodes:
        for repository in node.repositories.values():
            files.copy(repository.pack, folder / "packs" / f"{repository.sha256}.pack")
    for pack in service.local_nodes:
        for path in source_files(pack):
            files.copy(path, folder / "local" / pack.name / path.relative_to(pack))
    plan = {
        "snapshot": SNAPSHOT,
        "mirrors": mirrors(gathered.nodes),
        "git": [_node(service, node) for node in gathered.nodes],
        "files": [{"name": name, "disabled": off} for name, off in gathered.pins.files],
        "local": [pack.name for pack in service.local_nodes],
        "accepted": sorted({*service.accepted, *service.drop}),
        "family": sorted(line.partition("==")[0] for line in gathered.torch.requirements),
    }
    files.write_bytes(folder / "restore.json", files.canonical_json(plan))


def mirrors(nodes: tuple[GatheredNode, ...]) -> list[dict[str, Any]]:
    """Return the bare repositories that stand in for the hosts: path, commit, packs.

    One repository may be needed at several commits; its branch is at the first, a node's own.
    """
    found: dict[str, dict[str, Any]] = {}
    every = [(depth, one) for node in nodes for depth, one in enumerate(node.repositories.values())]
    for _, repository in sorted(every, key=lambda pair: (pair[0] > 0, pair[1].url)):
        parts = urlsplit(repository.url)
        path = f"{parts.netloc}{parts.path}.git"
        entry = found.setdefault(path, {"path": path, "commit": repository.commit, "packs": []})
        if repository.sha256 not in entry["packs"]:
            entry["packs"].append(repository.sha256)
    return [found[path] for path in sorted(found)]


def _node(service: Service, node: GatheredNode) -> dict[str, Any]:
    rule = service.rule(node.pin.directory)
    return {
        "url": node.pin.url,
        "commit": node.pin.commit,
        "directory": node.pin.directory,
        "disabled": node.pin.disabled,
        "submodules": {mount: one.commit for mount, one in node.repositories.items() if mount},
        "lacking": list(node.lacking),
        "copies": dict(rule.copies),
        "folders": list(rule.folders),
        "install": node.own.install_script and rule.install == "run",
    }


def _write_snapshot(service: Service, target: Path) -> None:
    """Write the snapshot in the form that comfy-cli restores; one in that form stays as it is."""
    from comfykiln import documents  # noqa: PLC0415  # its parsers, where they are used

    parsed = documents.read(service.snapshot)
    nodes = parsed.environment.nodes
    plain = all(not node.url or https(node.url) == node.url for node in nodes)
    if parsed.form == "manager" and service.snapshot.suffix == ".json" and plain:
        files.copy(service.snapshot, target)
        return
    cloned = tuple(replace(node, url=https(node.url)) if node.url else node for node in nodes)
    environment = replace(parsed.environment, nodes=cloned)
    written = documents.write(environment, documents.Kind.SNAPSHOT)
    files.write_bytes(target, written.data)
