"""What changed between two environments: ComfyUI, nodes, packages, models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from comfykiln.parsing.requirements import address_of
from comfykiln.parsing.values import normal_name, repository_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from comfykiln.environment import Environment, Model, Node, Package

What = Literal["added", "removed", "moved", "changed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One difference. `before` and `after` are what is installed (commit, version, address).

    `what` of a node: `moved` is another commit or version of the same node, `changed` anything
    else (source, address, disabled), told in `detail`. Dates are days (2026-01-31) where known.
    """

    what: What
    name: str
    before: str | None = None
    after: str | None = None
    url: str | None = None
    detail: str = ""
    before_date: str | None = None
    after_date: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Diff:
    """All differences of two environments, each list sorted by name."""

    comfyui: tuple[Entry, ...] = ()
    nodes: tuple[Entry, ...] = ()
    packages: tuple[Entry, ...] = ()
    models: tuple[Entry, ...] = ()

    @property
    def equal(self) -> bool:
        """Say whether nothing differs."""
        return not (self.comfyui or self.nodes or self.packages or self.models)


def _no_date(url: str, commit: str) -> str | None:
    del url, commit
    return None


def diff(
    before: Environment,
    after: Environment,
    date_of: Callable[[str, str], str | None] = _no_date,
) -> Diff:
    """Return what changed. `date_of(url, commit)` returns a commit's day where it is known."""
    return Diff(
        comfyui=tuple(_comfyui(before, after, date_of)),
        nodes=tuple(_nodes(before.nodes, after.nodes, date_of)),
        packages=tuple(_packages(before, after)),
        models=tuple(_models(before.models, after.models)),
    )


def _comfyui(
    before: Environment, after: Environment, date_of: Callable[[str, str], str | None]
) -> Iterable[Entry]:
    old, new = before.comfyui, after.comfyui
    if old.wanted == new.wanted:
        return
    url = new.repository or old.repository or "https://github.com/Comfy-Org/ComfyUI"
    yield Entry(
        what="moved" if old.wanted and new.wanted else "added" if new.wanted else "removed",
        name="ComfyUI",
        before=old.wanted,
        after=new.wanted,
        url=url,
        before_date=date_of(url, old.wanted) if old.wanted else None,
        after_date=date_of(url, new.wanted) if new.wanted else None,
    )


def _nodes(
    before: tuple[Node, ...],
    after: tuple[Node, ...],
    date_of: Callable[[str, str], str | None],
) -> list[Entry]:
    pairs, removed, added = _match(before, after, (_repository, lambda node: node.name.casefold()))
    entries = [entry for old, new in pairs for entry in _node_change(old, new, date_of)]
    entries += [_node_entry("removed", node, date_of) for node in removed]
    entries += [_node_entry("added", node, date_of) for node in added]
    return sorted(entries, key=lambda entry: (entry.name.casefold(), entry.what))


def _repository(node: Node) -> str | None:
    return repository_key(node.url) if node.url and node.source != "local" else None


def _match(
    before: Sequence[Any], after: Sequence[Any], keys: tuple[Callable[[Any], str | None], ...]
) -> tuple[list[tuple[Any, Any]], list[Any], list[Any]]:
    """Pair what is the same thing by the first key that agrees; return pairs and both rests."""
    pairs: list[tuple[Any, Any]] = []
    old, new = list(before), list(after)
    for key in keys:
        waiting: dict[str, list[int]] = {}
        for index, two in enumerate(new):
            waiting.setdefault(key(two) or "", []).append(index)
        waiting.pop("", None)
        found = [(entry, rest.pop(0)) for entry in old if (rest := waiting.get(key(entry) or ""))]
        pairs += [(entry, new[index]) for entry, index in found]
        paired, taken = {id(entry) for entry, _ in found}, {index for _, index in found}
        old = [entry for entry in old if id(entry) not in paired]
        new = [two for index, two in enumerate(new) if index not in taken]
    return pairs, old, new


def _node_entry(what: What, node: Node, date_of: Callable[[str, str], str | None]) -> Entry:
    date = date_of(node.url, node.commit) if node.url and node.commit else None
    gone = what == "removed"
    return Entry(
        what=what,
        name=node.name,
        before=node.wanted if gone else None,
        after=None if gone else node.wanted,
        url=node.url,
        detail="disabled" if node.disabled else "",
        before_date=date if gone else None,
        after_date=None if gone else date,
    )


def _node_change(
    old: Node, new: Node, date_of: Callable[[str, str], str | None]
) -> Iterable[Entry]:
    details = [
        f"{label}: {was} → {now}"
        for label, was, now in (
            ("source", old.source, new.source),
            ("folder", old.name, new.name),
            ("address", old.url, new.url),
            ("disabled", _word(old.disabled), _word(new.disabled)),
        )
        if was != now and was is not None and now is not None
    ]
    moved = old.wanted != new.wanted
    if moved or details:
        url = new.url or old.url
        yield Entry(
            what="moved" if moved else "changed",
            name=new.name,
            before=old.wanted,
            after=new.wanted,
            url=url,
            detail="; ".join(details),
            before_date=date_of(url, old.commit) if url and old.commit else None,
            after_date=date_of(url, new.commit) if url and new.commit else None,
        )


def _word(value: bool) -> str:  # noqa: FBT001  # the value itself is shown
    return "yes" if value else "no"


def _packages(before: Environment, after: Environment) -> list[Entry]:
    old = (*before.torch.packages, *before.packages)
    new = (*after.torch.packages, *after.packages)
    pairs, removed, added = _match(old, new, (_package_key,))
    entries = [
        Entry(
            what="moved", name=later.name or earlier.name, before=asked(earlier), after=asked(later)
        )
        for earlier, later in pairs
        if asked(earlier) != asked(later)
    ]
    entries += [
        Entry(what="removed", name=package.name, before=asked(package)) for package in removed
    ]
    entries += [Entry(what="added", name=package.name, after=asked(package)) for package in added]
    return sorted(entries, key=lambda entry: (normal_name(entry.name), entry.what))


def _package_key(package: Package) -> str:
    name = normal_name(package.name) if package.name else package.path or package.url or ""
    return f"{name}|{package.group or ''}|{package.marker or ''}"


def asked(package: Package) -> str:
    """Return what is asked of a package: its version, a range, an address, or `any`."""
    if package.url and package.source != "index":
        return address_of(package)
    return package.version or package.specifier or package.path or "any"


def _models(before: tuple[Model, ...], after: tuple[Model, ...]) -> list[Entry]:
    pairs, removed, added = _match(before, after, (_model_key,))
    entries = [
        Entry(what="changed", name=_model_key(later), detail=detail)
        for earlier, later in pairs
        if (detail := _model_detail(earlier, later))
    ]
    entries += [Entry(what="removed", name=_model_key(model)) for model in removed]
    entries += [Entry(what="added", name=_model_key(model), url=_source(model)) for model in added]
    return sorted(entries, key=lambda entry: (entry.name, entry.what))


def _model_key(model: Model) -> str:
    return model.paths[0] if model.paths else model.filename


def _source(model: Model) -> str | None:
    return model.sources[0].url if model.sources else None


def _model_detail(old: Model, new: Model) -> str:
    """Say what of a model differs, where both documents say it."""
    parts = [
        f"{digest.algorithm}: {digest.value[:12]}… → {value[:12]}…"
        for digest in old.digests
        if (value := new.digest(digest.algorithm)) not in (None, digest.value) and value
    ]
    if old.size and new.size and old.size != new.size:
        parts.append(f"size: {old.size} → {new.size}")
    if old.sources and new.sources and _source(old) != _source(new):
        parts.append(f"address: {_source(old)} → {_source(new)}")
    return "; ".join(parts)
