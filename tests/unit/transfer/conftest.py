"""The servers of these tests, started once: they begin empty and each test takes its own bucket."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from tests.support import faultserver, s3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfykiln.transfer.store import Store


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


@pytest.fixture(params=["moto", "rclone"])
def store(request: pytest.FixtureRequest) -> Store:
    """An empty bucket, on each of the two servers in turn."""
    server: s3.Server = request.getfixturevalue(request.param)
    made = server.store(f"bucket-{uuid.uuid4().hex[:12]}")
    made.client().create_bucket(Bucket=made.bucket)
    return made


@pytest.fixture
def faults() -> Iterator[faultserver.FaultServer]:
    with faultserver.fault_server() as server:
        yield server
