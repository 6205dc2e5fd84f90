"""What is captured of an image, of a running and of a stopped container made from it."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from comfykiln.bake.line import BuildOptions, build
from comfykiln.documents.capture.capture import capture
from comfykiln.documents.capture.write import manifest_of
from comfykiln.errors import DocumentError
from comfykiln.plan.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.images import Line

pytestmark = pytest.mark.engine


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def captured(source: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(manifest_of(capture(source), "direct").data)
    del found["metadata"]
    return found


@contextmanager
def container(image: str) -> Iterator[str]:
    name = docker("run", "-d", "--entrypoint", "sleep", image, "600")
    try:
        yield name
    finally:
        docker("rm", "-f", name)


def test_image_and_containers_hold_the_same(line: Line) -> None:
    project = Project(root=line.root)
    plan = project.plan("cpu", "kilntest")
    image = build(project, plan, BuildOptions(git_mirror=line.mirror, export=False)).ref
    before = set(docker("images", "-q", "--no-trunc").splitlines())
    found = captured(image)
    assert found["system_info"]["comfyui_version"] == plan.comfyui.version
    assert found["system_info"]["python_version"].startswith(f"{plan.service.python}.")
    assert found["system_info"]["torch_version"].startswith("2.13.0")
    assert "test-pack" in [node["name"] for node in found["custom_nodes"]]
    with container(image) as name:
        assert captured(name) == found
        docker("exec", "-u", "0", name, "mkdir", "/app/custom_nodes/added")
        added = [node["name"] for node in captured(name)["custom_nodes"]]
        assert added == sorted([*(node["name"] for node in found["custom_nodes"]), "added"])
        docker("stop", "-t", "0", name)
        assert [node["name"] for node in captured(name)["custom_nodes"]] == added
    assert set(docker("images", "-q", "--no-trunc").splitlines()) == before
    with pytest.raises(DocumentError, match="no ComfyUI folder found"):
        capture(image, folder="/usr")


def test_a_name_that_nothing_has() -> None:
    with pytest.raises(DocumentError, match="no folder, no container and no image"):
        capture("comfykiln/there-is-no-such-image:ever")
