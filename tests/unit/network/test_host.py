"""What reaches a build step of the host's network, and that it is gone afterwards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from comfykiln.network.host import environment_of, settings_in, step_secrets
from comfykiln.network.indexes import IndexSettings, host_indexes

if TYPE_CHECKING:
    from pathlib import Path

INDEX = "https://index.example/simple"


def test_a_step_waits_for_a_network_that_fails_in_the_middle_of_a_build() -> None:
    with step_secrets(IndexSettings(default_index=INDEX), "") as secrets:
        assert json.loads(secrets["network.json"].read_bytes()) == {
            "UV_DEFAULT_INDEX": INDEX,
            "UV_HTTP_RETRIES": "6",
        }


def test_a_persons_own_patience_comes_first() -> None:
    own = {"UV_HTTP_RETRIES": "0", "UV_HTTP_CONNECT_TIMEOUT": "2"}
    with step_secrets(IndexSettings(default_index=INDEX, passed=own), "") as secrets:
        assert json.loads(secrets["network.json"].read_bytes()) == {
            "UV_DEFAULT_INDEX": INDEX,
            **own,
        }


def test_secrets_are_this_users_alone_and_gone_after_the_build(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("a certificate\n", "utf-8")
    settings = IndexSettings(
        default_index=INDEX, ca_bundle=bundle, proxies={"http_proxy": "http://proxy.example:1"}
    )
    with step_secrets(settings, "deb x\n") as secrets:
        modes = {name: path.stat().st_mode & 0o777 for name, path in secrets.items()}
        texts = {name: path.read_text("utf-8") for name, path in secrets.items()}
    assert modes == dict.fromkeys(("network.json", "ca.crt", "apt.conf", "apt.list"), 0o600)
    assert texts.pop("network.json").count("http://proxy.example:1") == 2
    assert texts == {
        "ca.crt": "a certificate\n",
        "apt.conf": 'Acquire::http::Proxy "http://proxy.example:1";\n',
        "apt.list": "deb x\n",
    }
    assert not any(path.exists() for path in secrets.values())


def test_programs_without_settings_of_ours_get_the_ca_and_the_proxies(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    proxies = {"all_proxy": "http://me:pw@proxy.test:1", "no_proxy": "own.test"}
    settings = IndexSettings(ca_bundle=bundle, proxies=proxies)
    found = environment_of(settings, {"OTHER": "kept", "AWS_CA_BUNDLE": "/old.pem"})
    own = "own.test,localhost,127.0.0.1,::1"
    lower = {
        "http_proxy": "http://me:pw@proxy.test:1",
        "https_proxy": "http://me:pw@proxy.test:1",
        "no_proxy": own,
    }
    assert found == {
        "OTHER": "kept",
        "SSL_CERT_FILE": str(bundle),
        "REQUESTS_CA_BUNDLE": str(bundle),
        "AWS_CA_BUNDLE": str(bundle),
        **lower,
        **{name.upper(): value for name, value in lower.items()},
    }
    assert settings_in(found) == IndexSettings(ca_bundle=bundle, proxies=lower)
    assert environment_of(IndexSettings(), {"OTHER": "kept"}) == {"OTHER": "kept"}


def test_models_trust_what_awss_tools_are_told_unless_a_ca_is_chosen(tmp_path: Path) -> None:
    for name in ("aws.pem", "uv.pem", "chosen.pem"):
        (tmp_path / name).write_text("")
    environ = {
        "AWS_CA_BUNDLE": str(tmp_path / "aws.pem"),
        "SSL_CERT_FILE": str(tmp_path / "uv.pem"),
    }
    found = host_indexes(environ, tmp_path)
    assert found.ca_bundle == tmp_path / "uv.pem"
    assert environment_of(found, {})["AWS_CA_BUNDLE"] == str(tmp_path / "aws.pem")
    chosen = host_indexes(environ, tmp_path, ca_bundle=tmp_path / "chosen.pem")
    assert environment_of(chosen, {})["AWS_CA_BUNDLE"] == str(tmp_path / "chosen.pem")
