from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.system.store import Store

if TYPE_CHECKING:
    from pathlib import Path

DATA = b"weights"
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(root=tmp_path / "store")


def everything(store: Store) -> list[str]:
    return sorted(
        str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file()
    )


def test_a_file_lies_under_its_sha256(store: Store) -> None:
    path = store.put([b"wei", b"ghts"], SHA, source="here")

    assert path == store.path(SHA) == store.root / "sha256" / SHA[:2] / SHA
    assert path.read_bytes() == DATA
    assert store.has(SHA)


def test_other_bytes_are_refused_and_leave_nothing(store: Store) -> None:
    with pytest.raises(KilnError) as caught:
        store.put([b"weightz"], SHA, source="https://origin.example/file")

    found = hashlib.sha256(b"weightz").hexdigest()
    assert caught.value.message == (
        f"https://origin.example/file: expected the sha256 {SHA}, found {found}"
    )
    assert everything(store) == []
    assert not store.has(SHA)


def test_an_interrupted_write_leaves_nothing(store: Store) -> None:
    def chunks() -> object:
        yield b"wei"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.put(chunks(), SHA, source="here")  # type: ignore[arg-type]  # a generator will do

    assert everything(store) == []


def test_a_damaged_file_is_removed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    path = store.put([DATA], SHA, source="here")
    path.write_bytes(b"weightS")

    assert not store.has(SHA)
    assert not path.exists()
    assert capsys.readouterr().err == f"! {path} is damaged and is fetched again\n"


def test_a_folder_takes_its_name_only_when_whole(store: Store) -> None:
    final = store.root / "tree" / "abc"
    with pytest.raises(FileNotFoundError), store.new_folder(final) as part:
        (part / "missing" / "half").write_text("")
    assert everything(store) == []

    with store.new_folder(final) as part:
        (part / "whole").write_text("1")
        assert not final.exists()
    assert everything(store) == ["tree/abc/whole"]


def test_a_folder_replaces_a_damaged_one_and_the_rest_of_a_killed_process(store: Store) -> None:
    final = store.root / "tree" / "abc"
    final.mkdir(parents=True)
    (final / "damaged").write_text("")
    left = store.root / "scratch" / "abc"
    left.mkdir(parents=True)
    (left / "half").write_text("")

    with store.new_folder(final) as part:
        assert list(part.iterdir()) == []
        (part / "whole").write_text("1")

    assert everything(store) == ["tree/abc/whole"]


HOLDER = """
import sys, time
from pathlib import Path
from comfykiln.system.store import Store
with Store(root=Path(sys.argv[1])).lock("thing"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_keeps_others_out_and_dies_with_its_holder(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [sys.executable, "-c", HOLDER, str(store.root)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        os.kill(holder.pid, signal.SIGSTOP)
        waiter = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(0.5)
        assert waiter.poll() is None
        holder.kill()
        start = time.monotonic()
        assert waiter.stdout is not None
        assert waiter.stdout.readline() == "held\n"
        assert time.monotonic() - start < 2
        waiter.kill()
        _, said = waiter.communicate()
    assert said == "  waiting for another process that is fetching thing\n"
    with store.lock("thing"):
        assert capsys.readouterr().err == ""


def test_the_folder_is_that_of_the_variable_or_of_the_user(tmp_path: Path) -> None:
    named = Store.of_user({"COMFYKILN_STORE": str(tmp_path / "x")})
    assert named.root == tmp_path / "x"
    assert Store.of_user({}).root.name == "comfykiln"


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(root=tmp_path / "file" / "store")

    with pytest.raises(NotPossibleError) as caught, store.lock("thing"):
        pass

    assert caught.value.message.startswith(f"the store {store.root} cannot be written: ")
    assert caught.value.remedy == (
        "free some space there, or name another folder in COMFYKILN_STORE"
    )


def test_a_full_disk_says_so_and_leaves_nothing(store: Store) -> None:
    program = f"""
import resource, signal
from pathlib import Path
from comfykiln.errors import KilnError
from comfykiln.system.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
Store(root=Path({str(store.root)!r})).put([bytes(1 << 20)], {SHA!r}, source="here")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "the store" in done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert everything(store) == []
