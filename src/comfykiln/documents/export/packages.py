"""The Python packages of an export's pyproject.toml, read and written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from comfykiln.documents.kinds import Kind
from comfykiln.documents.manifest.torch import PYTORCH_INDEX, backend_of, is_torch_family
from comfykiln.environment import Extra, Index, Package, Resolution, TorchSpec
from comfykiln.parsing.faults import Faults
from comfykiln.parsing.fields import Obj, plain_json, put_extras
from comfykiln.parsing.requirements import line_of, parse_line
from comfykiln.parsing.values import WEB, check_url, normal_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comfykiln.environment import Environment

UV_EXTRAS = f"{Kind.EXPORT}.uv"
GROUP_EXTRAS = f"{Kind.EXPORT}.groups"
_UV_KEYS = (
    *("constraint-dependencies", "override-dependencies", "exclude-dependencies"),
    *("index", "sources"),
)
_BACKEND = re.compile(r"[a-z0-9.]{1,20}")


def read_packages(root: Obj, faults: Faults) -> tuple[Package, ...]:
    """Return the environment's own requirements, then those of each dependency group."""
    found = _lines(root.obj("project"), "dependencies", None, faults)
    groups = root.obj("dependency-groups")
    for name, _, _ in groups:
        found += _lines(groups, name, name, faults)
    return tuple(found)


def _lines(owner: Obj, key: str, group: str | None, faults: Faults) -> list[Package]:
    found = []
    for line, path in owner.members(key):
        package = parse_line(line, path, faults) if isinstance(line, str) else None
        if package is not None:
            found.append(_in_group(package, group))
    return found


def _in_group(package: Package, group: str | None) -> Package:
    from dataclasses import replace  # noqa: PLC0415  # one use

    return replace(package, group=group)


def read_torch(uv: Obj, backend: str | None, faults: Faults) -> TorchSpec:
    """Return the torch family as the constraints pin it, with the index that its sources name."""
    pins = [
        package
        for line, path in uv.members("constraint-dependencies")
        if isinstance(line, str)
        and (package := parse_line(line, path, Faults(faults.source))) is not None
        and is_torch_family(package.name)
        and package.version
    ]
    version = next((pin.version for pin in pins if normal_name(pin.name) == "torch"), None)
    built = backend_of(version if "+" in (version or "") else None)
    indexes = {index.name: index.url for index in read_indexes(uv, Faults(faults.source))}
    named = uv.obj("sources").obj("torch").text("index")
    url = indexes.get(named) if named else None
    if backend is not None and not _BACKEND.fullmatch(backend):
        faults.add(
            "$.tool",
            "export.torch-backend",
            f"{backend!a} is no name of a backend",
            expected="auto, cpu, cu128, rocm6.4, xpu or another that uv knows",
            remedy="correct it",
        )
    return TorchSpec(
        version=version,
        backend=backend or built or backend_of(url),
        index_url=url,
        packages=tuple(pins),
    )


def read_indexes(uv: Obj, faults: Faults) -> tuple[Index, ...]:
    """Return the package indexes, each with the packages that are taken from it alone."""
    users: dict[str, list[str]] = {}
    for package, _, _ in uv.obj("sources"):
        if name := uv.obj("sources").obj(package).text("index"):
            users.setdefault(name, []).append(package)
    found = []
    for entry in uv.objs("index"):
        url, name = entry.text("url"), entry.text("name")
        if url and check_url(url, f"{entry.path}.url", faults, WEB):
            packages = tuple(users.get(name or "", ()))
            explicit = bool(entry.flag("explicit"))
            found.append(Index(url=url, name=name, explicit=explicit, packages=packages))
    return tuple(found)


def read_resolution(uv: Obj, config: Obj, torch: TorchSpec) -> Resolution:
    """Return what bends the solve, without the torch family's pins."""
    pins = {line_of(package) for package in torch.packages}
    return Resolution(
        constraints=tuple(
            entry for entry in uv.texts("constraint-dependencies") if entry not in pins
        ),
        overrides=uv.texts("override-dependencies"),
        excludes=uv.texts("exclude-dependencies"),
        substitutions=tuple(
            (asked, instead)
            for asked, instead, _ in config.obj("substitutions")
            if isinstance(instead, str)
        ),
    )


def check_resolution(uv: Obj, config: Obj, faults: Faults) -> None:
    """Check that every line which bends the solve is a requirement, none an option."""
    for key in ("constraint-dependencies", "override-dependencies", "exclude-dependencies"):
        for line, path in uv.members(key):
            if isinstance(line, str):
                parse_line(line, path, faults)
    for asked, instead, path in config.obj("substitutions"):
        for line in (asked, instead):
            if isinstance(line, str):
                parse_line(line, path, faults)


def read_extras(root: Obj, uv: Obj) -> tuple[Extra, ...]:
    """Return settings of uv and members of groups that have no place in the model."""
    groups = root.obj("dependency-groups")
    odd = (
        Extra(kind=GROUP_EXTRAS, path=name, json=plain_json(member))
        for name, _, _ in groups
        for member, _ in groups.members(name)
        if isinstance(member, dict)
    )
    sources = (
        Extra(kind=f"{UV_EXTRAS}.sources", path=name, json=plain_json(source))
        for name, source, _ in uv.obj("sources")
        if not isinstance(source, dict) or set(source) != {"index"}
    )
    return (*uv.extras(UV_EXTRAS, _UV_KEYS), *odd, *sources)


def dependencies_of(environment: Environment) -> list[str]:
    """Return the requirement lines that stand in `[project]`; peers swap the torch family later."""
    found = [
        line_of(package)
        for package in environment.packages
        if package.group is None and is_requirement(package)
    ]
    names = {normal_name(package.name) for package in environment.packages}
    torch = (
        package.name
        for package in environment.torch.packages
        if normal_name(package.name) not in names
    )
    return [*dict.fromkeys(found), *torch]


def is_requirement(package: Package) -> bool:
    """Say whether the package has a form that `[project]` allows: named, and in no folder."""
    return bool(package.name) and package.source in ("index", "git", "url") and not package.path


def groups_of(environment: Environment) -> dict[str, list[Any]]:
    """Return the dependency groups, those of which the model knows nothing more included."""
    found: dict[str, list[Any]] = {}
    for package in environment.packages:
        if package.group is not None and is_requirement(package):
            found.setdefault(package.group, []).append(line_of(package))
    for extra in environment.extras:
        if extra.kind == GROUP_EXTRAS:
            import json  # noqa: PLC0415  # rare

            found.setdefault(extra.path, []).append(json.loads(extra.json))
    return found


def uv_table(environment: Environment) -> dict[str, Any]:
    """Return `[tool.uv]`: torch's pins and index, what bends the solve, other indexes."""
    torch, resolution = environment.torch, environment.resolution
    indexes = [_index_table(index) for index in environment.indexes]
    sources: dict[str, Any] = {
        package: {"index": index.name}
        for index in environment.indexes
        for package in index.packages
        if index.name
    }
    url = torch.index_url or _index_of(torch)
    if url and all(index.url != url for index in environment.indexes):
        name = f"pytorch-{torch.backend or 'torch'}"
        indexes.append({"name": name, "url": url, "explicit": True})
        sources |= {package.name: {"index": name} for package in torch.packages}
    table: dict[str, Any] = {}
    put_extras(table, environment.extras, UV_EXTRAS)
    table |= {
        "constraint-dependencies": [
            *(line_of(package) for package in torch.packages),
            *resolution.constraints,
        ],
        "override-dependencies": list(resolution.overrides),
        "exclude-dependencies": list(resolution.excludes),
        "index": indexes,
        "sources": sources,
    }
    put_extras(sources, environment.extras, f"{UV_EXTRAS}.sources")
    return {key: value for key, value in table.items() if value}


def _index_of(torch: TorchSpec) -> str | None:
    """Return the index that holds a build such as `+cu128`, which no other index has."""
    built = any("+" in (package.version or "") for package in torch.packages)
    return f"{PYTORCH_INDEX}{torch.backend}" if built and torch.backend else None


def _index_table(index: Index) -> dict[str, Any]:
    table = {"name": index.name, "url": index.url, "explicit": index.explicit or None}
    return {key: value for key, value in table.items() if value is not None}


def config_table(environment: Environment) -> dict[str, Any] | None:
    """Return comfygit's package_config.toml, None where there is nothing to say in it."""
    pairs: Iterable[tuple[str, str]] = environment.resolution.substitutions
    return {"substitutions": dict(pairs)} if environment.resolution.substitutions else None
