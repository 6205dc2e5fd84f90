"""What the tasks of building do: one function a task, with plain parameters."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfykiln import console, process
from comfykiln.errors import DocumentError
from comfykiln.project import Project

if TYPE_CHECKING:
    from comfykiln.locking import LockInputs
    from comfykiln.services import Service

ORIGIN_CHOICES = ("any", "strict")


def show_plan(root: Path, target: str | None, image: str | None, *, as_json: bool) -> None:
    """Print the plan of one image."""
    plan = Project(root=root).plan(target, image).as_json()
    if as_json:
        console.out_json(plan)
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


def render_files(root: Path, *, check: bool) -> None:
    """Write the generated files of images/, or hold the committed ones against them."""
    from comfykiln import render  # noqa: PLC0415  # jinja2, where it is used

    wanted = render.rendered(Project(root=root).plans(), root)
    if check:
        render.check(wanted, root)
        console.out(f"{len(wanted)} generated file(s) are as rendered")
        return
    for path in render.write(wanted):
        console.out(f"written: {path.relative_to(root)}")


def lock(root: Path, image: str, git_mirror: str | None, upgrade: tuple[str, ...] = ()) -> None:
    """Solve the image's packages and write both locks; only `upgrade` leaves its version."""
    from comfykiln import locking  # noqa: PLC0415  # as everywhere here
    from comfykiln.indexes import step_environment  # noqa: PLC0415
    from comfykiln.network import settings_of_host  # noqa: PLC0415

    project = Project(root=root)
    service = project.service(image)
    inputs = _lock_inputs(project, service, git_mirror)
    settings = settings_of_host(None)
    local = project.package_index_build()
    for line in inputs.set_aside:
        console.note(f"set aside: {line}")
    with console.timed(f"solve the packages of {image}"):
        solved = locking.solve(
            inputs,
            dict(os.environ) | step_environment(settings),
            previous=locking.previous(service, local),
            upgrade=upgrade,
        )
    locking.write_locks(service, project.targets, inputs, solved, local)
    console.out(f"written: {service.package_lock.relative_to(root)}")


def check_lock(root: Path, image: str, git_mirror: str | None) -> None:
    """Hold the image's lock against its inputs of today."""
    from comfykiln import locking  # noqa: PLC0415

    project = Project(root=root)
    service = project.service(image)
    locking.check_locks(service, _lock_inputs(project, service, git_mirror))
    console.out(f"{service.package_lock.relative_to(root)} fits its inputs")


def build(
    root: Path,
    target: str | None,
    image: str | None,
    tag: str | None,
    origins: str,
    git_mirror: str | None,
    ca_bundle: str | None,
    *,
    export: bool,
    cache: bool,
    as_json: bool,
) -> None:
    """Build one image and print its name, digest and export tarball."""
    from comfykiln.build import BuildOptions  # noqa: PLC0415
    from comfykiln.build import build as build_image  # noqa: PLC0415

    project = Project(root=root)
    plan = project.plan(target, image)
    options = BuildOptions(
        tag=checked_tag(tag),
        strict=_choice("--origins", origins, ORIGIN_CHOICES) == "strict",
        git_mirror=_existing(git_mirror, "--git-mirror", folder=True),
        ca_bundle=_existing(ca_bundle, "--ca-bundle", folder=False),
        export=export,
        cache=cache,
    )
    built = build_image(project, plan, options)
    result = {
        "ref": built.ref,
        "digest": built.digest,
        "export": str(built.export.relative_to(root)) if built.export else None,
    }
    if as_json:
        console.out_json(result)
        return
    console.out(f"{built.ref}  {built.digest}")
    if built.export:
        console.out(str(result["export"]))
    console.out(f"run it: ./kiln run --target {plan.target.name} --image {plan.service.name}")


def run(
    root: Path,
    target: str | None,
    image: str | None,
    tag: str | None,
    port: int,
    models: str | None,
) -> None:
    """Replace this process by `docker run` with the target's devices and the run-time contract."""
    from comfykiln import running  # noqa: PLC0415

    plan = Project(root=root).plan(target, image)
    chosen = checked_tag(tag)
    ref = plan.ref(chosen) if chosen else plan.latest
    folder = _existing(models, "--models", folder=True)
    mounts = () if folder else _model_mounts(plan.service)
    argv = running.command(plan.target, ref, port=port, models=folder, mounts=mounts)
    running.require_runnable(plan.target, ref, port)
    console.step(process.shown(argv))
    os.execvp(argv[0], argv)  # noqa: S606  # an argument list, no shell


def _model_mounts(service: Service) -> list[str]:
    """Return the arguments that show the image's locked models from the store, and say which lack.

    A lock that does not fit models.yaml is drift: what would be shown is not what is described.
    """
    from comfykiln.models.lockfile import load_lock  # noqa: PLC0415
    from comfykiln.models.placing import mounts  # noqa: PLC0415

    arguments, missing = mounts(load_lock(service))
    if missing:
        console.warn(
            f"not in the store, so not shown to ComfyUI unless the image has them: "
            f"{', '.join(missing)} (./kiln models.fetch --image {service.name})"
        )
    return arguments


def verify_image(ref: str | None, *, as_json: bool) -> None:
    """Question a built image again and hold the answers against the receipt inside it."""
    from comfykiln import reverify  # noqa: PLC0415

    if ref is None:
        raise DocumentError("no image given", remedy="add --ref, such as comfykiln/core:cpu")
    record: dict[str, Any] = reverify.verify_ref(ref)
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


def _lock_inputs(project: Project, service: Service, git_mirror: str | None) -> LockInputs:
    mirror = _existing(git_mirror, "--git-mirror", folder=True)
    nodes = project.nodes(service, mirror)
    return project.lock_inputs(service, project.comfyui_tree(service, mirror), nodes)


def _choice(option: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise DocumentError(f"{option} is {value!r}", remedy=f"use one of: {', '.join(allowed)}")
    return value


def _existing(value: str | None, option: str, *, folder: bool) -> Path | None:
    if value is None:
        return None
    path = Path(value).resolve()
    if not (path.is_dir() if folder else path.is_file()):
        kind = "folder" if folder else "file"
        raise DocumentError(f"{option}: there is no {kind} {path}", remedy="name one that exists")
    return path
