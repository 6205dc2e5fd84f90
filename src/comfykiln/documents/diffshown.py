"""A diff of two environments as text, as Markdown for a pull request, and as data."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from comfykiln.environment import is_commit
from comfykiln.parsing.values import https_url
from comfykiln.system.gate import fit, masked, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comfykiln.documents.diff import Diff, Entry

SIGNS = {"added": "+", "removed": "-", "moved": "~", "changed": "~"}
_COMPARING = re.compile(r"https://(github\.com|gitlab\.com|codeberg\.org)/[\w.-]+/[\w.-]+")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#!~&])")


def as_data(found: Diff) -> dict[str, Any]:
    """Return the diff as JSON's types: `equal`, then a list for each section, nulls left out."""
    return {
        "equal": found.equal,
        **{name: [_entry_data(entry) for entry in entries] for name, entries in _sections(found)},
    }


def as_text(found: Diff, before: str, after: str) -> str:
    """Return the diff for a terminal."""
    lines = [f"{before} → {after}"]
    for name, entries in _sections(found):
        if entries:
            lines.append(f"{name}: {_counts(entries)}")
            lines += [f"  {_line(entry)}" for entry in entries]
    return "\n".join(lines if len(lines) > 1 else [*lines, "no difference"])


def as_markdown(found: Diff, before: str, after: str) -> str:
    """Return the diff for a pull request; nothing in it can become a link, tag or mention."""
    lines = [f"### Environment: {_safe(before)} → {_safe(after)}", ""]
    if found.equal:
        return "\n".join([*lines, "No difference."])
    for name, entries in _sections(found):
        if entries:
            lines += [f"**{name}**: {_counts(entries)}", "", *_table(entries), ""]
    return "\n".join(lines).rstrip()


def _sections(found: Diff) -> tuple[tuple[str, tuple[Entry, ...]], ...]:
    return (
        ("comfyui", found.comfyui),
        ("nodes", found.nodes),
        ("packages", found.packages),
        ("models", found.models),
    )


def _entry_data(entry: Entry) -> dict[str, Any]:
    return {key: masked(value) for key, value in asdict(entry).items() if value not in (None, "")}


def _counts(entries: Iterable[Entry]) -> str:
    counts: dict[str, int] = {}
    for entry in entries:
        counts[entry.what] = counts.get(entry.what, 0) + 1
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def _line(entry: Entry) -> str:
    sides = [
        _side(value, date)
        for value, date in ((entry.before, entry.before_date), (entry.after, entry.after_date))
        if value
    ]
    sides = list(dict.fromkeys(sides))  # another source or folder, the same commit
    parts = [SIGNS[entry.what], entry.name or "(unnamed)", " → ".join(sides), entry.detail]
    if entry.url and entry.what in ("added", "removed"):
        parts.append(entry.url)
    return one_line(masked("  ".join(part for part in parts if part)))


def _side(value: str, date: str | None) -> str:
    short = value[:10] if is_commit(value) else value
    return f"{short} ({date})" if date else short


def _table(entries: Iterable[Entry]) -> list[str]:
    rows = ["| | name | before | after | |", "|---|---|---|---|---|"]
    for entry in entries:
        before = _safe(_side(entry.before, entry.before_date)) if entry.before else ""
        after = _safe(_side(entry.after, entry.after_date)) if entry.after else ""
        notes = " ".join(part for part in (_compare_link(entry), _safe(entry.detail)) if part)
        rows.append(f"| {entry.what} | {_safe(entry.name)} | {before} | {after} | {notes} |")
    return rows


def _compare_link(entry: Entry) -> str:
    """Return a link to the commits between, for hosts that show them."""
    address = https_url(entry.url or "").removesuffix(".git").rstrip("/")
    if not (is_commit(entry.before) and is_commit(entry.after) and _COMPARING.fullmatch(address)):
        return ""
    return f"[commits]({address}/compare/{entry.before}...{entry.after})"


def _safe(text: str) -> str:
    """Return text of a document as Markdown that shows it and does nothing else."""
    flat = " ".join(fit(text).split()).replace("@", "@\u2060")
    flat = re.sub(r"(?i)\b(https?|ftp)://", "\\1:\u2060//", flat)
    return _MARKDOWN.sub(r"\\\1", flat)
