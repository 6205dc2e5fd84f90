"""What reaches a build step of the host's network, and that it is gone afterwards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from comfykiln.network.host import step_secrets
from comfykiln.network.indexes import IndexSettings

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
