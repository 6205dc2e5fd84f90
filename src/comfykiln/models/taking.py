"""Take the models that a document names into models.yaml, every line that is there untouched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from comfykiln.documents import read
from comfykiln.errors import KilnError
from comfykiln.models.adding import added, text_of
from comfykiln.models.document import digest_of, load_models, parse
from comfykiln.models.fromdocuments import combined, from_environment
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comfykiln.models.records import Image, ModelEntry, ModelList


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenModels:
    """What became of a document's models: names of new entries, of changed ones, and remarks."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    notes: tuple[str, ...]


def take(service: Image, document: str) -> TakenModels:
    """Add what the document at a path or address names to the models.yaml of an image.

    A model whose destination is there already gains the document's sources. Pickles are left to
    a person, who has to give the reason. Raises `DocumentError` for a faulty document or list.
    """
    models = load_models(service)
    named = from_environment(read(document).environment)
    notes = list(named.notes)
    refused = {entry.destination for entry in named.entries if entry.is_pickle}
    refused -= {entry.destination for entry in models.entries}
    notes += [f"{entry}: a pickle; add it by hand with allow_pickle" for entry in sorted(refused)]
    entries = [entry for entry in named.entries if entry.destination not in refused]
    whole = combined(models, entries)
    text, newline = text_of(models.path) if models.path.exists() else ("", "\n")
    changed = []
    for place, (old, new) in enumerate(zip(models.entries, whole.entries, strict=False)):
        for source in new.sources[len(old.sources) :]:
            text = added(text, place, source.url)
            changed.append(new.name)
    fresh = whole.entries[len(models.entries) :]
    if fresh:
        text = _appended(text, fresh)
    if fresh or changed:
        _verify(models, whole, text)
        files.write_text(models.path, text.replace("\n", newline))
    return TakenModels(
        new=tuple(entry.name for entry in fresh),
        changed=tuple(dict.fromkeys(changed)),
        notes=tuple(notes),
    )


def _appended(text: str, entries: Sequence[ModelEntry]) -> str:
    """Return the YAML with `entries` behind those that it has."""
    import yaml  # noqa: PLC0415  # 18 ms, for this task alone

    from comfykiln.parsing.yaml_writing import dump  # noqa: PLC0415  # the same

    root: Any = yaml.compose(text, Loader=yaml.SafeLoader) if text else None
    block = dump([_data(entry) for entry in entries])
    if root is None:
        return "models:\n" + _indented(block, 2)
    (_, models), *_rest = root.value
    if models.flow_style and not models.value:
        head = text[: models.start_mark.index].rstrip()
        tail = text[models.end_mark.index :].lstrip()
        return f"{head}\n{_indented(block, 2)}{tail}"
    head = text if text.endswith("\n") else f"{text}\n"
    return head + _indented(block, models.start_mark.column)


def _indented(block: str, columns: int) -> str:
    return "".join(f"{' ' * columns}{line}\n" for line in block.splitlines())


def _data(entry: ModelEntry) -> dict[str, Any]:
    told = {
        "name": entry.name,
        "destination": entry.destination,
        "criticality": entry.criticality,
        "sha256": entry.sha256,
        "size": entry.size,
        "sources": [source.data() for source in entry.sources],
    }
    return {key: value for key, value in told.items() if value not in (None, [])}


def _verify(models: ModelList, whole: ModelList, text: str) -> None:
    """Raise unless the text means the old entries with the new sources, then the new entries."""
    found = parse(text.encode(), str(models.path))
    old = len(models.entries)
    same = [entry.destination for entry in found] == [entry.destination for entry in whole.entries]
    sources = [entry.sources for entry in found] == [entry.sources for entry in whole.entries]
    if not same or not sources or digest_of(found[old:]) != digest_of(whole.entries[old:]):
        raise KilnError(
            f"{models.path} is written in an unusual way",
            remedy="write its models as a list with one `- name:` each, then run it again",
        )
