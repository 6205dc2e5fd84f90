"""From a verified build to its export tarball in dist/."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from comfykiln import locking
from comfykiln.git.command import without_git
from comfykiln.locking.lockfiles import stand_ins_in
from comfykiln.network.indexes import step_environment
from comfykiln.system import console

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from comfykiln.export.records import ExportInput, ExportModel, ExportNode
    from comfykiln.models.records import LockedModel
    from comfykiln.models.selection import ModelSet
    from comfykiln.network.indexes import IndexSettings
    from comfykiln.plan.origins import ComfyUISpec
    from comfykiln.plan.plan import BuildPlan
    from comfykiln.verify.gathered import Gathered


def export_build(
    root: Path,
    plan: BuildPlan,
    gathered: Gathered,
    receipt: Mapping[str, Any],
    *,
    tag: str,
    digest: str,
    settings: IndexSettings,
    models: ModelSet,
) -> Path:
    """Write `dist/<image>-<target>-<tag>.tar.gz` with its `.sha256`, and return its path."""
    from comfykiln.export.tarball import export_tarball  # noqa: PLC0415  # tomlkit, where it is used

    what = _input(plan, gathered, receipt, models, tag=tag, digest=digest)
    environment = without_git(dict(os.environ)) | step_environment(settings)
    if settings.ca_bundle is not None:
        environment["SSL_CERT_FILE"] = str(settings.ca_bundle)
    done = export_tarball(what, root / "dist", cache=root / ".kiln" / "locks", uv_env=environment)
    state = "written" if done.changed else "unchanged"
    console.note(f"{done.path.relative_to(root)} {state}: {done.size} bytes, sha256 {done.sha256}")
    return done.path


def _input(
    plan: BuildPlan,
    gathered: Gathered,
    receipt: Mapping[str, Any],
    models: ModelSet,
    *,
    tag: str,
    digest: str,
) -> ExportInput:
    from comfykiln.export.records import ExportInput, ExportNode  # noqa: PLC0415  # as above

    packages = gathered.expectation.packages
    local = plan.service.local_nodes
    return ExportInput(
        image=plan.service.name,
        target=plan.target.name,
        tag=tag,
        image_digest=digest,
        comfyui_version=plan.service.comfyui,
        comfyui_commit=plan.comfyui.commit,
        comfyui_repository=_repository(plan.comfyui),
        python=plan.service.python,
        torch=dict(line.split("==") for line in gathered.torch.requirements),
        torch_backend=plan.target.torch.local,
        torch_index=plan.target.torch.index,
        dependencies=_dependencies(plan, gathered),
        locked=[f"{name}=={version}" for name, version in sorted(packages.items())],
        epoch=plan.epoch,
        receipt=receipt,
        nodes=[
            *(ExportNode(name=pack.name, source="development") for pack in local),
            *_nodes(gathered),
        ],
        dev_nodes={pack.name: pack for pack in local},
        overrides=_overrides(plan),
        models=[
            *(_model(model, in_image=True) for model in models.inside),
            *(_model(model, in_image=False) for model in models.intents),
        ],
    )


def _nodes(gathered: Gathered) -> Iterator[ExportNode]:
    """Yield the nodes from outside with their pins and with the lines that the solve got.

    A disabled node is left out: the layout has no word for it.
    """
    from comfykiln.export.records import ExportNode  # noqa: PLC0415  # as above

    lines = gathered.lines.requirements
    for node in gathered.nodes.git:
        if not node.pin.disabled:
            yield ExportNode(
                name=node.directory,
                source="git",
                repository=node.pin.url,
                commit=node.pin.commit,
                requirements=_released(lines, node.directory),
            )
    for archive in gathered.nodes.archives:
        if archive.pin.registry_id and not archive.pin.disabled:
            yield ExportNode(
                name=archive.directory,
                source="registry",
                registry_id=archive.pin.registry_id,
                version=archive.pin.version,
                download_url=archive.url or None,
                requirements=_released(lines, archive.directory),
            )


def _released(lines: Mapping[str, str], node: str) -> list[str]:
    """Return the node's lines but those that want a package from git.

    Whoever locks again would need that repository; the receipt names it with its commit.
    """
    text = lines.get(f"nodes/{node}.txt", "")
    return [line for line in text.splitlines() if "git+" not in line]


def _overrides(plan: BuildPlan) -> list[str]:
    """Return what replaces or leaves out packages in the image, as uv reads it."""
    service = plan.service
    out = {*service.drop, *stand_ins_in(service.package_lock, plan.target.stand_ins)}
    gone = [f"{name}; python_version < '0'" for name in out if NAME.fullmatch(name)]
    return [*(entry.requirement for entry in service.overrides), *gone]


def _model(model: LockedModel, *, in_image: bool) -> ExportModel:
    """Return the model with its place, its digest and every source, in the image or not."""
    from comfykiln.export.records import ExportModel  # noqa: PLC0415  # as above

    category, _, filename = model.destination.rpartition("/")
    return ExportModel(
        filename=filename,
        category=category.partition("/")[0] or "models",
        relative_path=model.destination,
        sha256=model.sha256,
        size=model.size,
        sources=tuple(source.url for source in model.sources),
        criticality=model.criticality,
        in_image=in_image,
    )


def _dependencies(plan: BuildPlan, gathered: Gathered) -> list[str]:
    """Return ComfyUI's own requirement lines without the torch family."""
    lines = locking.requirement_lines(gathered.comfyui / "requirements.txt").splitlines()
    return [line for line in lines if line not in plan.target.torch.versions]


def _repository(spec: ComfyUISpec) -> str:
    """Return where the release's commit can be fetched from: its first git origin."""
    from comfykiln.plan.origins import GitOrigin  # noqa: PLC0415  # as above

    return next(origin.url for origin in spec.origins if isinstance(origin, GitOrigin))
