"""models.lock: made once, kept as long as it stands, tied to models.yaml."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.support.modelfiles import layer_of, safetensors, sha256

from comfykiln.errors import DocumentError, DriftError, KilnError
from comfykiln.models import hashing, store
from comfykiln.models.document import read_models
from comfykiln.models.fetch import fetch
from comfykiln.models.layers import layer_digest
from comfykiln.models.lockfile import checked_lock, lock_path, write_lock
from comfykiln.models.locking import lock_models
from comfykiln.oci.layers import LAYER_FORMAT
from comfykiln.system.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.faultserver import FaultServer, Object

    from comfykiln.models.records import LockedModel, ModelList

SMALL, LARGE = safetensors(5_000), safetensors(1_500_000)


@pytest.fixture(autouse=True)
def low_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a megabyte is large enough for a layer of its own."""
    monkeypatch.setattr(hashing, "OWN_LAYER_BYTES", 1_000_000)


@pytest.fixture
def small(faults: FaultServer) -> Object:
    return faults.add("/small", SMALL)


@pytest.fixture
def large(faults: FaultServer) -> Object:
    return faults.add("/large", LARGE)


def described(tmp_path: Path, text: str) -> ModelList:
    path = tmp_path / "image" / "models.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return read_models(path)


def two(faults: FaultServer, **small: str) -> str:
    more = "".join(f"    {key}: {value}\n" for key, value in small.items())
    return (
        "models:\n"
        f"  - name: large\n    destination: checkpoints/large.safetensors\n"
        f"    sources: [{faults.url}/large]\n"
        f"  - name: small\n    destination: vae/small.safetensors\n"
        f"    sources: [{faults.url}/small]\n{more}"
    )


def made(models: ModelList, **how: tuple[str, ...]) -> tuple[LockedModel, ...]:
    found = lock_models(models, **how).models  # type: ignore[arg-type]  # upgrade alone is given
    write_lock(models, found)
    return checked_lock(models)


def test_the_first_lock_records_what_came(
    faults: FaultServer,
    tmp_path: Path,
    small: Object,
    large: Object,
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = described(tmp_path, two(faults))
    made(models)
    assert json.loads(lock_path(models).read_text()) == {
        "format": 1,
        "layer_format": LAYER_FORMAT,
        "models_yaml": models.digest,
        "models": [
            {
                "name": "large",
                "destination": "checkpoints/large.safetensors",
                "criticality": "required",
                "sources": [f"{faults.url}/large"],
                "source": f"{faults.url}/large",
                "sha256": sha256(LARGE),
                "size": len(LARGE),
                "version": large.etag,
                "layer": layer_of("checkpoints/large.safetensors", LARGE),
            },
            {
                "name": "small",
                "destination": "vae/small.safetensors",
                "criticality": "required",
                "sources": [f"{faults.url}/small"],
                "source": f"{faults.url}/small",
                "sha256": sha256(SMALL),
                "size": len(SMALL),
                "version": small.etag,
                "layer": "",
            },
        ],
    }
    said = capsys.readouterr().err
    assert f"small: sha256 {sha256(SMALL)} recorded as it came, at this first use" in said
    assert store.path_of(sha256(LARGE)).read_bytes() == LARGE


def test_locking_again_asks_nobody_and_writes_the_same(
    faults: FaultServer, tmp_path: Path, small: Object, large: Object
) -> None:
    models = described(tmp_path, two(faults))
    made(models)
    before = lock_path(models).read_bytes()
    asked = len(small.requests) + len(large.requests)
    made(models)
    assert lock_path(models).read_bytes() == before
    assert len(small.requests) + len(large.requests) == asked


def test_one_changed_model_is_asked_for_alone(
    faults: FaultServer, tmp_path: Path, small: Object, large: Object
) -> None:
    made(described(tmp_path, two(faults)))
    small.replace(safetensors(6_000, seed=3))
    asked = len(large.requests)
    unchanged = made(described(tmp_path, two(faults)))
    assert unchanged[1].sha256 == sha256(SMALL)
    upgraded = made(described(tmp_path, two(faults)), upgrade=("small",))
    assert upgraded[1].sha256 == sha256(small.data)
    assert len(large.requests) == asked


@pytest.mark.usefixtures("small", "large")
def test_a_new_word_about_a_model_costs_no_request(
    faults: FaultServer, tmp_path: Path, large: Object
) -> None:
    made(described(tmp_path, two(faults)))
    asked = len(large.requests)
    text = two(faults, criticality="optional").replace("checkpoints/large", "checkpoints/moved")
    models = described(tmp_path, text)
    moved, small = made(models)
    assert small.criticality == "optional"
    assert moved.layer == layer_of("checkpoints/moved.safetensors", LARGE)
    assert len(large.requests) == asked


@pytest.mark.usefixtures("small", "large")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("vae/small", "vae/other"), "changed small"),
        (("name: small", "name: renamed"), "changed renamed; removed small"),
        (("name: large", "criticality: optional\n    name: large"), "changed large"),
    ],
)
def test_a_lock_that_does_not_fit_is_drift(
    faults: FaultServer, tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    made(described(tmp_path, two(faults)))
    with pytest.raises(DriftError, match=f"as it is now: {said}\n") as caught:
        checked_lock(described(tmp_path, two(faults).replace(*change)))
    assert caught.value.exit_code == 4


def test_a_missing_lock_is_drift(faults: FaultServer, tmp_path: Path) -> None:
    with pytest.raises(DriftError, match=r"models\.lock is missing"):
        checked_lock(described(tmp_path, two(faults)))


@pytest.mark.usefixtures("small", "large")
def test_a_lock_changed_by_hand_is_drift(faults: FaultServer, tmp_path: Path) -> None:
    models = described(tmp_path, two(faults))
    made(models)
    path = lock_path(models)
    path.write_text(path.read_text().replace("vae/small", "../../etc/small"))
    with pytest.raises(DriftError, match="was changed by hand: small"):
        checked_lock(models)


@pytest.mark.usefixtures("small", "large")
def test_digests_of_other_packing_rules_do_not_count(faults: FaultServer, tmp_path: Path) -> None:
    models = described(tmp_path, two(faults))
    made(models)
    path = lock_path(models)
    path.write_text(path.read_text().replace(LAYER_FORMAT, "kiln-tar-0"))
    assert [model.layer for model in checked_lock(models)] == ["", ""]
    assert made(models)[0].layer == layer_of("checkpoints/large.safetensors", LARGE)


def test_what_nobody_needs_may_be_missing(
    faults: FaultServer, tmp_path: Path, large: Object
) -> None:
    models = described(tmp_path, two(faults, criticality="flexible"))
    locked = lock_models(models)
    assert [model.name for model in locked.models] == ["large"]
    assert [entry.name for entry in locked.left_out] == ["small"]
    assert large.sent > 0


@pytest.mark.usefixtures("small")
def test_every_required_model_that_is_missing_is_named(faults: FaultServer, tmp_path: Path) -> None:
    text = two(faults, size="4") + "  - name: bare\n    destination: vae/bare.safetensors\n"
    models = described(tmp_path, text)
    with pytest.raises(KilnError) as caught:
        lock_models(models)
    assert caught.value.message.splitlines()[0] == "3 required model(s) are not available:"
    assert all(f"\n  {name}" in caught.value.message for name in ("large", "small", "bare"))
    assert not lock_path(models).exists()


@pytest.mark.usefixtures("small", "large")
def test_a_pinned_sha256_is_held_against_the_bytes(faults: FaultServer, tmp_path: Path) -> None:
    with pytest.raises(KilnError, match=f"has the sha256 {sha256(SMALL)}, not {'ab' * 32}"):
        lock_models(described(tmp_path, two(faults, sha256="ab" * 32)))


def test_an_unknown_name_to_upgrade_is_wrong_usage(faults: FaultServer, tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"names no model of .*: nobody"):
        lock_models(described(tmp_path, two(faults)), upgrade=("nobody",))


@pytest.mark.usefixtures("large")
def test_a_lying_header_is_refused(faults: FaultServer, tmp_path: Path) -> None:
    faults.add("/small", b"\xff" * 8 + bytes(1000))
    with pytest.raises(KilnError, match=r"small\n.*the file is refused: its header would have"):
        lock_models(described(tmp_path, two(faults)))


def test_a_layer_digest_is_read_from_the_file_once(tmp_path: Path) -> None:
    path = store.path_of(sha256(LARGE))
    path.parent.mkdir(parents=True)
    path.write_bytes(LARGE)
    wanted = layer_of("vae/x.safetensors", LARGE)
    assert layer_digest(sha256(LARGE), "vae/x.safetensors", len(LARGE)) == wanted
    noted = store.known(sha256(LARGE))
    assert noted is not None
    assert list(noted.layers.values()) == [wanted]
    assert tmp_path in path.parents
    path.write_bytes(LARGE[::-1])
    with pytest.raises(KilnError, match="is damaged"):
        layer_digest(sha256(LARGE), "vae/y.safetensors", len(LARGE))


@pytest.mark.usefixtures("small", "large")
def test_a_lock_with_the_marks_of_a_merge_is_drift(faults: FaultServer, tmp_path: Path) -> None:
    models = described(tmp_path, two(faults))
    made(models)
    path = lock_path(models)
    path.write_text(path.read_text().replace('  "models"', '<<<<<<< HEAD\n  "models"'))
    with pytest.raises(DriftError, match="marks of a merge that was not resolved") as caught:
        lock_models(models)
    assert caught.value.remedy == (
        "take one side of it (git checkout --ours models.lock, or --theirs), then run "
        "./kiln models.lock"
    )


@pytest.mark.usefixtures("small", "large")
def test_a_wrong_layer_digest_of_the_lock_does_not_come_back(
    faults: FaultServer, tmp_path: Path
) -> None:
    pinned = f"name: large\n    sha256: {sha256(LARGE)}"
    models = described(tmp_path, two(faults).replace("name: large", pinned))
    right = made(models)[0].layer
    path = lock_path(models)
    path.write_text(path.read_text().replace(right, f"sha256:{'1' * 64}"))
    store.path_of(sha256(LARGE)).unlink()
    shutil.rmtree(Store.of_user().root / "models")
    assert fetch(checked_lock(models)).failed == ()
    assert lock_models(models, upgrade=["large"]).models[0].layer == right
