"""One rule for CA and proxies: every way to the outside, with the bundle, without, by a proxy.

It stands here since models are the highest room with a way of their own.
"""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from tests.support.connectproxy import PASSWORD, connect_proxy
from tests.support.fakenet import certificate
from tests.support.modelfiles import safetensors
from tests.support.noderegistry import archive, published
from tests.support.sites import Answer, git_host, site
from tests.support.ways import access

from comfykiln.doctor.answers import ask_address
from comfykiln.errors import KilnError
from comfykiln.gather.archives import obtain_archives
from comfykiln.gather.git_nodes import obtain_nodes
from comfykiln.gather.pins import ArchivePin, NodePin
from comfykiln.models import lockfile, locking, selection
from comfykiln.models.document import load_models
from comfykiln.models.streaming import stream
from comfykiln.network.host import environment_of
from comfykiln.network.indexes import IndexSettings
from comfykiln.oci import references, registry
from comfykiln.origins.simple import project_files
from comfykiln.plan.services import NodeRule, Service
from comfykiln.system.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from comfykiln.network.access import Access

DATA = safetensors(1000, 1)
DIGEST = hashlib.sha256(DATA).hexdigest()
HOST, GIT_HOST = "outside.kiln.test", "git.kiln.test"


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Two servers with certificates of one private CA: git's, and one for everything else."""

    web: str
    git: str
    ca: Path
    folder: Path
    commit: str

    def access(self, *, trusting: bool, proxy: str = "") -> Access:
        bundle = self.ca if trusting else None
        proxies = {"https_proxy": proxy} if proxy else {}
        store = Store(root=self.folder / "store")
        settings = IndexSettings(ca_bundle=bundle, proxies=proxies)
        return access(store, settings, registry=self.web)


def answers(web: str) -> dict[str, Answer]:
    """What the server says, by path; `web` is the address that it knows itself by."""
    said = {"version": "1.0", "downloadUrl": f"{web}/shop.zip"}
    version = {"id": 7, "files": [{"primary": True, "downloadUrl": f"{web}/api/download/models/7"}]}
    model = Answer(body=DATA, headers={"ETag": '"one"'})
    files = published("shop", "1.0", {"__init__.py": ""})
    page = {"Content-Type": "text/html"}
    return {
        "/": Answer(body=b"here"),
        "/simple/wheel/": Answer(body=b'<a href="wheel-1.0.tar.gz">1</a>', headers=page),
        "/nodes/shop/install?version=1.0": Answer(body=json.dumps(said).encode()),
        "/shop.zip": Answer(body=archive(files)),
        "/m.safetensors": model,
        "/o/r/resolve/main/m.safetensors": model,
        "/bucket/m.safetensors": model,
        "/api/v1/model-versions/7": Answer(body=json.dumps(version).encode()),
        "/api/download/models/7": model,
    }


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder of bare repositories, and the commit of o/r.git."""
    root = tmp_path_factory.mktemp("git")

    def git(*words: str) -> str:
        author = ("-c", "user.name=T", "-c", "user.email=t@example.invalid")
        argv = ["git", "-C", str(root), *author, *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "main", "work")
    git("-C", "work", "commit", "-q", "--allow-empty", "-m", "one")
    git("clone", "-q", "--bare", "work", "hosts/o/r.git")
    return root / "hosts", git("-C", "work", "rev-parse", "HEAD")


@pytest.fixture
def outside(tmp_path: Path, repository: tuple[Path, str]) -> Iterator[Outside]:
    hosts, commit = repository
    ca, tls = certificate(tmp_path, "localhost", HOST, GIT_HOST)
    with git_host(hosts, tls=tls) as git, site(tls=tls) as web:
        address = web.url.replace("127.0.0.1", "localhost")
        web.answers.update(answers(address))
        near = git.replace("127.0.0.1", "localhost")
        yield Outside(web=address, git=near, ca=ca, folder=tmp_path, commit=commit)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt each; a registry's name leads here, as registries on loopback have no TLS."""
    monkeypatch.setattr("comfykiln.models.sources.web.ATTEMPTS", 1)
    known = socket.getaddrinfo

    def here(host: str, *more: Any, **other: Any) -> Any:
        return known("127.0.0.1" if host == HOST else host, *more, **other)

    monkeypatch.setattr(socket, "getaddrinfo", here)


def index(found: Outside, way: Access) -> None:
    files = project_files(f"{found.web}/simple", "wheel", way.settings, way.patience)
    assert list(files) == ["wheel-1.0.tar.gz"]


def node_registry(_: Outside, way: Access) -> None:
    pin = ArchivePin(directory="shop", registry_id="shop", version="1.0")
    (node,) = obtain_archives([pin], lambda _: NodeRule(), way, locked=None)
    assert node.pyproject


def git(found: Outside, way: Access) -> None:
    pin = NodePin(directory="r", url=f"{found.git}/o/r", commit=found.commit)
    (node,) = obtain_nodes([pin], lambda _: NodeRule(), way)
    assert node.own.commit == found.commit


def oci(found: Outside, way: Access) -> None:
    address = urlsplit(found.web).netloc.replace("localhost", HOST)
    target = registry.repository(references.parse(f"{address}/o/r:v1"), way.settings)
    target.transport.pause = 0.001
    assert not target.has(f"sha256:{'0' * 64}", 1)


def doctor(found: Outside, way: Access) -> None:
    if fault := ask_address(found.web, way.settings):
        raise KilnError(fault)


def model_of(**source: str) -> Callable[[Outside, Access], None]:
    """Return how a model comes: locked, fetched into an empty store, and streamed past it."""

    def come(found: Outside, way: Access) -> None:
        told = {name: text.replace("WEB", found.web) for name, text in source.items()}
        service = described(found.folder / "image", told)
        models = load_models(service)
        environ = environment_of(way.settings)
        lockfile.write_lock(models, locking.lock_models(models, environ=environ).models)
        Store.of_user().path(DIGEST).unlink()
        made = selection.obtain(service, "all", way)
        assert [model.sha256 for model in made.inside] == [DIGEST]
        Store.of_user().path(DIGEST).unlink()
        with stream(made.inside[0], environ=environ) as pieces:
            assert b"".join(bytes(piece) for piece in pieces) == DATA

    return come


def described(folder: Path, source: dict[str, str]) -> Service:
    """Return an image with one required model of that source."""
    folder.mkdir(exist_ok=True)
    entry = {"name": "m", "destination": "vae/m.safetensors", "criticality": "required"}
    listed = {"models": [{**entry, "sources": [source]}]}
    (folder / "models.yaml").write_text(json.dumps(listed), "utf-8")
    return Service(
        name="test",
        folder=folder,
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


S3 = {"url": "s3://bucket/m.safetensors", "endpoint": "WEB"}
WAYS = {
    "index": index,
    "node-registry": node_registry,
    "git": git,
    "registry": oci,
    "doctor": doctor,
    "https": model_of(url="WEB/m.safetensors"),
    "hf": model_of(url="hf://o/r@main/m.safetensors"),
    "civitai": model_of(url="civitai:7"),
    "s3": model_of(**S3),
}
every_way = pytest.mark.parametrize("way", WAYS)


def go(way: str, found: Outside, trusted: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_ENDPOINT", "CIVITAI_ENDPOINT"):
        monkeypatch.setenv(name, found.web)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "canary")
    WAYS[way](found, trusted)


@every_way
def test_the_bundle_reaches_every_way(
    way: str, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(way, outside, outside.access(trusting=True), monkeypatch)


@every_way
def test_without_the_bundle_host_cause_and_option_are_told(
    way: str, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KilnError) as caught:
        go(way, outside, outside.access(trusting=False), monkeypatch)
    told = str(caught.value)
    assert (HOST if way == "registry" else "localhost") in told
    assert "not trusted" in told
    assert "--ca-bundle" in told


@every_way
def test_the_proxy_reaches_every_way_and_its_password_no_message(
    way: str, outside: Outside, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ports = {HOST: urlsplit(outside.web).port or 0, GIT_HOST: urlsplit(outside.git).port or 0}
    far = replace(outside, web=f"https://{HOST}", git=f"https://{GIT_HOST}")
    with connect_proxy(ports) as proxy:
        go(way, far, far.access(trusting=True, proxy=proxy.url), monkeypatch)
        assert set(proxy.asked) == {f"{GIT_HOST if way == 'git' else HOST}:443"}
        nowhere = replace(far, web="https://none.kiln.test", git="https://none.kiln.test")
        fresh = replace(nowhere, folder=outside.folder / "fresh")
        fresh.folder.mkdir()
        monkeypatch.setenv("COMFYKILN_STORE", str(fresh.folder / "store"))
        with pytest.raises(KilnError) as caught:
            go(way, fresh, fresh.access(trusting=True, proxy=proxy.url), monkeypatch)
    assert "none.kiln.test" in str(caught.value)
    said = capfd.readouterr()
    assert PASSWORD not in str(caught.value) + repr(far.access(trusting=True, proxy=proxy.url))
    assert PASSWORD not in said.out + said.err
