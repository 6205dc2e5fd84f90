"""A folder's repository is read as far as it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.gitrepos import git, repository, state

from comfykiln.git import refs

if TYPE_CHECKING:
    from pathlib import Path


def test_a_clone_made_with_depth_is_read(tmp_path: Path) -> None:
    work, shallow = tmp_path / "work", tmp_path / "shallow"
    repository(work, {"a": b"1"})
    newest = repository(work, {"a": b"2"})
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{work}", str(shallow))
    before = state(shallow)
    for ref in (None, "master", newest, newest[:8]):
        name = f"{ref or 'head'}.git"
        assert refs.fetch(str(shallow), ref, tmp_path / name) == newest
    assert state(shallow) == before
