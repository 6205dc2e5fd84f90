"""The part of a build context that the nodes row reads: the snapshot, packs, one plan in JSON."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfykiln.gather.archives import members_of
from comfykiln.locking.deplines import told_lines
from comfykiln.locking.lockfiles import locked, stand_ins_in
from comfykiln.parsing.values import https, normal_name, split_url
from comfykiln.plan.plan import source_files
from comfykiln.restore.plans import cloned_from
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from comfykiln.gather.archives import GatheredArchive
    from comfykiln.gather.git_nodes import GatheredNode
    from comfykiln.gather.sources import GatheredSource
    from comfykiln.git.repository import GitTree
    from comfykiln.plan.services import Service
    from comfykiln.plan.targets import Target
    from comfykiln.verify.gathered import Gathered

SNAPSHOT = "production-snapshot.json"


def write_nodes(service: Service, target: Target, gathered: Gathered, folder: Path) -> None:
    """Write what the nodes row is restored from into `folder`.

    Apart from files that a mirror lacks, all of it follows from the pins alone.
    """
    _write_snapshot(service, folder / SNAPSHOT)
    (folder / "packs").mkdir()
    for node in gathered.nodes.git:
        for repository in node.repositories.values():
            files.copy(repository.pack, folder / "packs" / f"{repository.sha256}.pack")
    for archive in gathered.nodes.archives:
        _write_archive(archive, folder / "archives" / f"{archive.sha256}.zip")
    for file in gathered.nodes.files:
        files.copy(file.path, folder / "files" / file.name)
    for pack in service.local_nodes:
        for path in source_files(pack):
            files.copy(path, folder / "local" / pack.name / path.relative_to(pack))
    stood_in = stand_ins_in(service.package_lock, target.stand_ins)
    plan = {
        "snapshot": SNAPSHOT,
        "mirrors": mirrors([_as_cloned(node) for node in gathered.nodes.git]),
        "git": [_node(service, node) for node in gathered.nodes.git],
        "archives": [_archive(service, archive) for archive in gathered.nodes.archives],
        "files": [
            {"name": file.name, "disabled": file.disabled, "own": file.own}
            for file in gathered.nodes.files
        ],
        "local": [pack.name for pack in service.local_nodes],
        "accepted": sorted(_accepted(service) | stood_in.keys()),
        "family": sorted(line.partition("==")[0] for line in gathered.torch.requirements),
        "told": _lines_beyond_comfy_cli(service, gathered),
    }
    files.write_bytes(folder / "restore.json", files.canonical_json(plan))


def _accepted(service: Service) -> set[str]:
    """Return what `comfy node deps` may complain about: lines, and packages by both spellings."""
    names = {*service.accepted, *service.drop}
    return names | {normal_name(name) for name in names}


def _lines_beyond_comfy_cli(service: Service, gathered: Gathered) -> dict[str, dict[str, str]]:
    """Return the nodes' lines that comfy-cli cannot judge, by the nodes' folders."""
    have = locked(service.package_lock) if service.package_lock.is_file() else {}
    versions = {normal_name(name): version for name, version in have.items()}
    named = {
        (source.url, source.ref, source.subdirectory): source.name
        for source in gathered.nodes.lock.sources
    }
    return {
        node.directory: told_lines(node, gathered.rules, versions, named)
        for node in gathered.nodes.packs
    }


def write_sources(sources: Sequence[GatheredSource], folder: Path) -> None:
    """Write what the packages row builds from git into `folder`."""
    plan = [
        {
            "name": source.locked.name,
            "url": source.locked.url,
            "commit": source.locked.commit,
            "subdirectory": source.locked.subdirectory,
            "repositories": [
                {"mount": mount, "commit": repository.commit, "sha256": repository.sha256}
                for mount, repository in source.repositories.items()
            ],
        }
        for source in sources
    ]
    files.write_bytes(folder / "sources.json", files.canonical_json({"sources": plan}))
    for source in sources:
        for repository in source.repositories.values():
            files.copy(repository.pack, folder / "packs" / f"{repository.sha256}.pack")


def _as_cloned(node: GatheredNode) -> dict[str, GitTree]:
    """Return the node's repositories, its own by the address that comfy-cli clones it from."""
    address = cloned_from(node.pin.url, node.pin.directory)
    return {**node.repositories, "": replace(node.own, url=address)}


def mirrors(wanted: Iterable[Mapping[str, GitTree]]) -> list[dict[str, Any]]:
    """Return the bare repositories that stand in for the hosts: path, commit, packs.

    `wanted` are repositories by their mounts, the first of each at its own top. One repository may
    be needed at several commits; its branch is at the first, a node's own.
    """
    found: dict[str, dict[str, Any]] = {}
    every = [(depth, entry) for mounts in wanted for depth, entry in enumerate(mounts.values())]
    for _, repository in sorted(every, key=lambda pair: (pair[0] > 0, pair[1].url)):
        parts = split_url(repository.url)
        path = f"{parts.netloc}{parts.path}.git"
        entry = found.setdefault(path, {"path": path, "commit": repository.commit, "packs": []})
        if repository.sha256 not in entry["packs"]:
            entry["packs"].append(repository.sha256)
    return [found[path] for path in sorted(found)]


def _write_archive(archive: GatheredArchive, target: Path) -> None:
    """Write the archive's files anew: what comes from outside is read here alone."""
    with files.replacing(target) as file, zipfile.ZipFile(file, "w") as made:
        for name, data in members_of(archive.pin, archive.path).items():
            made.writestr(zipfile.ZipInfo(name), data)


def _archive(service: Service, archive: GatheredArchive) -> dict[str, Any]:
    rule = service.rule(archive.directory)
    return {
        "directory": archive.directory,
        "registry_id": archive.pin.registry_id,
        "version": archive.pin.version,
        "sha256": archive.sha256,
        "disabled": archive.pin.disabled,
        "copies": dict(rule.copies),
        "folders": list(rule.folders),
        "install": archive.install_script and rule.install == "run",
    }


def _node(service: Service, node: GatheredNode) -> dict[str, Any]:
    rule = service.rule(node.pin.directory)
    return {
        "url": node.pin.url,
        "commit": node.pin.commit,
        "directory": node.pin.directory,
        "disabled": node.pin.disabled,
        "submodules": {
            mount: repository.commit for mount, repository in node.repositories.items() if mount
        },
        "lacking": list(node.lacking),
        "copies": dict(rule.copies),
        "folders": list(rule.folders),
        "install": node.own.install_script and rule.install == "run",
    }


def _write_snapshot(service: Service, target: Path) -> None:
    """Write the snapshot in the form that comfy-cli restores; one in that form stays as it is.

    It has no place for archives.
    """
    from comfykiln import documents  # noqa: PLC0415  # its parsers, where they are used

    parsed = documents.read(service.snapshot)
    nodes = parsed.environment.nodes
    nodes = tuple(node for node in nodes if node.source != "archive")
    plain = all(not node.url or https(node.url) == node.url for node in nodes)
    if parsed.form == "manager" and service.snapshot.suffix == ".json" and plain:
        files.copy(service.snapshot, target)
        return
    cloned = tuple(replace(node, url=https(node.url)) if node.url else node for node in nodes)
    environment = replace(parsed.environment, nodes=cloned)
    written = documents.write(environment, "snapshot")
    files.write_bytes(target, written.data)
