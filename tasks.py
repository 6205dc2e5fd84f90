"""The tasks of comfykiln: a table of contents, no logic."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.resolve()
sys.path.insert(0, str(ROOT / "src"))

# ruff: noqa: E402  # the package lies beside this file, and any other invoke ends here
from comfykiln.cli.handover import hand_over

hand_over(ROOT)

from invoke import Collection, Context, Task

from comfykiln.cli.program import task, task_on


@task
def doctor(_: Context, *, json: bool = False) -> None:
    """Say what this machine can build and run, and how to fix what it cannot."""
    from comfykiln.cli import doctor as the_doctor

    the_doctor.doctor(as_json=json)


@task
def plan(
    _: Context,
    *,
    target: str | None = None,
    image: str | None = None,
    from_: str | None = None,
    ref: str | None = None,
    comfyui: str | None = None,
    python_match: str = "exact",
    packages: str = "prefer",
    post_install: str | None = None,
    leave_out: str = "",
    rules: str | None = None,
    json: bool = False,
) -> None:
    """Show what a build would make, without fetching or building anything.

    --from takes a document of any kind in place of an image of the repository; docs/from.md.
    """
    from comfykiln.cli import build

    source = build.flags(
        from_,
        ref=ref,
        comfyui=comfyui,
        python_match=python_match,
        packages=packages,
        post_install=post_install,
        leave_out=leave_out,
        rules=rules,
    )
    build.show_plan(ROOT, target, image, source, as_json=json)


@task
def render(_: Context, *, check: bool = False) -> None:
    """Write the Dockerfiles and the bake file under images/; --check exits 4 when they drifted."""
    from comfykiln.cli import build

    build.render_files(ROOT, check=check)


@task
def lock(
    _: Context, *, image: str | None = None, git_mirror: str | None = None, upgrade: str = ""
) -> None:
    """Solve the image's packages once for all targets; --upgrade NAME moves one, `all` every."""
    from comfykiln.cli import build

    build.lock(ROOT, image, git_mirror, tuple(upgrade.replace(",", " ").split()))


@task
def lock_check(_: Context, *, image: str | None = None, git_mirror: str | None = None) -> None:
    """Exit 4 when the image's lock was made from other inputs than it has now."""
    from comfykiln.cli import build

    build.check_lock(ROOT, image, git_mirror)


@task
def build(
    _: Context,
    *,
    target: str | None = None,
    image: str | None = None,
    from_: str | None = None,
    ref: str | None = None,
    comfyui: str | None = None,
    python_match: str = "exact",
    packages: str = "prefer",
    post_install: str | None = None,
    leave_out: str = "",
    rules: str | None = None,
    tag: str | None = None,
    origins: str = "any",
    git_mirror: str | None = None,
    ca_bundle: str | None = None,
    models: str = "all",
    archive: str | None = None,
    push: str | None = None,
    export: bool = True,
    cache: bool = True,
    store: bool = True,
    json: bool = False,
) -> None:
    """Build one image, verify it, tag it and write its export tarball to dist/.

    --from takes a document of any kind in place of an image of the repository; docs/from.md.
    --models all, required or skip; --archive FILE and --push REF hand the image on with them.
    """
    from comfykiln.cli import build

    source = build.flags(
        from_,
        ref=ref,
        comfyui=comfyui,
        python_match=python_match,
        packages=packages,
        post_install=post_install,
        leave_out=leave_out,
        rules=rules,
    )
    build.build(
        ROOT,
        target,
        image,
        source,
        tag,
        origins,
        git_mirror,
        ca_bundle,
        models=models,
        archive=archive,
        push=push,
        export=export,
        cache=cache,
        keep=store,
        as_json=json,
    )


@task
def run(
    _: Context,
    *,
    target: str | None = None,
    image: str | None = None,
    tag: str | None = None,
    port: int = 8188,
    models: str | None = None,
) -> None:
    """Run a built image with the devices, port, volumes and stored models of its target."""
    from comfykiln.cli import build

    build.run(ROOT, target, image, tag, port, models)


@task
def verify(_: Context, *, ref: str | None = None, json: bool = False) -> None:
    """Start a built image without a network and hold its answers against its receipt."""
    from comfykiln.cli import build

    build.verify_image(ref, as_json=json)


@task
def test(_: Context, *, tier: str | None = None) -> None:
    """Run lint and all tests, or one tier: unit, engine, real."""
    from comfykiln.cli import checks

    checks.run_tests(tier)


@task
def lint(_: Context) -> None:
    """Check style, types, Dockerfiles, scripts, workflows and data files."""
    from comfykiln.cli import checks

    checks.run_lint()


@task_on("file")
def snapshot_check(_: Context, file: str, *, json: bool = False) -> None:
    """Check any document of an environment; every fault with its place, then advice."""
    from comfykiln.cli import documents

    documents.snapshot_check(file, as_json=json)


@task_on("file")
def snapshot_convert(
    _: Context,
    file: str,
    *,
    to: str = "snapshot",
    out: str | None = None,
    packages: str = "all",
    python: str | None = None,
    torch: str | None = None,
    comfyui: str | None = None,
    json: bool = False,
) -> None:
    """Write a document as another kind: --to snapshot, manifest, export or comfylock."""
    from comfykiln.cli import documents

    documents.snapshot_convert(
        file, to, out, packages=packages, python=python, torch=torch, comfyui=comfyui, as_json=json
    )


@task_on("file")
def snapshot_pin(
    _: Context,
    file: str,
    *,
    ref: str | None = None,
    out: str | None = None,
    git_mirror: str | None = None,
    write: bool = True,
    json: bool = False,
) -> None:
    """Replace every branch, tag and short hash by its commit, shown as a diff; --out FILE copies.

    Of an export, a pack, a workflow or a document at an address a pinned copy is written.
    """
    from comfykiln.cli import documents

    documents.snapshot_pin(file, git_mirror, ref=ref, out=out, write=write, as_json=json)


@task_on("a", "b")
def snapshot_diff(
    _: Context,
    a: str,
    b: str,
    *,
    format: str = "text",  # noqa: A002  # the flag's name
    git_mirror: str | None = None,
) -> None:
    """Show what changed between two documents (--format text, markdown, json)."""
    from comfykiln.cli import documents

    documents.snapshot_diff(a, b, format, git_mirror)


@task_on("ref")
def snapshot_save(
    _: Context, ref: str, *, out: str | None = None, folder: str = "", json: bool = False
) -> None:
    """Write the snapshot of what is really on disk in a container or an image."""
    from comfykiln.cli import documents

    documents.snapshot_save(ref, out, folder=folder, as_json=json)


@task_on("file")
def manifest_check(_: Context, file: str, *, json: bool = False) -> None:
    """Check a migration manifest 1.0; every fault with its place."""
    from comfykiln.cli import manifest

    manifest.manifest_check(file, as_json=json)


@task_on("file")
def manifest_commands(
    _: Context, file: str, *, platform: str = "", torch_backend: str = "", json: bool = False
) -> None:
    """Print the uv and git commands that make what a manifest describes."""
    from comfykiln.cli import manifest

    manifest.manifest_commands(file, as_json=json, platform=platform, torch_backend=torch_backend)


@task_on("file")
def manifest_minimize(_: Context, file: str, *, out: str = "") -> None:
    """Write the smallest manifest that says the same."""
    from comfykiln.cli import manifest

    manifest.manifest_minimize(file, out=out)


@task_on("source")
def manifest_capture(
    _: Context,
    source: str,
    *,
    out: str = "comfyui_migration.json",
    packages: str = "direct",
    folder: str = "",
    json: bool = False,
) -> None:
    """Write the manifest of what is really in a folder, a container or an image."""
    from comfykiln.cli import manifest

    manifest.manifest_capture(source, out=out, packages=packages, folder=folder, as_json=json)


@task
def models_lock(
    _: Context, *, image: str | None = None, check: bool = False, upgrade: str = ""
) -> None:
    """Write models.lock; --check exits 4 when it does not fit, --upgrade NAME asks again."""
    from comfykiln.cli import models

    models.lock(ROOT, image, upgrade, check=check)


@task
def models_fetch(
    _: Context,
    *,
    image: str | None = None,
    to: str | None = None,
    only: str = "",
    models: str = "all",
    json: bool = False,
) -> None:
    """Bring the locked models into the store, verified; --to DIR copies them into a folder."""
    from comfykiln.cli import models as commands

    commands.fetch(ROOT, image, to, only, models, as_json=json)


@task
def models_list(_: Context, *, image: str | None = None, json: bool = False) -> None:
    """List every model with its size, source, licence and where it is used."""
    from comfykiln.cli import models

    models.list_models(ROOT, image, as_json=json)


@task_on("document")
def models_add_from(
    _: Context, document: str, *, image: str | None = None, json: bool = False
) -> None:
    """Take the models that a workflow, an export tarball or another document names."""
    from comfykiln.cli import models

    models.add_from(ROOT, image, document, as_json=json)


@task
def models_add_source(
    _: Context, *, image: str | None = None, name: str | None = None, source: str | None = None
) -> None:
    """Add a source to a model, or ask for one for every model that has none."""
    from comfykiln.cli import models

    models.add_source(ROOT, image, name, source)


@task
def models_push(
    _: Context,
    *,
    image: str | None = None,
    ref: str | None = None,
    models: str = "all",
    store: bool = True,
    json: bool = False,
) -> None:
    """Push the models alone, as an OCI artifact that Kubernetes mounts as an image volume."""
    from comfykiln.cli import push

    push.push(ROOT, image, ref, models, keep=store, as_json=json)


def _collection(name: str, default: str | None = None, **tasks: Task[Any]) -> Collection:
    made = Collection(name)
    for word, entry in tasks.items():
        made.add_task(entry, name=word, default=word == default)
    return made


ns = Collection(doctor, plan, render, build, run, verify, test, lint)
ns.add_collection(_collection("lock", "make", make=lock, check=lock_check))
ns.add_collection(
    _collection(
        "snapshot",
        check=snapshot_check,
        convert=snapshot_convert,
        pin=snapshot_pin,
        diff=snapshot_diff,
        save=snapshot_save,
    )
)
ns.add_collection(
    _collection(
        "manifest",
        check=manifest_check,
        commands=manifest_commands,
        minimize=manifest_minimize,
        capture=manifest_capture,
    )
)
ns.add_collection(
    _collection(
        "models",
        lock=models_lock,
        fetch=models_fetch,
        list=models_list,
        add_source=models_add_source,
        add_from=models_add_from,
        push=models_push,
    )
)
