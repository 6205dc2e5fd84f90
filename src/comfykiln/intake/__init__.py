"""A document from outside as a service that is planned, locked and built like the repository's own.

Reading, deciding and refusing happen here, before anything is written or fetched.
What comes out is a folder `.kiln/from/<image>/` with the files that `services/comfy/<image>/` has.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from comfykiln.documents import read
from comfykiln.documents.pinnedcopy import advice
from comfykiln.errors import DocumentError
from comfykiln.intake import choices, folder, models, nodes, packages
from comfykiln.intake.records import Difference, FromOptions, Ground, Intake
from comfykiln.parsing.faults import Note
from comfykiln.parsing.values import normal_name
from comfykiln.plan.datafiles import load_yaml
from comfykiln.plan.project import DEFAULT_IMAGE
from comfykiln.plan.services import service_names
from comfykiln.system.gate import masked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from comfykiln.documents.formats import Parsed
    from comfykiln.network.indexes import IndexSettings
    from comfykiln.plan.origins import ComfyUISpec
    from comfykiln.plan.project import Project

T = TypeVar("T")
Told = tuple[Difference | Note, ...]

__all__ = ["Difference", "FromOptions", "Intake", "take"]


def take(project: Project, options: FromOptions, settings: IndexSettings | None = None) -> Intake:
    """Read the document and decide what image it becomes; nothing is written or fetched.

    `settings` say how the host of a document at an address is reached, as in `documents.read`.
    Raises `DocumentError` for a faulty document, and for one that cannot be built as it stands:
    then every fault is named with its place.
    """
    parsed = read(options.source, ref=options.ref, settings=settings)
    usual = load_yaml(project.root / "services/comfy" / DEFAULT_IMAGE / "service.yaml", "service")
    own = folder.rules_of(options.rules)
    name = choices.name_of(parsed, options.name, service_names(project.root))
    faults: list[str] = []
    ground = _ground(project, parsed, options, usual["suite"], faults)
    leave_out = {
        entry.lower() if "/" in entry else normal_name(entry) for entry in options.leave_out
    }
    chosen = nodes.choose(
        parsed.environment,
        beside=_beside(options),
        shipped=_shipped(ground.comfyui),
        leave_out=leave_out,
        repositories=own.get(folder.REPOSITORIES, {}),
        packs=_packs(folder.joined(usual, own)),
    )
    found = packages.sort_out(parsed.environment, parsed.kind, project.targets, leave_out)
    faults += [*chosen.faults, *found.faults]
    _refuse(options, parsed, faults, unpinned=chosen.unpinned)
    listed, on_models = models.choose(parsed.environment)
    intake = Intake(
        name=name,
        parsed=parsed,
        ground=ground,
        nodes=tuple(chosen.nodes),
        packages=found.packages,
        models=listed,
        code=chosen.code,
        differences=(*ground.differences, *found.differences),
        notes=(
            *parsed.notes,
            *ground.notes,
            *chosen.notes,
            *found.notes,
            *on_models,
            *_not_built(parsed),
            *_never_named(parsed, leave_out),
        ),
    )
    return folder.filled(intake, folder.joined(usual, own), options)


def _ground(
    project: Project, parsed: Parsed, options: FromOptions, suite: str, faults: list[str]
) -> Ground:
    """Return the ComfyUI and the base of the image; where there is none, say so and go on."""
    asked, bases = parsed.environment, project.origins.bases
    comfyui, on_comfyui = _or_fault(
        lambda: choices.comfyui_of(asked.comfyui, project.origins, options.comfyui),
        choices.newest(project.origins),
        faults,
    )
    base, on_python = _or_fault(
        lambda: choices.python_of(asked.system, bases, options.python_match, suite),
        bases[suite],
        faults,
    )
    told = (*on_comfyui, *on_python)
    return Ground(
        comfyui=comfyui,
        base=base,
        exact_python=asked.system.python == base.patch,
        differences=tuple(entry for entry in told if isinstance(entry, Difference)),
        notes=tuple(entry for entry in told if isinstance(entry, Note)),
    )


def _or_fault(
    choose: Callable[[], tuple[T, Told]], otherwise: T, faults: list[str]
) -> tuple[T, Told]:
    """Return the choice; where there is none, say so among the faults and go on looking."""
    try:
        return choose()
    except DocumentError as error:
        faults.append(f"{error.message}; {error.remedy}")
        return otherwise, ()


def _beside(options: FromOptions) -> Path | None:
    """Return the folder that the document lies in, None for one at an address."""
    path = Path(options.source)
    if options.ref is not None or not path.exists():
        return None
    return (path if path.is_dir() else path.parent).absolute()


def _packs(rules: Mapping[str, Any]) -> set[str]:
    """Return the folders of the packs that every image from a document has."""
    return {path.rstrip("/").rpartition("/")[2].casefold() for path in rules["local_nodes"]}


def _shipped(comfyui: ComfyUISpec) -> set[str]:
    """Return the files that ComfyUI itself has below custom_nodes."""
    from comfykiln.origins.filelist import read_list  # noqa: PLC0415  # with its one use

    prefix = "custom_nodes/"
    return {
        name.removeprefix(prefix)
        for name in read_list(comfyui.files)
        if name.startswith(prefix) and "/" not in name.removeprefix(prefix)
    }


def _refuse(options: FromOptions, parsed: Parsed, faults: list[str], *, unpinned: bool) -> None:
    if faults:
        pin = f"{advice(options.source, parsed.kind, options.ref)}, or " if unpinned else ""
        raise DocumentError(
            f"{masked(options.source)}: {len(faults)} thing(s) cannot be built as they stand",
            faults=faults,
            remedy=f"{pin}fix these places, or leave them out with --leave-out NAME,NAME",
        )


def _not_built(parsed: Parsed) -> Iterator[Note]:
    """Yield what a document holds and no image does."""
    found = parsed.environment
    if found.workflows:
        names = ", ".join(workflow.name for workflow in found.workflows[:5])
        message = f"{len(found.workflows)} ({names}): their nodes are built, they stay outside"
        yield Note(path="workflows", rule="from.workflow", message=message)
    for workflow in found.workflows:
        if workflow.unresolved:
            message = (
                f"{workflow.name}: no known pack provides {', '.join(workflow.unresolved[:10])}"
            )
            yield Note(path="workflows", rule="from.unresolved", message=message)
    if found.credentials:
        hosts = ", ".join(credential.host for credential in found.credentials)
        message = f"not taken: {hosts}; the build uses this machine's own"
        yield Note(path="credentials", rule="from.credentials", message=message)


def _never_named(parsed: Parsed, leave_out: Iterable[str]) -> Iterator[Note]:
    """Yield what was to be left out and is not there."""
    known = {normal_name(packages.called(package)) for package in parsed.environment.packages}
    for name in sorted(set(leave_out) - known):
        if not any(nodes.is_named(node, {name}) for node in parsed.environment.nodes):
            message = f"{name}: the document names nothing of that name"
            yield Note(path="--leave-out", rule="from.leave-out", message=message)
