"""What the tasks `manifest.check`, `.commands`, `.minimize` and `.capture` do."""

from __future__ import annotations

import platform as machine
import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from comfykiln import console, files
from comfykiln.documents import manifest, manifest_commands
from comfykiln.documents.capture_write import Packages
from comfykiln.documents.faults import FaultyDocumentError
from comfykiln.documents.manifest_rules import MAX_BYTES, PLATFORMS
from comfykiln.documents.reading import load
from comfykiln.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from comfykiln.documents.faults import Note
    from comfykiln.documents.kinds import Parsed


def manifest_check(file: str, *, as_json: bool = False) -> None:
    """Check a manifest: every fault at once with its path, or what is worth saying of a valid one.

    Raises `FaultyDocumentError` after printing the faults as JSON where asked.
    """
    with _told(as_json=as_json):
        parsed, size = _read(file)
    if as_json:
        notes = [asdict(note) for note in parsed.notes]
        console.out_json({"source": file, "bytes": size, "faults": [], "notes": notes})
        return
    _tell(parsed.notes)
    console.out(f"{file}: a valid manifest of version 1.0, {size:,} of {MAX_BYTES:,} bytes")


def manifest_commands_task(
    file: str, *, as_json: bool = False, platform: str = "", torch_backend: str = ""
) -> None:
    """Print the commands that make what a manifest describes; nothing is run.

    `platform` is this machine's unless given; `torch_backend` takes torch from its index.
    """
    with _told(as_json=as_json):
        parsed, _ = _read(file)
    made = manifest_commands.plan(
        parsed.environment, _platform(platform), torch_backend=torch_backend
    )
    if as_json:
        notes = [asdict(note) for note in parsed.notes]
        data = {"source": file, **manifest_commands.as_data(made), "notes": notes}
        console.out_json(data)
        return
    _tell(parsed.notes)
    console.out(manifest_commands.text(made))


def manifest_minimize(file: str, *, out: str = "") -> None:
    """Write the smallest manifest that says the same to `out`, else to standard output."""
    data = load(Path(file))
    result = manifest.minimize(data, file)
    console.note(f"{len(data):,} → {len(result):,} bytes")
    if out:
        files.write_bytes(Path(out), result)
        console.note(f"wrote {out}")
    else:
        console.out(result.decode())


def manifest_capture(
    source: str,
    *,
    out: str = "comfyui_migration.json",
    packages: str = "direct",
    folder: str = "",
    as_json: bool = False,
) -> None:
    """Write the manifest of what is really in a folder, container or image, and a lock beside it.

    `packages`: `direct` keeps what ComfyUI, a node or nothing else requires, `all` everything,
    `none` the torch family alone. The lock (`<out>` with `.lock.txt`) names every distribution.
    """
    from comfykiln.documents import capture, capture_write  # noqa: PLC0415  # capturing only

    kept = _packages(packages)
    captured = capture.capture(source, folder=folder)
    made = capture_write.manifest_of(captured, kept)
    path = Path(out)
    lock = path.with_suffix(".lock.txt")
    files.write_text(lock, made.lock)
    files.write_bytes(path, made.data)
    notes = (*captured.notes, *made.left_out)
    if as_json:
        data = {"manifest": str(path), "lock": str(lock), "bytes": len(made.data)}
        counts = {"packages_kept": made.kept, "packages_found": made.total}
        console.out_json({**data, **counts, "notes": [asdict(note) for note in notes]})
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
def _told(*, as_json: bool) -> Iterator[None]:
    """Print the faults of a document as JSON before its error goes on."""
    try:
        yield
    except FaultyDocumentError as error:
        if as_json:
            console.out_json(error.as_data())
        raise


def _tell(notes: Iterable[Note]) -> None:
    for note in notes:
        console.warn(str(note))


def _packages(text: str) -> Packages:
    options: tuple[Packages, ...] = get_args(Packages)
    for option in options:
        if option == text:
            return option
    raise DocumentError(f"--packages {text}: unknown", remedy=f"use one of: {', '.join(options)}")


def _platform(text: str) -> str:
    """Return the platform asked for, else this machine's."""
    if not text:
        return f"{sys.platform}-{machine.machine().lower()}"
    if text not in PLATFORMS:
        raise DocumentError(
            f"--platform {text}: unknown", remedy=f"use one of: {', '.join(PLATFORMS)}"
        )
    return text
