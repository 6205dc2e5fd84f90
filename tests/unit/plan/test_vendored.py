"""The copies in the node pack equal their source."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from comfykiln.errors import DriftError
from comfykiln.plan import vendored

ROOT = Path(__file__).parents[3]


def test_the_committed_copies_are_as_their_source() -> None:
    vendored.check(ROOT)


def test_drift_is_named_and_fixed(tmp_path: Path) -> None:
    copytree(ROOT / vendored.SOURCE, tmp_path / vendored.SOURCE)
    vendored.write(tmp_path)
    vendored.check(tmp_path)
    folder = tmp_path / vendored.COPY
    (folder / "store.py").write_text("changed")
    (folder / "stray.py").write_text("")
    (folder / "parts.py").unlink()
    with pytest.raises(DriftError) as caught:
        vendored.check(tmp_path)
    assert str(caught.value) == (
        f"copies differ from {vendored.SOURCE}:\n"
        f"  {vendored.COPY}/parts.py\n  {vendored.COPY}/store.py\n  {vendored.COPY}/stray.py\n"
        "  → run `./kiln render` and commit"
    )
    names = ["parts.py", "store.py", "stray.py"]
    assert vendored.write(tmp_path) == [folder / name for name in names]
    assert vendored.write(tmp_path) == []
    vendored.check(tmp_path)
