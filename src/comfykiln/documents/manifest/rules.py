"""What the values of a migration manifest must satisfy beyond their shape.

Each rule works on one section, tells every fault with its path and goes on; values of a wrong
type are passed over, since the shape check has told of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from comfykiln.documents.variables import check_variable
from comfykiln.parsing import values
from comfykiln.parsing.values import shown

if TYPE_CHECKING:
    from comfykiln.parsing.faults import Faults
    from comfykiln.parsing.fields import Obj

MAX_BYTES = 5_120
LONG_URL = 500
MANY_PACKAGES = 500
TORCH_FAMILY = ("torch", "torchvision", "torchaudio")
PLATFORMS = tuple(
    f"{system}{processor}"
    for system in ("linux", "darwin", "win32")
    for processor in ("", "-x86_64", "-amd64", "-aarch64", "-arm64")
)
PACKAGE_FILES = (".whl", ".tar.gz", ".zip")
REGISTRY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(@[A-Za-z0-9][A-Za-z0-9._+-]{0,49})?")
_ARCHIVE = re.compile(r"(?i)\.(tar\.gz|tgz|zip)(\Z|[?#])|/(zip|tar)(ball|\.gz)?/")
_PACKAGE_KEY = re.compile(r"([^\[\]]+)(?:\[([^\[\]]*)\])?")


def check(root: Obj, faults: Faults) -> None:
    """Check every section of a manifest."""
    check_system(root.obj("system_info"), faults)
    check_nodes(root, faults)
    check_dependencies(root.obj("dependencies"), faults)
    check_overrides(root.obj("platform_overrides"), faults)


def check_system(system: Obj, faults: Faults) -> None:
    """Check what the environment runs on: torch's version and the name of ComfyUI's."""
    torch = system.value.get("torch_version")
    if isinstance(torch, str) and torch and version(torch) is None:
        faults.add(
            f"{system.path}.torch_version",
            "manifest.torch-version",
            f"{shown(torch)} is no version",
            expected='a version, with its build where it has one, such as "2.1.0+cu121"',
            remedy="write what `torch.__version__` says",
        )
    comfyui = system.value.get("comfyui_version")
    if isinstance(comfyui, str) and comfyui:
        values.check_ref(comfyui, f"{system.path}.comfyui_version", faults)


def check_nodes(root: Obj, faults: Faults) -> None:
    """Check names, addresses and refs of the custom nodes, and that no two share a folder."""
    names: list[tuple[str, str]] = []
    for node in root.objs("custom_nodes"):
        name = node.value.get("name")
        if isinstance(name, str) and name:
            values.check_name(name, f"{node.path}.name", faults)
            names.append((name, f"{node.path}.name"))
        for key in ("url", "fallback_url"):
            _check_node_address(node, key, faults)
        _check_ref(node, faults)
    _check_repeated(names, faults)
    values.check_names_differ(names, faults)


def _check_repeated(names: list[tuple[str, str]], faults: Faults) -> None:
    first: dict[str, str] = {}
    for name, path in names:
        if first.setdefault(name, path) != path:
            faults.add(
                path,
                "manifest.duplicate-node",
                f"{shown(name)} is the name of {first[name].removesuffix('.name')} too",
                expected="one node per folder",
                remedy="remove one of them",
            )


def _check_node_address(node: Obj, key: str, faults: Faults) -> None:
    url = node.value.get(key)
    if not isinstance(url, str) or not url:
        return
    path = f"{node.path}.{key}"
    match node.value.get("install_method"):
        case "git":
            values.check_repository(url, path, faults)
        case "archive":
            if values.check_url(url, path, faults, values.WEB) and not _ARCHIVE.search(url):
                message = f"{shown(url)} names no .tar.gz or .zip: a web page cannot be unpacked"
                faults.note(path, "manifest.archive-url", message)
        case "local":
            _check_folder(url, path, faults)
        case "managed":
            _check_managed(url, path, faults)
        case _:
            return
    if len(url) > LONG_URL:
        faults.note(path, "manifest.long-url", f"an address of {len(url)} characters")


def _check_folder(text: str, path: str, faults: Faults) -> None:
    """Check the folder of a local node: an absolute path, for which `file://` is no spelling."""
    absolute = text.startswith("/") or values.is_windows_path(text)
    if text.lower().startswith("file:") or not absolute:
        faults.add(
            path,
            "manifest.local-url",
            f"{shown(text)} is no absolute path",
            expected='the folder\'s absolute path, such as "/srv/nodes/my-node"',
            remedy="write the path itself, without file://",
        )
    else:
        _check_path(text, path, faults)


def _check_path(text: str, path: str, faults: Faults) -> bool:
    """Check a path of the machine that wrote the manifest: no option, address or control."""
    odd = text.startswith(("-", "~")) or "://" in text or text != text.strip()
    if odd or re.search(r"[\x00-\x1f\x7f]", text):
        faults.add(
            path,
            "manifest.path",
            f"{shown(text)} is no usable path",
            expected="a path without control characters, no address, no dash or ~ at the start",
            remedy="write the path itself; ./ before a dash; addresses belong to git_packages",
        )
        return False
    faults.note(
        path, "manifest.host-path", f"{shown(text)} exists only where the manifest was captured"
    )
    return True


def _check_managed(url: str, path: str, faults: Faults) -> None:
    if "/" in url or ":" in url:
        values.check_url(url, path, faults)
    elif not REGISTRY_ID.fullmatch(url):
        faults.add(
            path,
            "manifest.registry-id",
            f"{shown(url)} is no id of the registry",
            expected='an id such as "comfyui-kjnodes@1.0.5", or an https address',
            remedy="look the id up on registry.comfy.org",
        )


def _check_ref(owner: Obj, faults: Faults) -> None:
    ref = owner.value.get("ref")
    if not isinstance(ref, str) or not ref:
        return
    path = f"{owner.path}.ref"
    values.check_ref(ref, path, faults)
    method = owner.value.get("install_method", "git")
    if method != "git":
        message = f"{shown(ref)} has no effect: a ref belongs to install_method git, not {method}"
        faults.note(path, "manifest.unused-ref", message)


def check_dependencies(found: Obj, faults: Faults) -> None:
    """Check packages of every kind and the addresses of indexes."""
    check_packages(found.obj("packages"), faults)
    pytorch = found.obj("pytorch")
    _check_index(pytorch.value.get("index_url"), f"{pytorch.path}.index_url", faults)
    check_packages(pytorch.obj("packages"), faults)
    for url, path in found.members("index_urls"):
        _check_index(url, path, faults)
    for package in found.objs("git_packages"):
        _check_git_package(package, faults)
    for package in found.objs("editable"):
        if isinstance(folder := package.value.get("path"), str) and folder:
            _check_path(folder, f"{package.path}.path", faults)
        _check_egg_name(package, faults)
    for package in found.objs("local_packages"):
        _check_local_package(package, faults)
    if (count := len(found.obj("packages").value)) > MANY_PACKAGES:
        faults.note(f"{found.path}.packages", "manifest.many-packages", f"{count} packages")


def _check_index(url: Any, path: str, faults: Faults) -> None:
    if isinstance(url, str) and url:
        values.check_url(url, path, faults, values.WEB)
        if len(url) > LONG_URL:
            faults.note(path, "manifest.long-url", f"an address of {len(url)} characters")


def check_packages(packages: Obj, faults: Faults) -> None:
    """Check a map of package names to exact versions; two spellings of one name are a fault."""
    first: dict[str, str] = {}
    for key, wanted, path in packages:
        found = package_key(key)
        if found is None:
            faults.add(
                path,
                "manifest.package-name",
                f"{shown(key)} is no name of a package",
                expected='a name such as "numpy" or "foo[bar]"',
                remedy="write what the package index calls it; the version is the value",
            )
        elif (earlier := first.setdefault(values.normal_name(found[0]), key)) != key:
            faults.add(
                path,
                "manifest.duplicate-package",
                f"{shown(key)} and {shown(earlier)} are one package",
                expected="each package once",
                remedy="keep one of them",
            )
        if isinstance(wanted, str) and wanted and version(wanted) is None:
            _add_inexact(wanted, path, faults)


def _add_inexact(wanted: str, path: str, faults: Faults) -> None:
    exact = wanted.removeprefix("===").removeprefix("==").strip()
    faults.add(
        path,
        "manifest.package-version",
        f"{shown(wanted)} is no exact version",
        expected='one exact version, such as "1.24.3"',
        remedy=f'write "{exact}"' if version(exact) else "pin it to the version that is installed",
    )


def _check_git_package(package: Obj, faults: Faults) -> None:
    url = package.value.get("url")
    # uv refuses git://, and every scheme that runs a program is left out with it.
    schemes = ("https", "http", "ssh")
    if isinstance(url, str) and url:
        values.check_repository(url, f"{package.path}.url", faults, schemes)
    _check_ref(package, faults)
    ref = package.value.get("ref")
    if isinstance(ref, str) and re.search(r"[@#]", ref):
        faults.add(
            f"{package.path}.ref",
            "ref.format",
            f"{shown(ref)} holds a character that ends a ref in an address",
            expected="a ref without @ and #",
            remedy="write the commit",
        )
    folder = package.value.get("subdirectory")
    if isinstance(folder, str) and folder and not _is_inner_folder(folder):
        faults.add(
            f"{package.path}.subdirectory",
            "manifest.subdirectory",
            f"{shown(folder)} is no folder inside the repository",
            expected='a relative path without "..", such as "python/core"',
            remedy="name the folder that holds setup.py or pyproject.toml",
        )
    _check_egg_name(package, faults)


def _is_inner_folder(text: str) -> bool:
    parts = text.removesuffix("/").split("/")
    return all(re.fullmatch(r"[\w.+][\w.+ -]*", part) and part not in (".", "..") for part in parts)


def _check_egg_name(package: Obj, faults: Faults) -> None:
    name = package.value.get("egg_name")
    if isinstance(name, str) and name and not values.is_package_name(name):
        faults.add(
            f"{package.path}.egg_name",
            "manifest.package-name",
            f"{shown(name)} is no name of a package",
            expected="letters, digits, dots, dashes and underscores",
            remedy="write the name in the package's metadata",
        )


def _check_local_package(package: Obj, faults: Faults) -> None:
    path = package.value.get("path")
    if not isinstance(path, str) or not path:
        return
    where = f"{package.path}.path"
    if path.endswith(PACKAGE_FILES):
        _check_path(path, where, faults)
        return
    faults.add(
        where,
        "manifest.local-package",
        f"{shown(path)} is no wheel or source archive",
        expected="a file that ends in " + ", ".join(PACKAGE_FILES),
        remedy="build a wheel, or list the folder under editable",
    )


def check_overrides(overrides: Obj, faults: Faults) -> None:
    """Check what differs by platform."""
    for key, _, path in overrides:
        if key not in PLATFORMS:
            message = f"{shown(key)} is no platform of version 1.0: it is never applied"
            faults.note(path, "manifest.platform", message)
        override = overrides.obj(key)
        check_packages(override.obj("packages"), faults)
        for name, where in override.members("exclude_packages"):
            if isinstance(name, str) and name and not values.is_package_name(name):
                faults.add(
                    where,
                    "manifest.package-name",
                    f"{shown(name)} is no name of a package",
                    expected="a name without a version",
                    remedy="write the name alone",
                )
        for name, value, where in override.obj("environment"):
            check_variable(name, value, where, faults)


def package_key(key: str) -> tuple[str, tuple[str, ...]] | None:
    """Return name and extras of a key such as `foo` or `foo[bar,baz]`, None when it is neither."""
    match = _PACKAGE_KEY.fullmatch(key)
    if match is None:
        return None
    extras = tuple(match[2].split(",")) if match[2] is not None else ()
    names = (match[1], *extras)
    return (match[1], extras) if all(values.is_package_name(name) for name in names) else None


def version(text: str) -> Any:
    """Return the exact version that `text` is, None for a range, a wildcard or anything else."""
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415  # manifests only

    if not values.is_version(text):
        return None
    try:
        return Version(text)
    except InvalidVersion:
        return None
