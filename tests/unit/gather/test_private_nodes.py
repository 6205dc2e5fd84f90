"""Private repositories: the person's own credentials open them, and nothing else ever has these."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.support.fakenet import certificate
from tests.support.sites import git_host
from tests.support.ways import access

from comfykiln.errors import DocumentError, NotPossibleError
from comfykiln.gather.git_nodes import obtain_nodes
from comfykiln.gather.pins import NodePin
from comfykiln.network.indexes import IndexSettings
from comfykiln.plan.services import NodeRule
from comfykiln.system.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOGIN = "person:canary-password"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"


def run(folder: Path, *argv: str) -> str:
    author = ("-c", "user.name=T", "-c", "user.email=t@example.invalid")
    command = ["git", "-C", str(folder), *author, *argv]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[NodePin, Store]]:
    """A node on a host that asks for a password, and an empty store; nobody has told git yet."""
    work = tmp_path / "work"
    work.mkdir()
    run(work, "init", "-q", "-b", "main")
    (work / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n", "utf-8")
    (work / "model.bin").write_text(POINTER, "utf-8")
    run(work, "add", "-A")
    run(work, "commit", "-q", "-m", "one")
    run(tmp_path, "clone", "-q", "--bare", str(work), str(tmp_path / "hosts" / "o" / "r.git"))
    _, context = certificate(tmp_path, "localhost")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    with git_host(tmp_path / "hosts", login=LOGIN, tls=context) as url:
        address = url.replace("127.0.0.1", "localhost")
        pin = NodePin(directory="r", url=f"{address}/o/r", commit=run(work, "rev-parse", "HEAD"))
        yield pin, Store(root=tmp_path / "store")


def gathered(pin: NodePin, store: Store, *, lfs: bool) -> list[str]:
    ca = store.root.parent / "ca.pem"
    found = obtain_nodes(
        [pin],
        lambda _: NodeRule(lfs_pointers=lfs),
        access(store, IndexSettings(ca_bundle=ca)),
    )
    return [node.directory for node in found]


def test_a_private_node_without_credentials_is_named(private: tuple[NodePin, Store]) -> None:
    pin, store = private
    with pytest.raises(NotPossibleError) as error:
        gathered(pin, store, lfs=True)
    assert "1 of 1 custom node(s) cannot be fetched:\n  r: " in str(error.value)
    assert "could not read Username" in str(error.value)


def test_the_persons_own_helper_opens_it_and_nothing_keeps_the_password(
    private: tuple[NodePin, Store], tmp_path: Path
) -> None:
    pin, store = private
    scheme, _, rest = pin.url.partition("://")
    kept = tmp_path / "home" / "credentials"
    kept.write_text(f"{scheme}://{LOGIN}@{rest.partition('/')[0]}\n", "utf-8")
    config = f"[credential]\n\thelper = store --file={kept}\n"
    (tmp_path / "home" / ".gitconfig").write_text(config, "utf-8")
    assert gathered(pin, store, lfs=True) == ["r"]
    files = [path for path in store.root.rglob("*") if path.is_file()]
    assert any(path.name == "objects.pack" for path in files)
    assert [path for path in files if b"canary" in path.read_bytes()] == []


def test_lfs_pointers_are_refused_unless_asked_for(
    private: tuple[NodePin, Store], tmp_path: Path
) -> None:
    pin, store = private
    netrc = f"machine localhost login {LOGIN.replace(':', ' password ')}\n"
    (tmp_path / "home" / ".netrc").write_text(netrc, "utf-8")
    with pytest.raises(DocumentError) as error:
        gathered(pin, store, lfs=False)
    assert [fault.partition(",")[0] for fault in error.value.faults] == [
        "r: 1 file(s) are Git LFS pointers (model.bin)"
    ]
    assert gathered(pin, store, lfs=True) == ["r"]
