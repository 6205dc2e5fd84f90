"""A tarball beside its checksum is never beside another's, whenever the writer is killed."""

from __future__ import annotations

import hashlib
import os
import sys
from typing import TYPE_CHECKING

import pytest

from comfykiln.export import tarball

if TYPE_CHECKING:
    from pathlib import Path

NAME = "x.tar.gz"
KILLED = 9


def line_of(data: bytes) -> bytes:
    return f"{hashlib.sha256(data).hexdigest()}  {NAME}\n".encode()


def is_right(folder: Path) -> bool:
    """Say whether there is no checksum, or that of the tarball."""
    path, sidecar = folder / NAME, folder / f"{NAME}.sha256"
    return not sidecar.exists() or sidecar.read_bytes() == line_of(path.read_bytes())


def killed_at(step: int, path: Path, data: bytes) -> bool:
    """Save in a process that ends without a word at its `step`th event; say whether it did."""
    child = os.fork()
    if child == 0:
        seen = 0

        def count(_event: str, _values: object) -> None:
            nonlocal seen
            seen += 1
            if seen == step:
                os._exit(KILLED)

        sys.addaudithook(count)
        tarball._save(path, data)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (b"old", b"old"),
        (b"old", None),
        (None, None),
        (b"new", b"new"),
        (b"new", None),
    ],
)
def test_the_pair_is_right_after_a_kill_at_any_step(
    before: bytes | None, said: bytes | None, tmp_path: Path
) -> None:
    wrong, step, alive = [], 0, True
    while alive:
        step += 1
        folder = tmp_path / str(step)
        folder.mkdir()
        if before is not None:
            (folder / NAME).write_bytes(before)
        if said is not None:
            (folder / f"{NAME}.sha256").write_bytes(line_of(said))
        alive = killed_at(step, folder / NAME, b"new")
        if not is_right(folder):
            wrong.append(step)
        if not alive:
            assert (folder / NAME).read_bytes() == b"new"
            assert (folder / f"{NAME}.sha256").read_bytes() == line_of(b"new")
    assert wrong == []
    assert step > 2  # it was killed, and more than once
