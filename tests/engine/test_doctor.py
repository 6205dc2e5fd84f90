"""`doctor` on the engine that is really here, and on one that is not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from comfykiln.cli import doctor
from comfykiln.doctor.findings import State
from comfykiln.engine.engine import connect
from comfykiln.errors import NotPossibleError

if TYPE_CHECKING:
    from comfykiln.doctor.findings import Report

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def report() -> Report:
    return doctor.examine()


def test_it_agrees_with_the_engine(report: Report) -> None:
    engine = connect()
    assert report["engine"].state is State.OK
    assert report["engine"].text.startswith(f"Docker {engine.version.partition('+')[0]} on ")
    assert report["buildx"].state is State.OK
    expected = State.OK if engine.containerd_store else State.LIMITED
    assert report["image-store"].state is expected
    assert f"({engine.data_root})" in report["disk"].text
    assert report["run.cpu"].state is State.OK


def test_json_and_text_say_the_same(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for line in doctor.as_text(report).splitlines() if "→" not in line]
    ids = [line.split()[1] for line in lines]
    try:
        doctor.doctor(as_json=True)
    except NotPossibleError:
        assert not report.ready
    data = json.loads(capsys.readouterr().out)
    assert [finding["id"] for finding in data["findings"]] == ids
    assert data["ready"] is report.ready


def test_an_engine_that_is_away_is_exit_code_3_with_every_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(NotPossibleError, match="cannot build the image core for cpu yet") as caught:
        doctor.doctor(as_json=False)
    assert caught.value.exit_code == 3
    said = capsys.readouterr().out
    assert "missing  engine " in said
    assert "/nowhere/docker.sock" in said
