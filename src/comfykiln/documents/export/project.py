"""The pyproject.toml of an export, and the files beside it, as an `Environment`."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from comfykiln.documents.export import models, packages
from comfykiln.documents.export import nodes as export_nodes
from comfykiln.documents.export.files import (
    DEV_NODES,
    MANIFEST,
    PACKAGES,
    PROJECT,
    PYTHON,
    RECEIPT,
    RECORD,
    WORKFLOWS,
)
from comfykiln.documents.kinds import Kind
from comfykiln.documents.manifest.read import comfyui_spec
from comfykiln.environment import (
    Attachment,
    ComfyUISpec,
    Environment,
    Metadata,
    SystemSpec,
    is_commit,
)
from comfykiln.parsing import shape
from comfykiln.parsing.faults import Faults, FaultyDocumentError
from comfykiln.parsing.fields import Obj
from comfykiln.parsing.toml_reading import toml_value
from comfykiln.parsing.values import check_ref, check_repository, shown

if TYPE_CHECKING:
    from comfykiln.documents.export.files import Files

SCHEMA = "export"
PEERS = ("comfydock", "comfygit")
NEWEST_SCHEMA = 2
PROJECT_EXTRAS = f"{Kind.EXPORT}.project"
_OWN = (PROJECT, PYTHON, MANIFEST, RECEIPT, RECORD)
_KEYS = (
    *("schema_version", "comfyui_version", "comfyui_version_type", "comfyui_commit_sha"),
    *("comfyui_repository", "python_version", "torch_backend", "manifest_state"),
    *("nodes", "workflows", "models"),
)
_PREFIX = re.compile(r"(comfydock-env|comfygit-env|comfykiln)-")
_PYTHON = re.compile(r"[0-9]{1,2}\.[0-9]{1,3}(\.[0-9]{1,3})?")


def read(files: Files, faults: Faults) -> tuple[Environment, str]:
    """Return the environment and which peer's tables describe it; faults are added."""
    config = _toml(PACKAGES, files, faults)
    before = len(faults.records)
    root = _toml(PROJECT, files, faults)
    if len(faults.records) == before:
        shape.check(root.value, SCHEMA, faults, path=root.path)
    tool = root.obj("tool")
    peer = next((name for name in PEERS if name in tool), "")
    if not peer and len(faults.records) == before:
        faults.add(
            root.path,
            "export.table",
            "there is neither [tool.comfydock] nor [tool.comfygit]",
            expected="the pyproject.toml of an environment export",
            remedy="name an export of comfydock, comfygit or comfykiln",
        )
    if not peer or len(faults.records) > before:
        return Environment(), peer
    return _environment(root, tool.obj(peer), config, peer, files, faults), peer


def _toml(name: str, files: Files, faults: Faults) -> Obj:
    """Return a TOML file's value, an empty one where it is absent or faulty."""
    path = f"{name}: $"
    if name not in files.members:
        return Obj({}, path)
    try:
        return Obj(toml_value(files.members[name], faults.source), path)
    except FaultyDocumentError as error:
        faults.records += [
            replace(record, path=f"{name}: {record.path}") for record in error.records
        ]
        return Obj({}, path)


def _environment(
    root: Obj, table: Obj, config: Obj, peer: str, files: Files, faults: Faults
) -> Environment:
    uv = root.obj("tool").obj("uv")
    _check_schema_version(table, faults)
    code = {name.split("/")[1] for name in files.members if name.startswith(DEV_NODES)}
    nodes = export_nodes.read_nodes(table.obj("nodes"), code, faults)
    folders = {node.identifier or node.name: node.name for node in nodes}
    torch = packages.read_torch(uv, table.text("torch_backend"), faults)
    packages.check_resolution(uv, config, faults)
    project = root.obj("project")
    name = _PREFIX.sub("", project.text("name") or "", count=1)
    return Environment(
        name=name or None,
        comfyui=_comfyui(table, faults),
        system=SystemSpec(
            python=_python(table, files, faults), requires_python=project.text("requires-python")
        ),
        torch=torch,
        nodes=nodes,
        packages=packages.read_packages(root, faults),
        models=models.read_models(table.obj("models"), table.obj("workflows"), peer, faults),
        workflows=models.read_workflows(table.obj("workflows"), files.members, folders, faults),
        indexes=packages.read_indexes(uv, faults),
        resolution=packages.read_resolution(uv, config, torch),
        attachments=_attachments(files),
        metadata=Metadata(state=table.text("manifest_state")),
        extras=(
            *table.extras(Kind.EXPORT, _KEYS),
            *project.extras(PROJECT_EXTRAS, ("name", "dependencies", "requires-python")),
            *packages.read_extras(root, uv),
        ),
    )


def _check_schema_version(table: Obj, faults: Faults) -> None:
    version = table.whole("schema_version")
    if version is not None and version > NEWEST_SCHEMA:
        faults.add(
            f"{table.path}.schema_version",
            "export.schema-version",
            f"{version} is newer than this program knows",
            expected=f"at most {NEWEST_SCHEMA}",
            remedy="update comfykiln, or export with an older program",
        )


def _comfyui(table: Obj, faults: Faults) -> ComfyUISpec:
    """Return which ComfyUI is meant; what kind of name the version is may be left unsaid."""
    version, commit = table.text("comfyui_version"), table.text("comfyui_commit_sha")
    repository = table.text("comfyui_repository")
    for key, text in (("comfyui_version", version), ("comfyui_commit_sha", commit)):
        if text:
            check_ref(text, f"{table.path}.{key}", faults)
    if repository:
        check_repository(repository, f"{table.path}.comfyui_repository", faults)
    match table.text("comfyui_version_type"):
        case "release":
            found = ComfyUISpec(version=version)
        case "branch":
            found = ComfyUISpec(branch=version)
        case "commit" if version and not is_commit(version):
            found = ComfyUISpec(ref=version)
        case _:
            found = comfyui_spec(version) if version else ComfyUISpec()
    pinned = commit if is_commit(commit) else found.commit
    return replace(found, commit=pinned, repository=repository)


def _python(table: Obj, files: Files, faults: Faults) -> str | None:
    """Return the more exact one of the two places that name Python."""
    said = table.text("python_version")
    file = files.members.get(PYTHON, b"").decode("utf-8", "replace").strip() or None
    for text, path in ((said, f"{table.path}.python_version"), (file, PYTHON)):
        if text and not _PYTHON.fullmatch(text):
            faults.add(
                path,
                "export.python",
                f"{shown(text)} is no version of Python",
                expected="3.11 or 3.11.7",
                remedy="write the version alone",
            )
    if said and file and not (said.startswith(file) or file.startswith(said)):
        message = f"says {file}, {PROJECT} says {said}: the latter counts"
        faults.note(PYTHON, "export.python", message)
        return said
    return max(said or "", file or "", key=len) or None


def _attachments(files: Files) -> tuple[Attachment, ...]:
    """Return the files that travel along as they are."""
    return tuple(
        Attachment(path=name, data=data, executable=name in files.executable)
        for name, data in sorted(files.members.items())
        if name not in _OWN and not (name.startswith(WORKFLOWS) and name.endswith(".json"))
    )
