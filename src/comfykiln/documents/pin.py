"""Moving names of a document become commits, in the file's own form and nothing else changed."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from comfykiln.documents.detect import detect_bytes, is_packed
from comfykiln.documents.snapshot.layout import HASH_KEYS
from comfykiln.environment import Environment, is_commit
from comfykiln.errors import DocumentError, KilnError, NotPossibleError
from comfykiln.git.refs import Resolved, mirror_of, resolve
from comfykiln.parsing.faults import child
from comfykiln.parsing.reading import load
from comfykiln.parsing.spans import Spans, apply, set_text, spans
from comfykiln.system.gate import masked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from comfykiln.documents.formats import Parsed, Pins
    from comfykiln.environment import Node

COMFYUI = "https://github.com/Comfy-Org/ComfyUI.git"
COMFYUI_BEFORE = "https://github.com/comfyanonymous/ComfyUI.git"
"""Where ComfyUI was until January 2026: a folder of mirrors may still know it by that name."""
AT_ONCE = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A value to pin: `key` of the map at `path`, now `before` (None: not said)."""

    name: str
    url: str
    path: str
    key: str
    before: str | None
    may_stay: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What a value became, and how that was found."""

    name: str
    path: str
    before: str | None
    commit: str
    how: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Pinned:
    """A document before and after; equal texts when everything was pinned already.

    `warnings` tell what stays unpinned and why.
    """

    before: str
    after: str
    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()


def pin(path: Path, mirrors: Path | None = None) -> Pinned:
    """Return the document at `path` with a commit in place of each moving name.

    Every name is asked for before anything is changed. Raises `NotPossibleError` when a host
    cannot be reached, `DocumentError` for names that do not exist or a document that is no list
    of repositories.
    """
    data = load(path)
    parsed, pins = _parse(data, path)
    sites = list(_sites(parsed, pins, mirrors))
    answered = ask_all(sites, mirrors)
    text = data.decode()
    found = spans(text, yaml=_is_yaml(path, text)) if answered else {}
    answers = [(_locate(text, found, site), entry) for site, entry in answered]
    after = apply(text, [_edit(text, found, site, answer.commit) for site, answer in answers])
    _check(after, path, answers)
    return Pinned(
        before=text,
        after=after,
        changes=tuple(
            Change(
                name=site.name,
                path=child(site.path, site.key),
                before=site.before,
                commit=answer.commit,
                how=answer.how,
            )
            for site, answer in answers
        ),
        warnings=(*_unpinnable(parsed.environment), *_unreached_releases(sites, answers)),
    )


def _parse(data: bytes, path: Path) -> tuple[Parsed, Pins]:
    found = detect_bytes(data, str(path))
    if found.pins is None or is_packed(path):
        raise DocumentError(
            f"{path}: a {found.kind} holds no refs that can be pinned in place",
            remedy="write a pinned copy: "
            f"`./kiln snapshot.pin {shlex.quote(str(path))} --out FILE`",
        )
    return found.parse(data, str(path)), found.pins


def _sites(parsed: Parsed, pins: Pins, mirrors: Path | None) -> Iterable[Site]:
    owner = pins.comfyui.get(parsed.form)
    spec = parsed.environment.comfyui
    name = spec.branch or spec.ref or spec.version
    if owner and name and not spec.commit:
        yield Site(
            name="ComfyUI",
            url=spec.repository or comfyui_address(mirrors),
            path=owner,
            key="comfyui",
            before=name,
            may_stay=spec.version is not None,
        )
    for node in parsed.environment.nodes:
        if node.source == "git" and node.url and not node.commit:
            yield Site(name=node.name, url=node.url, path=node.place, key=pins.key, before=node.ref)


def comfyui_address(mirrors: Path | None) -> str:
    """Return where ComfyUI's names are asked for: where it is now, unless a mirror knows better."""
    only_before = mirror_of(COMFYUI_BEFORE, mirrors) and not mirror_of(COMFYUI, mirrors)
    return COMFYUI_BEFORE if only_before else COMFYUI


def ask_all(sites: Sequence[Site], mirrors: Path | None) -> list[tuple[Site, Resolved]]:
    """Return each site with its answer; raises one error that names every failure."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda site: _ask(site, mirrors), sites))
    failures = [
        (site, result)
        for site, result in zip(sites, results, strict=True)
        if isinstance(result, KilnError) and not _may_stay(site, result)
    ]
    if failures:
        raise _join(failures)
    return [
        (site, result)
        for site, result in zip(sites, results, strict=True)
        if isinstance(result, Resolved)
    ]


def _may_stay(site: Site, error: KilnError) -> bool:
    """Keep a release of ComfyUI where it cannot be asked for: it names one commit."""
    return site.may_stay and isinstance(error, NotPossibleError)


def _ask(site: Site, mirrors: Path | None) -> Resolved | KilnError:
    try:
        return resolve(site.url, site.before, mirrors)
    except KilnError as error:
        return error


def _join(failures: Sequence[tuple[Site, KilnError]]) -> KilnError:
    lines = [f"{site.path}: {error.message}" for site, error in failures]
    remedies = list(dict.fromkeys(error.remedy for _, error in failures if error.remedy))
    count = f"{len(lines)} of the refs could not be pinned; nothing was written"
    remedy = "; ".join(remedies)
    if any(isinstance(error, NotPossibleError) for _, error in failures):
        return NotPossibleError("\n  ".join([count, *lines]), remedy=remedy)
    return DocumentError(count, faults=lines, remedy=remedy)


def _is_yaml(path: Path, text: str) -> bool:
    return path.suffix in (".yaml", ".yml") or text.lstrip()[:1] not in ("{", "[")


def _locate(text: str, found: Spans, site: Site) -> Site:
    """Return the site at the key, and for ComfyUI in the map, where the document has the name."""
    if site.before is None:
        return site
    keys = HASH_KEYS if site.key in HASH_KEYS else (site.key,)
    owners = (site.path, "$") if site.key == "comfyui" else (site.path,)
    for owner, key in ((owner, key) for owner in owners for key in keys):
        span = found.get(child(owner, key))
        if span and site.before in text[span.start : span.end]:
            return replace(site, path=owner, key=key)
    return site


def _edit(text: str, found: Spans, site: Site, commit: str) -> tuple[int, int, str]:
    return set_text(text, found, site.path, site.key, commit)


def _check(after: str, path: Path, answers: Sequence[tuple[Site, Resolved]]) -> None:
    """Read the new text again: each value must be the commit that was found for it."""
    environment = _parse(after.encode(), path)[0].environment
    commits = {node.place: node.commit for node in environment.nodes if is_commit(node.commit)}
    for site, answer in answers:
        now = environment.comfyui.commit if site.key == "comfyui" else commits.get(site.path)
        if now is None and _ref_of(environment.nodes, site.path) == answer.commit:
            continue
        if now != answer.commit:
            raise KilnError(
                f"{path}: {site.path} could not be rewritten in place; nothing was written",
                remedy=f"set its {site.key} to {answer.commit} by hand",
            )


def _ref_of(nodes: Iterable[Node], place: str) -> str | None:
    return next((node.ref for node in nodes if node.place == place), None)


def _unpinnable(environment: Environment) -> Iterable[str]:
    for node in environment.nodes:
        if node.source == "registry" and not node.version:
            yield f"{node.place}: {node.name} has no registry version, which git cannot tell"


def _unreached_releases(
    sites: Sequence[Site], answers: Sequence[tuple[Site, Resolved]]
) -> Iterable[str]:
    answered = {site.path for site, _ in answers if site.key == "comfyui"}
    for site in sites:
        if site.key == "comfyui" and site.path not in answered:
            yield f"ComfyUI stays at the release {site.before}: {masked(site.url)} is out of reach"
