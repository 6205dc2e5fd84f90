"""What one environment holds and another lacks: the account of a conversion.

Compares records field by field, so that nothing can be lost without being named.
"""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfykiln.environment import (
    Attachment,
    Credential,
    Digest,
    Extra,
    Index,
    Model,
    ModelSource,
    ModelUse,
    Node,
    Package,
    PlatformOverride,
    Submodule,
    WidgetUse,
    Workflow,
)
from comfykiln.parsing.faults import Note
from comfykiln.parsing.values import normal_name
from comfykiln.system.gate import masked

if TYPE_CHECKING:
    from collections.abc import Callable

    from comfykiln.environment import Environment

SHOWN = 5
"""How many names a note lists before it says how many more there are."""

_KEYS: dict[type, Callable[[Any], str]] = {
    Attachment: lambda entry: entry.path,
    Credential: lambda entry: entry.host,
    Digest: lambda entry: entry.algorithm,
    Extra: lambda entry: entry.path,
    Index: lambda entry: entry.url,
    Model: lambda entry: entry.paths[0] if entry.paths else entry.filename,
    ModelSource: lambda entry: entry.url,
    ModelUse: lambda entry: entry.workflow,
    Node: lambda entry: entry.name,
    Package: lambda entry: normal_name(entry.name) or entry.path or entry.url or "",
    PlatformOverride: lambda entry: entry.platform,
    Submodule: lambda entry: entry.path,
    WidgetUse: lambda entry: f"{entry.node_id}/{entry.index}",
    Workflow: lambda entry: entry.name,
}


def losses(before: Environment, after: Environment) -> tuple[Note, ...]:
    """Return a note for each field of `before` that `after` lacks or has otherwise.

    A field's note names the things it was lost for; the path is the field's (`nodes[].ref`).
    """
    found: dict[tuple[str, str], dict[str, None]] = {}

    def tell(path: str, rule: str, what: str) -> None:
        found.setdefault((path, rule), {})[what] = None

    if _has_torch_moved(before, after):
        tell("torch.packages", "convert.moved", "packages")
        after = replace(after, torch=replace(after.torch, packages=before.torch.packages))
    _compare(before, after, "", "", tell)
    return tuple(
        Note(path=path, rule=rule, message=_sentence(rule, list(names)))
        for (path, rule), names in sorted(found.items())
    )


def _has_torch_moved(before: Environment, after: Environment) -> bool:
    """Say whether the torch family's pins are ordinary packages now."""
    family = {_pin(package) for package in before.torch.packages}
    ordinary = {_pin(package) for package in after.packages}
    return bool(family) and not after.torch.packages and family <= ordinary


def _compare(before: Any, after: Any, path: str, owner: str, tell: Callable[..., None]) -> None:
    """Compare two records of one type, field by field."""
    for field in dataclasses.fields(before):
        if not field.compare:
            continue
        old, new = getattr(before, field.name), getattr(after, field.name)
        here = f"{path}.{field.name}" if path else field.name
        if old == new:
            continue
        if _are_records(old):
            _compare_lists(old, new, here, owner, tell)
        elif dataclasses.is_dataclass(old):
            _compare(old, new, here, owner, tell)
        elif old is None or old == field.default:
            continue  # the new one says more
        elif field.name == "cuda_stated" and before.cuda is not None:
            continue  # told as `cuda`
        else:
            _compare_values(old, new, here, owner, tell)


def _are_records(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and dataclasses.is_dataclass(value[0])


def _compare_lists(
    old: tuple[Any, ...], new: tuple[Any, ...], path: str, owner: str, tell: Callable[..., None]
) -> None:
    """Compare lists of records by what identifies each; the order counts where all are there."""
    key = _KEYS[type(old[0])]
    rest: dict[str, list[Any]] = {}
    for entry in new:
        rest.setdefault(key(entry), []).append(entry)
    for entry in old:
        name = _label(entry)
        counterparts = rest.get(key(entry), [])
        if not counterparts:
            tell(path, "convert.left-out", masked(f"{name} ({owner})" if owner else name))
            continue
        best = next((other for other in counterparts if other == entry), counterparts[0])
        counterparts.remove(best)
        _compare(entry, best, f"{path}[]", name, tell)
    if isinstance(old[0], Package):
        return  # packages are solved together
    there, here = {key(entry) for entry in new}, {key(entry) for entry in old}
    before, after = [key(entry) for entry in old], [key(entry) for entry in new]
    if [entry for entry in before if entry in there] != [entry for entry in after if entry in here]:
        tell(path, "convert.order", owner)


def _pin(package: Package) -> tuple[str, str | None]:
    return normal_name(package.name), package.version


def _label(record: Any) -> str:
    """Return what a record is called in a note: as written where it has a name."""
    if isinstance(record, Package) and record.name:
        return record.name
    return _KEYS[type(record)](record)


def _compare_values(old: Any, new: Any, path: str, owner: str, tell: Callable[..., None]) -> None:
    text = _text(old)
    if path.endswith(".cuda_stated"):
        tell("system.cuda", "convert.lost", "none (CPU)")
    elif new is None or new in ("", ()):
        tell(path, "convert.lost", owner or text)
    else:
        tell(path, "convert.changed", f"{owner}: {text} → {_text(new)}".removeprefix(": "))


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        value = ", ".join(_text(entry) for entry in value)
    text = masked(value if isinstance(value, str) else repr(value))
    return text if len(text) <= 60 else f"{text[:57]}…"  # noqa: PLR2004  # half a line


def _sentence(rule: str, names: list[str]) -> str:
    verb = {
        "convert.left-out": "left out",
        "convert.lost": "not kept",
        "convert.changed": "changed",
        "convert.moved": "now among",
        "convert.order": "in another order",
    }[rule]
    shown = [name for name in names if name]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return f"{verb}: {', '.join(shown[:SHOWN])}{more}" if shown else verb
