"""An `Environment` as an export tarball: the peers' layout, and the record that loses nothing."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from comfykiln.documents.export import models, nodes, packages, record
from comfykiln.documents.export.files import is_member
from comfykiln.documents.export.layout import KIND, PACKAGES, PROJECT, PYTHON, RECORD
from comfykiln.documents.export.project import PROJECT_EXTRAS
from comfykiln.documents.formats import Written
from comfykiln.errors import DocumentError
from comfykiln.parsing.fields import put_extras
from comfykiln.parsing.tarballs import write_members

if TYPE_CHECKING:
    from comfykiln.environment import ComfyUISpec, Environment

EPOCH = 315_532_800
"""1980-01-01: the time of every file, unless SOURCE_DATE_EPOCH says another."""


def write(environment: Environment) -> Written:
    """Return `environment` as an export tarball; equal environments give equal bytes.

    Peers read `pyproject.toml` and what lies beside it; `environment.json` keeps what they have
    no place for.
    """
    members = members_of(environment)
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH))
    executable = [
        attachment.path for attachment in environment.attachments if attachment.executable
    ]
    data = write_members(
        members, epoch, executable=[entry for entry in executable if entry in members]
    )
    return Written(
        kind=KIND, filename=f"{_fit(environment.name or 'environment')}.tar.gz", data=data
    )


def members_of(environment: Environment) -> dict[str, bytes]:
    """Return the files of the export. Raises `DocumentError` when two would have one name."""
    import tomlkit  # noqa: PLC0415  # only exports are TOML

    members = {PROJECT: tomlkit.dumps(_project(environment)).encode()}
    if environment.system.python:
        members[PYTHON] = f"{environment.system.python}\n".encode()
    if config := packages.config_table(environment):
        members[PACKAGES] = tomlkit.dumps(config).encode()
    for attachment in environment.attachments:
        if is_member(attachment.path):
            members[attachment.path] = attachment.data
    for workflow in environment.workflows:
        path = models.path_of(workflow)
        if path in members:
            raise DocumentError(
                f"two files of the export would be {path}", remedy="rename one of the workflows"
            )
        members[path] = workflow.data
    members[RECORD] = record.write(environment, members)
    return members


def _project(environment: Environment) -> dict[str, Any]:
    python = environment.system.python
    project: dict[str, Any] = {
        "name": f"comfydock-env-{_fit(environment.name or 'environment')}",
        "requires-python": environment.system.requires_python
        or (f">={'.'.join(python.split('.')[:2])}" if python else None),
        "dependencies": packages.dependencies_of(environment),
    }
    put_extras(project, environment.extras, PROJECT_EXTRAS)
    project.setdefault("version", "0.1.0")
    document = {
        "project": {key: value for key, value in project.items() if value is not None},
        "tool": {
            "comfydock": _comfydock(environment),
            "uv": packages.uv_table(environment),
        },
        "dependency-groups": packages.groups_of(environment),
    }
    return {key: value for key, value in document.items() if value}


def _comfydock(environment: Environment) -> dict[str, Any]:
    keys = {node.name: node.identifier or node.name for node in environment.nodes}
    comfyui = environment.comfyui
    table: dict[str, Any] = {
        "comfyui_version": comfyui.version or comfyui.branch or comfyui.wanted,
        "comfyui_version_type": _version_type(comfyui),
        "comfyui_commit_sha": comfyui.commit,
        "comfyui_repository": comfyui.repository,
        "python_version": environment.system.python,
        "torch_backend": environment.torch.backend,
        "manifest_state": environment.metadata.state or "exportable",
        "nodes": nodes.node_tables(environment.nodes),
        "workflows": models.workflow_tables(environment.workflows, environment.models, keys),
        "models": models.model_tables(environment.models),
    }
    put_extras(table, environment.extras, KIND)
    return {key: value for key, value in table.items() if value not in (None, {})}


def _version_type(comfyui: ComfyUISpec) -> str | None:
    if comfyui.version:
        return "release"
    if comfyui.branch:
        return "branch"
    return "commit" if comfyui.wanted else None


def _fit(name: str) -> str:
    """Return a name that a package and a file may have."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "environment"
