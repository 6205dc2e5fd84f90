from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.modelfiles import safetensors

from comfykiln.errors import DriftError, KilnError
from comfykiln.models import lockfile, locking, selection
from comfykiln.models.document import load_models
from comfykiln.network.access import host_access
from comfykiln.oci.layers import OWN_LAYER_BYTES
from comfykiln.plan.services import Service
from comfykiln.system.store import Store

if TYPE_CHECKING:
    from comfykiln.models.selection import ModelSet


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """An image with a required, a flexible and an optional small model, from files, locked."""
    monkeypatch.setenv("COMFYKILN_STORE", str(tmp_path / "store"))
    for name, seed in (("required", 1), ("flexible", 2), ("optional", 3)):
        (tmp_path / name).write_bytes(safetensors(1000, seed))
    found = Service(
        name="test",
        folder=tmp_path,
        title="",
        comfyui="",
        suite="",
        python="",
        apt=(),
        snapshot=Path(),
        startup=Path(),
        local_nodes=(),
        requirements=(),
    )
    write(found)
    return found


def write(service: Service, **further: dict[str, Any]) -> None:
    entries = [
        {
            "name": name,
            "destination": f"vae/{name}.safetensors",
            "criticality": name,
            "sources": [f"file:{name}"],
        }
        for name in ("required", "flexible", "optional")
    ]
    entries += [{"name": name, **values} for name, values in further.items()]
    (service.folder / "models.yaml").write_text(json.dumps({"models": entries}), "utf-8")
    models = load_models(service)
    lockfile.write_lock(models, locking.lock_models(models).models)


def obtained(service: Service, choice: str, *, keep: bool = True) -> ModelSet:
    return selection.obtain(service, choice, host_access(Store.of_user()), keep=keep)


def forget(service: Service, *names: str) -> None:
    """Take models out of the store and away from their source."""
    for name in names:
        path = service.folder / name
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        Store.of_user().path(digest).unlink()
        path.unlink()


@pytest.mark.parametrize(
    ("choice", "inside"),
    [
        ("all", ["required", "flexible", "optional"]),
        ("required", ["required"]),
        ("skip", []),
    ],
)
def test_what_is_let_in_and_what_is_an_intent(
    service: Service, choice: str, inside: list[str]
) -> None:
    found = obtained(service, choice)
    assert [model.name for model in found.inside] == inside
    assert {model.name for model in found.intents} == {
        "required",
        "flexible",
        "optional",
    } - set(inside)
    files = [file.path for layer in found.layers for file in layer.files]
    assert files == sorted(f"vae/{name}.safetensors" for name in inside)
    assert all(layer.digest.startswith("sha256:") for layer in found.layers)


def test_what_is_not_required_may_be_missing(service: Service) -> None:
    forget(service, "flexible", "optional")
    found = obtained(service, "all")
    assert [model.name for model in found.inside] == ["required"]
    assert [(model.name, model.sources[0].url) for model in found.intents] == [
        ("flexible", "file:flexible"),
        ("optional", "file:optional"),
    ]


def test_what_is_required_may_not(service: Service) -> None:
    forget(service, "required")
    with pytest.raises(KilnError) as caught:
        obtained(service, "required")
    assert caught.value.message.startswith("required models are not available:\n  required: ")
    assert caught.value.exit_code == 1
    assert obtained(service, "skip").inside == ()


def test_a_model_that_could_not_be_locked_is_an_intent_where_its_bytes_are_known(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = {"destination": "loras/g.safetensors", "criticality": "optional", "sources": ["file:g"]}
    pinned = gone | {"destination": "loras/p.safetensors", "sha256": "a" * 64, "size": 5}
    write(service, gone=gone, pinned=pinned)
    found = obtained(service, "all")
    assert [(model.name, model.sha256, model.size) for model in found.intents] == [
        ("pinned", "a" * 64, 5)
    ]
    told = capsys.readouterr().err
    assert "gone (optional) is left out: it could not be locked" in told
    assert told.count("its sha256 and size are not known") == 1


def test_no_list_means_no_models(service: Service) -> None:
    (service.folder / "models.yaml").unlink()
    assert obtained(service, "all").layers == ()


def test_a_lock_that_does_not_fit(service: Service) -> None:
    path = service.folder / "models.yaml"
    path.write_text(path.read_text("utf-8").replace("vae/required", "vae/moved"), "utf-8")
    with pytest.raises(DriftError, match="does not belong to"):
        obtained(service, "skip")


def test_large_models_need_their_digest_when_they_are_not_kept(service: Service) -> None:
    path = service.folder / "models.lock"
    lock = json.loads(path.read_text("utf-8"))
    entry = next(model for model in lock["models"] if model["name"] == "required")
    entry["size"] = OWN_LAYER_BYTES
    path.write_text(json.dumps(lock), "utf-8")
    with pytest.raises(DriftError, match="no layer digest of vae/required"):
        obtained(service, "required", keep=False)
