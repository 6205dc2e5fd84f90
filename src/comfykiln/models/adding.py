"""Add a source to a model: one more line in models.yaml, every other byte of it untouched."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfykiln.errors import DocumentError, KilnError
from comfykiln.models.document import load_models, parse
from comfykiln.models.records import ModelSource
from comfykiln.models.sources.addresses import check_address, normal_address
from comfykiln.parsing.faults import Faults, FaultyDocumentError
from comfykiln.parsing.values import shown
from comfykiln.system import console, files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from comfykiln.models.records import Image, ModelEntry, ModelList

QUIT = "q"


def add(services: Sequence[Image], name: str, url: str) -> Path:
    """Add `url` as the last source of the model called `name`, and return the file it went to.

    An address of a hub's website is written as `hf://` or `civitai:`: the hub's token and hashes
    are used then.
    `name` may be the destination, the file's name, or the beginning of any of these or of the
    sha256, as long as one model alone fits. Raises `DocumentError` for a name that fits none or
    several, an address that is none, or a source that is there already.
    """
    models, entry = _one(services, name)
    _check(url, entry)
    url = normal_address(url)
    if any(source.url == url for source in entry.sources):
        raise DocumentError(f"{entry.name} has the source {shown(url)} already")
    place = models.entries.index(entry)
    text, newline = text_of(models.path)
    changed = added(text, place, url)
    _verify(models, entry, url, changed)
    files.write_text(models.path, changed.replace("\n", newline))
    return models.path


def text_of(path: Path) -> tuple[str, str]:
    """Return a file's text with line feeds alone, and what really ends its lines."""
    text = path.read_bytes().decode()
    return text.replace("\r\n", "\n"), "\r\n" if "\r\n" in text else "\n"


def ask(services: Sequence[Image], name: str | None) -> None:
    """Ask for a source for each model without one, or for the one called `name`.

    Raises `DocumentError` where nobody can answer, with the models that need a source.
    """
    needy = [
        (service, entry)
        for service in services
        for entry in load_models(service).entries
        if not entry.sources
    ]
    if name is not None:
        models, entry = _one(services, name)
        needy = [(s, entry) for s in services if s.folder == models.path.parent]
    if not needy:
        console.out("every model has a source")
        return
    if not sys.stdin.isatty() and name is not None:
        raise DocumentError(
            f"no source given for {name}", remedy="add --source, or run it on a terminal"
        )
    if not sys.stdin.isatty():
        raise DocumentError(
            f"{len(needy)} model(s) have no source",
            faults=[f"{service.name}: {entry.name}" for service, entry in needy],
            remedy="give --name and --source, or run it on a terminal",
        )
    for service, entry in needy:
        if not _asked(service, entry):
            return


def _asked(service: Image, entry: ModelEntry) -> bool:
    """Ask until there is a valid address or none is wanted; False when all is to end."""
    console.out(f"{service.name}: {entry.name} ({entry.destination}, {entry.criticality})")
    while True:
        answer = input(f"  its source (empty to skip, {QUIT} to end): ").strip()
        if answer == QUIT:
            return False
        if not answer:
            return True
        try:
            add([service], entry.name, answer)
        except DocumentError as error:
            console.warn(str(error))
        else:
            return True


def _one(services: Sequence[Image], name: str) -> tuple[ModelList, ModelEntry]:
    lists = [load_models(service) for service in services]
    every = [(models, entry) for models in lists for entry in models.entries]
    exact = [pair for pair in every if name in (pair[1].name, pair[1].destination)]
    found = exact or [pair for pair in every if _begins(pair[1], name)]
    if len(found) == 1:
        return found[0]
    if not found:
        known = ", ".join(entry.name for _, entry in every) or "none"
        raise DocumentError(f"there is no model {shown(name)}", remedy=f"there are: {known}")
    raise DocumentError(
        f"{shown(name)} fits {len(found)} models",
        faults=[f"{models.path}: {entry.name}" for models, entry in found],
        remedy="write more of the name, or name the image with --image",
    )


def _begins(entry: ModelEntry, name: str) -> bool:
    filename = entry.destination.rpartition("/")[2]
    return any(
        text.casefold().startswith(name.casefold())
        for text in (entry.name, entry.destination, filename, entry.sha256 or "")
        if name
    )


def _check(url: str, entry: ModelEntry) -> None:
    faults = Faults(shown(url))
    check_address(url, "--source", faults, pinned=entry.sha256 is not None)
    faults.stop()


def added(text: str, place: int, url: str) -> str:
    """Return the YAML of a models.yaml with `url` behind the sources of the model at `place`."""
    import yaml  # noqa: PLC0415  # 18 ms, for this task alone

    text = text if text.endswith("\n") else f"{text}\n"
    try:
        root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:  # what libyaml takes and this parser, with exact places, not
        raise KilnError(
            f"models.yaml is written in an unusual way: {error}",
            remedy=f"add this line to the sources by hand: - {url}",
        ) from None
    model = _value(root, "models").value[place]
    sources = _value(model, "sources")
    line = _quoted(url)
    if sources is None or sources.flow_style:
        return _with_list(text, model, sources, line)
    last = sources.value[-1]
    indent = " " * (sources.start_mark.column)
    at = _line_end(text, last.end_mark.index, block=last.id == "mapping" and not last.flow_style)
    return f"{text[:at]}{indent}- {line}\n{text[at:]}"


def _with_list(text: str, model: Any, sources: Any, line: str) -> str:
    """Return the YAML where a flow list or no list at all was."""
    if sources is not None:
        begin, end = sources.start_mark.index, sources.end_mark.index
        inner = text[begin + 1 : end - 1].strip().rstrip(",")
        return f"{text[:begin]}[{inner}{', ' if inner else ''}{line}]{text[end:]}"
    if model.flow_style:
        end = model.end_mark.index - 1
        head = text[:end].rstrip().rstrip(",")
        return f"{head}, sources: [{line}]{text[end:]}"
    key = next(key for key, _ in model.value if key.value == "destination")
    value = _value(model, "destination")
    indent = " " * key.start_mark.column
    at = _line_end(text, value.end_mark.index)
    return f"{text[:at]}{indent}sources:\n{indent}  - {line}\n{text[at:]}"


def _value(node: Any, key: str) -> Any:
    return next((value for name, value in node.value if name.value == key), None)


def _line_end(text: str, index: int, *, block: bool = False) -> int:
    """Return where the line of `index` ends; a block's end mark is where the next thing begins."""
    if block:
        head = text[:index].rstrip()
        index = len(head)
    end = text.find("\n", index)
    return len(text) if end < 0 else end + 1


def _quoted(url: str) -> str:
    """Return the address as a YAML scalar, plain where every reader takes it so."""
    plain = all(letter.isalnum() or letter in "/._-@+~%=&" for letter in url.replace(":", ""))
    return (
        url
        if plain and ": " not in url
        else '"' + url.replace("\\", "\\\\").replace('"', '\\"') + '"'
    )


def _verify(models: ModelList, entry: ModelEntry, url: str, changed: str) -> None:
    """Raise unless the changed text means what it meant, with the one source more."""
    wanted = tuple(
        replace(item, sources=(*item.sources, ModelSource(url=url))) if item is entry else item
        for item in models.entries
    )
    remedy = f"add this line to its sources by hand: - {url}"
    try:
        found = parse(changed.encode(), str(models.path))
    except FaultyDocumentError as error:
        raise KilnError(f"{models.path} is written in an unusual way", remedy=remedy) from error
    if _meaning(found) != _meaning(wanted):
        raise KilnError(f"{models.path} is written in an unusual way", remedy=remedy)


def _meaning(entries: Sequence[ModelEntry]) -> list[tuple[str, list[str]]]:
    return [(entry.destination, [source.url for source in entry.sources]) for entry in entries]
