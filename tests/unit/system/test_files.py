"""A file is written whole, in the place of a file; what is none is written to."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

from comfykiln.system import files

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "link"):
        read: list[str] = []
        thread = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))  # noqa: B023  # joined below
        thread.start()
        files.write_text(tmp_path / name, name)
        thread.join()
        assert read == [name]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert {path.name for path in tmp_path.iterdir()} == {"link", "pipe"}
    assert (tmp_path / "link").is_symlink()


def test_a_name_among_the_devices_that_leads_to_a_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "DEVICES", tmp_path / "dev")
    (tmp_path / "dev").mkdir()
    (tmp_path / "redirected").write_text("longer than what is written")
    (tmp_path / "dev/stdout").symlink_to(tmp_path / "redirected")
    files.write_text(tmp_path / "dev/stdout", "text")
    assert (tmp_path / "dev/stdout").is_symlink()
    assert (tmp_path / "redirected").read_text() == "text"


def test_a_file_and_a_link_to_nothing_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    for name in ("old", "lost", "deeper/new"):
        path = tmp_path / name
        files.write_text(path, "one")
        files.write_text(path, "two")
        assert path.read_text() == "two"
