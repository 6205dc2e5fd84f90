from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml
from tests.support.gathering import stand_in
from tests.support.noderegistry import Registry, archive, published, registry

from comfykiln.cli import build, options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHOP = ["/nodes/shop/install?version=1.0", "/archives/shop-1.0.zip"]


class ReachedError(Exception):
    """The build has come to what follows gathering."""


@pytest.fixture
def shop(repository: Path) -> Iterator[Registry]:
    """A registry with the node `shop`, which origins.yaml names."""
    path = repository / "images" / "origins.yaml"
    origins = yaml.safe_load(path.read_text("utf-8"))
    with registry() as running:
        path.write_text(json.dumps(origins | {"registry": running.site.url}), "utf-8")
        files = published("shop", "1.0", {"__init__.py": "", "requirements.txt": "numpy\n"})
        running.add("shop", "1.0", archive(files))
        yield running


def built(root: Path, source: Path) -> None:
    """Build from a document as far as its engine."""
    given = options.Build(target="cpu", image="mine", from_=str(source), export=False)
    with pytest.raises(ReachedError):
        build.build(root, given)


@pytest.mark.usefixtures("home")
def test_build_from_a_document_gathers_once(
    repository: Path, shop: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = stand_in(tmp_path / "far", monkeypatch)

    def reached(*_: object, **__: object) -> None:
        raise ReachedError

    for place, stands_in in {
        "comfykiln.cli.build._ensure_engine": lambda: None,
        "comfykiln.bake.line.engine.connect": lambda: None,
        "comfykiln.bake.line.engine.client": lambda: None,
        "comfykiln.bake.line.obtain": reached,
    }.items():
        monkeypatch.setattr(place, stands_in)
    document = {
        "comfyui": "b1693ecba9f5b65f8c80ab36b195ab963ec92413",
        "git_custom_nodes": {},
        "cnr_custom_nodes": {"shop": "1.0"},
        "file_custom_nodes": [],
        "pips": {},
    }
    source = tmp_path / "snapshot.json"
    source.write_text(json.dumps(document), "utf-8")

    built(repository, source)
    assert far.asked == {"comfyui": 1, "torch": 1, "base": 1, "solve": 1}
    assert shop.site.paths == SHOP

    # Again with a lock that fits: no solve, nothing fetched.
    far.asked.clear()
    built(repository, source)
    assert far.asked == {"comfyui": 1, "torch": 1, "base": 1}
    assert shop.site.paths == SHOP

    # And with one that does not fit: what is at hand is solved.
    far.asked.clear()
    source.write_text(json.dumps(document | {"pips": {"pillow==11.0.0": ""}}), "utf-8")
    built(repository, source)
    assert far.asked == {"comfyui": 1, "torch": 1, "base": 1, "solve": 1}
    assert shop.site.paths == SHOP
