"""A checked migration manifest as an `Environment`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from comfykiln.documents.manifest.layout import KIND
from comfykiln.documents.manifest.rules import package_key
from comfykiln.documents.manifest.torch import backend_of
from comfykiln.environment import (
    ComfyUISpec,
    Environment,
    Index,
    Metadata,
    Node,
    NodeSource,
    Package,
    PlatformOverride,
    SystemSpec,
    TorchSpec,
    is_commit,
)

if TYPE_CHECKING:
    from comfykiln.environment import Extra
    from comfykiln.parsing.fields import Obj

METHODS: dict[str, NodeSource] = {
    "git": "git",
    "archive": "archive",
    "local": "local",
    "managed": "registry",
}
MOVING = ("latest", "nightly")
"""Versions of the registry that are other code tomorrow."""
_ARCHITECTURES = {"aarch64": "arm64", "amd64": "x86_64"}
_SHORT_COMMIT = re.compile(r"[0-9a-f]{7,39}")
_TAG = re.compile(r"v?[0-9]+(\.[0-9]+)+([._+-]?[A-Za-z0-9.]+)?")
_KNOWN = {
    "": ("schema_version", "metadata", "system_info", "custom_nodes", "dependencies"),
    "metadata": ("generated_at", "generator_version", "source_path", "capture_duration_ms"),
    "system_info": ("python_version", "cuda_version", "torch_version", "comfyui_version"),
    "dependencies": ("packages", "pytorch", "git_packages", "editable", "local_packages"),
    "pytorch": ("index_url", "packages"),
}
_NODE_KEYS = (
    *("name", "install_method", "url", "ref", "has_post_install", "has_requirements"),
    *("fallback_url", "install_order"),
)


def environment(root: Obj) -> Environment:
    """Return what a manifest without faults describes."""
    system = root.obj("system_info")
    dependencies = root.obj("dependencies")
    return Environment(
        comfyui=comfyui_spec(system.text("comfyui_version") or ""),
        system=_system(system),
        torch=_torch(system, dependencies.obj("pytorch")),
        nodes=tuple(_node(node) for node in root.objs("custom_nodes")),
        packages=_packages(dependencies),
        indexes=tuple(Index(url=url) for url in dependencies.texts("index_urls")),
        platform_overrides=_overrides(root.obj("platform_overrides")),
        metadata=_metadata(root.obj("metadata")),
        extras=_extras(root),
    )


def comfyui_spec(name: str) -> ComfyUISpec:
    """Return what a name of ComfyUI's version is: a commit, a short one, a tag, or a branch."""
    if is_commit(name.lower()):
        return ComfyUISpec(commit=name.lower())
    if _SHORT_COMMIT.fullmatch(name):
        return ComfyUISpec(ref=name)
    return ComfyUISpec(version=name) if _TAG.fullmatch(name) else ComfyUISpec(branch=name)


def _system(system: Obj) -> SystemSpec:
    architecture = (system.text("architecture") or "").lower() or None
    return SystemSpec(
        python=system.text("python_version"),
        cuda=system.text("cuda_version"),
        cuda_stated=True,
        platform=system.text("platform"),
        architecture=_ARCHITECTURES.get(architecture or "", architecture),
    )


def _torch(system: Obj, pytorch: Obj) -> TorchSpec:
    version = system.text("torch_version")
    index = pytorch.text("index_url")
    return TorchSpec(
        version=version,
        backend=backend_of(index) or (backend_of(version) if "+" in (version or "") else None),
        index_url=index,
        packages=_pins(pytorch.obj("packages")),
    )


def _node(node: Obj) -> Node:
    source = METHODS[node.value["install_method"]]
    ref = node.text("ref")
    pinned = source == "git" and is_commit((ref or "").lower())
    url = node.text("url")
    managed = source == "registry" and "/" not in (url or "")
    identifier, _, version = (url or "").partition("@") if managed else ("", "", "")
    moving = version if version.lower() in MOVING else None
    return Node(
        name=node.value["name"],
        source=source,
        url=None if managed else url,
        ref=moving or (None if pinned else ref),
        commit=(ref or "").lower() if pinned else None,
        registry_id=identifier or None,
        version=None if moving else version or None,
        fallback_url=node.text("fallback_url"),
        has_requirements=node.flag("has_requirements"),
        has_post_install=node.flag("has_post_install"),
        install_order=node.whole("install_order"),
        extras=node.extras(KIND, _NODE_KEYS),
        place=node.path,
    )


def _packages(dependencies: Obj) -> tuple[Package, ...]:
    return (
        *_pins(dependencies.obj("packages")),
        *(_git_package(package) for package in dependencies.objs("git_packages")),
        *(_editable(package) for package in dependencies.objs("editable")),
        *(_local_package(package) for package in dependencies.objs("local_packages")),
    )


def _pins(packages: Obj) -> tuple[Package, ...]:
    found = []
    for key, version, path in packages:
        name, extras = package_key(key) or (key, ())
        found.append(Package(name=name, extras=extras, version=version, place=path))
    return tuple(found)


def _git_package(package: Obj) -> Package:
    return Package(
        name=package.text("egg_name") or "",
        source="git",
        url=package.text("url"),
        ref=package.text("ref"),
        subdirectory=package.text("subdirectory"),
        unknown=package.extras(KIND, ("url", "ref", "subdirectory", "egg_name")),
        place=package.path,
    )


def _editable(package: Obj) -> Package:
    return Package(
        name=package.text("egg_name") or "",
        source="editable",
        path=package.text("path"),
        unknown=package.extras(KIND, ("path", "egg_name")),
        place=package.path,
    )


def _local_package(package: Obj) -> Package:
    digest = package.text("hash")
    return Package(
        name="",
        source="local",
        path=package.text("path"),
        sha256=digest.removeprefix("sha256:").lower() if digest else None,
        unknown=package.extras(KIND, ("path", "hash")),
        place=package.path,
    )


def _overrides(overrides: Obj) -> tuple[PlatformOverride, ...]:
    found = []
    for key, _, _ in overrides:
        override = overrides.obj(key)
        found.append(
            PlatformOverride(
                platform=key,
                packages=_pins(override.obj("packages")),
                excludes=override.texts("exclude_packages"),
                environment=tuple((name, value) for name, value, _ in override.obj("environment")),
                extras=override.extras(KIND, ("packages", "exclude_packages", "environment")),
            )
        )
    return tuple(found)


def _metadata(metadata: Obj) -> Metadata:
    return Metadata(
        generated_at=metadata.text("generated_at"),
        generator_version=metadata.text("generator_version"),
        source_path=metadata.text("source_path"),
        capture_duration_ms=metadata.number("capture_duration_ms"),
    )


def _extras(root: Obj) -> tuple[Extra, ...]:
    """Return members that version 1.0 does not list; the kind says in which section they were."""
    dependencies = root.obj("dependencies")
    return (
        *root.extras(KIND, (*_KNOWN[""], "platform_overrides")),
        *root.obj("metadata").extras(f"{KIND}.metadata", _KNOWN["metadata"]),
        *root.obj("system_info").extras(
            f"{KIND}.system_info", (*_KNOWN["system_info"], "platform", "architecture")
        ),
        *dependencies.extras(f"{KIND}.dependencies", (*_KNOWN["dependencies"], "index_urls")),
        *dependencies.obj("pytorch").extras(f"{KIND}.pytorch", _KNOWN["pytorch"]),
    )
