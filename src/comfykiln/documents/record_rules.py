"""Checks an environment that was read as a whole: its values are as untrusted as any document's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from comfykiln.documents.manifest.rules import REGISTRY_ID
from comfykiln.documents.modelpaths import model_path
from comfykiln.documents.variables import check_variable
from comfykiln.parsing import values
from comfykiln.parsing.requirements import line_of, parse_line
from comfykiln.parsing.schemes import check_model_url
from comfykiln.parsing.tarballs import name_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from comfykiln.environment import Environment, Model, Node, Package, PlatformOverride
    from comfykiln.parsing.faults import Faults

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+!<>=,*~-]*")


def check(environment: Environment, faults: Faults) -> None:
    """Add a fault for each value that no reader of a document would have let in."""
    _whole(environment, faults)
    for index, node in enumerate(environment.nodes):
        _node(node, f"$.nodes[{index}]", faults)
    for index, package in enumerate((*environment.packages, *environment.torch.packages)):
        _package(package, f"$.packages[{index}]", faults)
    for index, model in enumerate(environment.models):
        _model(model, f"$.models[{index}]", faults)
    for index, override in enumerate(environment.platform_overrides):
        _override(override, f"$.platform_overrides[{index}]", faults)
    for index, workflow in enumerate(environment.workflows):
        values.check_name(workflow.name.replace("/", "-"), f"$.workflows[{index}].name", faults)
    for index, attachment in enumerate(environment.attachments):
        if fault := name_fault(attachment.path):
            problem = f"{values.shown(attachment.path)}: the name {fault}"
            faults.add(f"$.attachments[{index}].path", "record.path", problem)
    names = [
        (node.name, f"$.nodes[{index}].name")
        for index, node in enumerate(environment.nodes)
        if node.source != "registry"
    ]
    values.check_names_differ(names, faults)


def _whole(environment: Environment, faults: Faults) -> None:
    comfyui, system, torch = environment.comfyui, environment.system, environment.torch
    for key in ("version", "commit", "branch", "ref"):
        _each(values.check_ref, [getattr(comfyui, key)], f"$.comfyui.{key}", faults)
    _each(values.check_repository, [comfyui.repository], "$.comfyui.repository", faults)
    words = {
        "$.system.python": system.python,
        "$.system.requires_python": system.requires_python,
        "$.system.cuda": system.cuda,
        "$.torch.version": torch.version,
        "$.torch.backend": torch.backend,
    }
    for path, word in words.items():
        _word(word, path, faults, lenient=path.endswith("requires_python"))
    addresses = [torch.index_url, *(index.url for index in environment.indexes)]
    for address in addresses:
        if address:
            values.check_url(address, "$.indexes", faults, values.WEB)
    resolution = environment.resolution
    for line in (*resolution.constraints, *resolution.overrides, *resolution.excludes):
        parse_line(line, "$.resolution", faults)


def _word(text: str | None, path: str, faults: Faults, *, lenient: bool = False) -> None:
    """Check a version or a name of something: no option, no control characters."""
    if text is None or _WORD.fullmatch(text.lstrip("<>=!~ ") if lenient else text):
        return
    faults.add(path, "record.value", f"{values.shown(text)} is no version", remedy="correct it")


def _each(
    check_one: Callable[[str, str, Faults], bool],
    texts: Iterable[str | None],
    path: str,
    faults: Faults,
) -> None:
    for text in texts:
        if text is not None:
            check_one(text, path, faults)


def _node(node: Node, path: str, faults: Faults) -> None:
    values.check_name(node.name, f"{path}.name", faults)
    _each(values.check_name, [node.identifier], f"{path}.identifier", faults)
    _each(values.check_ref, [node.ref], f"{path}.ref", faults)
    _each(values.check_ref, [node.commit], f"{path}.commit", faults)
    _word(node.version, f"{path}.version", faults)
    if node.registry_id is not None and not REGISTRY_ID.fullmatch(node.registry_id):
        faults.add(f"{path}.registry_id", "record.value", values.shown(node.registry_id))
    addresses = [node.url, node.fallback_url]
    if node.source in ("git", "development", "registry"):
        _each(values.check_repository, addresses, f"{path}.url", faults)
    elif node.source == "archive":
        for address in filter(None, addresses):
            values.check_url(address, f"{path}.url", faults, values.WEB)
    else:
        _path(node.url, f"{path}.url", faults)
    _each(values.check_url, [node.download_url], f"{path}.download_url", faults)
    for submodule in node.submodules:
        _path(submodule.path, f"{path}.submodules", faults)
        values.check_repository(submodule.url, f"{path}.submodules", faults)
        values.check_ref(submodule.commit, f"{path}.submodules", faults)


def _path(text: str | None, path: str, faults: Faults, *, inner: bool = True) -> None:
    """Check a path; an `inner` one may not climb."""
    climbs = inner and text is not None and ".." in text.split("/")
    if text is not None and (text.startswith("-") or _CONTROL.search(text) or climbs):
        faults.add(path, "record.path", f"{values.shown(text)} is no usable path")


def _package(package: Package, path: str, faults: Faults) -> None:
    """Check a package as the requirement line that it becomes, and what that line leaves out."""
    if package.path is not None:
        _path(package.path, f"{path}.path", faults, inner=False)
    else:
        parse_line(line_of(package), path, faults)
    if package.name and not values.is_package_name(package.name):
        faults.add(f"{path}.name", "record.value", values.shown(package.name))
    _word(package.version, f"{path}.version", faults)
    _path(package.subdirectory, f"{path}.subdirectory", faults)
    _each(values.check_ref, [package.ref], f"{path}.ref", faults)


def _model(model: Model, path: str, faults: Faults) -> None:
    values.check_name(model.filename.replace("/", "-"), f"{path}.filename", faults)
    for place in model.paths:
        model_path(place, f"{path}.paths", faults)
    for source in model.sources:
        check_model_url(source.url, f"{path}.sources", faults, local=bool(model.digest("sha256")))


def _override(override: PlatformOverride, path: str, faults: Faults) -> None:
    for package in override.packages:
        _package(package, f"{path}.packages", faults)
    for name, value in override.environment:
        check_variable(name, value, f"{path}.environment", faults)
