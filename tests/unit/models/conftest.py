"""A store of its own for each test, and servers to fetch from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support import s3

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    """The folder of a user who has nothing yet."""
    return home


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
