"""An `Environment` as a migration manifest, and a manifest made as small as it can be."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfykiln.documents.kinds import Kind, Written
from comfykiln.documents.manifest.members import minimal
from comfykiln.documents.manifest.read import KIND, MOVING
from comfykiln.documents.manifest.rules import MAX_BYTES, PACKAGE_FILES, version
from comfykiln.documents.manifest.torch import PYTORCH_INDEX, backend_of, cuda_of, is_torch_family
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import Faults
from comfykiln.parsing.fields import put_extras
from comfykiln.parsing.values import normal_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comfykiln.environment import Environment, Node, Package, PlatformOverride

FILENAME = "comfyui_migration.json"
_LOCKED = re.compile(r'^\[\[package\]\]\nname = "([^"\n]+)"\nversion = "([^"\n]+)"$', re.MULTILINE)
_METHODS = {
    "git": "git",
    "development": "git",
    "archive": "archive",
    "local": "local",
    "registry": "managed",
}


def write(environment: Environment) -> Written:
    """Return `environment` as a manifest: indented where that fits into 5,120 bytes, else compact.

    Raises `DocumentError` when a required member is not known or the manifest is too large.
    What a manifest cannot hold is left out; `convert.losses` tells it.
    """
    manifest = tree(environment)
    data = spaced(manifest)
    if len(data) > MAX_BYTES:
        data = compact(manifest)
    if len(data) > MAX_BYTES:
        raise too_large(manifest, len(data))
    return Written(kind=Kind.MANIFEST, filename=FILENAME, data=data)


def tree(environment: Environment) -> dict[str, Any]:
    """Return the manifest as JSON's types, of whatever size; keys in the order of the schema.

    Raises `DocumentError` naming every required member that the environment does not tell.
    """
    environment = _pinned_by_lock(environment)
    torch_pins = _torch_pins(environment)
    system = _system(environment, torch_pins)
    pytorch = _pytorch(environment, torch_pins, system["torch_version"])
    manifest: dict[str, Any] = {
        "schema_version": "1.0",
        "metadata": _metadata(environment),
        "system_info": system,
        "custom_nodes": [_node(node) for node in environment.nodes if _fits(node)],
        "dependencies": _dependencies(environment, pytorch),
        "platform_overrides": {
            override.platform: _override(override) for override in environment.platform_overrides
        },
    }
    put_extras(manifest, environment.extras, KIND)
    return minimal(manifest)


def compact(manifest: Any) -> bytes:
    """Return the manifest as one line of UTF-8, without spaces and without a newline."""
    return json.dumps(manifest, ensure_ascii=False, separators=(",", ":")).encode()


def spaced(manifest: Any) -> bytes:
    """Return the manifest indented for people."""
    return (json.dumps(manifest, ensure_ascii=False, indent=2) + "\n").encode()


def too_large(manifest: dict[str, Any], size: int) -> DocumentError:
    """Return the error for a manifest of `size` bytes; it names the largest parts."""
    dependencies = manifest.get("dependencies", {})
    parts = {
        **{f"$.{key}": member for key, member in manifest.items() if key != "dependencies"},
        **{f"$.dependencies.{key}": member for key, member in dependencies.items()},
    }
    sizes = sorted(((len(compact(part)), name) for name, part in parts.items()), reverse=True)
    faults = [
        f"{name}: {count:,} bytes, {len(parts[name])} entries"
        for count, name in sizes[:4]
        if isinstance(parts[name], dict | list)
    ]
    return DocumentError(
        f"the manifest would have {size:,} bytes, {size - MAX_BYTES:,} more than the "
        f"{MAX_BYTES:,} of version 1.0; its largest parts:",
        faults=faults,
        remedy="leave packages to a lock beside it (--packages direct or none), or use an export",
    )


def locked_versions(environment: Environment) -> dict[str, str]:
    """Return what a `uv.lock` in the environment locks, by normalised name, torch's family aside.

    A package that is locked at several versions is at one of them by its environment, and left out.
    """
    lock = next(
        (attachment.data for attachment in environment.attachments if attachment.path == "uv.lock"),
        b"",
    )
    versions: dict[str, set[str]] = {}
    for name, locked in _LOCKED.findall(lock.decode("utf-8", "replace")):
        versions.setdefault(normal_name(name), set()).add(locked)
    return {
        name: found.pop()
        for name, found in versions.items()
        if len(found) == 1 and not is_torch_family(name)
    }


def _pinned_by_lock(environment: Environment) -> Environment:
    """Return the environment with the versions that a `uv.lock` in it gives to ranges."""
    only = locked_versions(environment)
    packages = tuple(
        replace(package, version=only.get(normal_name(package.name)), specifier=None)
        if package.source == "index"
        and package.version is None
        and normal_name(package.name) in only
        else package
        for package in environment.packages
    )
    return replace(environment, packages=packages)


def _torch_pins(environment: Environment) -> tuple[Package, ...]:
    """Return the torch family's pins: those listed for it, else built ones among the packages.

    Version 1.0 finds a build such as `+cu121` only through the index of its pytorch section.
    """
    if environment.torch.packages or environment.torch.version is not None:
        return environment.torch.packages
    return tuple(
        package
        for package in environment.packages
        if is_torch_family(package.name) and "+" in (package.version or "")
    )


def _system(environment: Environment, torch_pins: Iterable[Package]) -> dict[str, Any]:
    pins = [
        package.version
        for package in (*torch_pins, *environment.packages)
        if normal_name(package.name) == "torch" and package.version
    ]
    system = environment.system
    torch = environment.torch.version or next(iter(pins), None)
    build = backend_of(torch if "+" in (torch or "") else None) or environment.torch.backend
    comfyui = environment.comfyui
    found = {
        "python_version": system.python if _is_patch(system.python) else None,
        "cuda_version": system.cuda if system.cuda_stated or system.cuda else cuda_of(build),
        "torch_version": torch,
        "comfyui_version": comfyui.version or comfyui.wanted,
        "platform": system.platform,
        "architecture": system.architecture,
    }
    _require(found)
    put_extras(found, environment.extras, f"{KIND}.system_info")
    return found


def _is_patch(text: str | None) -> bool:
    return text is not None and text.count(".") == 2  # noqa: PLR2004  # major.minor.patch


def _require(system: dict[str, Any]) -> None:
    faults = Faults("manifest")
    for key, wanted in (
        ("python_version", "three numbers, such as 3.11.7"),
        ("torch_version", "a version such as 2.1.0+cu121"),
        ("comfyui_version", "a tag or commit"),
    ):
        if not system[key]:
            faults.add(
                f"$.system_info.{key}",
                "manifest.unknown",
                "a manifest needs it, and it is not known here",
                expected=wanted,
                remedy="capture the running environment (manifest.capture), or name it: "
                f"snapshot.convert --{key.partition('_')[0]} …",
            )
    faults.stop()


def _pytorch(
    environment: Environment, pins: tuple[Package, ...], torch: str
) -> dict[str, Any] | None:
    index = environment.torch.index_url
    if index is None and pins:
        backend = environment.torch.backend or backend_of(torch if "+" in torch else None)
        index = f"{PYTORCH_INDEX}{backend}" if backend else None
    if index is None:
        return None
    found: dict[str, Any] = {"index_url": index, "packages": _pins(pins)}
    put_extras(found, environment.extras, f"{KIND}.pytorch")
    return found


def _dependencies(environment: Environment, pytorch: dict[str, Any] | None) -> dict[str, Any]:
    apart = set((pytorch or {}).get("packages", ()))
    pins = _pins(environment.packages)
    if pytorch is None:
        pins = {**_pins(environment.torch.packages), **pins}
    by_source: dict[str, list[dict[str, Any]]] = {"git": [], "editable": [], "local": []}
    for package in environment.packages:
        if package.source in by_source and (package.source != "local" or _file(package)):
            by_source[package.source].append(_package(package))
    listed = {index.url for index in environment.indexes if not index.explicit}
    found: dict[str, Any] = {
        "packages": {
            key: pin for key, pin in pins.items() if key not in apart or environment.torch.packages
        },
        "pytorch": pytorch,
        "git_packages": by_source["git"],
        "editable": by_source["editable"],
        "local_packages": by_source["local"],
        "index_urls": [index.url for index in environment.indexes if index.url in listed],
    }
    put_extras(found, environment.extras, f"{KIND}.dependencies")
    return found


def _pins(packages: Iterable[Package]) -> dict[str, str]:
    """Return the exact pins; the first of two spellings of one name counts."""
    found: dict[str, str] = {}
    names: set[str] = set()
    for package in packages:
        name = normal_name(package.name)
        exact = package.source == "index" and version(package.version or "") is not None
        if exact and package.marker is None and name not in names:
            names.add(name)
            extras = f"[{','.join(package.extras)}]" if package.extras else ""
            found[f"{package.name}{extras}"] = package.version or ""
    return found


def _package(package: Package) -> dict[str, Any]:
    if package.source == "git":
        found: dict[str, Any] = {
            "url": package.url,
            "ref": package.ref,
            "subdirectory": package.subdirectory,
            "egg_name": package.name,
        }
    elif package.source == "editable":
        found = {"path": package.path, "egg_name": package.name}
    else:
        digest = f"sha256:{package.sha256}" if package.sha256 else None
        found = {"path": _file(package), "hash": digest}
    put_extras(found, package.unknown, KIND)
    return found


def _file(package: Package) -> str | None:
    """Return the path of a local package's file; a folder has no place among local packages."""
    path = package.path or (package.url or "").removeprefix("file://")
    return path if path.endswith(PACKAGE_FILES) else None


def _fits(node: Node) -> bool:
    """Say whether a manifest can name the node: it has no place for files and disabled nodes."""
    return node.source in _METHODS and not node.disabled and _address(node) is not None


def _address(node: Node) -> str | None:
    if node.source == "registry" and node.registry_id:
        wanted = node.version or _moving(node)
        return f"{node.registry_id}@{wanted}" if wanted else node.registry_id
    return node.url


def _moving(node: Node) -> str | None:
    """Return the moving version of a registry node, which stands behind its id."""
    moves = node.source == "registry" and (node.ref or "").lower() in MOVING
    return node.ref if moves else None


def _node(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": node.name,
        "install_method": _METHODS[node.source],
        "url": _address(node),
        "ref": None if _moving(node) else node.commit or node.ref,
        "has_post_install": node.has_post_install,
        "has_requirements": node.has_requirements,
        "fallback_url": node.fallback_url,
        "install_order": node.install_order,
    }
    put_extras(found, node.extras, KIND)
    return found


def _override(override: PlatformOverride) -> dict[str, Any]:
    found: dict[str, Any] = {
        "packages": _pins(override.packages),
        "exclude_packages": list(override.excludes),
        "environment": dict(override.environment),
    }
    put_extras(found, override.extras, KIND)
    return found


def _metadata(environment: Environment) -> dict[str, Any]:
    metadata = environment.metadata
    found: dict[str, Any] = {
        "generated_at": metadata.generated_at,
        "generator_version": metadata.generator_version,
        "source_path": metadata.source_path,
        "capture_duration_ms": metadata.capture_duration_ms,
    }
    put_extras(found, environment.extras, f"{KIND}.metadata")
    return found
