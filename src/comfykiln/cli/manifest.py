"""What the tasks `manifest.check`, `.commands`, `.minimize` and `.capture` do."""

from __future__ import annotations

import os
import platform as machine
import sys
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.cli.documents import advice_lines, advice_page, print_document
from comfykiln.documents.advice import advise
from comfykiln.documents.manifest import parse as manifest
from comfykiln.documents.manifest import steps
from comfykiln.documents.manifest.rules import MAX_BYTES
from comfykiln.parsing.faults import FaultyDocumentError
from comfykiln.parsing.reading import load
from comfykiln.parsing.values import is_windows_path
from comfykiln.system import console, files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from comfykiln.cli import options
    from comfykiln.documents.formats import Parsed
    from comfykiln.environment import Environment
    from comfykiln.parsing.faults import Note


def manifest_check(file: str, *, as_json: bool = False) -> None:
    """Check a manifest: every fault at once with its path, or what to think about in a valid one.

    As JSON: `source`, `valid`, then `faults`, or `bytes`, `notes` and `advice`.
    """
    with _faults_as_json(as_json=as_json):
        parsed, size = _read(file)
    advice = advise(parsed.environment, manifest_bytes=size)
    if as_json:
        found = {"source": file, "valid": True, "bytes": size, **_notes_data(parsed.notes)}
        advised = [{**asdict(note), "page": advice_page(note)} for note in advice]
        console.out_json({**found, "advice": advised})
        return
    console.out(f"{file}: a valid manifest of version 1.0, {size:,} of {MAX_BYTES:,} bytes")
    for line in (*(str(note) for note in parsed.notes), *advice_lines(advice)):
        console.out(f"  {line}")


def manifest_commands(
    file: str, *, as_json: bool = False, platform: str = "", torch_backend: str = ""
) -> None:
    """Print the commands that make what a manifest describes; nothing is run.

    `platform` is this machine's unless given; `torch_backend` takes torch from its index.
    """
    with _faults_as_json(as_json=as_json):
        parsed, _ = _read(file)
    environment = _anchored(parsed.environment, Path(file).resolve().parent)
    made = steps.plan(environment, _platform(platform), torch_backend=torch_backend)
    notes = (*parsed.notes, *([] if torch_backend else _cuda_wheels(parsed)))
    if as_json:
        data = {"source": file, **steps.as_data(made), **_notes_data(notes)}
        console.out_json(data)
        return
    _tell(notes)
    for name in steps.GO_BEFORE:
        if name in os.environ and any(name in command.unset for command in made.commands):
            console.warn(f"{name} is set here and goes before --index-url: unset it for that step")
    console.out(steps.text(made))


def _anchored(environment: Environment, folder: Path) -> Environment:
    """Return the environment with absolute paths: relative ones begin at the manifest's folder."""
    packages = tuple(
        replace(package, path=str((folder / package.path).resolve()))
        if package.path is not None and not is_windows_path(package.path)
        else package
        for package in environment.packages
    )
    return replace(environment, packages=packages)


def _cuda_wheels(parsed: Parsed) -> Iterator[Note]:
    """Yield advice that changes what the commands of a CPU manifest install."""
    for note in advise(parsed.environment):
        if note.rule == "advice.cpu-cuda-wheels":
            yield replace(note, message=f"{note.message}; --torch-backend cpu avoids it")


def _notes_data(notes: Iterable[Note]) -> dict[str, object]:
    return {"notes": [asdict(note) for note in notes]}


def manifest_minimize(file: str, *, out: str = "") -> None:
    """Write the smallest manifest that says the same to `out`, else to standard output."""
    data = load(Path(file))
    result = manifest.minimize(data, file)
    console.note(f"{len(data):,} → {len(result):,} bytes")
    if out:
        files.write_bytes(Path(out), result)
        console.note(f"wrote {out}")
    else:
        print_document(result)


def manifest_capture(
    source: str,
    out: str = "comfyui_migration.json",
    *,
    packages: options.Captured = "direct",
    folder: str = "",
    as_json: bool = False,
) -> None:
    """Write the manifest of what is really in a folder, container or image, and a lock beside it.

    `packages`: `direct` keeps what ComfyUI, a node or nothing else requires, `all` everything,
    `none` the torch family alone. The lock (`<out>` with `.lock.txt`) names every distribution.
    """
    from comfykiln.documents.capture import capture, write  # noqa: PLC0415  # capturing only

    captured = capture.capture(source, folder=folder)
    made = write.manifest_of(captured, packages)
    path = Path(out)
    lock = path.with_suffix(".lock.txt")
    files.write_text(lock, made.lock)
    files.write_bytes(path, made.data)
    notes = (*captured.notes, *made.left_out)
    if as_json:
        data = {"manifest": str(path), "lock": str(lock), "bytes": len(made.data)}
        counts = {"packages_kept": made.kept, "packages_found": made.total}
        console.out_json({**data, **counts, **_notes_data(notes)})
        return
    _tell(notes)
    console.out(
        f"{path}: {len(made.data):,} of {MAX_BYTES:,} bytes, "
        f"{made.kept} of {made.total} packages (--packages {packages})"
    )
    console.out(f"{lock}: all {made.total} packages")


def _read(file: str) -> tuple[Parsed, int]:
    data = load(Path(file))
    return manifest.parse(data, file), len(data)


@contextmanager
def _faults_as_json(*, as_json: bool) -> Iterator[None]:
    """Print the faults of a document as JSON before its error goes on."""
    try:
        yield
    except FaultyDocumentError as error:
        if as_json:
            console.out_json({"valid": False, **error.as_data()})
        raise


def _tell(notes: Iterable[Note]) -> None:
    for note in notes:
        console.warn(str(note))


def _platform(text: str) -> str:
    """Return the platform asked for, else this machine's."""
    return text or f"{sys.platform}-{machine.machine().lower()}"
