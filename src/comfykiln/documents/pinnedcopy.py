"""A pinned copy of a document that is no single text: an export, a pack, a workflow, an address."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from comfykiln.documents.convert import convert
from comfykiln.documents.detect import detect, is_packed
from comfykiln.documents.formats import format_of
from comfykiln.documents.pin import Change, Site, ask_all, comfyui_address
from comfykiln.documents.reading import read
from comfykiln.documents.remote import is_address
from comfykiln.parsing.values import split_url
from comfykiln.system.gate import masked
from comfykiln.system.process import command_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfykiln.documents.formats import Written
    from comfykiln.environment import Environment, Node
    from comfykiln.git.refs import Resolved
    from comfykiln.parsing.faults import Note


@dataclass(frozen=True, kw_only=True, slots=True)
class PinnedCopy:
    """A document with commits in the place of moving names, and what it lacks of the first one."""

    written: Written
    changes: tuple[Change, ...]
    losses: tuple[Note, ...]


def is_text(source: str, ref: str | None = None) -> bool:
    """Say whether `source` is one file of text whose names `pin` replaces where they stand."""
    path = Path(source)
    if ref is not None or is_address(source) or not path.is_file() or is_packed(path):
        return False
    return detect(path).pins is not None


def advice(source: str, kind: str, ref: str | None = None) -> str:
    """Return what a person does about the moving names of a document, as a command to type."""
    argv = ["./kiln", "snapshot.pin", masked(source)]
    if is_text(source, ref):
        return f"pin branches and tags with `{command_line(argv)}`"
    argv += [*(("--ref", ref) if ref else ()), "--out", copy_name(source, kind)]
    return f"write a pinned copy with `{command_line(argv)}` and name that"


def copy_name(source: str, kind: str) -> str:
    """Return a name for the copy: beside the document, for one at an address in this folder."""
    path = PurePath(unquote(split_url(source).path)) if is_address(source) else PurePath(source)
    folder = PurePath() if is_address(source) else path.parent
    within = path.name in ("pyproject.toml", "snapshot.json", "environment.json")
    telling = path.parent if within else path
    told = telling.name or Path(telling).absolute().name
    name = told.removesuffix(".git").partition(".")[0] or told
    return str(folder / f"{name}-pinned{format_of(_kind_of_copy(kind)).ending}")


def pinned_copy(source: str, ref: str | None = None, mirrors: Path | None = None) -> PinnedCopy:
    """Return a copy of the document at `source`, of its own kind, a workflow's as an export.

    Every name is asked for before anything is made. Raises what `pin` and `documents.read` do.
    """
    parsed = read(source, ref=ref)
    sites = list(_sites(parsed.environment, mirrors))
    answers = dict(ask_all(sites, mirrors))
    pinned = _pinned(parsed.environment, answers)
    made = convert(pinned, _kind_of_copy(parsed.kind))
    changes = (
        Change(
            name=site.name,
            path=site.path,
            before=site.before,
            commit=answer.commit,
            how=answer.how,
        )
        for site, answer in answers.items()
    )
    return PinnedCopy(written=made.written, changes=tuple(changes), losses=made.losses)


def _kind_of_copy(kind: str) -> str:
    return kind if format_of(kind).write else "export"


def _sites(environment: Environment, mirrors: Path | None) -> Iterator[Site]:
    spec = environment.comfyui
    name = spec.branch or spec.ref
    if name and not spec.commit and not spec.version:
        url = spec.repository or comfyui_address(mirrors)
        yield Site(name="ComfyUI", url=url, path="comfyui", key="comfyui", before=name)
    for node in environment.nodes:
        if _moves(node, environment):
            yield _site(node)


def _moves(node: Node, environment: Environment) -> bool:
    """Say whether a node is a repository without a commit, and its code is not in the document."""
    code = f"dev_nodes/{node.name}/"
    is_repository = node.source == "git" or (
        node.source == "development"
        and not any(file.path.startswith(code) for file in environment.attachments)
    )
    return is_repository and bool(node.url) and not node.commit


def _site(node: Node) -> Site:
    place = node.place or node.name
    return Site(name=node.name, url=node.url or "", path=place, key="commit", before=node.ref)


def _pinned(environment: Environment, answers: dict[Site, Resolved]) -> Environment:
    on_comfyui = [answer for site, answer in answers.items() if site.key == "comfyui"]
    spec = environment.comfyui
    if on_comfyui:
        spec = replace(spec, commit=on_comfyui[0].commit, ref=None)
    nodes = (
        replace(node, commit=answers[_site(node)].commit, ref=None)
        if _moves(node, environment)
        else node
        for node in environment.nodes
    )
    return replace(environment, comfyui=spec, nodes=tuple(nodes))
