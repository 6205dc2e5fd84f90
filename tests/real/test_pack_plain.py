"""The pack alone in a plain ComfyUI: the pinned tree, its requirements, a copied folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import s3
from tests.support.comfyserver import plain_server

from comfykiln.locking.relock import comfyui_tree
from comfykiln.network.host import settings_of_host
from comfykiln.network.indexes import step_environment, uv_program
from comfykiln.plan.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
PACK = ROOT / "services/comfy/cloud-storage"
BUCKET = "plain"
PYTHON = "3.13"


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ComfyUI's own tree with the pack copied into it, as the README says."""
    project = Project(root=ROOT)
    made = tmp_path_factory.mktemp("plain")
    folder = made / "ComfyUI"
    shutil.copytree(comfyui_tree(project, project.service("core")), folder)
    wanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACK, folder / "custom_nodes/comfyui-cloud-storage", ignore=wanted)
    (made / "packages").mkdir()
    return folder


@pytest.fixture(scope="module")
def bucket() -> Iterator[s3.Server]:
    with s3.moto() as server:
        server.store(BUCKET).client().create_bucket(Bucket=BUCKET)
        yield server


def install(comfyui: Path) -> None:
    """Install what the pack's requirements.txt says, with the indexes of this machine."""
    argv = [uv_program(), "pip", "install", "--quiet", "--python-version", PYTHON]
    argv += ["--target", str(comfyui.parent / "packages")]
    argv += ["--requirement", str(PACK / "requirements.txt")]
    settings = step_environment(settings_of_host(None))
    subprocess.run(argv, check=True, env=os.environ | settings)


def graph() -> dict[str, Any]:
    """Save an image and load it back by the key that was written."""
    size = {"width": 32, "height": 16, "batch_size": 2, "color": 0x2288CC}
    given = {"key_prefix": "p/", "filename": "x", "format": "png", "quality": 95}
    return {
        "p": {"class_type": "CloudStorageProfile", "inputs": {"profile": "(env vars)"}},
        "e": {"class_type": "EmptyImage", "inputs": size},
        "s": {
            "class_type": "SaveImageToCloud",
            "inputs": {"images": ["e", 0], "profile": ["p", 0], **given},
        },
        "l": {
            "class_type": "LoadImageFromCloud",
            "inputs": {"key": ["s", 0], "profile": ["p", 0]},
        },
        "v": {"class_type": "PreviewImage", "inputs": {"images": ["l", 0]}},
    }


def test_without_its_one_requirement_it_says_so_and_nothing_else_breaks(
    core_image: str, comfyui: Path, bucket: s3.Server
) -> None:
    with plain_server(core_image, comfyui, bucket.environment(BUCKET)) as server:
        assert "SaveImageToCloud" in server.json("/object_info")
        assert "need boto3; run: python -m pip install boto3" in server.log()
        told = server.fail(graph())
    assert told["exception_message"].strip() == (
        "boto3 is not installed in the Python that runs this.\n"
        "  → run: python -m pip install boto3 (with the Python of ComfyUI)"
    )


def test_copied_and_its_requirements_installed_it_works(
    core_image: str, comfyui: Path, bucket: s3.Server
) -> None:
    install(comfyui)
    with plain_server(core_image, comfyui, bucket.environment(BUCKET)) as server:
        shown = server.succeed(graph())
        log = server.log()
    assert shown["s"]["text"] == [f"s3://{BUCKET}/p/x_{number}.png" for number in (0, 1)]
    assert len(shown["v"]["images"]) == 2
    assert "IMPORT FAILED" not in log
    assert "boto3;" not in log
