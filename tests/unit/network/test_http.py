from __future__ import annotations

import base64
import ssl
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.sites import Answer, closed, silent, site

from comfykiln.errors import DocumentError, KilnError
from comfykiln.network.client import UnavailableError
from comfykiln.network.http import Patience, chunks, page, patience_of
from comfykiln.network.indexes import IndexSettings
from comfykiln.system.gate import bare_address

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = IndexSettings()
# For hosts that do not answer; those that do get all the time a busy machine may take.
QUICK = Patience(probe=0.5, stall=0.5, total=1.0)
PATIENT = Patience()


def test_a_page_has_its_final_address_its_type_and_its_bytes() -> None:
    answers = {
        "/old": Answer(status=302, headers={"Location": "/new"}),
        "/new": Answer(body=b"text", headers={"Content-Type": "text/html; charset=utf-8"}),
    }
    with site(answers) as host:
        found = page(f"{host.url}/old", SETTINGS, patience=PATIENT)
        assert (found.url, found.media_type, found.body) == (
            f"{host.url}/new",
            "text/html",
            b"text",
        )


def test_a_download_comes_in_whole() -> None:
    with site({"/file": Answer(body=b"x" * 3_000_000)}) as host:
        pieces = list(chunks(f"{host.url}/file", SETTINGS, size=3_000_000, patience=PATIENT))
    assert b"".join(pieces) == b"x" * 3_000_000


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(status=503), "answers 503"),
        (Answer(body=b"x" * 100, cut=40, headers={"Connection": "close"}), "ended after 40 of 100"),
    ],
)
def test_what_cannot_be_had_is_told_with_its_reason(answer: Answer, reason: str) -> None:
    with site({"/file": answer}) as host, pytest.raises(UnavailableError) as caught:
        list(chunks(f"{host.url}/file", SETTINGS, size=100, patience=PATIENT))
    assert reason in caught.value.message


def test_more_than_pinned_is_refused() -> None:
    with site({"/file": Answer(body=b"x" * 101)}) as host, pytest.raises(KilnError) as caught:
        list(chunks(f"{host.url}/file", SETTINGS, size=100, patience=PATIENT))
    assert not isinstance(caught.value, UnavailableError)
    assert caught.value.message == f"{host.url}/file sends more than the 100 bytes that are pinned"


def test_a_closed_port_is_told_at_once() -> None:
    address = closed()
    start = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        page(f"{address}/x", SETTINGS, patience=PATIENT)
    assert time.monotonic() - start < PATIENT.probe
    assert caught.value.message == f"{address}/x: Connection refused"


def test_a_silent_host_costs_what_was_allowed() -> None:
    with silent() as address:
        start = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            page(f"{address}/x", SETTINGS, patience=QUICK)
        assert QUICK.probe <= time.monotonic() - start < PATIENT.probe
    assert caught.value.message == f"{address}/x: no answer within 0.5 s"


def test_a_host_that_drips_is_left_in_time() -> None:
    with site({"/x": Answer(body=b"x" * 100, drip=True)}) as host:
        start = time.monotonic()
        with pytest.raises(UnavailableError, match=r"no answer within 0\.5 s"):
            page(f"{host.url}/x", SETTINGS, patience=QUICK)
        with pytest.raises(UnavailableError, match="not done in 1 s"):
            list(chunks(f"{host.url}/x", SETTINGS, size=100, patience=QUICK))
        assert time.monotonic() - start < 2 * PATIENT.probe


def test_credentials_go_to_their_own_host_alone_and_are_never_printed() -> None:
    with site({"/y": Answer(body=b"ok")}) as other:
        moved = {"/x": Answer(status=302, headers={"Location": f"{other.url}/y"})}
        with site(moved) as host:
            found = page(f"{host.with_login('me:s%40cret')}/x", SETTINGS, patience=PATIENT)
            assert found.body == b"ok"
            (_, sent), (_, passed_on) = host.asked[0], other.asked[0]
            expected = base64.b64encode(b"me:s@cret").decode()
            assert sent["Authorization"] == f"Basic {expected}"
            assert passed_on["Authorization"] is None
            with pytest.raises(UnavailableError) as caught:
                page(f"{host.with_login('me:s%40cret')}/none", SETTINGS, patience=PATIENT)
            assert caught.value.message == f"{host.url}/none: answers 404"


def test_an_address_is_printed_without_user_password_and_query() -> None:
    assert bare_address("https://me:pw@host.example:8/a?token=x#f") == "https://host.example:8/a"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("file:///etc/passwd", "redirects to file, which is refused"),
        ("ftp://127.0.0.1/x", "redirects to ftp, which is refused"),
    ],
)
def test_a_redirect_to_another_scheme_is_refused(target: str, reason: str) -> None:
    answer = Answer(status=302, headers={"Location": target})
    with site({"/x": answer}) as host, pytest.raises(UnavailableError) as caught:
        page(f"{host.url}/x", SETTINGS, patience=PATIENT)
    assert caught.value.message == f"{host.url}/x: {reason}"


def test_a_ring_of_redirects_ends() -> None:
    with site({"/x": Answer(status=302, headers={"Location": "/x"})}) as host:
        with pytest.raises(UnavailableError):
            page(f"{host.url}/x", SETTINGS, patience=PATIENT)
        assert len(host.asked) <= 6


def test_proxies_are_used_except_where_no_proxy_says() -> None:
    with (
        site({"http://origin.example/x": Answer(body=b"by proxy")}) as proxy,
        site({"/x": Answer(body=b"direct")}) as host,
    ):
        settings = IndexSettings(proxies={"http_proxy": proxy.url, "no_proxy": "127.0.0.1"})
        assert page("http://origin.example/x", settings, patience=PATIENT).body == b"by proxy"
        assert page(f"{host.url}/x", settings, patience=PATIENT).body == b"direct"
        assert proxy.paths == ["http://origin.example/x"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    made += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made += ["-keyout", str(folder / "both.pem"), "-out", str(folder / "ca.pem")]
    subprocess.run(made, check=True, capture_output=True)
    with (folder / "both.pem").open("a") as file:
        file.write((folder / "ca.pem").read_text())
    return folder


def test_the_ca_bundle_decides_whom_to_trust(certificate: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate / "both.pem")
    with site({"/x": Answer(body=b"safe")}, tls) as host:
        trusting = IndexSettings(ca_bundle=certificate / "ca.pem")
        assert page(f"{host.url}/x", trusting, patience=PATIENT).body == b"safe"
        careless = IndexSettings(insecure_hosts=("127.0.0.1",))
        assert page(f"{host.url}/x", careless, patience=PATIENT).body == b"safe"
        with pytest.raises(UnavailableError) as caught:
            page(f"{host.url}/x", SETTINGS, patience=PATIENT)
        assert caught.value.message == (
            f"{host.url}/x: its certificate is not trusted: self-signed certificate "
            "(name its CA by --ca-bundle FILE or SSL_CERT_FILE)"
        )
        answer = Answer(status=302, headers={"Location": host.url.replace("https", "http")})
        host.answers["/down"] = answer
        with pytest.raises(UnavailableError, match="redirects to http, which is refused"):
            page(f"{host.url}/down", trusting, patience=PATIENT)


def test_a_bundle_without_certificates_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("nothing\n")
    with pytest.raises(DocumentError) as caught:
        page("https://127.0.0.1:9/", IndexSettings(ca_bundle=bundle), patience=PATIENT)
    assert caught.value.message.startswith(f"{bundle} holds no usable CA certificates: ")


def test_the_waiting_time_can_be_set() -> None:
    assert patience_of({}) == Patience()
    assert patience_of({"COMFYKILN_NETWORK_TIMEOUT": "2.5"}).probe == 2.5
    for text in ("soon", "0", "-1", "nan", "601"):
        with pytest.raises(DocumentError) as caught:
            patience_of({"COMFYKILN_NETWORK_TIMEOUT": text})
        assert caught.value.message == f"COMFYKILN_NETWORK_TIMEOUT is {text!r}"
