from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.connectproxy import PASSWORD, connect_proxy
from tests.support.sites import Answer, site

from comfykiln.network.client import Client, RedirectError, UnavailableError, proxy_of
from comfykiln.network.indexes import IndexSettings
from comfykiln.parsing.values import AddressError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(IndexSettings(), connect=10, read=10) as made:
        yield made


def test_what_the_first_host_told_is_kept_and_its_credentials_are_not(client: Client) -> None:
    secret = {"Authorization": "Bearer canary", "Cookie": "canary", "X-Plain": "kept"}
    with site({"/there": Answer(body=b"bytes")}) as other:
        moved = {"Location": f"{other.url}/there", "X-Linked-Etag": "abc"}
        with site({"/here": Answer(status=307, headers=moved)}) as host:
            with client.request("GET", f"{host.url}/here", headers=secret) as reply:
                assert (reply.status, reply.url) == (200, f"{other.url}/there")
                assert reply.stream.read(100) == b"bytes"
                assert reply.told["x-linked-etag"] == "abc"
                assert reply.sent == {"User-Agent": "comfykiln", "X-Plain": "kept"}
            (_, first), (_, second) = host.asked[0], other.asked[0]
            assert first["Authorization"] == "Bearer canary"
            assert (second["Authorization"], second["Cookie"]) == (None, None)
            assert second["X-Plain"] == "kept"


def test_a_redirect_is_an_answer_where_none_is_to_be_followed(client: Client) -> None:
    with (
        site({"/x": Answer(status=302, headers={"Location": "/y"})}) as host,
        client.request("HEAD", f"{host.url}/x", redirects=0) as reply,
    ):
        assert (reply.status, reply.headers["location"]) == (302, "/y")


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("/x", "redirects in a circle"),
        ("http://[::", "redirects to what is no address"),
        ("http://h:99999/", "redirects to what is no address"),
        ("", "redirects to nowhere"),
    ],
)
def test_redirects_that_lead_nowhere(client: Client, location: str, told: str) -> None:
    with site({"/x": Answer(status=302, headers={"Location": location})}) as host:
        with pytest.raises(RedirectError) as caught, client.request("GET", f"{host.url}/x"):
            pass
        assert caught.value.message == f"{host.url}/x: {told}"


def test_words_of_another_alphabet_in_a_location(client: Client) -> None:
    answers = {
        "/x": Answer(status=302, headers={"Location": "/ü ber".encode().decode("latin-1")}),
        "/%C3%BC%20ber": Answer(body=b"found"),
    }
    with site(answers) as host, client.request("GET", f"{host.url}/x") as reply:
        assert reply.stream.read(10) == b"found"


PROXIES = {
    "http_proxy": "proxy.test:1",
    "all_proxy": "http://every.test:2",
    "no_proxy": ".own.test",
}


@pytest.mark.parametrize(
    ("url", "proxies", "wanted"),
    [
        ("http://host.test/", PROXIES, "http://proxy.test:1"),
        ("https://host.test/", PROXIES, "http://every.test:2"),
        ("https://a.own.test:8443/", PROXIES, ""),
        ("http://127.0.0.1:5000/", PROXIES, ""),
        ("http://localhost/", PROXIES, ""),
        ("http://[::1]/", PROXIES, ""),
        ("https://host.test/", {"https_proxy": "socks5://host.test:3"}, ""),
        ("https://host.test/", {}, ""),
    ],
)
def test_the_proxy_of_an_address(url: str, proxies: dict[str, str], wanted: str) -> None:
    assert proxy_of(url, proxies) == wanted


@pytest.mark.parametrize("proxy", ["http://[", "http://u:canary@h\uff0fx", "h:port", "https://[x]"])
def test_a_proxy_that_is_no_address_is_told_as_such(proxy: str) -> None:
    client = Client(IndexSettings(proxies={"https_proxy": proxy}), connect=1, read=1)
    with client, pytest.raises(AddressError) as caught, client.request("GET", "https://h.invalid"):
        pass
    assert "canary" not in str(caught.value)


def test_a_proxy_that_refuses_is_told_without_its_password() -> None:
    with connect_proxy({}) as proxy:
        for url, told in ((proxy.url, "502"), (proxy.url.replace(PASSWORD, "wrong-canary"), "407")):
            settings = IndexSettings(proxies={"https_proxy": url})
            with (
                Client(settings, connect=10, read=10) as client,
                pytest.raises(UnavailableError) as caught,
                client.request("GET", "https://host.test/x"),
            ):
                pass
            message = str(caught.value)
            assert message.startswith("https://host.test/x: the proxy: Tunnel connection failed: ")
            assert told in message
            assert "canary" not in message
