"""The tasks of comfykiln: a table of contents, no logic."""

from __future__ import annotations

import sys
from pathlib import Path

from invoke import Collection, Context

ROOT = Path(__file__).parent.resolve()
sys.path.insert(0, str(ROOT / "src"))

from comfykiln.cli import task  # noqa: E402  # the package lies beside this file, not installed


@task
def doctor(_: Context, *, json: bool = False) -> None:
    """Say what this machine can build and run, and how to mend what it cannot."""
    from comfykiln import doctor as the_doctor

    the_doctor.doctor(as_json=json)


@task
def plan(
    _: Context, *, target: str | None = None, image: str | None = None, json: bool = False
) -> None:
    """Show what a build would make, without fetching or building anything."""
    from comfykiln import commands

    commands.show_plan(ROOT, target, image, as_json=json)


@task
def render(_: Context, *, check: bool = False) -> None:
    """Write the Dockerfiles and the bake file under images/; --check exits 4 when they drifted."""
    from comfykiln import commands

    commands.render_files(ROOT, check=check)


@task
def lock(_: Context, *, image: str = "core", git_mirror: str | None = None) -> None:
    """Solve the image's packages once for all targets and write its hashed locks."""
    from comfykiln import commands

    commands.lock(ROOT, image, git_mirror)


@task
def lock_check(_: Context, *, image: str = "core", git_mirror: str | None = None) -> None:
    """Exit 4 when the image's lock was made from other inputs than it has now."""
    from comfykiln import commands

    commands.check_lock(ROOT, image, git_mirror)


@task
def build(
    _: Context,
    *,
    target: str | None = None,
    image: str | None = None,
    tag: str | None = None,
    origins: str = "any",
    git_mirror: str | None = None,
    ca_bundle: str | None = None,
    export: bool = True,
    json: bool = False,
) -> None:
    """Build one image, verify it, tag it and write its export tarball to dist/."""
    from comfykiln import commands

    commands.build(
        ROOT, target, image, tag, origins, git_mirror, ca_bundle, export=export, as_json=json
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
    """Run a built image with the devices, port and volumes of its target."""
    from comfykiln import commands

    commands.run(ROOT, target, image, tag, port, models)


@task
def verify(_: Context, *, ref: str | None = None, json: bool = False) -> None:
    """Start a built image without a network and hold its answers against its receipt."""
    from comfykiln import commands

    commands.verify_image(ref, as_json=json)


@task
def test(_: Context, *, tier: str | None = None) -> None:
    """Run lint and all tests, or one tier: unit, engine, real."""
    from comfykiln import quality

    quality.run_tests(tier)


@task
def lint(_: Context) -> None:
    """Check style, types, Dockerfiles, scripts, workflows and data files."""
    from comfykiln import quality

    quality.run_lint()


ns = Collection(doctor, plan, render, build, run, verify, test, lint)
locking = Collection("lock")
locking.add_task(lock, name="make", default=True)
locking.add_task(lock_check, name="check")
ns.add_collection(locking)
