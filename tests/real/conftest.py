"""The real core image for cpu, built once by the very command that the README begins with."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.support.images import CoreImage

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def core_build() -> CoreImage:
    command = ["./kiln", "build", "--target", "cpu", "--image", "core", "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    said = json.loads(done.stdout)
    return CoreImage(ref=said["ref"], digest=said["digest"], export=ROOT / said["export"])


@pytest.fixture(scope="session")
def core_image(request: pytest.FixtureRequest) -> str:
    """The name of the verified core image; COMFYKILN_TEST_CORE names another that is there."""
    given = os.environ.get("COMFYKILN_TEST_CORE", "")
    return given or request.getfixturevalue("core_build").ref
