"""Stand-ins for what a build gathers from far away: ComfyUI, torch's choice, the base; counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from comfykiln.locking import Solved
from comfykiln.origins.base import BaseImage
from comfykiln.origins.torch import TorchChoice
from comfykiln.plan.origins import OriginUse

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

COMFYUI = {
    "requirements.txt": "torch\nnumpy>=1.25.0\n",
    "manager_requirements.txt": "gitpython\n",
    "custom_nodes/websocket_image_save.py": "",
}
LOCKED = {"gitpython": "3.1.45", "numpy": "2.2.6", "torch": "2.13.0"}
CHOICE = TorchChoice(index="https://torch.test/cpu", requirements=("torch==2.13.0",), local_tag="c")
BASE = BaseImage(override="docker-image://comfykiln-base:test")


def use(thing: str) -> OriginUse:
    """Return where a thing came from, by its first origin."""
    return OriginUse(thing=thing, identity=thing, origin="test", detail=thing, fallback=False)


@dataclass(frozen=True, kw_only=True)
class Far:
    """The tree that stands for ComfyUI, and how often each thing was asked for."""

    tree: Path
    asked: Counter[str] = field(default_factory=Counter)


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Far:
    """Let nothing of a build come from far away, and no solve be made by uv."""
    far = Far(tree=folder)
    for name, text in COMFYUI.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")

    def answering(name: str, answer: Any) -> Any:
        def answered(*_: Any, **__: Any) -> Any:
            far.asked[name] += 1
            return answer

        return answered

    entries = (f"{name}=={version} \\\n    --hash=sha256:00\n" for name, version in LOCKED.items())
    places = {
        "comfykiln.gather.gather.obtain_comfyui": ("comfyui", (folder, use("comfyui"))),
        "comfykiln.verify.gathered.choose_torch": ("torch", (CHOICE, use("torch"))),
        "comfykiln.verify.gathered.obtain_base": ("base", (BASE, use("base"))),
        "comfykiln.locking.solve": ("solve", Solved(text="".join(entries))),
    }
    for place, (name, answer) in places.items():
        monkeypatch.setattr(place, answering(name, answer))
    return far
