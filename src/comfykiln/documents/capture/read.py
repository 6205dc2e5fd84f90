"""What the probe found on disk as an `Environment`; every value is checked as a document's is."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from comfykiln.documents.manifest.nodes import without_credentials
from comfykiln.documents.manifest.torch import PYTORCH_INDEX, backend_of, cuda_of, is_torch_family
from comfykiln.environment import (
    ComfyUISpec,
    Environment,
    Node,
    Package,
    SystemSpec,
    TorchSpec,
    is_commit,
)
from comfykiln.parsing import values
from comfykiln.parsing.values import split_url

if TYPE_CHECKING:
    from comfykiln.parsing.faults import Faults
    from comfykiln.parsing.fields import Obj

SHIPPED = frozenset({"websocket_image_save.py"})
"""Files that ComfyUI itself brings into custom_nodes."""
_INSTALLERS = frozenset({"pip", "setuptools", "wheel", "uv", "distribute"})
_OF_TORCH = re.compile(r"nvidia-.*|cuda-(bindings|pathfinder|toolkit)|(pytorch-)?triton(-.*)?")
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_ARCHITECTURES = {"aarch64": "arm64", "amd64": "x86_64"}


def environment(facts: Obj, faults: Faults) -> tuple[Environment, frozenset[str]]:
    """Return the environment and the normalised names of the packages that are wanted directly."""
    packages = [_package(found, faults) for found in facts.objs("packages")]
    kept = [package for package in packages if package is not None]
    torch = _torch(facts, kept, faults)
    machine = (facts.text("machine") or "").lower()
    found = Environment(
        comfyui=_comfyui(facts.obj("comfyui"), faults),
        system=SystemSpec(
            python=facts.obj("python").text("version"),
            platform=facts.text("platform"),
            architecture=_ARCHITECTURES.get(machine, machine) or None,
            cuda=cuda_of(torch.backend),
            cuda_stated=torch.version is not None,
        ),
        torch=torch,
        nodes=tuple(_node(node, faults) for node in facts.objs("nodes")),
        packages=tuple(entry for entry in kept if not is_torch_family(entry.name)),
    )
    values.check_names_differ([(node.name, node.place) for node in found.nodes], faults)
    return found, _direct(facts)


def _comfyui(found: Obj, faults: Faults) -> ComfyUISpec:
    """Return tag and commit of the clone, else what the receipt or the version file says."""
    git = found.obj("git")
    version = found.text("version")
    if (commit := git.text("commit")) is not None:
        _tell_changes("ComfyUI", git, found.path, faults)
        tags = [tag for tag in git.texts("tags") if re.fullmatch(r"v[0-9][\w.+-]*", tag)]
        repository = _repository(git, faults)
        return ComfyUISpec(version=next(iter(tags), None), commit=commit, repository=repository)
    receipt = found.obj("receipt").obj("plan").obj("comfyui")
    pinned = receipt.text("commit")
    if is_commit(pinned):
        return ComfyUISpec(version=receipt.text("version"), commit=pinned)
    return ComfyUISpec(version=f"v{version}" if version else None)


def _repository(git: Obj, faults: Faults) -> str | None:
    """Return the address of origin without credentials, None for a folder or nothing."""
    url = git.text("url")
    if url is None or url.startswith(("/", ".", "file:")) or values.is_windows_path(url):
        return None
    bare = without_credentials(url)
    if bare != url:
        faults.note(git.path, "capture.credentials", f"credentials left out of {bare}")
    return bare if values.check_repository(bare, f"{git.path}.url", faults) else None


def _tell_changes(name: str, git: Obj, path: str, faults: Faults) -> None:
    if count := git.whole("changed"):
        message = f"{name}: {count} files differ from the commit, and no document can say how"
        faults.note(path, "capture.changed", message)


def _torch(facts: Obj, packages: list[Package], faults: Faults) -> TorchSpec:
    """Return the torch family; the build comes from torch's own words, which a wheel may omit."""
    found = facts.obj("torch")
    pins = tuple(
        # A wheel taken from an address is the same as the one that the backend's index offers.
        Package(name=package.name, version=package.version, place=package.place)
        for package in packages
        if is_torch_family(package.name)
    )
    listed = next((pin.version for pin in pins if values.normal_name(pin.name) == "torch"), None)
    version = found.text("version") or listed
    if version is None:
        faults.note("$.torch", "capture.torch", "torch is not installed")
        return TorchSpec(packages=pins)
    cuda, hip = found.text("cuda"), found.text("hip")
    backend = backend_of(version if "+" in version else None)
    if backend is None and cuda:
        backend = backend_of(f"+cu{cuda.replace('.', '')}")
    if backend is None and hip:
        backend = backend_of("+rocm" + ".".join(hip.split(".")[:2]))
    if backend is None:
        message = f"torch {version} is of no build that an index offers: its pins are left out"
        faults.note("$.torch", "capture.torch", message)
        return TorchSpec(version=version, packages=())
    return TorchSpec(
        version=version, backend=backend, index_url=f"{PYTORCH_INDEX}{backend}", packages=pins
    )


def _node(found: Obj, faults: Faults) -> Node:
    """Return a node by what proves its origin: a clone, the registry's mark, or neither."""
    name = found.text("name") or ""
    values.check_name(name, f"{found.path}.name", faults)
    node = Node(
        name=name,
        source="local",
        url=found.text("path"),
        disabled=bool(found.flag("disabled")),
        has_requirements=found.text("requirements") is not None or None,
        has_post_install=found.flag("has_install") or None,
        place=found.path,
    )
    if found.flag("is_file"):
        return replace(node, source="file", url=None)
    git, project = found.obj("git"), _project(found)
    if (commit := git.text("commit")) and (url := _repository(git, faults)):
        _tell_changes(name, git, found.path, faults)
        return replace(node, source="git", url=url, commit=commit)
    identifier, version = project.get("name"), project.get("version")
    if found.flag("is_tracked") and isinstance(identifier, str) and isinstance(version, str):
        return replace(node, source="registry", url=None, registry_id=identifier, version=version)
    return node


def _project(found: Obj) -> dict[str, Any]:
    try:
        project = tomllib.loads(found.text("pyproject") or "").get("project", {})
    except tomllib.TOMLDecodeError:
        return {}
    return project if isinstance(project, dict) else {}


def _package(found: Obj, faults: Faults) -> Package | None:
    name, version = found.text("name") or "", found.text("version") or ""
    if not values.is_package_name(name) or not values.is_version(version):
        message = f"{values.shown(name)} {values.shown(version)} is no distribution: left out"
        faults.note(found.path, "capture.package", message)
        return None
    origin = found.obj("origin")
    url = without_credentials(origin.text("url") or "")
    if not url:
        return Package(name=name, version=version, place=found.path)
    path = _local_path(url)
    if origin.obj("vcs_info").text("vcs") == "git" and path is None:
        return Package(
            name=name,
            source="git",
            url=url,
            ref=origin.obj("vcs_info").text("commit_id"),
            subdirectory=origin.text("subdirectory"),
            place=found.path,
        )
    if path is None:
        digest = _sha256(origin.obj("archive_info"))
        return Package(
            name=name, source="url", version=version, url=url, sha256=digest, place=found.path
        )
    if origin.obj("dir_info").flag("editable"):
        return Package(name=name, source="editable", path=path, place=found.path)
    digest = _sha256(origin.obj("archive_info"))
    return Package(
        name=name, source="local", version=version, path=path, sha256=digest, place=found.path
    )


def _local_path(url: str) -> str | None:
    return unquote(split_url(url).path) if url.startswith("file:") else None


def _sha256(archive: Obj) -> str | None:
    digest = archive.obj("hashes").text("sha256") or archive.text("hash") or ""
    digest = digest.removeprefix("sha256=")
    return digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None


def _direct(facts: Obj) -> frozenset[str]:
    """Return what ComfyUI and the nodes list, and what no other distribution requires.

    The installers themselves and what torch pins exactly are left to whoever brings them.
    """
    required: set[str] = set()
    for package in facts.objs("packages"):
        own = values.normal_name(package.text("name") or "")
        for line in package.texts("requires"):
            name = _requirement_name(line)
            if name != own:
                required.add(name)
    names = {values.normal_name(entry.text("name") or "") for entry in facts.objs("packages")}
    roots = {name for name in names - required if name not in _INSTALLERS}
    listed = {
        _requirement_name(line)
        for owner in (facts.obj("comfyui"), *facts.objs("nodes"))
        for line in (owner.text("requirements") or "").splitlines()
        if not line.lstrip().startswith(("#", "-"))
    }
    return frozenset(
        name
        for name in roots | (listed & names)
        if not is_torch_family(name) and not _OF_TORCH.fullmatch(name)
    )


def of_torch(name: str) -> bool:
    """Say whether torch pins the distribution exactly, so that a manifest need not."""
    return _OF_TORCH.fullmatch(values.normal_name(name)) is not None


def is_installer(name: str) -> bool:
    """Say whether the distribution installs others and comes with the environment."""
    return values.normal_name(name) in _INSTALLERS


def _requirement_name(line: str) -> str:
    match = _NAME.match(line)
    return values.normal_name(match[1]) if match else ""
