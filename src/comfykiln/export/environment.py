"""What is exported, as the `Environment` that every writer of documents takes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from comfykiln.documents.export.packages import UV_EXTRAS, is_requirement
from comfykiln.documents.export.project import PROJECT_EXTRAS
from comfykiln.documents.manifest.read import comfyui_spec
from comfykiln.environment import (
    Digest,
    Environment,
    Extra,
    Index,
    Metadata,
    Model,
    ModelSource,
    ModelUse,
    Node,
    Package,
    Resolution,
    SystemSpec,
    TorchSpec,
    Workflow,
)
from comfykiln.parsing.faults import Faults
from comfykiln.parsing.requirements import parse_line
from comfykiln.system.files import sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from comfykiln.export.records import ExportInput, ExportModel, ExportNode

IMAGE_GROUP: Final = "image"
PREFIX: Final = "comfykiln"
"""What the project's name begins with; peers begin theirs with their own."""
_FLOOR: Final = (3, 11)


def environment_of(
    what: ExportInput, *, bounds: Sequence[str] = (), extra: Sequence[str] = ()
) -> Environment:
    """Return the environment of an image.

    `bounds` are pins that bound the solve beside those of the torch family, which an importer takes
    out again; `extra` are pins of packages that are in the image though no requirement asks for
    them, and become the dependency group `image`.
    """
    return Environment(
        name=what.image,
        comfyui=replace(
            comfyui_spec(what.comfyui_version),
            commit=what.comfyui_commit,
            repository=what.comfyui_repository,
        ),
        system=SystemSpec(python=what.python, requires_python=_requires_python(what.python)),
        torch=_torch(what),
        nodes=tuple(_node(node) for node in sorted(what.nodes, key=lambda node: node.name)),
        packages=tuple(_packages(what, extra)),
        models=tuple(_model(model) for model in what.models),
        workflows=tuple(
            Workflow(name=name.removesuffix(".json"), data=data, path=f"workflows/{name}")
            for name, data in sorted(what.workflows.items())
        ),
        indexes=_indexes(what),
        resolution=Resolution(constraints=tuple(bounds), overrides=tuple(sorted(what.overrides))),
        metadata=Metadata(state="exportable"),
        extras=tuple(_extras(what)),
    )


def group_name(node: str) -> str:
    """Return the dependency group of a node: its name made fit, and 8 hex digits of the name."""
    fit = re.sub(r"[^a-z0-9]+", "-", node.lower()).strip("-") or "node"
    return f"{fit}-{sha256(node.encode())[:8]}"


def _requires_python(python: str) -> str:
    """Return the range of Pythons that may lock it: any from the toolkit's floor on."""
    lowest = min(_FLOOR, tuple(int(part) for part in python.split(".")))
    return ">=" + ".".join(str(part) for part in lowest)


def _torch(what: ExportInput) -> TorchSpec:
    return TorchSpec(
        version=what.torch.get("torch"),
        backend=what.torch_backend,
        index_url=what.pinned_index,
        packages=tuple(
            Package(name=name, version=version) for name, version in sorted(what.torch.items())
        ),
    )


def _indexes(what: ExportInput) -> tuple[Index, ...]:
    if what.pinned_index is None:
        return ()
    name = f"pytorch-{what.torch_backend}"
    packages = tuple(sorted(what.torch))
    return (Index(url=what.pinned_index, name=name, explicit=True, packages=packages),)


def _extras(what: ExportInput) -> Iterable[Extra]:
    """Yield what no other document says: the solve is for the image's Python alone, everywhere.

    `environments` says so rather than `requires-python`, for uv locks only with an interpreter
    that fits the latter, and the machine that exports need not have the image's Python.
    """
    words: dict[tuple[str, str], Any] = {
        (PROJECT_EXTRAS, "version"): "0",
        (UV_EXTRAS, "default-groups"): "all",
        (UV_EXTRAS, "environments"): [f"python_version == '{what.python}'"],
    }
    for (kind, path), value in words.items():
        yield Extra(kind=kind, path=path, json=json.dumps(value))


def _packages(what: ExportInput, extra: Sequence[str]) -> Iterable[Package]:
    """Yield the environment's own requirements, then those of each group, in their order."""
    faults = Faults(what.file_name)
    groups: dict[str | None, Sequence[str]] = {
        group_name(node.name): node.requirements for node in what.nodes
    }
    if extra:
        groups[IMAGE_GROUP] = extra
    own = sorted([*what.dependencies, *what.torch], key=str.lower)
    for group, lines in ((None, own), *sorted(groups.items(), key=lambda item: item[0] or "")):
        for line in lines:
            package = parse_line(line, group or "dependencies", faults)
            if package is not None and is_requirement(package):
                yield replace(package, group=group)
            elif package is not None:
                faults.add(group or "dependencies", "export.requirement", f"{line!a} has no name")
    faults.stop()


def _node(node: ExportNode) -> Node:
    return Node(
        name=node.name,
        source=node.source,
        url=node.repository,
        commit=node.commit if node.source == "git" else None,
        version=node.version if node.source == "registry" else None,
        registry_id=node.registry_id,
        download_url=node.download_url,
    )


def _model(model: ExportModel) -> Model:
    return Model(
        filename=model.filename,
        paths=(f"models/{model.relative_path}",),
        category=model.category,
        size=model.size,
        digests=(Digest(algorithm="sha256", value=model.sha256),),
        sources=tuple(ModelSource(url=url) for url in model.sources),
        uses=tuple(
            ModelUse(
                workflow=name.removesuffix(".json"),
                criticality=model.criticality,
                status="resolved" if model.in_image else "unresolved",
            )
            for name in model.used_by
        ),
    )
