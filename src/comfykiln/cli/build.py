"""What the tasks of building do: one function a task."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfykiln.errors import DocumentError
from comfykiln.plan.project import Project
from comfykiln.system import console, process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comfykiln.bake.line import BuildOptions, Built
    from comfykiln.cli import options
    from comfykiln.gather.gather import Parts
    from comfykiln.intake.records import Intake
    from comfykiln.models.records import LockedModel
    from comfykiln.network.access import Access
    from comfykiln.plan.services import Service


def show_plan(root: Path, given: options.Plan) -> None:
    """Print the plan of one image, of the repository or from a document."""
    project = Project(root=root)
    intake = _intake(project, given)
    plan = project.plan(given.target, intake.name if intake else given.image).as_json()
    if given.json:
        from comfykiln.cli import from_document  # noqa: PLC0415  # documents, where they are used

        console.out_json(plan | ({"from": from_document.as_data(intake)} if intake else {}))
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
    if intake:
        from comfykiln.cli import from_document  # noqa: PLC0415  # as above

        from_document.show(intake, locked=project.service(intake.name).package_lock.is_file())


def render_files(root: Path, *, check: bool) -> None:
    """Write every generated file and every copy, or check the committed ones."""
    from comfykiln.documents import pages  # noqa: PLC0415  # the formats, where they are listed
    from comfykiln.plan import render, vendored  # noqa: PLC0415  # jinja2, where it is used

    page = root / "docs/documents.md"
    kinds = pages.packages(root / "src/comfykiln/documents")
    generated = render.rendered(Project(root=root)) | {page: pages.render(page)} | kinds
    if check:
        render.check(generated, root)
        vendored.check(root)
        console.out(
            f"{len(generated) + len(vendored.copies(root))} generated file(s) are as rendered"
        )
        return
    for path in [*render.write(generated), *vendored.write(root)]:
        console.out(f"written: {path.relative_to(root)}")


def lock(
    root: Path,
    image: str | None,
    git_mirror: str | None,
    upgrade: str = "",
    *,
    ca_bundle: str | None = None,
) -> None:
    """Solve the image's packages and write both locks.

    Only the packages named in `upgrade`, with commas between, leave their version; `all` is every.
    """
    from comfykiln.locking.relock import relock  # noqa: PLC0415  # as everywhere here

    project = Project(root=root)
    service = project.service(image)
    names = tuple(upgrade.replace(",", " ").split())
    for path in relock(project, service, _access(project, git_mirror, ca_bundle), names):
        console.out(f"written: {path.relative_to(root)}")


def check_lock(
    root: Path, image: str | None, git_mirror: str | None, *, ca_bundle: str | None = None
) -> None:
    """Hold the image's lock against its inputs of today."""
    from comfykiln import locking  # noqa: PLC0415
    from comfykiln.locking.relock import lock_inputs  # noqa: PLC0415

    project = Project(root=root)
    service = project.service(image)
    inputs = lock_inputs(project, service, _access(project, git_mirror, ca_bundle))
    locking.check_locks(service, inputs, project.package_index_build())
    console.out(f"{service.package_lock.relative_to(root)} fits its inputs")


def _access(project: Project, git_mirror: str | None, ca_bundle: str | None) -> Access:
    from comfykiln.locking.relock import access_of  # noqa: PLC0415  # as everywhere here

    mirror = existing(git_mirror, "--git-mirror", folder=True)
    return access_of(project, mirror, existing(ca_bundle, "--ca-bundle", folder=False))


def build(root: Path, given: options.Build) -> None:
    """Build one image and print its name, digest and export tarball."""
    from comfykiln.bake.line import build as build_image  # noqa: PLC0415

    project = Project(root=root)
    project.targets.get(given.target)
    chosen = _build_options(given)
    intake = _intake(project, given, chosen.ca_bundle)
    plan = project.plan(given.target, intake.name if intake else given.image)
    _ensure_engine()
    parts = None
    if intake:
        parts = _lock_document(project, intake, chosen, exact=given.packages == "exact")
        plan = project.plan(given.target, intake.name)
    built = build_image(project, plan, chosen, parts)
    result = _result(root, built, chosen)
    if given.json:
        console.out_json(result)
        return
    console.out(f"{built.ref}  {built.digest}")
    for name in ("export", "archive", "pushed"):
        if result[name]:
            console.out(str(result[name]))
    console.out(f"run it: ./kiln run --target {plan.target.name} --image {plan.service.name}")


def _build_options(given: options.Build) -> BuildOptions:
    """Return what was chosen about the build, checked as far as no engine is needed."""
    from comfykiln.bake.line import BuildOptions  # noqa: PLC0415

    return BuildOptions(
        tag=checked_tag(given.tag),
        strict=given.origins == "strict",
        git_mirror=existing(given.git_mirror, "--git-mirror", folder=True),
        ca_bundle=existing(given.ca_bundle, "--ca-bundle", folder=False),
        export=given.export,
        cache=given.cache,
        models=given.models,
        keep=_require_some_place(given.archive, given.push, keep=given.store),
        archive=_new_file(given.archive, "--archive"),
        push=given.push,
    )


def _result(root: Path, built: Built, chosen: BuildOptions) -> dict[str, str | None]:
    return {
        "ref": built.ref,
        "digest": built.digest,
        "export": str(built.export.relative_to(root)) if built.export else None,
        "archive": str(chosen.archive) if chosen.archive else None,
        "pushed": built.pushed,
    }


def _intake(
    project: Project, given: options.FromDocument, ca_bundle: Path | None = None
) -> Intake | None:
    """Read the document that was named, if one was, and say what is to be said of it.

    Raises `DocumentError` for a target that is none, and for options that need a document.
    """
    project.targets.get(given.target)
    if given.from_ is None:
        _refuse_alone(given)
        return None
    from comfykiln.cli import from_document  # noqa: PLC0415  # documents, where they are used

    intake = from_document.prepare(project, given, ca_bundle)
    from_document.tell(intake)
    return intake


def _refuse_alone(given: options.FromDocument) -> None:
    """Raise `DocumentError` where options of `--from` are given without it."""
    from comfykiln.cli.options import FromDocument, TargetImage  # noqa: PLC0415  # as everywhere here

    others = {entry.name for entry in fields(TargetImage)}
    own = [entry for entry in fields(FromDocument) if entry.name not in others]
    alone = [entry.name for entry in own if getattr(given, entry.name) != entry.default]
    if alone:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in alone)
        raise DocumentError(f"{flags}: without --from", remedy="name the document with --from")


def _lock_document(project: Project, intake: Intake, chosen: BuildOptions, *, exact: bool) -> Parts:
    """Lock packages and models of an image from a document; `exact` refuses every difference.

    Returns what was gathered for it, so that nothing is gathered twice.
    """
    from comfykiln.cli import from_document  # noqa: PLC0415  # documents, on demand
    from comfykiln.intake import differences  # noqa: PLC0415  # documents, on demand
    from comfykiln.locking.relock import access_of  # noqa: PLC0415  # as above
    from comfykiln.network.host import environment_of  # noqa: PLC0415  # as above

    for digest, data in intake.code.items():
        project.store.put([data], digest, source=intake.parsed.source)
    access = access_of(project, chosen.git_mirror, chosen.ca_bundle, strict=chosen.strict)
    found, parts = from_document.lock(project, intake, access)
    from_document.tell_differences(found)
    if exact:
        differences.refuse(intake.name, found)
    if intake.models:
        environ = environment_of(access.settings)
        from_document.lock_models(project, intake, chosen.models, environ)
    return parts


def run(root: Path, given: options.Run) -> None:
    """Replace this process by `docker run` with the target's devices and the run-time contract."""
    from comfykiln.cli import run  # noqa: PLC0415

    plan = Project(root=root).plan(given.target, given.image)
    tag = checked_tag(given.tag)
    ref = plan.ref(tag) if tag else plan.latest
    folder = existing(given.models, "--models", folder=True)
    locked = () if folder else _locked_models(plan.service)
    _ensure_engine()
    run.require_runnable(plan.target, ref, given.port)
    inside = run.models_inside(ref) if locked else {}
    mounts = model_mounts(locked, inside, plan.service.name)
    argv = run.command(plan.target, ref, port=given.port, models=folder, mounts=mounts)
    console.step(process.command_line(argv))
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


def existing(value: str | None, option: str, *, folder: bool) -> Path | None:
    """Return the file or folder that an option names. Raises `DocumentError` where none is."""
    if value is None:
        return None
    path = Path(value).resolve()
    if not (path.is_dir() if folder else path.is_file()):
        kind = "folder" if folder else "file"
        raise DocumentError(f"{option}: there is no {kind} {path}", remedy="name one that exists")
    return path
