"""The copies in the node pack and below docs/ equal their source."""

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
    copytree(ROOT / vendored.SCHEMAS, tmp_path / vendored.SCHEMAS)
    vendored.write(tmp_path)
    vendored.check(tmp_path)
    folder = tmp_path / vendored.COPY
    (folder / "store.py").write_text("changed")
    (folder / "stray.py").write_text("")
    (folder / "parts.py").unlink()
    published = tmp_path / vendored.PUBLISHED
    (published / "snapshot.schema.json").write_text("{}")
    (published / "targets.schema.json").write_text("{}")  # it has no id: it is not published
    with pytest.raises(DriftError) as caught:
        vendored.check(tmp_path)
    assert str(caught.value) == (
        f"copies differ from {vendored.SOURCE} and {vendored.SCHEMAS}:\n"
        f"  {vendored.PUBLISHED}/snapshot.schema.json\n"
        f"  {vendored.PUBLISHED}/targets.schema.json\n"
        f"  {vendored.COPY}/parts.py\n  {vendored.COPY}/store.py\n  {vendored.COPY}/stray.py\n"
        "  → run `./kiln render` and commit"
    )
    schemas = [published / f"{name}.schema.json" for name in ("snapshot", "targets")]
    modules = [folder / name for name in ("parts.py", "store.py", "stray.py")]
    assert vendored.write(tmp_path) == [*schemas, *modules]
    assert vendored.write(tmp_path) == []
    vendored.check(tmp_path)
