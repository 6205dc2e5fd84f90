"""What `plan --from` and `build --from` do beyond the tasks without it: read, lock, tell."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from comfykiln.errors import DocumentError, DriftError
from comfykiln.intake import FromOptions, differences, folder, models, take
from comfykiln.intake.records import PythonMatch, Strictness
from comfykiln.network.host import settings_of_host
from comfykiln.system import console, files

if TYPE_CHECKING:
    from comfykiln.gather.nodes import Access
    from comfykiln.intake.records import Difference, Intake
    from comfykiln.plan.project import Project
    from comfykiln.plan.services import Service

SHOWN = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Flags:
    """The options of `--from` as a person wrote them; None and "" are not given."""

    source: str
    ref: str | None = None
    comfyui: str | None = None
    python_match: str = "exact"
    packages: str = "prefer"
    post_install: str | None = None
    leave_out: str = ""
    rules: str | None = None


def wanted(flags: Flags, name: str | None) -> FromOptions:
    """Return the options as records. Raises `DocumentError` for a value that is none of theirs."""
    return FromOptions(
        source=flags.source,
        ref=flags.ref,
        name=name,
        comfyui=flags.comfyui,
        python_match=_one_of(flags.python_match, get_args(PythonMatch), "--python-match"),
        packages=_one_of(flags.packages, get_args(Strictness), "--packages"),
        post_install=_one_of(flags.post_install, (None, "run", "skip"), "--post-install"),
        leave_out=tuple(flags.leave_out.replace(",", " ").split()),
        rules=Path(flags.rules) if flags.rules else None,
    )


def _one_of(text: str | None, options: tuple[Any, ...], flag: str) -> Any:
    if text not in options:
        listed = ", ".join(str(option) for option in options if option)
        raise DocumentError(f"{flag} is {text!r}", remedy=f"use one of: {listed}")
    return text


def prepare(
    project: Project, flags: Flags, name: str | None, ca_bundle: Path | None = None
) -> Intake:
    """Read the document and write the folder that it becomes; nothing else is fetched."""
    settings = settings_of_host(ca_bundle) if ca_bundle else None
    taken = take(project, wanted(flags, name), settings)
    folder.write(project.root, taken)
    return taken


def lock(project: Project, taken: Intake, access: Access) -> tuple[Difference, ...]:
    """Solve the packages unless a lock of these very inputs is there; return what differs.

    An earlier lock of other packages has no say: equal documents are to give equal locks.
    """
    from comfykiln.locking import relock  # noqa: PLC0415  # plans need no solve

    service = project.service(taken.name)
    if not _is_locked(project, service, access):
        for earlier in service.package_lock.parent.glob("*.txt"):
            earlier.unlink()
        relock.relock(project, service, access)
    inputs = relock.lock_inputs(project, service, access)
    wanted, stand_ins = taken.packages.preferred, project.targets.stand_ins
    found, unused = differences.compare(service, inputs, wanted, stand_ins)
    files.write_bytes(service.folder / folder.REPORT, folder.report(taken, found))
    if unused:
        console.note(f"{len(unused)} package(s) of the document are asked for by nothing here")
    return found


def lock_models(project: Project, taken: Intake, choice: str) -> None:
    """Lock the models that the document names, unless a lock of these very models is there.

    One that is not available is left out and told, unless the document calls it required. With the
    `choice` skip nothing is asked for, and the image's list is empty.
    """
    if choice == "skip":
        service = project.service(taken.name)
        files.write_bytes(service.folder / folder.MODELS, models.as_file(()))
        return
    from comfykiln.models.document import load_models  # noqa: PLC0415  # boto3 and more
    from comfykiln.models.lockfile import checked_lock, write_lock  # noqa: PLC0415  # as above
    from comfykiln.models.locking import lock_models as locked_models  # noqa: PLC0415  # as above
    from comfykiln.models.progress import shown  # noqa: PLC0415  # as above

    listed = load_models(project.service(taken.name))
    try:
        checked_lock(listed)
    except DriftError:
        with console.timed(f"lock the models of {taken.name}"), shown() as bars:
            found = locked_models(listed, upgrade=(), shown=bars)
        for entry in found.left_out:
            reasons = "; ".join(entry.reasons) or "it has no source"
            console.warn(
                f"{entry.name} ({entry.criticality}) is not available and is left out: {reasons}"
            )
        write_lock(listed, found.models)


def _is_locked(project: Project, service: Service, access: Access) -> bool:
    from comfykiln import locking  # noqa: PLC0415  # as above
    from comfykiln.locking import relock  # noqa: PLC0415  # as above

    if not service.package_lock.is_file():
        return False
    try:
        inputs = relock.lock_inputs(project, service, access)
        return locking.is_locked(service, inputs, project.package_index_build())
    except DriftError:
        return False  # it holds other nodes


def tell(taken: Intake) -> None:
    """Say what the document does not mean literally, and what is left out of it."""
    for note in taken.notes:
        console.note(str(note))
    tell_differences(taken.differences)
    if taken.models:
        console.note(f"models: {len(taken.models)} named: {_models(taken)}")


def tell_differences(found: tuple[Difference, ...]) -> None:
    """Print the table of what was asked for and what the image has."""
    if not found:
        return
    rows = [("asked", "the image has", "because")]
    rows += [(f"{entry.thing} {entry.asked}", entry.got, entry.why) for entry in found]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    console.warn("the image differs from the document:")
    for asked, got, why in rows:
        console.warn(f"  {asked:<{widths[0]}}  {got:<{widths[1]}}  {why}")


def as_data(taken: Intake) -> dict[str, Any]:
    """Return what a document comes to, for `--json`."""
    return {
        "source": taken.parsed.source,
        "kind": str(taken.parsed.kind),
        "form": taken.parsed.form,
        "nodes": [
            {
                "name": node.name,
                "source": node.source,
                "url": node.url,
                "pin": node.sha256 if node.source == "archive" else node.wanted,
                "disabled": node.disabled,
            }
            for node in taken.nodes
        ],
        "packages": {
            "required": list(taken.packages.required),
            "preferred": dict(taken.packages.preferred),
        },
        "models": [model.destination for model in taken.models],
        "differences": [asdict(difference) for difference in taken.differences],
        "notes": [asdict(note) for note in taken.notes],
    }


def show(taken: Intake, *, locked: bool) -> None:
    """Print what of a document is built: its nodes, packages and models; `locked`: was it ever."""
    parsed = taken.parsed
    form = f" ({parsed.form})" if parsed.form else ""
    console.out(f"from {parsed.source}: {parsed.kind}{form}")
    console.out(f"  nodes    {len(taken.nodes)}")
    for node in taken.nodes:
        pin = (node.sha256 if node.source == "archive" else node.wanted) or ""
        off = ", disabled" if node.disabled else ""
        console.out(f"    {node.name} ({node.source}{off}) {pin[:12]}")
    found = taken.packages
    console.out(f"  packages {len(found.required)} required, {len(found.preferred)} preferred")
    console.out(f"  models   {len(taken.models)}")
    if not locked:
        console.out("  lock     none yet: a build solves the packages, and the tag follows from it")


def _models(taken: Intake) -> str:
    names = [model.destination for model in taken.models]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
