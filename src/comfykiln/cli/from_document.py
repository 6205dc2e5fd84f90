"""What `plan --from` and `build --from` do beyond the tasks without it: read, lock, tell."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfykiln.errors import DriftError
from comfykiln.intake import FromOptions, differences, folder, models, take
from comfykiln.network.host import settings_of_host
from comfykiln.system import console, files, gate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from comfykiln.cli import options
    from comfykiln.gather.gather import Parts
    from comfykiln.intake.records import Difference, Intake
    from comfykiln.network.access import Access
    from comfykiln.plan.project import Project

SHOWN = 12


def prepare(project: Project, given: options.FromDocument, ca_bundle: Path | None = None) -> Intake:
    """Read the document and write the folder that it becomes; nothing else is fetched."""
    settings = settings_of_host(ca_bundle) if ca_bundle else None
    intake = take(project, from_options(given), settings)
    folder.write(project.root, intake)
    return intake


def from_options(given: options.FromDocument) -> FromOptions:
    """Return what was chosen about a build from the document that was named."""
    return FromOptions(
        source=given.from_ or "",
        ref=given.ref,
        name=given.image,
        comfyui=given.comfyui,
        python_match=given.python_match,
        packages=given.packages,
        post_install=given.post_install,
        leave_out=tuple(given.leave_out.replace(",", " ").split()),
        rules=Path(given.rules) if given.rules else None,
    )


def lock(project: Project, intake: Intake, access: Access) -> tuple[tuple[Difference, ...], Parts]:
    """Solve the packages unless a lock of these very inputs is there; return what differs.

    Beside it stands what was gathered for that, which a build needs too. An earlier lock of other
    packages has no say: equal documents are to give equal locks.
    """
    from comfykiln.locking import relock  # noqa: PLC0415  # plans need no solve

    service = project.service(intake.name)
    parts = relock.learned(project, service, access)
    if not relock.is_locked(project, service, parts):
        for earlier in service.package_lock.parent.glob("*.txt"):
            earlier.unlink()
        parts = relock.solved(project, service, access, parts)
    inputs = relock.inputs_of(project, service, parts)
    preferred, stand_ins = intake.packages.preferred, project.targets.stand_ins
    found, unused = differences.compare(service, inputs, preferred, stand_ins)
    files.write_bytes(service.folder / folder.REPORT, folder.report(intake, found))
    if unused:
        console.note(f"{len(unused)} package(s) of the document are asked for by nothing here")
    return found, parts


def lock_models(project: Project, intake: Intake, choice: str, environ: Mapping[str, str]) -> None:
    """Lock the models that the document names, unless a lock of these very models is there.

    `environ` has the CA and the proxies. One that is not available is left out and told, unless the
    document calls it required. With the `choice` skip nothing is asked for, and the image's list is
    empty.
    """
    if choice == "skip":
        service = project.service(intake.name)
        files.write_bytes(service.folder / folder.MODELS, models.as_file(()))
        return
    from comfykiln.models.document import load_models  # noqa: PLC0415  # boto3 and more
    from comfykiln.models.lockfile import checked_lock, write_lock  # noqa: PLC0415  # as above
    from comfykiln.models.locking import lock_models as locked_models  # noqa: PLC0415  # as above
    from comfykiln.models.progress import shown  # noqa: PLC0415  # as above

    listed = load_models(project.service(intake.name))
    try:
        checked_lock(listed)
    except DriftError:
        with console.timed(f"lock the models of {intake.name}"), shown() as bars:
            found = locked_models(listed, upgrade=(), shown=bars, environ=environ)
        for entry in found.left_out:
            reasons = "; ".join(entry.reasons) or "it has no source"
            console.warn(
                f"{entry.name} ({entry.criticality}) is not available and is left out: {reasons}"
            )
        write_lock(listed, found.models)


def tell(intake: Intake) -> None:
    """Say what the document does not mean literally, and what is left out of it."""
    for note in intake.notes:
        console.note(str(note))
    tell_differences(intake.differences)
    if intake.models:
        console.note(f"models: {len(intake.models)} named: {_models(intake)}")


def tell_differences(found: tuple[Difference, ...]) -> None:
    """Print the table of what was asked for and what the image has."""
    if not found:
        return
    rows = [("asked", "the image has", "because")]
    rows += [(f"{entry.thing} {entry.asked}", entry.got, entry.why) for entry in found]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    console.warn("the image differs from the document:")
    for asked, got, why in rows:
        console.warn(gate.one_line(f"  {asked:<{widths[0]}}  {got:<{widths[1]}}  {why}"))


def as_data(intake: Intake) -> dict[str, Any]:
    """Return what a document comes to, for `--json`."""
    return {
        "source": intake.parsed.source,
        "kind": intake.parsed.kind,
        "form": intake.parsed.form,
        "nodes": [
            {
                "name": node.name,
                "source": node.source,
                "url": node.url,
                "pin": node.sha256 if node.source == "archive" else node.wanted,
                "disabled": node.disabled,
            }
            for node in intake.nodes
        ],
        "packages": {
            "required": list(intake.packages.required),
            "preferred": dict(intake.packages.preferred),
        },
        "models": [model.destination for model in intake.models],
        "differences": [asdict(difference) for difference in intake.differences],
        "notes": [asdict(note) for note in intake.notes],
    }


def show(intake: Intake, *, locked: bool) -> None:
    """Print what of a document is built: its nodes, packages and models; `locked`: was it ever."""
    parsed = intake.parsed
    form = f" ({parsed.form})" if parsed.form else ""
    console.out(f"from {gate.one_line(parsed.source)}: {parsed.kind}{form}")
    console.out(f"  nodes    {len(intake.nodes)}")
    for node in intake.nodes:
        pin = (node.sha256 if node.source == "archive" else node.wanted) or ""
        off = ", disabled" if node.disabled else ""
        console.out(gate.one_line(f"    {node.name} ({node.source}{off}) {pin[:12]}"))
    found = intake.packages
    console.out(f"  packages {len(found.required)} required, {len(found.preferred)} preferred")
    console.out(f"  models   {len(intake.models)}")
    if not locked:
        console.out("  lock     none yet: a build solves the packages, and the tag follows from it")


def _models(intake: Intake) -> str:
    names = [model.destination for model in intake.models]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
