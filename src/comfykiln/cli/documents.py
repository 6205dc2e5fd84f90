"""What the snapshot tasks do: plain arguments in, text or JSON out, `KilnError` on failure."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfykiln.documents import read
from comfykiln.documents.formats import format_of
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import FaultyDocumentError
from comfykiln.system import console, gate
from comfykiln.system.gate import masked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comfykiln.cli import options
    from comfykiln.documents.formats import Parsed, Written
    from comfykiln.documents.pin import Change, Pinned
    from comfykiln.parsing.faults import Note

SHOWN = 5
"""How many places a rule of advice is told for in text."""


def snapshot_check(file: str, *, as_json: bool = False) -> None:
    """Say what the document holds and what to think about; raise with every fault it has.

    As JSON: `source`, `valid`, then `faults`, or `kind`, `form`, counts, `notes` and `advice`.
    """
    from comfykiln.documents.advice import advise  # noqa: PLC0415  # a faulty document needs none

    try:
        parsed = read(file)
    except FaultyDocumentError as error:
        if as_json:
            console.out_json({"valid": False, **error.as_data()})
        raise
    is_manifest = parsed.kind == "manifest" and Path(file).is_file()
    size = Path(file).stat().st_size if is_manifest else None
    advice = advise(parsed.environment, manifest_bytes=size)
    if as_json:
        console.out_json(_check_data(parsed, advice))
        return
    console.out(_summary(parsed))
    for note in parsed.notes:
        console.out(f"  {note}")
    for line in advice_lines(advice):
        console.out(f"  {line}")


def advice_lines(advice: Iterable[Note]) -> Iterable[str]:
    """Group advice by rule; a rule that many places break is not told for each of them."""
    by_rule: dict[str, list[Note]] = {}
    for note in advice:
        by_rule.setdefault(note.rule, []).append(note)
    for rule, notes in by_rule.items():
        yield f"{rule} ({advice_page(notes[0])}):"
        yield from (gate.one_line(f"  {note.path}: {note.message}") for note in notes[:SHOWN])
        if len(notes) > SHOWN:
            yield f"  and {len(notes) - SHOWN} more; --json lists them all"


def _check_data(parsed: Parsed, advice: Iterable[Note]) -> dict[str, Any]:
    environment = parsed.environment
    return {
        "source": parsed.source,
        "valid": True,
        "kind": parsed.kind,
        "form": parsed.form,
        "comfyui": environment.comfyui.wanted,
        "nodes": len(environment.nodes),
        "packages": len(environment.packages) + len(environment.torch.packages),
        "models": len(environment.models),
        "workflows": len(environment.workflows),
        "notes": [asdict(note) for note in parsed.notes],
        "advice": [{**asdict(note), "page": advice_page(note)} for note in advice],
    }


def advice_page(note: Note) -> str:
    """Return the page that explains a piece of advice."""
    return f"docs/advice/{note.rule.removeprefix('advice.')}.md"


def _summary(parsed: Parsed) -> str:
    environment = parsed.environment
    form = f" ({parsed.form})" if parsed.form else ""
    source = gate.one_line(parsed.source)
    counts = (
        (len(environment.nodes), "node"),
        (len(environment.packages) + len(environment.torch.packages), "package"),
        (len(environment.models), "model"),
        (len(environment.workflows), "workflow"),
    )
    listed = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)
    comfyui = f", ComfyUI {environment.comfyui.wanted}" if environment.comfyui.wanted else ""
    return f"{source}: valid {parsed.kind}{form}: {listed}{comfyui}"


def snapshot_convert(given: options.SnapshotConvert) -> None:
    """Write the document as another kind: to the file `out`, else to standard output.

    `python`, `torch` and `comfyui` are versions that the new kind demands and the document does
    not tell (a manifest from a snapshot). Everything that is lost is said.
    """
    from comfykiln.documents.convert import complete, convert  # noqa: PLC0415  # one task of several

    known = complete(
        read(given.file).environment, python=given.python, torch=given.torch, comfyui=given.comfyui
    )
    converted = convert(known, given.to, packages=given.packages)
    target = _put(_in_form(converted.written, given.out), given.file, given.out)
    if given.json and target:
        losses = [asdict(note) for note in converted.losses]
        result = {"source": given.file, "kind": given.to, "file": str(target), "losses": losses}
        console.out_json(result)
        return
    _tell_losses(converted.losses, given.to)
    if target:
        console.note(f"{target} is written")


def _in_form(written: Written, out: str | None) -> Written:
    """Return the form that the target's name asks for, such as YAML or a zip."""
    suffixes = format_of(written.kind).suffixes
    return suffixes.get(Path(out).suffix if out else "", _unchanged)(written)


def _unchanged(written: Written) -> Written:
    return written


def _put(written: Written, source: str, out: str | None) -> Path | None:
    """Write the document and what belongs beside it; without `out` print it."""
    from comfykiln.system.files import write_bytes  # noqa: PLC0415  # printing needs none

    if out is None:
        if written.beside or not _is_text(written.data):
            raise DocumentError(
                f"a {written.kind} is no single text", remedy="name a file with --out"
            )
        print_document(written.data)
        return None
    path = Path(out)
    target = path / written.filename if path.is_dir() else path
    others = [(target.parent / name, data) for name, data in written.beside]
    for other, data in others:
        if other.exists() and other.read_bytes() != data:
            raise DocumentError(
                f"{other} is there already and would be replaced",
                remedy="name a new folder with --out",
            )
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise DocumentError(f"{target} is the document itself", remedy="name another file")
    for other, data in [*others, (target, written.data)]:
        write_bytes(other, data)
    return target


def print_document(data: bytes) -> None:
    """Print a document as a result; where that shows other words than a file would, say so."""
    text = data.decode().rstrip("\n")
    console.out(text)
    if gate.masked(text) != text:
        console.warn("what may be a secret is shown as ***: --out FILE writes the document whole")


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _tell_losses(losses: Iterable[Note], kind: str) -> None:
    listed = list(losses)
    if listed:
        console.warn(f"a {kind} cannot hold everything:")
    for note in listed:
        console.warn(gate.one_line(f"  {note.path}: {note.message}"))


def snapshot_pin(
    file: str,
    git_mirror: str | None = None,
    ref: str | None = None,
    out: str | None = None,
    *,
    write: bool = True,
    as_json: bool = False,
) -> None:
    """Replace branches, tags and abbreviated commits by commits and show the difference.

    A text is changed where it lies, or written to `out`; of all else (an export, a repository at
    `ref`, a pack, a workflow, an address) a pinned copy is written to `out`. Nothing is written
    unless every name could be resolved. `git_mirror` is a folder of repositories laid out as
    host/owner/repository.git.
    """
    from comfykiln.documents.pin import pin  # noqa: PLC0415  # one task of several
    from comfykiln.documents.pinnedcopy import is_text  # noqa: PLC0415  # the same
    from comfykiln.system.files import write_bytes  # noqa: PLC0415  # the same

    mirrors = _folder(git_mirror)
    if not is_text(file, ref):
        _pin_copy(file, ref, out, mirrors, write=write, as_json=as_json)
        return
    path = Path(file)
    pinned = pin(path, mirrors)
    if write and pinned.after != pinned.before:
        target = Path(out or file).resolve()
        write_bytes(target, pinned.after.encode(), mode=path.stat().st_mode & 0o777)
    if as_json:
        console.out_json(_pin_data(file, pinned, written=write))
        return
    if pinned.after != pinned.before:
        console.out(_unified(pinned, file))
    else:
        console.out(f"{file}: nothing to pin")
    _tell_changes(pinned.changes)
    for warning in pinned.warnings:
        console.warn(warning)


def _tell_changes(changes: Iterable[Change]) -> None:
    for change in changes:
        console.note(
            f"{change.name}: {change.before or 'unpinned'} is {change.commit[:10]} ({change.how})"
        )


def _pin_copy(
    source: str,
    ref: str | None,
    out: str | None,
    mirrors: Path | None,
    *,
    write: bool,
    as_json: bool,
) -> None:
    """Write a pinned copy of a document that cannot be changed where it lies, to `out`."""
    from comfykiln.documents.pinnedcopy import advice, pinned_copy  # noqa: PLC0415  # the same

    made = pinned_copy(source, ref, mirrors)
    is_written = write and bool(made.changes)
    if is_written and out is None:
        raise DocumentError(
            f"{masked(source)}: cannot be changed where it lies",
            remedy=advice(source, made.written.kind, ref),
        )
    target = _put(_in_form(made.written, out), source, out) if is_written else None
    if as_json:
        changes = [asdict(change) for change in made.changes]
        file = str(target) if target else None
        losses = [asdict(note) for note in made.losses]
        console.out_json({"source": source, "file": file, "changes": changes, "losses": losses})
        return
    _tell_changes(made.changes)
    _tell_losses(made.losses, made.written.kind)
    console.note(f"{target} is written" if target else f"{masked(source)}: nothing is written")


def _folder(name: str | None) -> Path | None:
    if name is None:
        return None
    if not Path(name).is_dir():
        raise DocumentError(f"{name}: no such folder", remedy="name a folder of git mirrors")
    return Path(name)


def _pin_data(file: str, pinned: Pinned, *, written: bool) -> dict[str, Any]:
    return {
        "source": file,
        "written": written and pinned.after != pinned.before,
        "changes": [asdict(change) for change in pinned.changes],
        "warnings": list(pinned.warnings),
    }


def _unified(pinned: Pinned, file: str) -> str:
    import difflib  # noqa: PLC0415  # one task of several

    lines = difflib.unified_diff(
        pinned.before.splitlines(), pinned.after.splitlines(), file, file, lineterm=""
    )
    return "\n".join(lines)


def snapshot_diff(
    a: str,
    b: str,
    format: options.DiffFormat = "text",  # noqa: A002  # the flag's name
    git_mirror: str | None = None,
) -> None:
    """Say what differs between two documents of any kind, as text, Markdown or JSON.

    Days of commits are told where the mirrors in `git_mirror` hold them.
    """
    from comfykiln.documents import diffshown  # noqa: PLC0415  # one task of several
    from comfykiln.documents.diff import diff  # noqa: PLC0415  # the same
    from comfykiln.git.refs import commit_date  # noqa: PLC0415  # the same

    mirrors = _folder(git_mirror)
    found = diff(
        read(a).environment,
        read(b).environment,
        lambda url, commit: commit_date(url, commit, mirrors),
    )
    if format == "json":
        console.out_json({"before": a, "after": b, **diffshown.as_data(found)})
    else:
        show = diffshown.as_markdown if format == "markdown" else diffshown.as_text
        console.out(show(found, a, b))


def snapshot_save(
    ref: str, out: str | None = None, *, folder: str = "", as_json: bool = False
) -> None:
    """Take a snapshot of a container, an image or a ComfyUI folder by what is on disk.

    It goes to the file `out`, else to standard output.
    """
    from comfykiln.documents.saving import save  # noqa: PLC0415  # one task of several

    saved = save(ref, folder=folder)
    target = _put(saved.written, ref, out)
    if as_json and target:
        notes = [asdict(note) for note in saved.notes]
        console.out_json({"source": ref, "file": str(target), "notes": notes})
        return
    for note in saved.notes:
        console.warn(str(note))
    if target:
        console.note(f"{target} is written")
