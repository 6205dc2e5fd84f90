"""An `Environment` as an export tarball: the peers' layout, and the record that loses nothing."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from comfykiln.documents.export import models, nodes, packages, record
from comfykiln.documents.export.files import PACKAGES, PROJECT, PYTHON, RECORD, is_member
from comfykiln.documents.export.project import PROJECT_EXTRAS
from comfykiln.documents.kinds import Kind, Written
from comfykiln.errors import DocumentError
from comfykiln.parsing.fields import put_extras
from comfykiln.parsing.tarballs import write_members

if TYPE_CHECKING:
    from comfykiln.environment import ComfyUISpec, Environment

EPOCH = 315_532_800
"""1980-01-01: the time of every file, unless SOURCE_DATE_EPOCH says another."""


PEER = "comfydock-env"
"""What the project's name begins with in the peers' exports."""


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
        kind=Kind.EXPORT, filename=f"{_fit(environment.name or 'environment')}.tar.gz", data=data
    )


def members_of(environment: Environment) -> dict[str, bytes]:
    """Return the files of a document's export, with the record that loses nothing."""
    members = plain_members(environment)
    members[RECORD] = record.written(environment, members)
    return members


def plain_members(environment: Environment, prefix: str = PEER) -> dict[str, bytes]:
    """Return the files that peers read. Raises `DocumentError` when two would have one name.

    `prefix` begins the project's name.
    """
    import tomlkit  # noqa: PLC0415  # only exports are TOML

    members = {PROJECT: project_text(environment, prefix).encode()}
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
    return members


def project_text(environment: Environment, prefix: str = PEER) -> str:
    """Return the text of `pyproject.toml`."""
    import tomlkit  # noqa: PLC0415  # only exports are TOML

    document = tomlkit.document()
    for name, table in project_tables(environment, prefix).items():
        document[name] = table
    text: str = tomlkit.dumps(_multiline(document))
    return text


def project_tables(environment: Environment, prefix: str = PEER) -> dict[str, Any]:
    """Return the tables of `pyproject.toml`, in their order."""
    tables = {
        "project": _project(environment, prefix),
        "dependency-groups": packages.groups_of(environment),
        "tool": {
            "comfydock": _comfydock(environment),
            "uv": packages.uv_table(environment),
        },
    }
    return {key: value for key, value in tables.items() if value}


def _project(environment: Environment, prefix: str) -> dict[str, Any]:
    python = environment.system.python
    table: dict[str, Any] = {"name": f"{prefix}-{_fit(environment.name or 'environment')}"}
    put_extras(table, environment.extras, PROJECT_EXTRAS)
    table.setdefault("version", "0.1.0")
    requires = environment.system.requires_python
    if requires is None and python:
        requires = f">={'.'.join(python.split('.')[:2])}"
    if requires is not None:
        table["requires-python"] = requires
    return {**table, "dependencies": packages.dependencies_of(environment)}


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
    put_extras(table, environment.extras, Kind.EXPORT)
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


def _multiline(container: Any) -> Any:
    """Put each member of a list of texts on a line of its own, so that a diff shows it alone."""
    from tomlkit.items import Array  # noqa: PLC0415  # only exports are TOML

    for value in container.values():
        if isinstance(value, Array) and len(value) > 1:
            value.multiline(multiline=True)
        elif isinstance(value, dict):
            _multiline(value)
    return container
