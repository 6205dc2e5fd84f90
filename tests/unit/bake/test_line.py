"""The line of steps: the free disk that is asked for before the first of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from docker.errors import ImageNotFound

from comfykiln.bake import line
from comfykiln.engine import disk
from comfykiln.engine.engine import Engine
from comfykiln.plan.project import Project

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """An engine's client that knows the images of these names."""

    names: tuple[str, ...]
    images: Any = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", self)

    def get(self, name: str) -> str:
        if name not in self.names:
            raise ImageNotFound(name)
        return name


@pytest.mark.parametrize(
    ("there", "gigabytes"),
    [
        ((), 47.5),
        (("comfykiln/core:cpu",), 47.5),
        (("comfykiln/complete:cpu", "comfykiln/core:cpu"), 2),
    ],
)
def test_the_room_depends_on_what_the_engine_has(
    there: tuple[str, ...], gigabytes: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(disk, "require_space", lambda _, needed: asked.append(needed))
    project = Project(root=ROOT)
    engine = Engine(
        version="26.1.5", store="containerd", data_root=str(tmp_path), architecture="x86_64"
    )
    gathered = cast("Any", SimpleNamespace(torch=SimpleNamespace(local_tag="cu130")))
    plan = project.plan("cpu", "complete")
    line._require_space(engine, cast("Any", Client(names=there)), project, plan, gathered)
    assert asked == [gigabytes * disk.GB]
