"""The base on the real engine: pulled from a registry on loopback, or bootstrapped."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.support.registry import Image, image
from tests.support.sites import Answer, Site, closed, silent, site
from tests.support.ways import access

from comfykiln.engine import engine
from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.network.access import host_access
from comfykiln.network.client import UnavailableError
from comfykiln.network.http import Patience
from comfykiln.origins import registry
from comfykiln.origins.base import BaseImage, obtain_base
from comfykiln.plan.origins import BaseSpec, OriginUse
from comfykiln.system.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.engine


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def built(ref: str, folder: Path, override: str | None = None) -> list[str]:
    """Build one COPY upon `ref` and return the image's layers."""
    (folder / "Dockerfile").write_text(f"FROM {ref} AS base\nCOPY Dockerfile /copied\n")
    context = [f"--build-context={ref}={override}"] if override else []
    name = f"kiln-origins-test:{uuid.uuid4().hex}"
    docker("buildx", "build", "--quiet", *context, f"--tag={name}", str(folder))
    try:
        text = docker("image", "inspect", "--format={{range .RootFS.Layers}}{{.}} {{end}}", name)
        return text.split()
    finally:
        docker("rmi", "--force", name)


def spec_of(ref: str, **changes: object) -> BaseSpec:
    spec = BaseSpec(ref=ref, suite="trixie", python="3.13", include=("python3",))
    return replace(spec, **changes)  # type: ignore[arg-type]  # fields of the record


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(root=tmp_path / "store")


@pytest.fixture
def hosted() -> Iterator[tuple[Site, Image, str]]:
    """A registry, its image, and the image's reference by tag and digest."""
    made = image("kiln/base", uuid.uuid4().hex)
    with site(made.answers) as host:
        ref = f"{host.url.removeprefix('http://')}/kiln/base:slim@{made.digest}"
        yield host, made, ref
        name = f"comfykiln-base:trixie-{made.digest.removeprefix('sha256:')[:12]}"
        subprocess.run(["docker", "rmi", "--force", ref, name], capture_output=True, check=False)


def test_a_registry_serves_once_and_is_not_needed_again(
    hosted: tuple[Site, Image, str], store: Store, tmp_path: Path
) -> None:
    host, made, ref = hosted
    name = f"comfykiln-base:trixie-{made.digest.removeprefix('sha256:')[:12]}"
    first = obtain_base(spec_of(ref), access(store, strict=True))
    assert first == (
        BaseImage(override=f"docker-image://{name}"),
        OriginUse(thing="base", identity=ref, origin="registry", detail=ref, fallback=False),
    )
    host.answers.clear()
    asked = len(host.asked)

    assert obtain_base(spec_of(ref), access(store, strict=True)) == first
    assert len(built(ref, tmp_path, first[0].override)) == 2
    assert len(host.asked) == asked


def test_a_digest_that_the_registry_lacks_is_an_error_of_its_own(
    hosted: tuple[Site, Image, str], store: Store
) -> None:
    host, made, ref = hosted
    digest = "sha256:" + "0" * 64
    wrong = ref.replace(made.digest, digest)
    host.answers[f"/v2/kiln/base/manifests/{digest}"] = Answer(
        status=404,
        body=b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}',
        headers={"Content-Type": "application/json"},
    )
    for strict in (True, False):
        with pytest.raises(KilnError) as caught:
            obtain_base(spec_of(wrong), access(store, strict=strict))
        assert not isinstance(caught.value, NotPossibleError)
        address = ref.partition("/")[0]
        assert caught.value.message.startswith(f"the registry {address} has no image {wrong}: ")
        assert "correct the digest in images/origins.yaml" in caught.value.remedy


def test_a_registry_that_refuses_is_not_taken_for_one_without_the_digest(
    hosted: tuple[Site, Image, str], store: Store
) -> None:
    host, _, ref = hosted
    for path in list(host.answers):
        host.answers[path] = Answer(status=429, body=b'{"errors":[{"code":"TOOMANYREQUESTS"}]}')
    with pytest.raises(NotPossibleError) as caught:
        obtain_base(spec_of(ref), access(store, strict=True))
    assert "--origins strict forbids the others" in caught.value.message


def test_a_dead_registry_costs_what_was_allowed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFYKILN_NETWORK_TIMEOUT", "2")
    digest = "sha256:" + "1" * 64
    with silent() as address:
        for host, least, most in ((closed(), 0.0, 2.0), (address, 1.9, 4.0)):
            ref = f"{host.removeprefix('http://')}/kiln/base:slim@{digest}"
            start = time.monotonic()
            with pytest.raises(NotPossibleError) as caught:
                obtain_base(spec_of(ref), access(store, strict=True))
            assert least <= time.monotonic() - start < most
            assert caught.value.exit_code == 3
            assert host.removeprefix("http://") in caught.value.message


def test_a_pull_that_stalls_is_given_up(hosted: tuple[Site, Image, str]) -> None:
    host, made, ref = hosted
    whole = host.answers[made.layer]
    host.answers[made.layer] = replace(whole, cut=10, hang=40)
    client = engine.client()
    start = time.monotonic()
    with pytest.raises(UnavailableError, match="the pull stalled for 3 s"):
        registry.ensure_pulled(client, ref, Patience(probe=5, stall=3, total=60))
    assert time.monotonic() - start < 10
    assert not registry.holds(client, ref)


@pytest.fixture(scope="module")
def bootstrap_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(root=tmp_path_factory.mktemp("bootstrap") / "store")


@pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="mmdebstrap is not installed")
def test_a_bootstrapped_base_stands_in_and_is_kept(
    bootstrap_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = f"{closed().removeprefix('http://')}/kiln/base:slim@sha256:{'2' * 64}"
    image_, use = obtain_base(spec_of(ref), host_access(bootstrap_store))
    name = image_.override.removeprefix("docker-image://")
    try:
        sha256 = use.identity.removeprefix("sha256:")
        assert name == f"comfykiln-base:trixie-{sha256[:12]}"
        assert (use.origin, use.fallback) == ("mmdebstrap", True)
        assert use.warning.startswith(f"the base is not {ref} but the same suite")
        layers = built(ref, tmp_path, image_.override)
        assert layers[0] == use.identity
        image_id = docker("image", "inspect", "--format={{.Id}}", name)

        # Neither mmdebstrap nor the registry is needed again, and a lost image comes back equal.
        docker("rmi", "--force", name)
        monkeypatch.setattr(
            os, "environ", {**os.environ, "PATH": _path_without("mmdebstrap", tmp_path)}
        )
        start = time.monotonic()
        assert obtain_base(spec_of(ref), host_access(bootstrap_store)) == (image_, use)
        assert time.monotonic() - start < 20
        assert docker("image", "inspect", "--format={{.Id}}", name) == image_id
        assert built(ref, tmp_path, image_.override) == layers
        start = time.monotonic()
        assert obtain_base(spec_of(ref), host_access(bootstrap_store)) == (image_, use)
        assert time.monotonic() - start < 1
        _look_into(name, image_)
    finally:
        docker("rmi", "--force", name)


def _path_without(program: str, folder: Path) -> str:
    """Return a PATH on which `program` is not found."""
    links = folder / "bin"
    links.mkdir()
    for name in ("docker", "apt-get", "apt-config"):
        (links / name).symlink_to(shutil.which(name) or name)
    assert shutil.which(program, path=str(links)) is None
    return str(links)


def _look_into(name: str, base: BaseImage) -> None:
    """Nothing of this host lies in the base, and its Python is the suite's."""
    program = (
        "import pathlib, sys;"
        "print(sys.version.split()[0]);"
        "print(sorted(map(str, pathlib.Path('/etc/apt').rglob('*.list'))),"
        "      sorted(map(str, pathlib.Path('/etc/apt').rglob('*.sources'))))"
    )
    said = docker("run", "--rm", "--network=none", name, "python3", "-c", program).splitlines()
    assert said[0].startswith("3.13.")
    assert said[1] == "[] []"
    assert " trixie main\n" in base.apt_sources
