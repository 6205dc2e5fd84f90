"""The records of images/origins.yaml: what is wanted, by identity, and where it is available."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from comfykiln.errors import DocumentError
from comfykiln.plan.datafiles import load_yaml
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


# The registry of custom nodes that ComfyUI's Manager asks, where origins.yaml names no other.
REGISTRY = "https://api.comfy.org"


@dataclass(frozen=True, kw_only=True, slots=True)
class OriginUse:
    """What one outside thing was made from; it goes into labels and the receipt.

    `identity` is a digest, a commit with its content hash, or exact versions; `origin` is the short
    id in origins.yaml's terms (`registry`, `mmdebstrap`, `git`, `git-mirror`, `sdist`, `index`,
    `package-index`); `detail` is for people and holds no credentials; `warning` says what a person
    should know about it, or is empty.
    """

    thing: str
    identity: str
    origin: str
    detail: str
    fallback: bool
    warning: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseSpec:
    """A base image: the reference by tag and digest, and how the same Debian is bootstrapped.

    `patch` is the exact release of the suite's Python, which a stable Debian keeps.
    """

    ref: str
    suite: str
    python: str
    include: tuple[str, ...]
    origins: tuple[str, ...] = ("registry", "mmdebstrap")
    patch: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class GitOrigin:
    """A git repository that has the commit."""

    url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """The one line `old` of the file `path` that must read `new` to be the release's own."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SdistOrigin:
    """A source distribution on the Python package index that carries the tree in a folder.

    `size` is in bytes; `folder` is relative to the archive's top folder.
    """

    project: str
    file: str
    sha256: str
    size: int
    folder: str
    corrections: tuple[Correction, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ComfyUISpec:
    """A ComfyUI release: its commit, the pinned list of its files, and the list's sha256."""

    version: str
    commit: str
    files: Path
    content: str
    origins: tuple[GitOrigin | SdistOrigin, ...]

    @property
    def repository(self) -> str:
        """The address of the git repository that has the commit, or '' where none is listed."""
        return next((origin.url for origin in self.origins if isinstance(origin, GitOrigin)), "")


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchFamily:
    """A torch family on the Python package index: its versions and the build it really is.

    `stands_in_for` names the other targets it serves, each with what that costs.
    """

    versions: Mapping[str, str]
    local: str
    stands_in_for: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchSpec:
    """The torch families that are available when a target's own index cannot be reached.

    The first is the one that a solve over the package index yields today.
    """

    families: tuple[TorchFamily, ...]

    @property
    def package_index(self) -> str:
        """The local version tag of the build on the package index, such as `cu130`."""
        return self.families[0].local


@dataclass(frozen=True, kw_only=True, slots=True)
class Origins:
    """All of origins.yaml; `registry` is the address of the registry of custom nodes."""

    bases: Mapping[str, BaseSpec]
    releases: Mapping[str, ComfyUISpec]
    torch: TorchSpec
    registry: str

    def base(self, suite: str) -> BaseSpec:
        """Return the base of a Debian suite; otherwise raise an error that says which there are."""
        if suite not in self.bases:
            known = ", ".join(self.bases)
            raise DocumentError(f"there is no base for {suite!r}", remedy=f"use one of: {known}")
        return self.bases[suite]

    def comfyui(self, version: str) -> ComfyUISpec:
        """Return the ComfyUI release `version` (with or without the tag's leading v)."""
        plain = version.removeprefix("v")
        if plain not in self.releases:
            known = ", ".join(self.releases)
            raise DocumentError(
                f"ComfyUI {plain} is not pinned in origins.yaml",
                remedy=f"use one of: {known}; or pin it as docs/origins.md says",
            )
        return self.releases[plain]


def load_origins(path: Path) -> Origins:
    """Read origins.yaml and check the pinned lists beside it.

    Raises `DocumentError` that lists every fault with its place.
    """
    raw = load_yaml(path, "origins")
    releases = {
        tag.removeprefix("v"): _release(tag.removeprefix("v"), entry, path.parent)
        for tag, entry in raw["comfyui"].items()
    }
    faults = [fault for release in releases.values() for fault in _list_faults(release)]
    if faults:
        raise DocumentError(
            f"{path} has {len(faults)} fault(s)",
            faults=faults,
            remedy="restore the list, or make it again as docs/origins.md says",
        )
    bases = {suite: _base(suite, entry) for suite, entry in raw["base"].items()}
    families = tuple(_family(entry) for entry in raw["torch"]["package_index"])
    return Origins(
        bases=bases,
        releases=releases,
        torch=TorchSpec(families=families),
        registry=raw.get("registry", REGISTRY),
    )


def _base(suite: str, entry: Mapping[str, Any]) -> BaseSpec:
    return BaseSpec(
        ref=entry["ref"],
        suite=suite,
        python=entry["python"],
        include=tuple(entry["include"]),
        origins=tuple(entry["origins"]),
        patch=entry.get("patch", ""),
    )


def _release(version: str, entry: Mapping[str, Any], folder: Path) -> ComfyUISpec:
    return ComfyUISpec(
        version=version,
        commit=entry["commit"],
        files=folder / entry["files"],
        content=entry["content"],
        origins=tuple(_comfyui_origin(origin) for origin in entry["origins"]),
    )


def _comfyui_origin(entry: Mapping[str, Any]) -> GitOrigin | SdistOrigin:
    if entry["kind"] == "git":
        return GitOrigin(url=entry["url"])
    return SdistOrigin(
        project=entry["project"],
        file=entry["file"],
        sha256=entry["sha256"],
        size=entry["size"],
        folder=entry["folder"],
        corrections=tuple(Correction(**correction) for correction in entry.get("corrections", ())),
    )


def _family(entry: Mapping[str, Any]) -> TorchFamily:
    return TorchFamily(
        versions=entry["versions"], local=entry["local"], stands_in_for=entry["stands_in_for"]
    )


def _list_faults(release: ComfyUISpec) -> list[str]:
    place = f"$.comfyui['v{release.version}']"
    if not release.files.is_file():
        return [f"{place}.files: {release.files} does not exist"]
    found = files.sha256_file(release.files)
    if found != release.content:
        return [f"{place}.content: {release.files} has the sha256 {found}"]
    return []
