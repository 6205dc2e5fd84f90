"""Which image a document becomes: its name, its ComfyUI among the pinned ones, its Python."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from comfykiln.errors import DocumentError
from comfykiln.intake.records import Difference
from comfykiln.parsing.faults import Note
from comfykiln.parsing.values import split_url

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from comfykiln.documents.formats import Parsed
    from comfykiln.environment import ComfyUISpec as Asked
    from comfykiln.environment import SystemSpec
    from comfykiln.intake.records import PythonMatch
    from comfykiln.plan.origins import BaseSpec, ComfyUISpec, Origins

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_ENDING = re.compile(r"(?i)(\.cpack)?\.(json|ya?ml|toml|zip|png|webp|tar|tar\.gz|tgz)\Z")
_SHORT_COMMIT = re.compile(r"[0-9a-f]{7,39}")


def name_of(parsed: Parsed, given: str | None, committed: Collection[str]) -> str:
    """Return the image's name: the one given, else the document's own, else its file's.

    `committed` are the images of the repository, whose names are taken.
    """
    name = given or _fit(parsed.environment.name or _file_name(parsed.source))
    if not NAME.fullmatch(name):
        raise DocumentError(
            f"{name!r} cannot be the name of an image"
            if given
            else f"{parsed.source}: its name makes no name of an image",
            remedy="name it with --image: lower-case letters, digits and dashes, at most 40",
        )
    if name in committed:
        raise DocumentError(
            f"the image {name!r} is described by services/comfy/{name}",
            remedy="give the image from the document another name with --image",
        )
    return name


def _file_name(source: str) -> str:
    """Return the last telling part of a path or address, without its ending."""
    path = unquote(split_url(source).path) if "://" in source else source
    plain = PurePath(path.partition("@")[0] if "://" in source else path)
    telling = plain.parent.name if plain.name in ("pyproject.toml", "snapshot.json") else plain.name
    return _ENDING.sub("", telling or plain.name).removesuffix(".git")


def _fit(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-")


def comfyui_of(
    asked: Asked, origins: Origins, accepted: str | None
) -> tuple[ComfyUISpec, tuple[Difference | Note, ...]]:
    """Return the pinned release that the document means, and what is to be said about it.

    Raises `DocumentError` where none is meant and the person has `accepted` none.
    """
    found = next((release for release in origins.releases.values() if _is(asked, release)), None)
    if accepted:
        release = origins.comfyui(accepted)
        if asked.wanted is None or found is release:
            return release, ()
        why = "chosen with --comfyui"
        told = Difference(thing="ComfyUI", asked=asked.wanted, got=f"v{release.version}", why=why)
        return release, (told,)
    if asked.wanted is None:
        release = newest(origins)
        message = f"names none: v{release.version}, the newest that is pinned, is taken"
        return release, (Note(path="ComfyUI", rule="from.comfyui", message=message),)
    if found is None:
        raise _unpinned(asked, origins)
    return found, ()


def _is(asked: Asked, have: ComfyUISpec) -> bool:
    """Say whether everything exact that the document says of ComfyUI is true of the release."""
    if asked.commit or asked.version:
        return (asked.commit in (None, have.commit)) and (
            asked.version is None or asked.version.removeprefix("v") == have.version
        )
    short = asked.ref if asked.ref and _SHORT_COMMIT.fullmatch(asked.ref) else None
    return short is not None and have.commit.startswith(short)


def newest(origins: Origins) -> ComfyUISpec:
    """Return the newest pinned release."""
    return max(
        origins.releases.values(),
        key=lambda entry: tuple(int(part) for part in entry.version.split(".")),
    )


def _unpinned(asked: Asked, origins: Origins) -> DocumentError:
    pinned = ", ".join(
        f"v{release.version} ({release.commit[:12]})" for release in origins.releases.values()
    )
    what = f"the branch {asked.branch}, which moves" if asked.branch else str(asked.wanted)
    both = f" ({asked.version})" if asked.commit and asked.version else ""
    return DocumentError(
        f"the document is for ComfyUI {what}{both}; images/origins.yaml pins {pinned}",
        remedy=f"build on a pinned one all the same: --comfyui v{newest(origins).version}; "
        "or pin the document's release as docs/origins.md says",
    )


def python_of(
    system: SystemSpec, bases: Mapping[str, BaseSpec], match: PythonMatch, usual: str
) -> tuple[BaseSpec, tuple[Difference | Note, ...]]:
    """Return the base whose Python the document asks for; `usual` is the suite where it is silent.

    A patch release counts only where the document names one: then `match` must allow another.
    """
    asked = system.python
    if asked is None:
        return _by_range(system.requires_python, bases, match, usual)
    minor = ".".join(asked.split(".")[:2])
    base = next((base for base in bases.values() if base.python == minor), None)
    if base is not None and asked in (minor, base.patch):
        return base, ()
    if base is not None and match != "exact":
        return base, (_other(asked, base, match),)
    if match == "any":
        return bases[usual], (_other(asked, bases[usual], match),)
    allowed = "minor" if base is not None else "any"
    raise DocumentError(
        f"the document asks for Python {asked}; the base images have {_listed(bases)}",
        remedy=f"add --python-match {allowed} to take "
        f"{(base or bases[usual]).patch or minor} instead",
    )


def _by_range(
    requires: str | None, bases: Mapping[str, BaseSpec], match: PythonMatch, usual: str
) -> tuple[BaseSpec, tuple[Difference | Note, ...]]:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415  # exports only

    if requires is None:
        return bases[usual], ()
    try:
        specifier = SpecifierSet(requires)
    except InvalidSpecifier as error:
        raise DocumentError(
            f"requires-python {requires!r} is no range of versions", remedy='write one as ">=3.11"'
        ) from error
    order = [bases[usual], *bases.values()]
    base = next((entry for entry in order if specifier.contains(_release(entry))), None)
    if base is not None:
        return base, ()
    if match == "any":
        return bases[usual], (_other(requires, bases[usual], match),)
    raise DocumentError(
        f"the document asks for Python {requires}; the base images have {_listed(bases)}",
        remedy=f"add --python-match any to take {_release(bases[usual])} instead",
    )


def _other(asked: str, base: BaseSpec, match: PythonMatch) -> Difference:
    why = f"allowed with --python-match {match}"
    return Difference(thing="Python", asked=asked, got=_release(base), why=why)


def _release(base: BaseSpec) -> str:
    return base.patch or base.python


def _listed(bases: Mapping[str, BaseSpec]) -> str:
    return ", ".join(f"{_release(base)} ({suite})" for suite, base in bases.items())
