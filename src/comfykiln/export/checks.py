"""Looks at everything that is to be exported, before anything is made of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from comfykiln.errors import DocumentError
from comfykiln.parsing.tarballs import name_fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from comfykiln.export.records import ExportInput

CREDENTIALS: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s\"'@]+:[^/\s\"'@]+@", re.IGNORECASE)
_TAG_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


def check(what: ExportInput) -> None:
    """Raise `DocumentError` with every fault of `what`."""
    faults = [*_names(what), *_pins(what), *_nodes(what), *_workflows(what), *_models(what)]
    if faults:
        raise DocumentError(
            f"{what.image}-{what.target}-{what.tag} cannot be exported",
            faults=sorted(faults),
            remedy="fix each of these; nothing was written",
        )


def requirement_faults(lines: Iterable[str], place: str) -> Iterator[str]:
    """Yield a fault for each line that is no requirement by the packaging standards."""
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415  # slow start

    for line in lines:
        try:
            Requirement(line)
        except InvalidRequirement as error:
            detail = str(error).split("\n", 1)[0]
            yield f"{place}: {line!a} is no requirement: {detail}"


def _names(what: ExportInput) -> Iterator[str]:
    for field in ("image", "target", "tag"):
        if not _TAG_PART.fullmatch(value := getattr(what, field)):
            yield f"{field}: {value!a} cannot be part of an image tag"
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", what.image_digest):
        yield f"image_digest: {what.image_digest!a} is not sha256: and 64 hex digits"
    if not re.fullmatch(r"3\.[0-9]+", what.python):
        yield f"python: {what.python!a} is no minor version such as 3.13"
    if not _COMMIT.fullmatch(what.comfyui_commit):
        yield f"comfyui_commit: {what.comfyui_commit!a} is not 40 hex digits"
    if not what.comfyui_version:
        yield "comfyui_version: is empty"
    if what.epoch < 0:
        yield f"epoch: {what.epoch} lies before 1970"


def _pins(what: ExportInput) -> Iterator[str]:
    yield from requirement_faults(what.dependencies, "dependencies")
    pins = [*what.locked, *(f"{name}=={version}" for name, version in what.torch.items())]
    yield from requirement_faults(pins, "locked")
    yield from (f"locked: {pin!a} has no exact version" for pin in what.locked if "==" not in pin)
    if not what.torch:
        yield "torch: names no package"
    if what.torch_index and CREDENTIALS.match(what.torch_index):
        yield "torch_index: holds a password; name the public index"
    if any("+" in version for version in what.torch.values()) and not what.torch_index:
        yield "torch_index: is needed, for torch carries a local version tag"


def _nodes(what: ExportInput) -> Iterator[str]:
    names = [node.name for node in what.nodes]
    yield from (f"nodes.{name}: occurs twice" for name in {n for n in names if names.count(n) > 1})
    for node in what.nodes:
        place = f"nodes.{node.name}"
        if "/" in node.name or name_fault(node.name):
            yield f"{place}: {node.name!a} is no folder name"
        if node.source == "git" and not _COMMIT.fullmatch(node.commit or ""):
            yield f"{place}.commit: {node.commit!a} is not 40 hex digits"
        if node.source == "registry" and not node.version:
            yield f"{place}.version: is needed for a node of the registry"
        yield from requirement_faults(node.requirements, f"{place}.requirements")
    development = {node.name for node in what.nodes if node.source == "development"}
    for name in sorted(development - what.dev_nodes.keys()):
        yield f"nodes.{name}: a development node without a folder in dev_nodes"
    for name in sorted(what.dev_nodes.keys() - development):
        yield f"dev_nodes.{name}: no development node of that name in nodes"


def _workflows(what: ExportInput) -> Iterator[str]:
    for name, data in what.workflows.items():
        place = f"workflows/{name}"
        if "/" in name or not name.endswith(".json") or name_fault(name):
            yield f"{place}: {name!a} is no plain file name that ends with .json"
        try:
            json.loads(data)
        except (ValueError, RecursionError) as error:
            yield f"{place}: not JSON: {error}"


def _models(what: ExportInput) -> Iterator[str]:
    for model in what.models:
        place = f"models.{model.filename}"
        if not re.fullmatch(r"[0-9a-f]{64}", model.sha256):
            yield f"{place}.sha256: {model.sha256!a} is not 64 hex digits"
        if fault := name_fault(model.relative_path):
            yield f"{place}.relative_path: {model.relative_path!a} {fault}"
        if any(CREDENTIALS.match(source) for source in model.sources):
            yield f"{place}.sources: an address holds a password"
        for name in sorted(set(model.used_by) - what.workflows.keys()):
            yield f"{place}.used_by: there is no workflow {name!a}"
