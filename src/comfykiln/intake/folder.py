"""The folder that a document becomes, like `services/comfy/<image>/` of the repository."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from comfykiln.documents import record
from comfykiln.environment import ComfyUISpec as Pinned
from comfykiln.environment import Environment, Package
from comfykiln.errors import DocumentError
from comfykiln.intake.models import as_file
from comfykiln.parsing.faults import Faults
from comfykiln.parsing.values import check_url, normal_name
from comfykiln.plan.services import generated_folder
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from comfykiln.environment import Node
    from comfykiln.intake.records import Difference, FromOptions, Intake, Packages
    from comfykiln.plan.origins import BaseSpec

SERVICE, SNAPSHOT, REPORT = "service.yaml", "environment.json", "document.json"
MODELS = "models.yaml"
RULES = ("apt", "sdists", "overrides", "drop", "accepted", "nodes", "requirements", "local_nodes")
"""The keys of service.yaml that a person may add to what a document says."""
REPOSITORIES = "repositories"
"""The one further key of a file of rules: ids of the node registry to repositories."""


def filled(intake: Intake, rules: Mapping[str, Any], options: FromOptions) -> Intake:
    """Return the document with every file of its service; `rules` are those that count for it.

    Raises `DocumentError` where the rules of a person make no service.
    """
    service = service_file(intake, rules, options)
    contents = {
        SERVICE: files.canonical_json(service),
        SNAPSHOT: environment_file(intake),
        MODELS: as_file(intake.models),
        REPORT: report(intake),
    }
    return replace(intake, service=service, files=contents)


def environment_file(intake: Intake) -> bytes:
    """Return what is built of the document, as the record that an export carries."""
    comfyui = intake.ground.comfyui
    preferred = intake.packages.preferred
    environment = Environment(
        comfyui=Pinned(version=f"v{comfyui.version}", commit=comfyui.commit),
        nodes=intake.nodes,
        packages=tuple(Package(name=name, version=version) for name, version in preferred.items()),
    )
    return files.canonical_json({"format": 1, "environment": record.dump(environment)})


def service_file(intake: Intake, rules: Mapping[str, Any], options: FromOptions) -> dict[str, Any]:
    """Return the service: the rules, and what the document says."""
    base, packages, kind = intake.ground.base, intake.packages, str(intake.parsed.kind)
    named = {node.name for node in intake.nodes}
    nodes = {name: rule for name, rule in rules["nodes"].items() if name in named}
    service = {
        "title": f"ComfyUI as a {kind} describes it",
        "document": kind,
        "comfyui": f"v{intake.ground.comfyui.version}",
        "suite": base.suite,
        "python": base.python,
        "python_patch": base.patch if intake.ground.exact_python else "",
        "apt": sorted({_on(base, package) for package in rules["apt"]}),
        "snapshot": SNAPSHOT,
        "startup": rules["startup"],
        "local_nodes": rules["local_nodes"],
        "requirements": [*rules["requirements"], *packages.required],
        "constraints": list(packages.constraints),
        "environment": dict(packages.variables),
        "sdists": sorted(set(rules["sdists"])),
        "overrides": [*rules["overrides"], *_overrides(packages, rules["overrides"])],
        "drop": {**packages.drop, **rules["drop"]},
        "accepted": rules["accepted"],
        "nodes": {**nodes, **_post_install(intake.nodes, rules["nodes"], options)},
    }
    made = {key: value for key, value in service.items() if value or key in _REQUIRED}
    _check(made, options)
    return made


def _check(service: dict[str, Any], options: FromOptions) -> None:
    from comfykiln.plan.datafiles import schema_faults  # noqa: PLC0415  # jsonschema, where it is used

    if faults := schema_faults(service, "service"):
        source = f"{options.rules}, with {options.source}" if options.rules else options.source
        raise DocumentError(f"{source}: makes no service", faults=faults, remedy="fix these")


_REQUIRED = ("apt", "local_nodes", "requirements")


def rules_of(path: Path | None) -> dict[str, Any]:
    """Read a file of rules; their values are checked with the service that they become part of.

    Raises `DocumentError` for what is no such file.
    """
    if path is None:
        return {}
    from comfykiln.parsing.reading import load, yaml_value  # noqa: PLC0415  # rules are rare

    found = yaml_value(load(path), str(path))
    known = {*RULES, REPOSITORIES}
    odd = sorted(set(found) - known) if isinstance(found, dict) else [f"{found!r} is no map"]
    if not odd:
        wrong = found.get(REPOSITORIES, {})
        odd = [] if _are_repositories(wrong) else [f"{REPOSITORIES}: maps ids to https addresses"]
    if odd:
        remedy = f"use the keys {', '.join(sorted(known))}"
        raise DocumentError(f"{path}: is no file of rules", faults=odd, remedy=remedy)
    return dict(found)


def _are_repositories(value: Any) -> bool:
    faults = Faults("rules")
    return isinstance(value, dict) and all(
        isinstance(url, str) and check_url(url, str(name), faults) for name, url in value.items()
    )


def joined(usual: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rules of `complete`, the usual ones, with a person's own.

    Lists are joined, entries replaced.
    """
    found: dict[str, Any] = {"startup": usual["startup"]}
    for key in RULES:
        is_map = key in ("drop", "accepted", "nodes")
        first, second = (entry.get(key, {} if is_map else []) for entry in (usual, own))
        found[key] = {**first, **second} if is_map else [*first, *second]
    found["requirements"] = list(own.get("requirements", []))
    return found


def _on(base: BaseSpec, package: str) -> str:
    """Return a Debian package's name on the base: libraries got the ending t64 with trixie."""
    return package.removesuffix("t64") if base.suite == "bookworm" else package


def _overrides(packages: Packages, own: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    named = {_name(entry["requirement"]) for entry in own}
    reason = "the document's own override"
    return [
        {"requirement": line, "reason": reason}
        for line in packages.overrides
        if _name(line) not in named
    ]


def _name(line: str) -> str:
    return normal_name(re.split(r"[^A-Za-z0-9._-]", line)[0])


def _post_install(
    nodes: Sequence[Node], own: Mapping[str, Any], options: FromOptions
) -> dict[str, dict[str, Any]]:
    """Return the rule for each node's install.py, where the document or the person has said one."""
    rules: dict[str, dict[str, Any]] = {}
    for node in nodes:
        said = "skip" if node.has_post_install is False else options.post_install
        rule = dict(own.get(node.name, {}))
        if said and node.source in ("git", "registry", "archive") and "install" not in rule:
            rules[node.name] = {**rule, "install": said}
    return rules


def write(root: Path, intake: Intake) -> Path:
    """Write the folder of a document; a lock in it stays, and is held against its inputs later.

    Equal documents give equal files.
    """
    folder = generated_folder(root, intake.name)
    for name, data in intake.files.items():
        files.write_bytes(folder / name, data)
    return folder


def report(intake: Intake, further: Sequence[Difference] = ()) -> bytes:
    """Return what the document was and what of it differs, as the receipt has it.

    `further` is what differs in the lock.
    """
    return files.canonical_json(
        {
            "kind": str(intake.parsed.kind),
            "form": intake.parsed.form,
            "differences": [asdict(difference) for difference in (*intake.differences, *further)],
        }
    )
