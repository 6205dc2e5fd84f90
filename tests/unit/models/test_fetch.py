"""Fetching into the store: right bytes or none, sources in order, nothing done twice."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.modelfiles import layer_of, locked, safetensors, sha256

from comfykiln.errors import DriftError
from comfykiln.models import download, hashing, store
from comfykiln.models.fetch import FetchResult, fetch
from comfykiln.models.records import Failed, Fetched, ModelSource
from comfykiln.system.store import Store

if TYPE_CHECKING:
    from tests.support import s3
    from tests.support.faultserver import FaultServer

DATA = safetensors(3_000_000)
SHA = sha256(DATA)
ROOT = Path(__file__).parents[3]


def leftovers() -> list[str]:
    """Return what lies in the store beside finished files, their notes and locks."""
    root = Store.of_user().root
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and (".part" in path.name or "incoming" in path.parts)
    )


def test_a_model_is_fetched_once_verified_and_noted(faults: FaultServer) -> None:
    served = faults.add("/m.safetensors", DATA)
    model = locked(DATA, f"{faults.url}/m.safetensors")
    first = fetch([model])
    asked = len(served.requests)
    second = fetch([model])
    assert first == FetchResult(
        done=(
            Fetched(
                name="model",
                sha256=SHA,
                size=len(DATA),
                source=f"{faults.url}/m.safetensors",
                version=served.etag,
                fetched=len(DATA),
            ),
        ),
        failed=(),
    )
    assert second.done == (Fetched(name="model", sha256=SHA, size=len(DATA)),)
    assert len(served.requests) == asked
    path = store.path_of(SHA)
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o777 == 0o444
    assert leftovers() == []


def test_sources_are_tried_in_order_and_each_failure_is_told(faults: FaultServer) -> None:
    faults.add("/other", safetensors(3_000_000, seed=1))
    faults.add("/short", DATA[:-1])
    faults.add("/denied", DATA, always="status 403")
    faults.add("/good", DATA)
    wrong = [f"{faults.url}/{name}" for name in ("none", "denied", "short", "other")]
    done = fetch([locked(DATA, *wrong, f"{faults.url}/good")]).done
    assert [entry.source for entry in done] == [f"{faults.url}/good"]
    store.path_of(SHA).unlink()
    failed = fetch([locked(DATA, *wrong)]).failed
    other = sha256(safetensors(3_000_000, seed=1))
    assert failed == (
        Failed(
            name="model",
            criticality="required",
            reasons=(
                f"{wrong[0]}: Nothing is at {wrong[0]}. check the address",
                (
                    f"{wrong[1]}: Access denied to {wrong[1]} (status 403). name the variable with "
                    "a valid token in `auth`, or set the hub's own"
                ),
                (
                    f"{wrong[2]}: it has {len(DATA) - 1:,} bytes there, not {len(DATA):,}. check "
                    "the source, or lock the new file: models.lock --upgrade"
                ),
                (
                    f"{wrong[3]}: {wrong[3]} has the sha256 {other}, not {SHA}. check the expected "
                    "value, or upload the object again"
                ),
            ),
        ),
    )
    assert not store.path_of(SHA).exists()
    assert leftovers() == []


@pytest.mark.parametrize(
    "fault",
    ["short", "flip", "wrong-range", "long", "ignore-range", "status 503 Retry-After=0", "silent"],
)
def test_a_server_that_misbehaves_once_costs_an_attempt_and_no_wrong_byte(
    faults: FaultServer, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "READ_SECONDS", 0.5)
    served = faults.add("/m", DATA, faults=["", fault])  # the first request is the look
    result = fetch([locked(DATA, f"{faults.url}/m")])
    assert [entry.sha256 for entry in result.done] == [SHA]
    assert store.path_of(SHA).read_bytes() == DATA
    assert served.faults == []
    assert leftovers() == []


@pytest.mark.parametrize("fault", ["flip", "wrong-etag", "status 404", "status 416"])
def test_a_server_that_always_misbehaves_gives_nothing(faults: FaultServer, fault: str) -> None:
    def look_is_right(served: object) -> None:
        served.always = fault if served.requests else ""  # type: ignore[attr-defined]  # an Object

    faults.add("/m", DATA, on_request=look_is_right)
    model = locked(DATA, f"{faults.url}/m")
    result = fetch([model])
    assert [entry.name for entry in result.failed] == ["model"]
    assert not store.path_of(SHA).exists()


def test_an_object_that_changes_on_the_way_is_never_mixed(faults: FaultServer) -> None:
    changed = safetensors(3_000_000, seed=2)
    served = faults.add("/m", changed)
    count = 0

    def swap(_: object) -> None:
        nonlocal count
        count += 1
        if count == 3:
            served.replace(DATA)

    served.on_request = swap
    result = fetch([locked(DATA, f"{faults.url}/m")])
    assert [entry.sha256 for entry in result.done] == [SHA]
    assert store.path_of(SHA).read_bytes() == DATA


def test_two_models_with_the_same_bytes_come_once(faults: FaultServer) -> None:
    served = faults.add("/m", DATA, rate=3_000_000)
    one = locked(DATA, f"{faults.url}/m")
    two = replace(one, name="twin", destination="loras/twin.safetensors")
    result = fetch([one, two])
    assert [(done.name, done.sha256) for done in result.done] == [("model", SHA), ("twin", SHA)]
    assert served.sent < 1.2 * len(DATA)


def test_two_processes_download_one_file_once(faults: FaultServer) -> None:
    served = faults.add("/m", DATA, rate=1_500_000)
    children = [start(f"{faults.url}/m") for _ in range(2)]
    said = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert sorted(int(text) for text in said) == [0, len(DATA)]
    assert served.sent < 1.2 * len(DATA)


PROGRAM = """
import sys
from comfykiln.models.fetch import fetch
from comfykiln.models.records import LockedModel, ModelSource
url, sha256, size = sys.argv[1:]
model = LockedModel(name="m", destination="vae/m.safetensors", criticality="required",
                    sources=(ModelSource(url=url),), sha256=sha256, size=int(size))
result = fetch([model])
print(*(failure.reasons for failure in result.failed), file=sys.stderr)
print(result.done[0].fetched)
"""


def start(url: str, data: bytes = DATA) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url, sha256(data), str(len(data))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}"},
    )


def test_a_killed_fetch_goes_on_where_it_was(faults: FaultServer) -> None:
    data = safetensors(16_000_000)
    served = faults.add("/m", data, rate=2_000_000)
    child = start(f"{faults.url}/m", data)
    while served.sent < 10_000_000:
        time.sleep(0.01)
        assert child.poll() is None
    child.kill()
    child.communicate()
    time.sleep(0.2)  # the server notices
    arrived, served.rate, served.sent = served.sent, 0, 0
    done = fetch([locked(data, f"{faults.url}/m")]).done[0]
    assert store.path_of(sha256(data)).read_bytes() == data
    assert done.kept + done.fetched == len(data)
    assert served.sent == done.fetched + 1  # and the one byte of the look
    in_flight = download.WORKERS * download.settings_for(len(data)).part_size
    assert done.kept >= arrived - in_flight - (1 << 20)  # what the system's buffers held
    assert leftovers() == []


def test_parts_of_one_source_serve_the_next(faults: FaultServer) -> None:
    """What has arrived of a pinned file is kept when its source dies, and verified in the end."""
    dying = faults.add("/dying", DATA)
    healthy = faults.add("/healthy", DATA)

    def die(served: object) -> None:
        if len(dying.requests) > 2:
            served.always = "status 404"  # type: ignore[attr-defined]  # an Object

    dying.on_request = die
    result = fetch([locked(DATA, f"{faults.url}/dying", f"{faults.url}/healthy")])
    assert store.path_of(SHA).read_bytes() == DATA
    assert result.done[0].source == f"{faults.url}/healthy"
    assert result.done[0].kept + result.done[0].fetched == len(DATA)
    assert healthy.sent == result.done[0].fetched + 1


def test_the_layer_digest_comes_with_the_bytes(
    faults: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "OWN_LAYER_BYTES", 1_000_000)
    faults.add("/m", DATA)
    fetch([locked(DATA, f"{faults.url}/m")])
    noted = store.known(SHA)
    assert noted is not None
    key = hashing.layer_key("vae/model.safetensors")
    assert noted.layers == {key: layer_of("vae/model.safetensors", DATA)}


def test_what_is_known_is_neither_read_nor_fetched_whatever_its_size(tmp_path: Path) -> None:
    path = store.path_of("ab" * 32)
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(100 << 30)
    store.note("ab" * 32)
    model = replace(locked(b""), sha256="ab" * 32, size=100 << 30)
    fetch([model])  # imports what it needs
    read = io_bytes()
    begin = time.perf_counter()
    assert fetch([model]).done[0].fetched == 0
    assert time.perf_counter() - begin < 0.2
    assert io_bytes() - read < 100_000
    assert tmp_path in path.parents


def io_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def test_a_damaged_file_of_the_store_is_replaced(faults: FaultServer) -> None:
    faults.add("/m", DATA)
    model = locked(DATA, f"{faults.url}/m")
    fetch([model])
    path = store.path_of(SHA)
    path.chmod(0o644)
    path.write_bytes(DATA[:-1] + b"x")
    assert fetch([model]).done[0].fetched == len(DATA)
    assert path.read_bytes() == DATA


def test_a_lock_with_another_size_than_the_file_is_drift(faults: FaultServer) -> None:
    faults.add("/m", DATA)
    model = locked(DATA, f"{faults.url}/m")
    assert fetch([model]).failed == ()
    with pytest.raises(DriftError, match=r"says 3,000,\d+ bytes of model, its file has 3,000,\d+"):
        fetch([replace(model, size=model.size + 1)])


def test_a_touched_file_is_read_once_and_kept(faults: FaultServer) -> None:
    faults.add("/m", DATA)
    model = locked(DATA, f"{faults.url}/m")
    fetch([model])
    os.utime(store.path_of(SHA))
    assert store.known(SHA) is None
    assert fetch([model]).done[0].fetched == 0
    assert store.known(SHA) is not None


def test_a_local_file_is_copied_and_verified(tmp_path: Path) -> None:
    (tmp_path / "a file.safetensors").write_bytes(DATA)
    model = locked(DATA)
    absolute = ModelSource(url=f"file://{tmp_path}/a%20file.safetensors")
    relative = ModelSource(url="file:a%20file.safetensors", folder=tmp_path)
    for source in (absolute, relative):
        store.path_of(SHA).unlink(missing_ok=True)
        done = fetch([replace(model, sources=(source,))]).done
        assert [entry.fetched for entry in done] == [len(DATA)]
        assert store.path_of(SHA).read_bytes() == DATA
    (tmp_path / "a file.safetensors").write_bytes(DATA[::-1])
    store.path_of(SHA).unlink()
    assert "has the sha256" in fetch([replace(model, sources=(relative,))]).failed[0].reasons[0]


@pytest.mark.parametrize("server", ["moto", "rclone"])
def test_an_object_of_s3_by_the_variables_of_the_environment(
    server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: s3.Server = request.getfixturevalue(server)
    bucket = running.store("models")
    bucket.client().create_bucket(Bucket="models")
    bucket.client().put_object(Bucket="models", Key="a key/m+1.safetensors", Body=DATA)
    for name, value in running.environment("elsewhere").items():
        monkeypatch.setenv(name, value)
    done = fetch([locked(DATA, "s3://models/a key/m+1.safetensors")])
    assert done.failed == ()
    assert done.done[0].version.strip('"') == bucket.head("a key/m+1.safetensors").etag.strip('"')
    assert store.path_of(SHA).read_bytes() == DATA


def test_wrong_keys_are_told_without_showing_them(
    rclone: s3.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = rclone.environment() | {"COMFY_S3_SECRET_KEY": "wrong-canary-secret"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    reasons = fetch([locked(DATA, "s3://models/m.safetensors")]).failed[0].reasons
    assert len(reasons) == 1
    assert "SignatureDoesNotMatch" in reasons[0]
    assert "canary" not in reasons[0]
    assert "CANARY" not in reasons[0]


def test_a_full_disk_stops_everything_and_leaves_no_wrong_file(
    faults: FaultServer, tmp_path: Path
) -> None:
    faults.add("/m", DATA)
    code = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (1_500_000, 1_500_000))\n" + PROGRAM
    done = subprocess.run(
        [sys.executable, "-c", code, f"{faults.url}/m", SHA, str(len(DATA))],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}"},
    )
    assert done.returncode == 1
    assert "cannot be written: the disk or the quota is full" in done.stderr
    assert tmp_path in store.path_of(SHA).parents
    assert not store.path_of(SHA).exists()
    assert [entry.fetched for entry in fetch([locked(DATA, f"{faults.url}/m")]).done] == [len(DATA)]


def test_nothing_wrong_survives_being_killed_at_any_moment(faults: FaultServer) -> None:
    served = faults.add("/m", DATA, rate=3_000_000)
    for moment in range(6):
        child = start(f"{faults.url}/m")
        threading.Event().wait(0.25 + moment * 0.08)
        child.kill()
        child.communicate()
        path = store.path_of(SHA)
        assert not path.exists() or path.read_bytes() == DATA
    served.rate = 0
    assert [entry.sha256 for entry in fetch([locked(DATA, f"{faults.url}/m")]).done] == [SHA]
    assert store.path_of(SHA).read_bytes() == DATA
    assert leftovers() == []
