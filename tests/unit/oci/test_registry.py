from __future__ import annotations

import base64
import hashlib
import json
import stat
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import ociregistry
from tests.support.ociregistry import IDENTITY, PASSWORD, USER

from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.network.indexes import IndexSettings
from comfykiln.oci import logins, references, registry, transport
from comfykiln.oci.registry import Blob, Repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 8192  # 2 MiB
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


def repository(address: str, name: str = "team/comfy") -> Repository:
    found = registry.repository(references.parse(f"{address}/{name}:v1"), IndexSettings())
    found.transport.pause = 0.001
    return found


def blob(data: bytes = DATA) -> Blob:
    def open_at(offset: int) -> Iterator[bytes]:
        for start in range(offset, len(data), 65_536):
            yield data[start : start + 65_536] if start + 65_536 < len(data) else data[start:]

    return Blob(digest=DIGEST, size=len(data), open_at=open_at)


def log_in(folder: Path, address: str, **values: str) -> None:
    (folder / "config.json").write_text(json.dumps({"auths": {address: values}}), "utf-8")


def basic() -> str:
    return base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


def test_a_blob_is_sent_once() -> None:
    with ociregistry.serve() as (address, state):
        target = repository(address)
        assert not target.has(DIGEST, len(DATA))
        target.upload(blob())
        assert target.has(DIGEST, len(DATA))
        assert state.blobs == {"team/comfy": {DIGEST: DATA}}
        assert state.received == len(DATA)


@pytest.mark.parametrize("forget", [False, True])
def test_an_upload_that_was_cut_off_goes_on(forget: bool) -> None:  # noqa: FBT001  # pytest's
    with ociregistry.serve(cut_uploads=2, cut_after=700_000, forget_uploads=forget) as (
        address,
        state,
    ):
        repository(address).upload(blob())
        assert state.blobs["team/comfy"][DIGEST] == DATA
        # Where the registry remembers, no byte is sent twice.
        assert state.received == len(DATA) + (1_400_000 if forget else 0)


def test_an_upload_that_is_cut_off_for_good() -> None:
    with ociregistry.serve(cut_uploads=99, cut_after=10) as (address, state):
        with pytest.raises(KilnError) as caught:
            repository(address).upload(blob())
        assert "was cut off 5 times" in caught.value.message
        assert caught.value.remedy == "push again: what is there already is not sent again"
        assert state.blobs == {}


def test_a_busy_registry_is_asked_again() -> None:
    with ociregistry.serve(busy=3) as (address, _):
        assert not repository(address).has(DIGEST, 1)


def test_a_registry_that_stays_busy() -> None:
    with ociregistry.serve(busy=99) as (address, _), pytest.raises(NotPossibleError) as caught:
        repository(address).has(DIGEST, 1)
    assert "answers 503" in caught.value.message


def test_a_registry_that_is_down() -> None:
    with ociregistry.serve() as (address, _):
        pass
    with pytest.raises(NotPossibleError) as caught:
        repository(address).has(DIGEST, 1)
    assert caught.value.message.startswith(f"the registry {address} cannot be reached: ")
    assert "refused" in caught.value.message


def test_a_registry_without_a_name() -> None:
    with pytest.raises(NotPossibleError) as caught:
        repository("registry.invalid:5000").has(DIGEST, 1)
    assert "registry.invalid" in caught.value.message


def test_a_blob_that_is_elsewhere_is_mounted() -> None:
    with ociregistry.serve() as (address, state):
        repository(address, "one/image").upload(blob())
        assert repository(address, "two/image").mount(DIGEST, len(DATA), "one/image")
        assert not repository(address, "two/image").mount(DIGEST, len(DATA), "no/image")
        assert state.received == len(DATA)
        assert state.uploads == {}


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_logins_of_docker(kind: str, own_docker_config: Path) -> None:
    with ociregistry.serve(auth=kind) as (address, state):
        log_in(own_docker_config, address, auth=basic())
        repository(address).upload(blob())
        assert state.blobs["team/comfy"][DIGEST] == DATA
        if kind == "bearer":
            assert list(state.tokens.values()) == [["repository:team/comfy:pull,push"]]


def test_an_identity_token(own_docker_config: Path) -> None:
    with ociregistry.serve(auth="bearer") as (address, state):
        auth = base64.b64encode(b"00000000-0000-0000-0000-000000000000:").decode()
        log_in(own_docker_config, address, auth=auth, identitytoken=IDENTITY)
        repository(address).upload(blob())
        assert list(state.tokens.values()) == [["repository:team/comfy:pull,push"]]


def test_a_credential_helper(
    own_docker_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ociregistry.serve(auth="basic") as (address, state):
        helper = tmp_path / "bin" / "docker-credential-kilntest"
        helper.parent.mkdir()
        said = json.dumps({"ServerURL": address, "Username": USER, "Secret": PASSWORD})
        helper.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{said}'\n", "utf-8")
        helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{helper.parent}:/usr/bin:/bin")
        config = {"credHelpers": {address: "kilntest"}}
        (own_docker_config / "config.json").write_text(json.dumps(config), "utf-8")
        repository(address).upload(blob())
        assert DIGEST in state.blobs["team/comfy"]


def test_a_credential_helper_that_is_missing(own_docker_config: Path) -> None:
    config = {"credHelpers": {"127.0.0.1:1": "no-such-helper"}}
    (own_docker_config / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(KilnError) as caught:
        repository("127.0.0.1:1")
    assert "docker's credentials for 127.0.0.1:1 cannot be read" in caught.value.message


@pytest.mark.parametrize("kind", ["basic", "bearer"])
@pytest.mark.parametrize("login", [{}, {"auth": base64.b64encode(b"someone:wrong").decode()}])
def test_nobody_and_a_wrong_password(
    kind: str, login: dict[str, str], own_docker_config: Path
) -> None:
    with ociregistry.serve(auth=kind) as (address, _):
        log_in(own_docker_config, address, **login)
        with pytest.raises(KilnError) as caught:
            repository(address).upload(blob())
        said = "does not let someone push" if login else "lets nobody push without a login"
        assert caught.value.message.startswith(f"{address} {said} to team/comfy")
        assert "wrong" not in str(caught.value)
        assert caught.value.exit_code == 1


def test_a_token_that_expires_in_between(own_docker_config: Path) -> None:
    with ociregistry.serve(auth="bearer", expire_tokens=1) as (address, state):
        log_in(own_docker_config, address, auth=basic())
        repository(address).upload(blob())
        assert state.blobs["team/comfy"][DIGEST] == DATA


def test_no_password_goes_to_a_token_server_without_tls() -> None:
    from comfykiln.oci import logins

    login = logins.Login(username=USER, password=PASSWORD)
    with pytest.raises(KilnError, match="which has no TLS"):
        logins.token_request({"realm": "http://tokens.example.com/"}, login, [], "r.example.com")


def test_secrets_are_in_no_text_of_a_record() -> None:
    from comfykiln.oci import logins

    login = logins.Login(username=USER, password=PASSWORD, identity_token=IDENTITY)
    request = logins.token_request({"realm": "https://t.example.com/"}, login, ["s"], "r")
    assert PASSWORD not in repr(login)
    assert IDENTITY not in repr(login)
    assert IDENTITY not in repr(request)


def test_a_manifest_and_its_digest() -> None:
    with ociregistry.serve() as (address, state):
        data = b'{"schemaVersion":2}'
        digest = repository(address).put_manifest("v1", data, "application/json")
        assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert state.manifests == {"team/comfy:v1": data}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"wrong_digest": True}, "says sha256:0000"),
        ({"wrong_manifest": True}, "gives another manifest for v1 than it was given"),
    ],
)
def test_a_registry_that_changes_manifests(fault: dict[str, Any], message: str) -> None:
    with ociregistry.serve(**fault) as (address, _), pytest.raises(KilnError) as caught:
        repository(address).put_manifest("v1", b"{}", "application/json")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"wrong_digest": True}, "says sha256:0000"),
        ({"lose_blobs": True}, "and does not have it"),
        ({"wrong_size": True}, f"with {len(DATA) + 1} bytes, not {len(DATA)}"),
    ],
)
def test_a_registry_that_changes_blobs(fault: dict[str, Any], message: str) -> None:
    with ociregistry.serve(**fault) as (address, _), pytest.raises(KilnError) as caught:
        repository(address).upload(blob())
    assert message in caught.value.message


def test_bytes_that_are_not_the_digest_are_refused_in_the_registrys_words() -> None:
    with ociregistry.serve() as (address, state):
        with pytest.raises(KilnError) as caught:
            repository(address).upload(blob(DATA[:-1] + b"!"))
        assert "DIGEST_INVALID other bytes came" in caught.value.message
        assert state.blobs == {}


def test_what_the_source_raises_ends_the_upload() -> None:
    def broken(offset: int) -> Iterator[bytes]:
        yield DATA[offset : offset + 1000]
        raise KilnError("the source has other bytes")

    with ociregistry.serve() as (address, state):
        with pytest.raises(KilnError, match="the source has other bytes"):
            repository(address).upload(Blob(digest=DIGEST, size=len(DATA), open_at=broken))
        assert state.blobs == {}


@pytest.mark.parametrize("status", [401, 403, 404, 405, 500, 501])
def test_a_registry_that_mounts_nothing_gets_the_bytes(status: int) -> None:
    with ociregistry.serve(mount_status=status) as (address, state):
        repository(address, "one/image").upload(blob())
        other = repository(address, "two/image")
        assert not other.mount(DIGEST, len(DATA), "one/image")
        other.upload(blob())
        assert state.blobs["two/image"] == {DIGEST: DATA}


def test_a_request_that_something_finds_too_large_is_told_with_what_to_do() -> None:
    with ociregistry.serve(too_large=True) as (address, _):
        with pytest.raises(KilnError, match="answers 413") as caught:
            repository(address).upload(blob())
        assert caught.value.remedy == (
            "what stands before the registry limits the size of a request: raise it there"
        )


def test_a_registrys_words_are_one_short_line_that_no_terminal_obeys() -> None:
    def said(*errors: dict[str, object]) -> str:
        return transport.complaint(json.dumps({"errors": errors}).encode())

    assert said({"code": "DENIED", "message": "\x1b[31mred\x1b[0m\nline"}) == (
        ": DENIED [31mred [0m line"
    )
    assert said({"code": "X"}, {"message": "y"}, {"code": 5, "message": None}) == ": X; y; 5"
    assert len(said({"message": "word " * 1000})) <= transport.LONGEST_COMPLAINT + 2
    assert transport.complaint(b"<html>") == ""


def test_an_upload_that_is_sent_to_no_address_is_told() -> None:
    answer = transport.Answer(
        status=202, headers={"Location": "http://[::"}, body=b"", url="http://127.0.0.1:1/v2/"
    )
    with pytest.raises(KilnError) as caught:
        repository("127.0.0.1:1").transport.joined(answer)
    assert caught.value.message == "127.0.0.1:1 sends uploads to what is no address"


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"auths": {"ADDRESS": {"auth": "bm90aGluZw=="}}}', '{"auths": {"ADDRESS": 5}}'],
)
def test_a_config_of_docker_that_is_none_is_told(content: str, own_docker_config: Path) -> None:
    text = content.replace("ADDRESS", "127.0.0.1:1")
    (own_docker_config / "config.json").write_text(text, "utf-8")
    with pytest.raises(KilnError, match=r"docker's credentials for .* cannot be read"):
        repository("127.0.0.1:1")


def test_a_helper_that_answers_no_json_is_told_without_its_words(
    own_docker_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "bin" / "docker-credential-odd"
    helper.parent.mkdir()
    helper.write_text("#!/bin/sh\ncat > /dev/null\necho canary\n", "utf-8")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:/usr/bin:/bin")
    config = {"credHelpers": {"127.0.0.1:1": "odd"}}
    (own_docker_config / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(KilnError) as caught:
        repository("127.0.0.1:1")
    assert caught.value.message == (
        "docker's credentials for 127.0.0.1:1 cannot be read: "
        "they are not in the form that docker writes"
    )


@pytest.mark.parametrize("token", ["a\r\nX: canary", "", "ä", 5, None])
def test_a_token_that_no_header_takes_is_none(token: object) -> None:
    body = json.dumps({"token": token}).encode()
    with pytest.raises(KilnError, match="answers without a token") as caught:
        logins.token_of(body, "127.0.0.1:1")
    assert "canary" not in str(caught.value)


def test_a_token_server_that_is_no_address_is_told() -> None:
    with pytest.raises(KilnError, match="a token server that is no address"):
        logins.token_request({"realm": "http://[::"}, logins.Login(), [], "127.0.0.1:1")
