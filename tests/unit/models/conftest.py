"""A store of its own for each test, and servers to fetch from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.support import faultserver, s3

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLEARED = ("HF_", "CIVITAI_", "COMFY_S3_", "AWS_")


@pytest.fixture(autouse=True)
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


@pytest.fixture(scope="session")
def moto() -> Iterator[s3.Server]:
    with s3.moto() as server:
        yield server


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Server]:
    folder = tmp_path_factory.mktemp("rclone") / "buckets"
    folder.mkdir()
    with s3.rclone(folder) as server:
        yield server
