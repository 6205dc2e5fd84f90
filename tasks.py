"""The tasks of comfykiln: a table of contents, no logic."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parent.resolve()
sys.path.insert(0, str(ROOT / "src"))

# ruff: noqa: E402  # the package lies beside this file, and any other invoke ends here
from comfykiln.cli.handover import hand_over

hand_over(ROOT)

from invoke import Collection

from comfykiln.cli.program import KilnTask, task

if TYPE_CHECKING:
    from comfykiln.cli import options


@task
def doctor(given: options.Json) -> None:
    """Say what this machine can build and run, and how to fix what it cannot."""
    from comfykiln.cli import doctor

    doctor.doctor(as_json=given.json)


@task
def plan(given: options.Plan) -> None:
    """Show what a build would make, without fetching or building anything."""
    from comfykiln.cli import build

    build.show_plan(ROOT, given)


@task
def render(given: options.Render) -> None:
    """Write the Dockerfiles and the bake file under images/."""
    from comfykiln.cli import build

    build.render_files(ROOT, check=given.check)


@task
def lock(given: options.Lock) -> None:
    """Solve the image's packages once for all targets."""
    from comfykiln.cli import build

    build.lock(ROOT, given.image, given.git_mirror, given.upgrade, ca_bundle=given.ca_bundle)


@task
def lock_check(given: options.LockCheck) -> None:
    """Exit 4 when the image's lock was made from other inputs than it has now."""
    from comfykiln.cli import build

    build.check_lock(ROOT, given.image, given.git_mirror, ca_bundle=given.ca_bundle)


@task
def build(given: options.Build) -> None:
    """Build one image, verify it, tag it and write its export tarball to dist/."""
    from comfykiln.cli import build

    build.build(ROOT, given)


@task
def run(given: options.Run) -> None:
    """Run a built image with the devices, port, volumes and stored models of its target."""
    from comfykiln.cli import build

    build.run(ROOT, given)


@task
def verify(given: options.Verify) -> None:
    """Start a built image without a network and hold its answers against its receipt."""
    from comfykiln.cli import build

    build.verify_image(given.ref, as_json=given.json)


@task
def test(given: options.Test) -> None:
    """Run lint and all tests, or one tier alone."""
    from comfykiln.cli import checks

    checks.run_tests(given.tier)


@task
def lint(_: options.NoOptions) -> None:
    """Check style, types, Dockerfiles, scripts, workflows and data files."""
    from comfykiln.cli import checks

    checks.run_lint()


@task
def snapshot_check(given: options.DocumentCheck) -> None:
    """Check any document of an environment; every fault with its place, then advice."""
    from comfykiln.cli import documents

    documents.snapshot_check(given.file, as_json=given.json)


@task
def snapshot_convert(given: options.SnapshotConvert) -> None:
    """Write a document as another kind."""
    from comfykiln.cli import documents

    documents.snapshot_convert(given)


@task
def snapshot_pin(given: options.SnapshotPin) -> None:
    """Replace every branch, tag and short hash by its commit, in the document or in a copy."""
    from comfykiln.cli import documents

    documents.snapshot_pin(
        given.file, given.git_mirror, given.ref, given.out, write=given.write, as_json=given.json
    )


@task
def snapshot_diff(given: options.SnapshotDiff) -> None:
    """Show what changed between two documents."""
    from comfykiln.cli import documents

    documents.snapshot_diff(given.a, given.b, given.format, given.git_mirror)


@task
def snapshot_save(given: options.SnapshotSave) -> None:
    """Write the snapshot of what is really on disk in a container or an image."""
    from comfykiln.cli import documents

    documents.snapshot_save(given.ref, given.out, folder=given.folder, as_json=given.json)


@task
def manifest_check(given: options.DocumentCheck) -> None:
    """Check a migration manifest 1.0; every fault with its place."""
    from comfykiln.cli import manifest

    manifest.manifest_check(given.file, as_json=given.json)


@task
def manifest_commands(given: options.ManifestCommands) -> None:
    """Print the uv and git commands that make what a manifest describes."""
    from comfykiln.cli import manifest

    manifest.manifest_commands(
        given.file,
        as_json=given.json,
        platform=given.platform,
        torch_backend=given.torch_backend,
    )


@task
def manifest_minimize(given: options.ManifestMinimize) -> None:
    """Write the smallest manifest that says the same."""
    from comfykiln.cli import manifest

    manifest.manifest_minimize(given.file, out=given.out)


@task
def manifest_capture(given: options.ManifestCapture) -> None:
    """Write the manifest of what is really in a folder, a container or an image."""
    from comfykiln.cli import manifest

    manifest.manifest_capture(
        given.source, given.out, packages=given.packages, folder=given.folder, as_json=given.json
    )


@task
def models_lock(given: options.ModelsLock) -> None:
    """Write models.lock: what each model of models.yaml is, and where it comes from."""
    from comfykiln.cli import models

    models.lock(ROOT, given.image, given.upgrade, check=given.check, ca_bundle=given.ca_bundle)


@task
def models_fetch(given: options.ModelsFetch) -> None:
    """Bring the locked models into the store, verified."""
    from comfykiln.cli import models

    chosen = (given.image, given.to, given.only, given.models)
    models.fetch(ROOT, *chosen, as_json=given.json, ca_bundle=given.ca_bundle)


@task
def models_list(given: options.ModelsList) -> None:
    """List every model with its size, source, licence and where it is used."""
    from comfykiln.cli import models

    models.list_models(ROOT, given.image, as_json=given.json)


@task
def models_add_from(given: options.ModelsAddFrom) -> None:
    """Take the models that a workflow, an export tarball or another document names."""
    from comfykiln.cli import models

    models.add_from(ROOT, given.image, given.document, as_json=given.json)


@task
def models_add_source(given: options.ModelsAddSource) -> None:
    """Add a source to a model, or ask for one for every model that has none."""
    from comfykiln.cli import models

    models.add_source(ROOT, given.image, given.name, given.source)


@task
def models_push(given: options.ModelsPush) -> None:
    """Push the models alone, as an OCI artifact that Kubernetes mounts as an image volume."""
    from comfykiln.cli import push

    push.push(ROOT, given)


def _collection(name: str, default: str | None = None, **tasks: KilnTask) -> Collection:
    group = Collection(name)
    for word, entry in tasks.items():
        group.add_task(entry, name=word, default=word == default)
    return group


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
