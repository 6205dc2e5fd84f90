"""The documents under snapshots/: each can be read, planned, and is named on its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfykiln.documents import read
from comfykiln.documents.advice import advise
from comfykiln.intake import FromOptions, take
from comfykiln.plan.project import Project

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "snapshots"
DOCUMENTS = sorted(path for path in FOLDER.rglob("*") if path.suffix in {".json", ".yaml"})


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_is_valid_without_advice_and_on_the_page(path: Path) -> None:
    parsed = read(str(path))
    assert list(parsed.notes) == []
    size = path.stat().st_size
    assert list(advise(parsed.environment, manifest_bytes=size)) == []
    page = (FOLDER / "README.md").read_text("utf-8")
    assert f"| `{path.relative_to(FOLDER)}` |" in page


def test_a_manifest_with_nodes_can_be_taken_in() -> None:
    wanted = FromOptions(source=str(FOLDER / "manifests" / "video.json"))
    found = take(Project(root=ROOT), wanted)
    assert [(node.name, node.wanted) for node in found.nodes] == [
        ("rgthree-comfy", "13b4399c00b5ef5a97b1b6800fc1185874740f5d"),
        ("ComfyUI-VideoHelperSuite", "4ee72c065db22c9d96c2427954dc69e7b908444b"),
    ]
