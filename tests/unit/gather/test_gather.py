from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from tests.support.gathering import stand_in, use
from tests.support.noderegistry import archive, published, registry
from tests.support.ways import access

from comfykiln.errors import DriftError
from comfykiln.gather import gather
from comfykiln.gather.node_lock import LockedArchive, NodeLock
from comfykiln.gather.pins import ArchivePin, NodePins
from comfykiln.plan.project import Project
from comfykiln.system.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from comfykiln.network.access import Access
    from comfykiln.plan.services import Service

ARCHIVE = archive(published("shop", "1.0", {"__init__.py": ""}))
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()
PINS = NodePins(
    archives=(ArchivePin(directory="shop", registry_id="shop", version="1.0"),),
    files=(("websocket_image_save.py", True), ("own.py", False)),
)


@pytest.fixture
def service(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The image `core` with a node of the registry, and two single files."""
    found = Project(root=repository).service("core")
    found.node_files.mkdir(parents=True)
    (found.node_files / "own.py").write_text("", "utf-8")
    monkeypatch.setattr(gather, "pins_of", lambda *_: PINS)
    return found


def gathered(
    service: Service, way: Access, locked: NodeLock | None, known: NodeLock | None = None
) -> gather.Parts:
    spec = Project(root=service.folder.parents[2]).origins.comfyui(service.comfyui)
    return gather.gather(service, spec, way, locked, known)


def test_what_is_gathered_is_what_a_lock_holds_of_it(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = stand_in(tmp_path / "far", monkeypatch)
    with registry() as shop:
        shop.add("shop", "1.0", ARCHIVE)
        way = access(Store(root=tmp_path / "store"), registry=shop.site.url)
        found = gathered(service, way, None)
        url = f"{shop.site.url}/archives/shop-1.0.zip"
        assert (found.comfyui, found.use, far.asked) == (far.tree, use("comfyui"), {"comfyui": 1})
        assert found.nodes.pins == PINS
        assert [node.directory for node in found.nodes.packs] == ["shop"]
        held = LockedArchive(title="shop 1.0", sha256=SHA256, size=len(ARCHIVE), url=url)
        empty = hashlib.sha256(b"").hexdigest()
        lock = NodeLock(archives={"shop": held}, files={"own.py": empty})
        assert found.nodes.lock == lock
        # With that lock it is the same, and nothing is asked for again.
        shop.site.asked.clear()
        assert gathered(service, way, lock) == gathered(service, way, None, lock) == found
        assert shop.site.paths == []


def test_a_lock_of_other_nodes_is_drift(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path / "far", monkeypatch)
    way = access(Store(root=tmp_path / "store"), registry="https://127.0.0.1:9")
    with pytest.raises(DriftError) as caught:
        gathered(service, way, NodeLock())
    assert str(caught.value).startswith("shop: the snapshot pins shop 1.0, the lock does not hold")
    other = LockedArchive(title="shop 1.0", sha256=SHA256, size=1, url="")
    way.store.put([ARCHIVE], SHA256, source="test")
    with pytest.raises(DriftError, match=r"own\.py: has the sha256 \w+, lock: none"):
        gathered(service, way, NodeLock(archives={"shop": other}))
