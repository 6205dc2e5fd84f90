"""Advice on Python packages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from comfykiln.environment import is_commit
from comfykiln.parsing.values import normal_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comfykiln.environment import Environment, Package

TORCH_FAMILY = frozenset({"torch", "torchvision", "torchaudio"})
_CUDA_NAMES = re.compile(
    r"nvidia-.+|.+-cu1[0-9]|cupy-cuda.+|onnxruntime-gpu|tensorrt.*|xformers|triton|flash-attn"
    r"|sageattention|bitsandbytes"
)
_CUDA_VERSION = re.compile(r".+\+cu[0-9]+")
_WINDOWS_NAMES = frozenset(
    {"pywin32", "pywin32-ctypes", "pypiwin32", "pywinpty", "windows-curses", "triton-windows"}
)


def torch_in_packages(environment: Environment) -> Iterable[tuple[str, str]]:
    """Tell of torch pins among the packages: which build is right depends on the target."""
    for package in environment.packages:
        if (
            normal_name(package.name) in TORCH_FAMILY
            and package.group is None
            and _is_fixed(package)
        ):
            version = f" {package.version}" if package.version else ""
            yield package.place, f"{package.name}{version} is left to the target's torch build"


def cpu_cuda_wheels(environment: Environment) -> Iterable[tuple[str, str]]:
    """Tell of packages that bring CUDA libraries into an environment described as CPU only."""
    if not _is_cpu(environment):
        return
    for package in environment.packages:
        name = normal_name(package.name)
        if name in TORCH_FAMILY and not (package.version or "").endswith("+cpu"):
            yield (
                package.place,
                f"{package.name} resolves to a CUDA build on the default index of linux x86_64",
            )
        elif _CUDA_NAMES.fullmatch(name) or _CUDA_VERSION.fullmatch(package.version or ""):
            yield package.place, f"{package.name} needs CUDA; the environment is for CPU"


def duplicate_package(environment: Environment) -> Iterable[tuple[str, str]]:
    """Tell of packages listed twice under spellings that mean the same."""
    seen: dict[tuple[str, str | None, str | None], Package] = {}
    for package in environment.packages:
        key = (normal_name(package.name), package.group, package.marker)
        if package.name and key in seen:
            other = seen[key]
            yield package.place, f"{package.name} is listed twice (also at {other.place or '$'})"
        seen.setdefault(key, package)


def unpinned_package(environment: Environment) -> Iterable[tuple[str, str]]:
    """Tell of packages without an exact version, and of git packages at a moving ref."""
    for package in environment.packages:
        if package.group is not None or package.specifier:
            continue
        if package.source == "index" and not package.version:
            yield package.place, f"{package.name} has no version"
        elif package.source == "git" and not is_commit(package.ref):
            yield package.place, f"{package.name or package.url} is at {package.ref or 'no ref'}"


def windows_package(environment: Environment) -> Iterable[tuple[str, str]]:
    """Tell of packages that exist for Windows only: images are Linux."""
    for package in environment.packages:
        windows_wheel = re.search(r"-win(32|_amd64|_arm64)\.whl", package.url or "")
        if windows_wheel or normal_name(package.name) in _WINDOWS_NAMES:
            if package.marker and "win32" in package.marker:
                continue
            what = "comes from a wheel" if windows_wheel else "is"
            yield package.place, f"{package.name} {what} for Windows only"


def _is_fixed(package: Package) -> bool:
    """Say whether a document asks for one build, as against any that fits."""
    return bool(package.version or package.url)


def _is_cpu(environment: Environment) -> bool:
    torch = environment.torch
    if torch.backend is not None:
        return torch.backend == "cpu"
    if torch.version and "+" in torch.version:
        return torch.version.endswith("+cpu")
    return environment.system.cuda_stated and environment.system.cuda is None
