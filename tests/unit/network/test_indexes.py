from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from comfykiln.errors import DocumentError
from comfykiln.network.indexes import IndexSettings, effective_index, host_indexes, step_environment
from comfykiln.network.pip import system_bundle

if TYPE_CHECKING:
    from pathlib import Path

UV_TOML = """
find-links = ["https://links.example/uv"]
extra-index-url = ["https://old.example/simple"]

[[index]]
name = "first"
url = "https://first.example/simple"

[[index]]
name = "own"
url = "https://own.example/simple"
default = true

[[index]]
name = "torch"
url = "https://torch.example/whl"
explicit = true
"""
PIP_CONF = """
[global]
index-url = https://pip.example/simple
extra-index-url =
    https://more.example/simple
    file:///srv/simple
find-links = /srv/wheels https://links.example/pip
trusted-host = more.example
timeout = 60
"""


def settings(
    tmp_path: Path, environ: dict[str, str] | None = None, *, uv: str = "", pip: str = ""
) -> IndexSettings:
    (tmp_path / "uv.toml").write_text(uv)
    (tmp_path / "pip.conf").write_text(pip)
    return host_indexes(
        environ or {},
        tmp_path,
        pip_files=[tmp_path / "pip.conf"],
        uv_files=[tmp_path / "uv.toml"],
    )


def test_a_host_that_says_nothing_has_uvs_own_index(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert found == IndexSettings(ca_bundle=system_bundle())
    assert effective_index(found).startswith("https://")
    assert step_environment(found) == {"UV_DEFAULT_INDEX": effective_index(found)}


def test_uvs_variables_come_before_its_file(tmp_path: Path) -> None:
    environ = {
        "UV_DEFAULT_INDEX": "main=https://env.example/simple",
        "UV_INDEX": "a=https://a.example/simple https://b.example/simple",
        "UV_EXTRA_INDEX_URL": "https://c.example/simple",
        "UV_FIND_LINKS": "https://x.example/l,/srv/l",
    }
    found = settings(tmp_path, environ, uv=UV_TOML, pip=PIP_CONF)
    assert found.default_index == "https://env.example/simple"
    assert found.extra == (
        "https://a.example/simple",
        "https://b.example/simple",
        "https://c.example/simple",
        "https://first.example/simple",
        "https://old.example/simple",
    )
    assert found.find_links == ("https://x.example/l", "/srv/l", "https://links.example/uv")


def test_uvs_file_names_default_and_further_indexes_without_the_explicit(tmp_path: Path) -> None:
    found = settings(tmp_path, uv=UV_TOML)
    assert found.default_index == "https://own.example/simple"
    assert found.extra == ("https://first.example/simple", "https://old.example/simple")


def test_pips_settings_count_where_uv_says_nothing(tmp_path: Path) -> None:
    found = settings(tmp_path, pip=PIP_CONF)
    assert found == IndexSettings(
        default_index="https://pip.example/simple",
        extra=("https://more.example/simple", "file:///srv/simple"),
        find_links=("/srv/wheels", "https://links.example/pip"),
        insecure_hosts=("more.example",),
        ca_bundle=system_bundle(),
        passed={"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_HTTP_TIMEOUT": "60"},
    )
    assert found.local_only == ("file:///srv/simple", "/srv/wheels")


def test_pips_variables_come_before_its_file(tmp_path: Path) -> None:
    environ = {"PIP_INDEX_URL": "https://env.example/simple", "PIP_EXTRA_INDEX_URL": "https://e"}
    found = settings(tmp_path, environ, pip=PIP_CONF)
    assert (found.default_index, found.extra) == ("https://env.example/simple", ("https://e",))


def test_a_build_step_gets_what_it_can_reach_and_nothing_else(tmp_path: Path) -> None:
    environ = {
        "HTTPS_PROXY": "http://me:pw@proxy.example:3128",
        "no_proxy": "127.0.0.1",
        "UV_INDEX_MAIN_PASSWORD": "canary",
        "UV_CACHE_DIR": "/home/me/cache",
        "HOME": "/home/me",
    }
    assert step_environment(settings(tmp_path, environ, pip=PIP_CONF)) == {
        "UV_DEFAULT_INDEX": "https://pip.example/simple",
        "UV_INDEX": "https://more.example/simple",
        "UV_FIND_LINKS": "https://links.example/pip",
        "UV_INSECURE_HOST": "more.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_HTTP_TIMEOUT": "60",
        "UV_INDEX_MAIN_PASSWORD": "canary",
        "https_proxy": "http://me:pw@proxy.example:3128",
        "HTTPS_PROXY": "http://me:pw@proxy.example:3128",
        "no_proxy": "127.0.0.1",
        "NO_PROXY": "127.0.0.1",
    }


def test_a_default_in_a_folder_of_the_host_is_not_given_to_a_step(tmp_path: Path) -> None:
    found = settings(tmp_path, {"UV_DEFAULT_INDEX": "file:///srv/simple"})
    assert step_environment(found) == {}


def test_credentials_of_netrc_are_put_into_addresses_without_any(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine own.example login me password p@ss/word\n")
    environ = {
        "UV_DEFAULT_INDEX": "https://own.example:8443/simple",
        "UV_INDEX": "https://other.example/simple https://you:x@own.example/two",
    }
    found = settings(tmp_path, environ)
    assert found.default_index == "https://me:p%40ss%2Fword@own.example:8443/simple"
    assert found.extra == ("https://other.example/simple", "https://you:x@own.example/two")
    assert "p%40ss" not in repr(found)


def test_the_ca_bundle_is_the_chosen_one_then_the_variables_then_pips(tmp_path: Path) -> None:
    for name in ("chosen.pem", "uv.pem", "curl.pem", "pip.pem"):
        (tmp_path / name).write_text("")
    environ = {
        "SSL_CERT_FILE": str(tmp_path / "uv.pem"),
        "CURL_CA_BUNDLE": str(tmp_path / "curl.pem"),
    }
    pip = f"[global]\ncert = {tmp_path / 'pip.pem'}\n"

    def bundle(environ: dict[str, str], chosen: Path | None = None) -> Path | None:
        (tmp_path / "pip.conf").write_text(pip)
        files = [tmp_path / "pip.conf"]
        found = host_indexes(environ, tmp_path, ca_bundle=chosen, pip_files=files, uv_files=[])
        return found.ca_bundle

    assert bundle(environ, tmp_path / "chosen.pem") == tmp_path / "chosen.pem"
    assert bundle(environ) == tmp_path / "uv.pem"
    assert bundle({"CURL_CA_BUNDLE": environ["CURL_CA_BUNDLE"]}) == tmp_path / "curl.pem"
    assert bundle({}) == tmp_path / "pip.pem"


def test_a_bundle_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as caught:
        settings(tmp_path, {"SSL_CERT_FILE": str(tmp_path / "none.pem")})
    assert caught.value.message == (
        f"SSL_CERT_FILE names the CA bundle {tmp_path / 'none.pem'}, which is no file"
    )


@pytest.mark.parametrize(
    ("uv", "message"),
    [
        ("index-url = ", "uv.toml is not TOML: Invalid value (at end of document)"),
        ("[[index]]\nname = 'x'\n", "uv.toml has an index setting that cannot be read: 'url'"),
        ("index = 3\n", "uv.toml has an index setting that cannot be read: "),
    ],
)
def test_a_faulty_settings_file_is_named(tmp_path: Path, uv: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        settings(tmp_path, uv=uv)
    assert caught.value.message.startswith(f"{tmp_path}/{message}")


def test_the_files_that_uv_reads_are_found(tmp_path: Path) -> None:
    own = tmp_path / "config" / "uv" / "uv.toml"
    own.parent.mkdir(parents=True)
    own.write_text('index-url = "https://own.example/simple"\n')
    named = tmp_path / "named.toml"
    named.write_text('index-url = "https://named.example/simple"\n')

    def default(**environ: str) -> str:
        return host_indexes(environ, tmp_path, pip_files=[]).default_index

    config = str(tmp_path / "config")
    assert default(XDG_CONFIG_HOME=config) == "https://own.example/simple"
    found = default(XDG_CONFIG_HOME=config, UV_CONFIG_FILE=str(named))
    assert found == "https://named.example/simple"
    assert default(XDG_CONFIG_HOME=config, UV_NO_CONFIG="1") == ""


@pytest.mark.parametrize(
    "address",
    [
        "http://u:secretpw@127.0.0.1:99999",
        "http://u:secretpw@h:port",
        "http://u:secretpw/x@h:1",
        "http://u:secretpw#x@h:1",
        "http://u:secretpw?@h:1",
        "http://u:secret\npw@h:1",
        "http://u:secretpw@[::1",
        "http://u:secretpw@",
        "u:secretpw/x@h:1",
        "http://u:secret[pw@h:1",
        "   ",
    ],
)
@pytest.mark.parametrize("variable", ["https_proxy", "ALL_PROXY"])
def test_what_is_no_proxy_is_refused_without_being_shown(
    address: str, variable: str, tmp_path: Path
) -> None:
    with pytest.raises(DocumentError) as caught:
        host_indexes({variable: address}, tmp_path)
    assert caught.value.message == (
        f"{variable.lower()} (or pip's setting proxy) is no address of a proxy; it is not shown "
        "here, as it may hold a password"
    )
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://u:p%2Fw@h:1/",
        "https://u:s@w@proxy.example:3128",
        "proxy.example:3128",
        "http://[::1]:3128",
        "socks5h://h:1",
    ],
)
def test_addresses_of_proxies_are_taken_as_they_are(address: str, tmp_path: Path) -> None:
    found = host_indexes({"https_proxy": address, "no_proxy": "a b,/?#"}, tmp_path).proxies
    assert found == {"https_proxy": address, "no_proxy": "a b,/?#"}
