"""What the tasks of building do: one function a task, with plain parameters."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfykiln.errors import DocumentError
from comfykiln.plan.project import Project
from comfykiln.system import console, process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comfykiln.bake.line import BuildOptions
    from comfykiln.cli.from_document import Flags
    from comfykiln.intake.records import Intake
    from comfykiln.models.records import LockedModel
    from comfykiln.plan.services import Service

ORIGIN_CHOICES = ("any", "strict")


def show_plan(
    root: Path, target: str | None, image: str | None, source: Flags | None, *, as_json: bool
) -> None:
    """Print the plan of one image, of the repository or from a document."""
    project = Project(root=root)
    project.targets.get(target)
    taken = _taken(project, source, image)
    plan = project.plan(target, taken.name if taken else image).as_json()
    if as_json:
        from comfykiln.cli import from_document  # noqa: PLC0415  # documents, where they are used

        console.out_json(plan | ({"from": from_document.as_data(taken)} if taken else {}))
        return
    console.out(f"{plan['ref']}")
    console.out(f"  base     {plan['base']} (Python {plan['python']})")
    console.out(f"  comfyui  {plan['comfyui']['version']} {plan['comfyui']['commit']}")
    console.out(
        f"  torch    {' '.join(plan['torch']['requirements'])} from {plan['torch']['index']}"
    )
    console.out("  rows, lowest first, with the digest of what each is made from:")
    for row in plan["rows"]:
        console.out(f"    {row['name']:<9} {row['inputs']}")
    if taken:
        from comfykiln.cli import from_document  # noqa: PLC0415  # as above

        from_document.show(taken, locked=project.service(taken.name).package_lock.is_file())


def render_files(root: Path, *, check: bool) -> None:
    """Write every generated file and every copy, or check the committed ones."""
    from comfykiln.plan import render, vendored  # noqa: PLC0415  # jinja2, where it is used

    wanted = render.rendered(Project(root=root))
    if check:
        render.check(wanted, root)
        vendored.check(root)
        console.out(f"{len(wanted) + len(vendored.copies(root))} generated file(s) are as rendered")
        return
    for path in [*render.write(wanted), *vendored.write(root)]:
        console.out(f"written: {path.relative_to(root)}")


def lock(
    root: Path, image: str | None, git_mirror: str | None, upgrade: tuple[str, ...] = ()
) -> None:
    """Solve the image's packages and write both locks; only `upgrade` leaves its version."""
    from comfykiln.locking.relock import access_of, relock  # noqa: PLC0415  # as everywhere here

    project = Project(root=root)
    service = project.service(image)
    mirror = _existing(git_mirror, "--git-mirror", folder=True)
    for path in relock(project, service, access_of(project, mirror), upgrade):
        console.out(f"written: {path.relative_to(root)}")


def check_lock(root: Path, image: str | None, git_mirror: str | None) -> None:
    """Hold the image's lock against its inputs of today."""
    from comfykiln import locking  # noqa: PLC0415
    from comfykiln.locking.relock import access_of, lock_inputs  # noqa: PLC0415

    project = Project(root=root)
    service = project.service(image)
    mirror = _existing(git_mirror, "--git-mirror", folder=True)
    inputs = lock_inputs(project, service, access_of(project, mirror))
    locking.check_locks(service, inputs, project.package_index_build())
    console.out(f"{service.package_lock.relative_to(root)} fits its inputs")


def build(
    root: Path,
    target: str | None,
    image: str | None,
    source: Flags | None,
    tag: str | None,
    origins: str,
    git_mirror: str | None,
    ca_bundle: str | None,
    *,
    models: str,
    archive: str | None,
    push: str | None,
    export: bool,
    cache: bool,
    keep: bool,
    as_json: bool,
) -> None:
    """Build one image and print its name, digest and export tarball."""
    from comfykiln.bake.line import BuildOptions  # noqa: PLC0415
    from comfykiln.bake.line import build as build_image  # noqa: PLC0415
    from comfykiln.models import selection  # noqa: PLC0415

    project = Project(root=root)
    project.targets.get(target)
    options = BuildOptions(
        tag=checked_tag(tag),
        strict=_choice("--origins", origins, ORIGIN_CHOICES) == "strict",
        git_mirror=_existing(git_mirror, "--git-mirror", folder=True),
        ca_bundle=_existing(ca_bundle, "--ca-bundle", folder=False),
        export=export,
        cache=cache,
        models=_choice("--models", models, selection.CHOICES),
        keep=_require_some_place(archive, push, keep=keep),
        archive=_new_file(archive, "--archive"),
        push=push,
    )
    taken = _taken(project, source, image, options.ca_bundle)
    plan = project.plan(target, taken.name if taken else image)
    _ensure_engine()
    if taken:
        exact = source is not None and source.packages == "exact"
        _lock_document(project, taken, options, exact=exact)
        plan = project.plan(target, taken.name)
    built = build_image(project, plan, options)
    result = {
        "ref": built.ref,
        "digest": built.digest,
        "export": str(built.export.relative_to(root)) if built.export else None,
        "archive": str(options.archive) if options.archive else None,
        "pushed": built.pushed,
    }
    if as_json:
        console.out_json(result)
        return
    console.out(f"{built.ref}  {built.digest}")
    if built.export:
        console.out(str(result["export"]))
    for name in ("archive", "pushed"):
        if result[name]:
            console.out(str(result[name]))
    console.out(f"run it: ./kiln run --target {plan.target.name} --image {plan.service.name}")


def flags(source: str | None, **given: str | None) -> Flags | None:
    """Return the options of `--from`. Raises `DocumentError` for one of them without it."""
    from comfykiln.cli.from_document import Flags  # noqa: PLC0415  # documents, where they are used

    if source is not None:
        return Flags(source=source, **given)  # type: ignore[arg-type]  # the tasks name them one by one
    usual = asdict(Flags(source=""))
    alone = [name for name, value in given.items() if value != usual[name]]
    if alone:
        shown = ", ".join(f"--{name.replace('_', '-')}" for name in alone)
        raise DocumentError(f"{shown}: without --from", remedy="name the document with --from")
    return None


def _taken(
    project: Project, source: Flags | None, image: str | None, ca_bundle: Path | None = None
) -> Intake | None:
    """Read the document that was named, if one was, and say what is to be said of it."""
    if source is None:
        return None
    from comfykiln.cli import from_document  # noqa: PLC0415  # documents, where they are used

    taken = from_document.prepare(project, source, image, ca_bundle)
    from_document.tell(taken)
    return taken


def _lock_document(project: Project, taken: Intake, options: BuildOptions, *, exact: bool) -> None:
    """Lock packages and models of an image from a document; `exact` refuses every difference."""
    from comfykiln.cli import from_document  # noqa: PLC0415  # documents, on demand
    from comfykiln.intake import differences  # noqa: PLC0415  # documents, on demand
    from comfykiln.locking.relock import access_of  # noqa: PLC0415  # as above

    for digest, data in taken.code.items():
        project.store.put([data], digest, source=taken.parsed.source)
    access = access_of(project, options.git_mirror, options.ca_bundle, strict=options.strict)
    found = from_document.lock(project, taken, access)
    from_document.tell_differences(found)
    if exact:
        differences.refuse(taken.name, found)
    if taken.models:
        from_document.lock_models(project, taken, options.models)


def run(
    root: Path,
    target: str | None,
    image: str | None,
    tag: str | None,
    port: int,
    models: str | None,
) -> None:
    """Replace this process by `docker run` with the target's devices and the run-time contract."""
    from comfykiln.cli import run  # noqa: PLC0415

    plan = Project(root=root).plan(target, image)
    chosen = checked_tag(tag)
    ref = plan.ref(chosen) if chosen else plan.latest
    folder = _existing(models, "--models", folder=True)
    locked = () if folder else _locked_models(plan.service)
    _ensure_engine()
    run.require_runnable(plan.target, ref, port)
    inside = run.models_inside(ref) if locked else {}
    mounts = model_mounts(locked, inside, plan.service.name)
    argv = run.command(plan.target, ref, port=port, models=folder, mounts=mounts)
    console.step(process.shown(argv))
    os.execvp(argv[0], argv)  # noqa: S606  # an argument list, no shell


def _locked_models(service: Service) -> tuple[LockedModel, ...]:
    """Return the image's locked models.

    A lock that does not fit models.yaml is drift: what would be shown is not what is described.
    """
    from comfykiln.models.lockfile import load_lock  # noqa: PLC0415

    return load_lock(service)


def model_mounts(locked: Sequence[LockedModel], inside: Mapping[str, str], image: str) -> list[str]:
    """Return the arguments that show locked models from the store, and say which lack.

    What the image has `inside` (sha256 by destination) is shown from there: a tag stays what it was
    when it was built.
    """
    from comfykiln.models.placing import mounts  # noqa: PLC0415

    other = [m.name for m in locked if inside.get(m.destination, m.sha256) != m.sha256]
    if other:
        console.warn(
            f"the image has other files of {', '.join(other)} than models.lock names, and shows "
            "its own (build it again to change that)"
        )
    arguments, missing = mounts([entry for entry in locked if entry.destination not in inside])
    if missing:
        console.warn(
            f"neither in the image nor in the store, so not shown to ComfyUI: "
            f"{', '.join(missing)} (./kiln models.fetch --image {image})"
        )
    return arguments


def verify_image(ref: str | None, *, as_json: bool) -> None:
    """Question a built image again and hold the answers against the receipt inside it."""
    from comfykiln.verify import again  # noqa: PLC0415

    if ref is None:
        raise DocumentError("no image given", remedy="add --ref, such as comfykiln/core:cpu")
    _ensure_engine()
    record: dict[str, Any] = again.verify_ref(ref)
    if as_json:
        console.out_json(record)
    else:
        console.out(f"{ref} is what its receipt says ({record['software']['digest']})")


def checked_tag(tag: str | None) -> str | None:
    """Return the tag when a registry would take it behind `<target>-`; None stays None."""
    import re  # noqa: PLC0415

    if tag is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", tag):
        raise DocumentError(
            f"{tag!r} cannot be a tag", remedy="use letters, digits, '_', '.', '-', at most 100"
        )
    return tag


def _ensure_engine() -> None:
    """Have an engine set up where ./kiln may, once nothing that was given is at fault."""
    from comfykiln.setup import engine  # noqa: PLC0415  # where it is used

    engine.ensure()


def _choice(option: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise DocumentError(f"{option} is {value!r}", remedy=f"use one of: {', '.join(allowed)}")
    return value


def _require_some_place(archive: str | None, push: str | None, *, keep: bool) -> bool:
    """Return `keep`; models that are kept nowhere must go somewhere."""
    if not keep and archive is None and push is None:
        raise DocumentError(
            "--no-store alone keeps the models nowhere",
            remedy="add --push REF or --archive FILE, or leave --no-store out",
        )
    return keep


def _new_file(value: str | None, option: str) -> Path | None:
    if value is None:
        return None
    path = Path(value).absolute()
    if path.is_dir() or not value:
        raise DocumentError(f"{option}: {path} is a folder", remedy=f"name a file: {option} FILE")
    return path


def _existing(value: str | None, option: str, *, folder: bool) -> Path | None:
    if value is None:
        return None
    path = Path(value).resolve()
    if not (path.is_dir() if folder else path.is_file()):
        kind = "folder" if folder else "file"
        raise DocumentError(f"{option}: there is no {kind} {path}", remedy="name one that exists")
    return path
