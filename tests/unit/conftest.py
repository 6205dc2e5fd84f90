"""What unit tests share: the repository's own root and a copy of it to break."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from tests.support import faultserver

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
# CI tries the same examples each time, so that a change is judged by what it changes; everywhere
# else each run goes on looking for new ones.
settings.register_profile("ci", derandomize=True, database=None, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")
CLEARED = ("HF_", "CIVITAI_", "COMFY_S3_", "AWS_")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the data that plans are made from, in a folder of its own."""
    for name in ("images", "services", "templates"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "tests")
        )
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    return tmp_path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of this machine's user is used: no store, no token, no .netrc, no AWS files."""
    for name in [name for name in os.environ if name.startswith(CLEARED)]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("COMFYKILN_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COMFYKILN_NETWORK_TIMEOUT", "2")
    return folder


@pytest.fixture
def faults() -> Iterator[faultserver.FaultServer]:
    with faultserver.fault_server() as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def no_git_of_the_caller() -> Iterator[None]:
    """Tests started from a hook must not work on the repository whose hook it is."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("GIT_")]:
            patch.delenv(name)
        yield
