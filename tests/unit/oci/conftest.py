from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.models import Files

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def model_files(tmp_path: Path) -> Files:
    """A few model files, one of them with a layer of its own."""
    return Files.made(tmp_path / "models")


@pytest.fixture(autouse=True)
def own_docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker configuration of the test's own, empty at first."""
    folder = tmp_path / "docker-config"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder
