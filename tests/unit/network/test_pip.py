from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from comfykiln.errors import DocumentError
from comfykiln.network.pip import PipSettings, ca_bundle, pip_files, pip_settings, proxies

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_set_means_the_tools_own_defaults() -> None:
    assert pip_settings({}, files=[]) == PipSettings()


def test_files_in_order_sections_in_order_then_variables(tmp_path: Path) -> None:
    machine = tmp_path / "pip.conf"
    machine.write_text(
        "[global]\n"
        "index-url = https://user:secret@mirror.example/simple\n"
        "extra-index-url =\n    https://a.example/simple\n    https://b.example/simple\n"
        "find_links = /wheels /more-wheels\n"
        "trusted-host = a.example b.example:8080\n"
        "cert = /etc/corp.pem\ntimeout = 10\nproxy = http://proxy:3128\n"
        "[install]\ntimeout = 20\nclient-cert = /etc/me.pem\n"
        "[freeze]\ntimeout = 99\n"
    )
    own = tmp_path / "own.conf"
    own.write_text("[global]\ncert = /home/me.pem\nno-index = yes\n")
    environ = {"PIP_TIMEOUT": "30", "PIP_FIND_LINKS": "/third", "PIP_TRUSTED_HOST": ""}
    found = pip_settings(environ, files=[tmp_path / "none.conf", machine, own])
    assert found == PipSettings(
        index_url="https://user:secret@mirror.example/simple",
        extra_index_urls=("https://a.example/simple", "https://b.example/simple"),
        find_links=("/third",),
        no_index=True,
        trusted_hosts=("a.example", "b.example:8080"),
        ca_bundle="/home/me.pem",
        client_cert="/etc/me.pem",
        proxy="http://proxy:3128",
        timeout="30",
    )
    assert "secret" not in repr(found)


def test_pips_files_in_pips_order() -> None:
    environ = {
        "HOME": "/home/me",
        "XDG_CONFIG_DIRS": "/one:/two",
        "XDG_CONFIG_HOME": "/home/me/conf",
        "PIP_CONFIG_FILE": "/own.conf",
    }
    assert [str(path) for path in pip_files(environ)] == [
        "/one/pip/pip.conf",
        "/two/pip/pip.conf",
        "/etc/pip.conf",
        "/home/me/.pip/pip.conf",
        "/home/me/conf/pip/pip.conf",
        f"{sys.prefix}/pip.conf",
        "/own.conf",
    ]
    assert list(pip_files(environ | {"PIP_CONFIG_FILE": "/dev/null"})) == []


def test_what_uv_is_told() -> None:
    settings = PipSettings(
        index_url="https://mirror.example/simple",
        extra_index_urls=("https://a/simple", "https://b/simple"),
        find_links=("/wheels", "/more"),
        trusted_hosts=("a", "b"),
        ca_bundle="/etc/corp.pem",
        client_cert="/etc/me.pem",
        proxy="http://proxy:3128",
        timeout="30",
        no_index=True,
    )
    assert settings.uv_environment({"HOME": "/home/me"}) == {
        "HOME": "/home/me",
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://a/simple https://b/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INSECURE_HOST": "a b",
        "UV_HTTP_TIMEOUT": "30",
        "SSL_CERT_FILE": "/etc/corp.pem",
        "SSL_CLIENT_CERT": "/etc/me.pem",
        "HTTP_PROXY": "http://proxy:3128",
        "HTTPS_PROXY": "http://proxy:3128",
    }
    assert settings.uv_arguments() == ("--index-strategy", "unsafe-best-match", "--no-index")


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_what_was_set_for_uv_itself_wins(name: str) -> None:
    environ = {name: "https://uv.example/simple", "SSL_CERT_FILE": "/uv.pem"}
    settings = PipSettings(index_url="https://pip.example", ca_bundle="/pip.pem")
    assert settings.uv_environment(environ) == environ


def test_the_ca_bundle_by_precedence() -> None:
    requests = pip_settings({"REQUESTS_CA_BUNDLE": "/r.pem", "CURL_CA_BUNDLE": "/c.pem"}, files=[])
    assert str(ca_bundle({}, requests)) == "/r.pem"
    pip = pip_settings({"PIP_CERT": "/p.pem", "REQUESTS_CA_BUNDLE": "/r.pem"}, files=[])
    assert str(ca_bundle({}, pip)) == "/p.pem"
    assert str(ca_bundle({"SSL_CERT_FILE": "/s.pem"}, pip)) == "/s.pem"


def test_proxies_in_either_spelling() -> None:
    environ = {"https_proxy": "http://a", "HTTPS_PROXY": "http://b", "no_proxy": "lan", "X": ""}
    assert proxies(environ) == {"HTTPS_PROXY": "http://b", "NO_PROXY": "lan"}


@pytest.mark.parametrize("content", [b"index-url = x\n", b"[global\n", b"[global]\ncert = \xff\n"])
def test_a_file_that_is_no_settings_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pip.conf"
    path.write_bytes(content)
    with pytest.raises(DocumentError, match=f"{path} is no settings file that pip could read"):
        pip_settings({}, files=[path])
