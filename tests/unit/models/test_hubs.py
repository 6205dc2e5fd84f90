"""Hugging Face, CivitAI and the web: hashes before the bytes, credentials to their host alone."""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING

import pytest
from tests.support import faultserver
from tests.support.modelfiles import locked, safetensors, sha256
from tests.support.sites import Answer, site

from comfykiln.models import store
from comfykiln.models.fetch import fetch
from comfykiln.models.records import ModelSource
from comfykiln.models.sources.find import find, licence_of
from comfykiln.transfer.errors import AccessError, ProfileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.faultserver import FaultServer, Object

DATA = safetensors(2_500_000)
SHA = sha256(DATA)
COMMIT = "462165984030d82259a11f4367a4eed129e94a7b"
HF = f"hf://owner/repo@{COMMIT}/sub dir/m.safetensors"
HF_PATH = f"/owner/repo/resolve/{COMMIT}/sub%20dir/m.safetensors"


@pytest.fixture
def store_host() -> Iterator[FaultServer]:
    """The host that hubs redirect to."""
    with faultserver.fault_server() as server:
        yield server


def logins(served: Object) -> set[str]:
    return {headers.get("Authorization", "") for headers in served.headers}


def redirecting(faults: FaultServer, path: str, to: str, **headers: str) -> Object:
    extra = " ".join(f"{name.replace('_', '-')}={value}" for name, value in headers.items())
    return faults.add(path, b"", always=f"status 302 Location={to} {extra}".strip())


@pytest.fixture
def hub(
    faults: FaultServer, store_host: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> tuple[Object, Object]:
    """A hub that redirects to its store, told by HF_ENDPOINT."""
    monkeypatch.setenv("HF_ENDPOINT", faults.url)
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    first = redirecting(
        faults,
        HF_PATH,
        f"{store_host.url}/blob",
        X_Linked_ETag=f'"{SHA}"',
        X_Linked_Size=str(len(DATA)),
        X_Repo_Commit=COMMIT,
    )
    return first, store_host.add("/blob", DATA)


def test_the_hub_tells_sha256_and_commit_before_the_redirect(hub: tuple[Object, Object]) -> None:
    first, second = hub
    found = find(ModelSource(url=HF), os.environ)
    assert (found.sha256, found.version, found.size) == (SHA, COMMIT, len(DATA))
    assert logins(first) == {"Bearer hf_canary"}
    assert logins(second) == {""}


def test_a_hub_file_is_fetched_from_its_store_without_the_token(
    hub: tuple[Object, Object],
) -> None:
    first, second = hub
    result = fetch([locked(DATA, HF)])
    assert result.failed == ()
    assert (result.done[0].version, result.done[0].told_sha256) == (COMMIT, True)
    assert store.path_of(SHA).read_bytes() == DATA
    assert len(first.requests) == 1  # the redirect is followed once, not for each part
    assert logins(first) == {"Bearer hf_canary"}
    assert logins(second) == {""}


def test_the_address_of_a_hubs_website_is_the_hubs_file(hub: tuple[Object, Object]) -> None:
    page = f"https://huggingface.co/owner/repo/blob/{COMMIT}/sub%20dir/m.safetensors"
    result = fetch([locked(DATA, page)])
    assert (result.done[0].source, result.done[0].version) == (page, COMMIT)
    assert result.done[0].told_sha256
    assert logins(hub[0]) == {"Bearer hf_canary"}


@pytest.mark.parametrize(
    ("revision", "asked"),
    [
        ("refs/pr/7", "refs%2Fpr%2F7"),
        ("refs/convert/parquet", "refs%2Fconvert%2Fparquet"),
        ("feature%2Fnew", "feature%2Fnew"),
    ],
)
def test_a_revision_may_hold_slashes(
    faults: FaultServer, monkeypatch: pytest.MonkeyPatch, revision: str, asked: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", faults.url)
    served = faults.add(f"/o/r/resolve/{asked}/sub/m.bin", DATA)
    found = find(ModelSource(url=f"HF://o/r@{revision}/sub/m.bin"), os.environ)
    assert (found.size, len(served.requests)) == (len(DATA), 1)


@pytest.mark.usefixtures("hub")
def test_another_file_on_the_hub_is_refused_before_a_byte_comes(hub: tuple[Object, Object]) -> None:
    other = safetensors(2_500_000, seed=4)
    reasons = fetch([locked(other, HF)]).failed[0].reasons
    assert f"the hub says that its sha256 is {SHA}, not {sha256(other)}" in reasons[0]
    assert hub[1].sent == 1


def test_the_token_that_the_hubs_own_tools_keep_is_used(
    hub: tuple[Object, Object], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    path = home / ".cache" / "huggingface" / "token"
    path.parent.mkdir(parents=True)
    path.write_text("hf_kept\n")
    fetch([locked(DATA, HF)])
    assert logins(hub[0]) == {"Bearer hf_kept"}


def test_an_expired_token_is_told_and_not_shown(
    faults: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", faults.url)
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    faults.add(HF_PATH, b"", always="status 401")
    reasons = fetch([locked(DATA, HF)]).failed[0].reasons
    assert "Access denied" in reasons[0]
    assert "(status 401)" in reasons[0]
    assert "canary" not in str(reasons)


def test_an_address_that_expires_on_the_way_is_asked_for_again(
    hub: tuple[Object, Object],
) -> None:
    first, second = hub

    def expire(served: Object) -> None:
        expired = len(first.requests) == 1 and len(served.requests) > 1
        served.always = "status 403" if expired else ""

    second.on_request = expire
    result = fetch([locked(DATA, HF)])
    assert result.failed == ()
    assert store.path_of(SHA).read_bytes() == DATA
    assert len(first.requests) == 2


def test_the_licence_is_what_the_card_states(
    faults: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", faults.url)
    card = {"cardData": {"license": "openrail++"}}
    faults.add(f"/api/models/owner/repo/revision/{COMMIT}", json.dumps(card).encode())
    environ = {"HF_ENDPOINT": faults.url}
    assert licence_of(ModelSource(url=HF), environ) == "openrail++"
    assert licence_of(ModelSource(url="https://host/x"), environ) == ""


@pytest.fixture
def civitai(
    faults: FaultServer, store_host: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> tuple[Object, Object]:
    monkeypatch.setenv("CIVITAI_ENDPOINT", faults.url)
    monkeypatch.setenv("CIVITAI_API_TOKEN", "civitai-canary")
    files = [
        {"name": "config.yaml", "downloadUrl": "https://evil.example/api/download/models/7?x=1"},
        {
            "name": "m.safetensors",
            "primary": True,
            "hashes": {"SHA256": SHA.upper(), "AutoV2": SHA[:10].upper()},
            "downloadUrl": "https://evil.example/api/download/models/7",
        },
    ]
    version = {"id": 7, "modelId": 3, "files": files}
    faults.add("/api/v1/model-versions/7", json.dumps(version).encode())
    model = {"allowCommercialUse": ["Image", "RentCivit"]}
    faults.add("/api/v1/models/3", json.dumps(model).encode())
    first = redirecting(faults, "/api/download/models/7", f"{store_host.url}/blob?sig=x")
    return first, store_host.add("/blob", DATA)


@pytest.mark.parametrize("address", ["civitai:7", "CivitAI:7", "civitai:3@7"])
def test_civitai_tells_the_sha256_and_gets_the_token_alone(
    civitai: tuple[Object, Object], address: str
) -> None:
    first, second = civitai
    result = fetch([locked(DATA, address)])
    assert result.failed == ()
    assert (result.done[0].version, result.done[0].told_sha256) == ("7", True)
    assert store.path_of(SHA).read_bytes() == DATA
    assert logins(first) == {"Bearer civitai-canary"}
    assert logins(second) == {""}


@pytest.mark.usefixtures("civitai")
def test_civitais_licence_is_in_its_own_words(faults: FaultServer) -> None:
    environ = {"CIVITAI_ENDPOINT": faults.url}
    said = licence_of(ModelSource(url="civitai:7"), environ)
    assert said == "CivitAI, commercial use: Image, RentCivit"


def test_a_login_page_is_no_model(faults: FaultServer) -> None:
    faults.add("/m", b"<html>please log in</html>", extra={"Content-Type": "text/html; charset=x"})
    with pytest.raises(AccessError, match="sends a web page instead of a file"):
        find(ModelSource(url=f"{faults.url}/m"), {})


@pytest.mark.parametrize(
    ("environ", "netrc", "header"),
    [
        ({"MY_TOKEN": "abc"}, "", "Bearer abc"),
        ({"MY_TOKEN": "me:pass"}, "", "Basic " + base64.b64encode(b"me:pass").decode()),
        ({}, "machine 127.0.0.1 login me password word", "Basic bWU6d29yZA=="),
        ({}, "default login me password word", ""),
        ({}, "", ""),
    ],
)
def test_where_the_login_of_a_web_server_comes_from(
    environ: dict[str, str], netrc: str, header: str, faults: FaultServer, home: Path
) -> None:
    served = faults.add("/m", DATA)
    if netrc:
        (home / ".netrc").write_text(netrc)
        (home / ".netrc").chmod(0o600)
    auth = "MY_TOKEN" if environ else None
    find(ModelSource(url=f"{faults.url}/m", auth=auth), environ)
    assert logins(served) == {header}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"machine h login me password w\nnonsense canary\n", "line 2 is faulty"),
        (b"machine \xff login me password canary\n", "it is no UTF-8"),
    ],
)
def test_a_netrc_that_cannot_be_read_is_told_without_its_words(
    content: bytes, said: str, faults: FaultServer, home: Path
) -> None:
    (home / ".netrc").write_bytes(content)
    with pytest.raises(ProfileError) as caught:
        find(ModelSource(url=f"{faults.url}/m"), {})
    assert caught.value.message == f"{home / '.netrc'} cannot be read: {said}."


def test_a_variable_that_is_not_set_is_told(faults: FaultServer) -> None:
    with pytest.raises(ProfileError, match="The environment variable MY_TOKEN is not set"):
        find(ModelSource(url=f"{faults.url}/m", auth="MY_TOKEN"), {})


def test_a_token_never_goes_over_an_open_line() -> None:
    source = ModelSource(url="http://models.example/m", auth="MY_TOKEN")
    with pytest.raises(ProfileError, match="shows credentials to anyone"):
        find(source, {"MY_TOKEN": "abc"})


def test_a_redirect_takes_no_login_to_another_host(
    faults: FaultServer, store_host: FaultServer
) -> None:
    first = redirecting(faults, "/m", f"{store_host.url}/blob")
    second = store_host.add("/blob", DATA)
    source = ModelSource(url=f"{faults.url}/m", auth="MY_TOKEN")
    found = find(source, {"MY_TOKEN": "canary"})
    assert found.remote is not None
    assert "Authorization" not in found.remote.request().headers
    assert "canary" not in repr(found)
    assert (logins(first), logins(second)) == ({"Bearer canary"}, {""})


@pytest.mark.parametrize(
    "told", [".evil.example/x", "@evil.example/x", "55", 5, "http://[::", "", None, "x:1"]
)
def test_civitai_never_lengthens_the_host_that_gets_the_token(
    told: object, faults: FaultServer, civitai: tuple[Object, Object]
) -> None:
    version = {"id": 7, "files": [{"primary": True, "downloadUrl": told}]}
    faults.add("/api/v1/model-versions/7", json.dumps(version).encode())
    found = find(ModelSource(url="civitai:7"), os.environ)
    assert found.size == len(DATA)
    assert logins(civitai[0]) == {"Bearer civitai-canary"}


def test_why_the_hub_refuses_is_told() -> None:
    words = "Access to owner/repo is restricted\x1b[31m. Accept its licence on the website."
    answer = Answer(status=403, headers={"X-Error-Message": words})
    with site({"/m": answer}) as running, pytest.raises(AccessError) as caught:
        find(ModelSource(url=f"{running.url}/m"), {})
    assert caught.value.message == (
        f"Access denied to {running.url}/m (status 403: Access to owner/repo is restricted "
        "[31m. Accept its licence on the website.)."
    )
