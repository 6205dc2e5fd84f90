"""What is said where the models of an image are not there as they are locked."""

from __future__ import annotations

import json
import runpy
import sys
from typing import TYPE_CHECKING, Any, cast

import pytest
from docker.errors import APIError

from comfykiln.errors import KilnError
from comfykiln.verify.models import require_visible
from comfykiln.verify.probes import models as probe

if TYPE_CHECKING:
    from pathlib import Path

    import docker

WANTED = {"vae/a.safetensors": 10, "loras/b.safetensors": 20}


class Engine:
    """An engine whose one container ends with a status, and what it printed."""

    def __init__(self, out: str = "", err: str = "", status: int = 0) -> None:
        self.out, self.err, self.status = out, err, status
        self.asked: list[dict[str, Any]] = []
        self.removed: list[dict[str, bool]] = []
        self.containers = self

    def run(self, ref: str, argv: list[str], **options: Any) -> Engine:
        self.asked.append({"ref": ref, "paths": argv[3:], **options})
        return self

    def wait(self) -> dict[str, int]:
        return {"StatusCode": self.status}

    def logs(self, *, stdout: bool, stderr: bool) -> bytes:
        assert stdout is not stderr
        return (self.out if stdout else self.err).encode()

    def remove(self, **options: bool) -> None:
        self.removed.append(options)


class Refusing(Engine):
    def run(self, ref: str, *_: Any, **__: Any) -> Engine:
        raise APIError(f"no such image: {ref}")


def require(engine: Engine, wanted: dict[str, int] | None = None) -> None:
    client = cast("docker.DockerClient", engine)
    require_visible(client, "team:cpu", WANTED if wanted is None else wanted)


def test_models_that_are_there_are_asked_for_once_as_a_stranger(
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = Engine(json.dumps(WANTED))
    require(engine)
    (asked,) = engine.asked
    assert {name: asked[name] for name in ("ref", "paths", "user", "network_mode")} == {
        "ref": "team:cpu",
        "paths": ["vae/a.safetensors", "loras/b.safetensors"],
        "user": "12345:12345",
        "network_mode": "none",
    }
    assert (asked["read_only"], asked["cap_drop"]) == (True, ["ALL"])
    assert engine.removed == [{"force": True, "v": True}]
    assert capsys.readouterr().err == "  2 model(s) in the image, readable by every user\n"


def test_an_image_without_models_is_not_started() -> None:
    engine = Engine()
    require(engine, {})
    assert engine.asked == []


REMEDY = "\n  → build again; if it stays so, report the versions that doctor prints"
AGAIN = "\n  → build the image again; it must be one of comfykiln's"
FAULTS = {
    "one of another size": (
        Engine(json.dumps(WANTED | {"vae/a.safetensors": 9})),
        (
            "models are not in the image as they are locked:\n"
            f"    vae/a.safetensors: 9, not 10 bytes{REMEDY}"
        ),
    ),
    "one that cannot be read and one that ends early": (
        Engine(json.dumps(dict(zip(WANTED, ("Permission denied", "ends early"), strict=True)))),
        (
            "models are not in the image as they are locked:\n"
            "    vae/a.safetensors: Permission denied, not 10 bytes\n"
            f"    loras/b.safetensors: ends early, not 20 bytes{REMEDY}"
        ),
    ),
    "a probe that fails": (
        Engine(err="Traceback\n  no Python\n", status=1),
        (
            "the models inside team:cpu cannot be looked at: Python ended with status 1: "
            f"Traceback\n  no Python{AGAIN}"
        ),
    ),
    "an engine that refuses": (
        Refusing(),
        f"the models inside team:cpu cannot be looked at: no such image: team:cpu{AGAIN}",
    ),
}


@pytest.mark.parametrize(("engine", "message"), FAULTS.values(), ids=list(FAULTS))
def test_each_model_that_is_not_as_locked_is_named(engine: Engine, message: str) -> None:
    with pytest.raises(KilnError) as caught:
        require(engine)
    assert str(caught.value) == message
    assert len(engine.removed) == len(engine.asked)


def test_the_probe_reads_each_file_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "full").write_bytes(b"weights")
    names = ["empty", "full", "none"]
    assert {name: probe.size_of(tmp_path / name) for name in names} == {
        "empty": 0,
        "full": 7,
        "none": "No such file or directory",
    }
    assert probe.size_of(tmp_path) == "Is a directory"


def test_the_probe_prints_one_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["-c", "no/such.safetensors"])
    runpy.run_path(probe.__file__, run_name="__main__")
    assert json.loads(capsys.readouterr().out) == {
        "no/such.safetensors": "No such file or directory"
    }
