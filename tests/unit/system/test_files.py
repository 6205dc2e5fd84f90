"""A file is written whole, in the place of a file, and of nothing else."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from comfykiln.errors import DocumentError
from comfykiln.system import files


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(DocumentError) as caught:
        files.write_text(path, "text")
    assert str(caught.value) == (
        f"{path}: no place for a file: a device, pipe or socket is there\n  → name a new file"
    )
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert [*tmp_path.iterdir()] == [path]


def test_a_socket_behind_a_link_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "link"
    path.symlink_to(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(DocumentError, match="no place for a file"):
            files.write_text(path, "text")
    assert path.is_symlink()


@pytest.mark.parametrize("name", ["stdout", "kiln-test"])
def test_nothing_is_written_among_the_devices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.mkstemp", lambda **_: pytest.fail("written"))
    with pytest.raises(DocumentError, match="no place for a file"):
        files.write_text(Path("/dev") / name, "text")


def test_a_file_and_a_link_to_nothing_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    for name in ("old", "lost", "deeper/new"):
        path = tmp_path / name
        files.write_text(path, "one")
        files.write_text(path, "two")
        assert path.read_text() == "two"
