"""Writes the `pyproject.toml` of an export in the form that comfydock reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from comfykiln.system.files import sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from comfykiln.export.records import ExportInput, ExportModel, ExportNode

IMAGE_GROUP: Final = "image"
_FLOOR: Final = (3, 11)


def render(what: ExportInput, *, constraints: Sequence[str], extra: Sequence[str]) -> str:
    """Return the text of `pyproject.toml`.

    `constraints` bound the solve; `extra` are pins of packages that are in the image though no
    requirement asks for them, and become the dependency group `image`.
    """
    import tomlkit  # noqa: PLC0415  # keeps `invoke --list` fast

    solve = solve_tables(what, constraints=constraints, extra=extra)
    document = tomlkit.document()
    document["project"] = solve["project"]
    if solve["dependency-groups"]:
        document["dependency-groups"] = solve["dependency-groups"]
    document["tool"] = {"comfydock": _comfydock(what), "uv": solve["uv"]}
    text: str = tomlkit.dumps(_multiline(document))
    return text


def solve_tables(
    what: ExportInput, *, constraints: Sequence[str], extra: Sequence[str]
) -> dict[str, Any]:
    """Return the tables that decide what uv writes into `uv.lock`."""
    return {
        "project": _project(what),
        "dependency-groups": _groups(what.nodes, extra),
        "uv": _uv(what, constraints),
    }


def torch_constraints(what: ExportInput) -> list[str]:
    """Return the pins of the torch family, the only ones that an importer takes out again."""
    return [f"{name}=={version}" for name, version in sorted(what.torch.items())]


def group_name(node: str) -> str:
    """Return the dependency group of a node: its name made fit, and 8 hex digits of the name."""
    fit = re.sub(r"[^a-z0-9]+", "-", node.lower()).strip("-") or "node"
    return f"{fit}-{sha256(node.encode())[:8]}"


def _project(what: ExportInput) -> dict[str, Any]:
    """Return `[project]`; any Python from the toolkit's floor on may lock it, see `_uv`."""
    lowest = min(_FLOOR, tuple(int(part) for part in what.python.split(".")))
    return {
        "name": f"comfykiln-{what.image}",
        "version": "0",
        "requires-python": ">=" + ".".join(str(part) for part in lowest),
        "dependencies": sorted([*what.dependencies, *what.torch], key=str.lower),
    }


def _groups(nodes: Iterable[ExportNode], extra: Sequence[str]) -> dict[str, Any]:
    groups = {group_name(node.name): list(node.requirements) for node in nodes if node.requirements}
    if extra:
        groups[IMAGE_GROUP] = list(extra)
    return dict(sorted(groups.items()))


def _comfydock(what: ExportInput) -> dict[str, Any]:
    workflows = {name.removesuffix(".json"): _workflow(what, name) for name in what.workflows}
    tables = {
        "nodes": {node.name: _node(node) for node in sorted(what.nodes, key=lambda n: n.name)},
        "workflows": dict(sorted(workflows.items())),
        "models": {_key(model): _model(model) for model in what.models},
    }
    return {
        "comfyui_version": what.comfyui_version,
        "comfyui_version_type": _version_type(what.comfyui_version),
        "comfyui_commit_sha": what.comfyui_commit,
        "comfyui_repository": what.comfyui_repository,
        "python_version": what.python,
        "torch_backend": what.torch_backend,
        "manifest_state": "exportable",
        **{name: table for name, table in tables.items() if table},
    }


def _version_type(version: str) -> str:
    if re.fullmatch(r"v\d.*", version):
        return "release"
    return "commit" if re.fullmatch(r"[0-9a-f]{40}", version) else "branch"


def _node(node: ExportNode) -> dict[str, Any]:
    version = {"git": node.commit, "registry": node.version, "development": "dev"}[node.source]
    return _without_none({
        "name": node.name,
        "version": version,
        "source": node.source,
        "registry_id": node.registry_id,
        "repository": node.repository,
        "download_url": node.download_url,
    })  # fmt: skip


def _workflow(what: ExportInput, name: str) -> dict[str, Any]:
    uses = [_use(model) for model in what.models if name in model.used_by]
    return _without_none({"path": f"workflows/{name}", "models": uses or None})


def _use(model: ExportModel) -> dict[str, Any]:
    return {
        "filename": model.filename,
        "category": model.category,
        "criticality": model.criticality,
        "status": "resolved" if model.in_image else "unresolved",
        "nodes": [],
        "hash": _key(model),
        "relative_path": model.relative_path,
        **({} if model.in_image else {"sources": list(model.sources)}),
    }


def _model(model: ExportModel) -> dict[str, Any]:
    return {
        "filename": model.filename,
        "size": model.size,
        "relative_path": model.relative_path,
        "category": model.category,
        "sha256": model.sha256,
        **({"sources": list(model.sources)} if model.sources else {}),
    }


def _key(model: ExportModel) -> str:
    """Return 16 hex digits that name the model within this document: the start of its sha256."""
    return model.sha256[:16]


def _uv(what: ExportInput, constraints: Sequence[str]) -> dict[str, Any]:
    """Return `[tool.uv]`: the solve is for the image's Python alone, on every platform.

    `environments` says so rather than `requires-python`, for uv locks only with an interpreter
    that fits the latter, and the machine that exports need not have the image's Python.
    """
    settings: dict[str, Any] = {
        "default-groups": "all",
        "environments": [f"python_version == '{what.python}'"],
        "constraint-dependencies": list(constraints),
    }
    if what.overrides:
        settings["override-dependencies"] = sorted(what.overrides)
    if what.pinned_index is None:
        return settings
    name = f"pytorch-{what.torch_backend}"
    return {
        **settings,
        "index": [{"name": name, "url": what.pinned_index, "explicit": True}],
        "sources": {package: {"index": name} for package in sorted(what.torch)},
    }


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _multiline(container: Any) -> Any:
    """Put each member of a list of texts on a line of its own, so that a diff shows it alone."""
    from tomlkit.items import Array  # noqa: PLC0415  # keeps `invoke --list` fast

    for value in container.values():
        if isinstance(value, Array) and len(value) > 1:
            value.multiline(multiline=True)
        elif isinstance(value, dict):
            _multiline(value)
    return container
