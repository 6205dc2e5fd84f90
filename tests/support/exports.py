"""An export of made-up content, as the export's tests use it."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.support.wheelindex import wheel

from comfykiln import __version__
from comfykiln.export.tarball import ExportInput, ExportModel, ExportNode

EPOCH = 1_700_000_000
COMMIT = "0123456789" * 4
LOGIN = "someone:canary-password"
PUBLIC = {
    "/simple": [
        wheel("alpha", "1.0", "Beta_Lib>=1", "winonly; sys_platform == 'win32'"),
        wheel("alpha", "2.0", "beta-lib>=1"),
        wheel("beta-lib", "1.0"),
        wheel("beta-lib", "2.0"),
        wheel("winonly", "3.0"),
        wheel("unasked", "1.5"),
        wheel("unasked", "2.5"),
        wheel("nodelib", "0.1"),
        wheel("nodelib", "0.2"),
        wheel("torch", "2.13.0", "nvidia-thing==13.0; sys_platform == 'linux'"),
        wheel("torch", "2.14.0"),
        wheel("torchvision", "0.28.0", "torch==2.13.0"),
        wheel("nvidia-thing", "13.0"),
    ],
    "/whl/cpu": [
        wheel("torch", "2.13.0+cpu"),
        wheel("torch", "2.14.0+cpu"),
        wheel("torchvision", "0.28.0+cpu", "torch==2.13.0"),
    ],
}


def made_input(pack: Path, **changes: Any) -> ExportInput:
    what = ExportInput(
        image="core",
        target="cpu",
        tag="v0.30.0-0123456789ab",
        image_digest="sha256:" + "ab" * 32,
        comfyui_version="v0.30.0",
        comfyui_commit=COMMIT,
        comfyui_repository="https://github.com/comfyanonymous/ComfyUI",
        python="3.13",
        torch={"torch": "2.13.0", "torchvision": "0.28.0"},
        torch_backend="cpu",
        torch_index="https://download.pytorch.org/whl/cpu",
        dependencies=["Beta_Lib>=1", "alpha"],
        locked=["alpha==1.0", "beta-lib==1.0", "nodelib==0.1", "unasked==1.5", "torch==2.13.0"],
        epoch=EPOCH,
        receipt={"image": "core", "passed": True},
        nodes=[ExportNode(name="cloud-storage", source="development")],
        dev_nodes={"cloud-storage": pack},
        workflows={"txt2img.json": b'{"nodes": []}'},
        models=[
            ExportModel(
                filename="base.safetensors",
                category="checkpoints",
                relative_path="checkpoints/base.safetensors",
                sha256="c0ffee" + "0" * 58,
                size=7,
                sources=("https://models.example.com/base.safetensors",),
                criticality="required",
                used_by=("txt2img.json",),
            )
        ],
    )
    return replace(what, **changes)


def golden(name: str) -> str:
    """Return a golden file; look at its diff when a test that uses it fails, then replace it."""
    text = (Path(__file__).parents[1] / "unit" / "export" / "data" / name).read_text()
    return text.replace('"UV"', f'"{version("uv")}"').replace('"TOOL"', f'"{__version__}"')
