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
from comfykiln.gather.node_lock import NodeLock, read_node_lock, write_node_lock
from comfykiln.gather.nodes import Access, gather_nodes, with_files
from comfykiln.gather.pins import pins_of
from comfykiln.gather.sources import lay_out, named, obtain_sources, resolve_sources
from comfykiln.git.command import without_git
from comfykiln.locking.inputs import one_family
from comfykiln.locking.nodelines import packs_of, rules_of, wanted_sources
from comfykiln.locking.solving import Tree, package_name
from comfykiln.network.host import settings_of_host
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
    tree = comfyui_tree(project, service, access)
    held = read_node_lock(service.node_lock)
    nodes = nodes_of(project, service, tree, access, None, _without_upgrades(held, upgrade))
    nodes = _with_sources(project, service, nodes, access, held, upgrade)
    inputs = inputs_of(project, service, tree, nodes)
    for line in inputs.set_aside:
        console.note(f"set aside: {line}")
    local = project.package_index_build()
    gone = {*held.archives, *(source.name for source in held.sources)}
    environment = without_git(dict(os.environ)) | step_environment(access.settings)
    if access.settings.ca_bundle:
        environment["SSL_CERT_FILE"] = str(access.settings.ca_bundle)
    with (
        _trees(project, nodes, environment) as trees,
        console.timed(f"solve the packages of {service.name}"),
    ):
        solved = locking.solve(
            inputs,
            environment,
            previous=locking.previous(service, local),
            upgrade=[name for name in upgrade if name not in gone],
            trees=trees,
        )
    names = {address: tree.name for address, tree in trees.items()}
    for asked, by in sorted(solved.replaced.items()):
        console.note(f"{by} stands in for {asked}: {project.targets.stand_ins[asked].reason}")
    nodes = replace(nodes, sources=named(nodes.sources, names))
    locking.write_locks(service, project.targets, inputs, solved, local)
    write_node_lock(service.node_lock, nodes.lock)
    written = (service.package_lock, service.torch_lock(local), service.node_lock)
    return [path for path in written if path.is_file()]


def _without_upgrades(held: NodeLock, upgrade: Sequence[str]) -> NodeLock:
    """Return the lock without the archives that are to be learned anew."""
    gone = held.archives.keys() if "all" in upgrade else set(upgrade)
    kept = {name: archive for name, archive in held.archives.items() if name not in gone}
    return replace(held, archives=kept)


def lock_inputs(project: Project, service: Service, access: Access) -> LockInputs:
    """Return what the image's lock would be made from today, of the nodes that it holds."""
    tree = comfyui_tree(project, service, access)
    locked = read_node_lock(service.node_lock)
    nodes = nodes_of(project, service, tree, access, locked)
    return inputs_of(project, service, tree, nodes)


def comfyui_tree(project: Project, service: Service, access: Access | None = None) -> Path:
    """Return the pinned ComfyUI tree of the service on this machine."""
    ways = access or access_of(project, None)
    tree, _ = obtain_comfyui(
        project.origins.comfyui(service.comfyui),
        store=ways.store,
        settings=ways.settings,
        strict=ways.strict,
        mirror=ways.mirror,
    )
    return tree


def nodes_of(
    project: Project,
    service: Service,
    tree: Path,
    access: Access,
    locked: NodeLock | None,
    known: NodeLock | None = None,
) -> NodeSet:
    """Return the service's custom nodes on this machine; `tree` is the pinned ComfyUI.

    With `locked` exactly what that names; with None it is learned, but for what is `known`.
    """
    pins = pins_of(service, project.origins.comfyui(service.comfyui))
    nodes = gather_nodes(service, pins, access, locked, known)
    return with_files(nodes, service, tree, locked)


def inputs_of(project: Project, service: Service, tree: Path, nodes: NodeSet) -> LockInputs:
    """Return what the service's solve depends on today; `tree` is the pinned ComfyUI."""
    require_python(service, project.origins.base(service.suite))
    return locking.lock_inputs(
        service,
        project.targets,
        tree,
        project.root / "pyproject.toml",
        nodes.packs,
        nodes.pins.packages,
        nodes.lock,
    )


def access_of(
    project: Project,
    mirror: Path | None,
    ca_bundle: Path | None = None,
    *,
    strict: bool = False,
) -> Access:
    """Return how this machine gets at nodes."""
    return Access(
        store=project.store,
        settings=settings_of_host(ca_bundle),
        registry=project.origins.registry,
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
        console.note(f"git+{source.url}: {source.ref or 'its default branch'} is {source.commit}")
    found = obtain_sources(
        sources, store=access.store, settings=access.settings, mirror=access.mirror
    )
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
