"""Make an image's locks anew: gather its nodes, solve all packages once, write all files."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln import locking
from comfykiln.errors import DocumentError
from comfykiln.gather.gather import Parts, gather
from comfykiln.gather.node_lock import NodeLock, read_node_lock, write_node_lock
from comfykiln.gather.sources import lay_out, named, obtain_sources, resolve_sources
from comfykiln.git.command import without_git
from comfykiln.locking.inputs import one_family
from comfykiln.locking.nodelines import packs_of, rules_of, wanted_sources
from comfykiln.locking.solving import Tree, package_name
from comfykiln.network.access import Access, host_access
from comfykiln.network.indexes import step_environment
from comfykiln.origins.comfyui import obtain_comfyui
from comfykiln.plan.project import require_python
from comfykiln.system import console

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from comfykiln.gather.nodes import NodeSet
    from comfykiln.locking import LockInputs
    from comfykiln.plan.project import Project
    from comfykiln.plan.services import Service


def relock(
    project: Project, service: Service, access: Access, upgrade: Sequence[str] = ()
) -> list[Path]:
    """Solve the image's packages and write its locks; only `upgrade` leaves its version or commit.

    Returns the files that were written. Raises what gathering and solving raise; the files are then
    as they were.
    """
    parts = learned(project, service, access, upgrade)
    solved(project, service, access, parts, upgrade)
    written = (service.package_lock, service.torch_lock(project.package_index_build()))
    return [path for path in (*written, service.node_lock) if path.is_file()]


def learned(
    project: Project, service: Service, access: Access, upgrade: Sequence[str] = ()
) -> Parts:
    """Gather what a solve is about: as the lock holds it, where it does, but for `upgrade`."""
    held = read_node_lock(service.node_lock)
    known = _without_upgrades(held, upgrade)
    parts = gather(service, project.origins.comfyui(service.comfyui), access, None, known)
    nodes = _with_sources(project, service, parts.nodes, access, held, upgrade)
    return replace(parts, nodes=nodes)


def is_locked(project: Project, service: Service, parts: Parts) -> bool:
    """Tell whether the image's locks were made of these very parts."""
    if not service.package_lock.is_file() or read_node_lock(service.node_lock) != parts.nodes.lock:
        return False
    inputs = inputs_of(project, service, parts)
    return locking.is_locked(service, inputs, project.package_index_build())


def solved(
    project: Project, service: Service, access: Access, parts: Parts, upgrade: Sequence[str] = ()
) -> Parts:
    """Solve the packages of what was gathered, write the locks, and return it as they name it."""
    inputs = inputs_of(project, service, parts)
    for line in inputs.set_aside:
        console.note(f"set aside: {line}")
    local = project.package_index_build()
    held = read_node_lock(service.node_lock)
    gone = {*held.archives, *(source.name for source in held.sources)}
    environment = without_git(dict(os.environ)) | step_environment(access.settings)
    if access.settings.ca_bundle:
        environment["SSL_CERT_FILE"] = str(access.settings.ca_bundle)
    with (
        _trees(project, parts.nodes, environment) as trees,
        console.timed(f"solve the packages of {service.name}"),
    ):
        found = locking.solve(
            inputs,
            environment,
            previous=locking.previous(service, local),
            upgrade=[name for name in upgrade if name not in gone],
            trees=trees,
        )
    names = {address: tree.name for address, tree in trees.items()}
    for asked, by in sorted(found.replaced.items()):
        console.note(f"{by} stands in for {asked}: {project.targets.stand_ins[asked].reason}")
    nodes = replace(parts.nodes, sources=named(parts.nodes.sources, names))
    locking.write_locks(service, project.targets, inputs, found, local)
    write_node_lock(service.node_lock, nodes.lock)
    return replace(parts, nodes=nodes)


def _without_upgrades(held: NodeLock, upgrade: Sequence[str]) -> NodeLock:
    """Return the lock without the archives that are to be learned anew."""
    gone = held.archives.keys() if "all" in upgrade else set(upgrade)
    kept = {name: archive for name, archive in held.archives.items() if name not in gone}
    return replace(held, archives=kept)


def lock_inputs(project: Project, service: Service, access: Access) -> LockInputs:
    """Return what the image's lock would be made from today, of the nodes that it holds."""
    comfyui, locked = project.origins.comfyui(service.comfyui), read_node_lock(service.node_lock)
    return inputs_of(project, service, gather(service, comfyui, access, locked))


def comfyui_tree(project: Project, service: Service) -> Path:
    """Return the pinned ComfyUI tree of the service on this machine."""
    spec = project.origins.comfyui(service.comfyui)
    tree, _ = obtain_comfyui(spec, access_of(project, None))
    return tree


def inputs_of(project: Project, service: Service, parts: Parts) -> LockInputs:
    """Return what the service's solve depends on today."""
    require_python(service, project.origins.base(service.suite))
    return locking.lock_inputs(
        service,
        project.targets,
        parts.comfyui,
        project.root / "pyproject.toml",
        parts.nodes.packs,
        parts.nodes.pins.packages,
        parts.nodes.lock,
    )


def access_of(
    project: Project,
    mirror: Path | None,
    ca_bundle: Path | None = None,
    *,
    strict: bool = False,
) -> Access:
    """Return how this machine gets at what the project needs."""
    return host_access(
        project.store,
        registry=project.origins.registry,
        ca_bundle=ca_bundle,
        mirror=mirror,
        strict=strict,
    )


def _with_sources(
    project: Project,
    service: Service,
    nodes: NodeSet,
    access: Access,
    held: NodeLock,
    upgrade: Sequence[str],
) -> NodeSet:
    """Resolve and obtain what lines of nodes want from git."""
    rules = rules_of(service, project.targets, one_family(project.targets), NodeLock())
    wanted = wanted_sources(packs_of(service, nodes.packs), rules)
    sources = resolve_sources(wanted, held.sources, upgrade, access.mirror, access.settings)
    for source in sources:
        if source not in held.sources:
            ref = source.ref or "its default branch"
            console.note(f"git+{source.url}: {ref} is {source.commit}")
    found = obtain_sources(sources, access)
    return replace(nodes, sources=found)


@contextmanager
def _trees(
    project: Project, nodes: NodeSet, environment: Mapping[str, str]
) -> Iterator[Mapping[str, Tree]]:
    """Yield the address of each source, as the lines have it → its files on disk, meanwhile.

    Raises `DocumentError` for a repository of the torch family, which belongs to the target.
    """
    with tempfile.TemporaryDirectory(prefix="kiln-sources-") as folder:
        trees: dict[str, Tree] = {}
        for number, source in enumerate(nodes.sources):
            place = Path(folder).resolve() / str(number)
            lay_out(source, place)
            path = place / source.locked.subdirectory
            name = package_name(path, environment)
            if project.targets.is_accelerator_package(name):
                raise _of_the_target(name, source.locked.url, nodes)
            trees[source.locked.address] = Tree(name=name, path=path)
        yield trees


def _of_the_target(name: str, url: str, nodes: NodeSet) -> DocumentError:
    short = url.partition("://")[2]
    asking = [pack.directory for pack in nodes.packs if short in (pack.requirements or "")]
    return DocumentError(
        f"{', '.join(asking) or 'a node'}: git+{url} holds {name}, which belongs to the target",
        remedy="drop the line, word for word and with a reason, below `drop:` in service.yaml "
        "(with --from: in a file for --rules)",
    )
