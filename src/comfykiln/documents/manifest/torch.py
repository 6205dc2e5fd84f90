"""Whether the parts of a manifest that speak of torch agree: versions, builds, CUDA, the index."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from comfykiln.documents.manifest.rules import TORCH_FAMILY, version
from comfykiln.parsing.values import normal_name, shown

if TYPE_CHECKING:
    from comfykiln.parsing.faults import Faults
    from comfykiln.parsing.fields import Obj

PYTORCH_INDEX = "https://download.pytorch.org/whl/"
_BACKEND = re.compile(r"cpu|xpu|cu[0-9]{2,3}|rocm[0-9]+(\.[0-9]+){1,2}")
_CUDA_INDEXES = re.compile(r"cu(80|9[0-2]|10[0-2]|11[0-8]|12[0-689]|13[02])")
"""The CUDA builds that have an index at download.pytorch.org, as uv 0.13.8 lists them."""


def check(root: Obj, faults: Faults) -> None:
    """Add a fault where two parts cannot both hold, a note where they are at odds."""
    stated = _version(root.obj("system_info").value.get("torch_version"))
    dependencies = root.obj("dependencies")
    pytorch = dependencies.obj("pytorch")
    if stated is not None:
        for packages in (pytorch.obj("packages"), dependencies.obj("packages")):
            _check_pin(stated, packages, faults)
        _check_index(stated, pytorch, faults)
        _check_cuda(stated, root, faults)
    _check_family(dependencies, pytorch, faults)


def backend_of(text: str | None) -> str | None:
    """Return uv's name of the backend that a version's build or an index's address names.

    `2.1.0+cu121` and `https://download.pytorch.org/whl/cu121` give `cu121`, other texts None.
    """
    if not text:
        return None
    last = text.rstrip("/").rpartition("/")[2].rpartition("+")[2]
    return last if _BACKEND.fullmatch(last) else None


def cuda_of(backend: str | None) -> str | None:
    """Return the CUDA version of a backend: `12.1` for `cu121`, None for those without CUDA."""
    if backend is None or not backend.startswith("cu"):
        return None
    digits = backend.removeprefix("cu")
    return f"{digits[:-1]}.{digits[-1]}"


def is_torch_family(name: str) -> bool:
    """Say whether a distribution is released with torch and built against its exact version."""
    return normal_name(name) in TORCH_FAMILY


def _version(text: Any) -> Any:
    return version(text) if isinstance(text, str) else None


def _check_pin(stated: Any, packages: Obj, faults: Faults) -> None:
    """Compare a pin of torch with the stated version; a build may be left unsaid on one side."""
    for name, wanted, path in packages:
        pinned = _version(wanted)
        if normal_name(name) != "torch" or pinned is None:
            continue
        builds = {part.local for part in (stated, pinned) if part.local}
        if version(pinned.base_version) != version(stated.base_version) or len(builds) > 1:
            faults.add(
                path,
                "manifest.torch-mismatch",
                f"torch {wanted} here, {stated} in $.system_info.torch_version",
                expected="one version of torch",
                remedy="correct the one that is wrong",
            )


def _check_index(stated: Any, pytorch: Obj, faults: Faults) -> None:
    url = pytorch.value.get("index_url")
    index = backend_of(url) if isinstance(url, str) else None
    build = backend_of(f"+{stated.local}") if stated.local else None
    if index and build and index != build:
        faults.add(
            f"{pytorch.path}.index_url",
            "manifest.torch-index",
            f"{shown(url)} holds builds for {index}, $.system_info.torch_version says {build}",
            expected=f"the index of {build}",
            remedy=f"write {PYTORCH_INDEX}{build}, or correct torch_version",
        )


def _check_cuda(stated: Any, root: Obj, faults: Faults) -> None:
    cuda = root.obj("system_info").value.get("cuda_version")
    build = backend_of(f"+{stated.local}") if stated.local else None
    path = "$.system_info.cuda_version"
    if build and cuda_of(build) != cuda and isinstance(cuda, str | None):
        message = f"{shown(cuda)}, while torch {stated} is built for {cuda_of(build) or 'no CUDA'}"
        faults.note(path, "manifest.cuda-mismatch", f"{message}; torch's build decides")
    if isinstance(cuda, str) and not build:
        name = f"cu{cuda.replace('.', '')}"
        if not _CUDA_INDEXES.fullmatch(name) and not root.obj("dependencies").obj("pytorch").value:
            message = f"PyTorch has no index for CUDA {cuda}: name one under $.dependencies.pytorch"
            faults.note(path, "manifest.cuda-index", message)


def _check_family(dependencies: Obj, pytorch: Obj, faults: Faults) -> None:
    """Members of the family beside a pytorch section would come from another index."""
    if not pytorch.value:
        return
    for name, _, path in dependencies.obj("packages"):
        if is_torch_family(name):
            message = f"{name} is installed from $.dependencies.pytorch.index_url with the family"
            faults.note(path, "manifest.torch-in-packages", message)
