"""Debian sources of a host: read by the real apt from folders of the test."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.sites import Answer, closed, silent, site

from comfykiln.network.client import UnavailableError
from comfykiln.network.http import Patience
from comfykiln.network.indexes import IndexSettings
from comfykiln.origins.apt import KEYRING, debian_sources, network_conf, require_answer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    shutil.which("apt-get") is None, reason="apt is what is asked; this host has none"
)
QUICK = Patience(probe=0.5, stall=0.5, total=1)  # for hosts that do not answer
PATIENT = Patience()
DEB822 = """\
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://disabled.example/debian
Suites: trixie
Components: main
Enabled: no
"""


def read(tmp_path: Path, suite: str, *, one_line: str = "", deb822: str = "") -> str:
    parts = tmp_path / "sources.list.d"
    parts.mkdir(exist_ok=True)
    (tmp_path / "sources.list").write_text(one_line)
    (parts / "debian.sources").write_text(deb822)
    options = [
        *("-o", f"Dir::Etc::sourcelist={tmp_path / 'sources.list'}"),
        *("-o", f"Dir::Etc::sourceparts={parts}"),
        *("-o", f"Dir::State::lists={tmp_path / 'lists'}"),
    ]
    (tmp_path / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    return debian_sources(suite, options, tmp_path / "lists")


def lines(*rows: str) -> str:
    return "".join(f"deb [signed-by={KEYRING}] {row} main\n" for row in rows)


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_the_entries_of_the_host_serve_with_the_suite_swapped(tmp_path: Path, suite: str) -> None:
    assert read(tmp_path, suite, deb822=DEB822) == lines(
        f"http://mirror.example/debian {suite}",
        f"http://mirror.example/debian {suite}-updates",
        f"http://mirror.example/debian-security {suite}-security",
    )


def test_the_one_line_form_is_read_and_the_suites_own_entry_comes_first(tmp_path: Path) -> None:
    text = (
        "deb http://old.example/debian bookworm main\n"
        "deb-src http://source.example/debian trixie main\n"
        "deb [arch=amd64,arm64] https://me:p%40ss@own.example/debian trixie main contrib\n"
        "deb cdrom:[Debian]/ trixie main\n"
        "deb http://other.example/stuff nodistro main\n"
    )
    found = read(tmp_path, "trixie", one_line=text)
    assert found == lines("https://me:p%40ss@own.example/debian trixie")


def test_an_archive_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    text = (
        "deb http://vendor.example/prod bookworm main\n"
        "deb http://mirror.example/debian bookworm main\n"
    )
    assert read(tmp_path, "bookworm", one_line=text) == lines(
        "http://mirror.example/debian bookworm"
    )
    lists = tmp_path / "lists"
    (lists / "vendor.example_prod_dists_bookworm_InRelease").write_text(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: Vendor\nSuite: stable\n"
    )
    with pytest.raises(UnavailableError):
        read(tmp_path, "bookworm", one_line=text.splitlines()[0] + "\n")


@pytest.mark.parametrize("text", ["", "deb http://archive.example/ubuntu noble main\n"])
def test_a_host_without_debian_sources_is_told_what_to_add(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        read(tmp_path, "trixie", one_line=text)
    assert caught.value.message == (
        "apt on this host names no Debian archive for trixie: add one to "
        f"/etc/apt/sources.list.d (Suites: trixie, Signed-By: {KEYRING})"
    )


def test_apt_is_told_the_proxies_the_ca_and_what_the_host_told_it(tmp_path: Path) -> None:
    settings = IndexSettings(
        ca_bundle=tmp_path / "ca.pem",
        proxies={"http_proxy": "http://me:pw@proxy.example:3128", "no_proxy": "x"},
    )
    options = [
        *("-o", "Acquire::http::Proxy=http://own.example:3142"),
        *("-o", "Acquire::https::Verify-Peer=false"),
        *("-o", "Acquire::http::Proxy::direct.example=DIRECT"),
    ]
    text = network_conf(settings, options)
    assert text.splitlines()[:4] == [
        'Acquire::http::Proxy "http://me:pw@proxy.example:3128";',
        f'Acquire::https::CAInfo "{tmp_path}/ca.pem";',
        'Acquire::http::Timeout "20";',
        'Acquire::https::Timeout "20";',
    ]
    for line in (
        'Acquire::http::Proxy "http://own.example:3142";',
        'Acquire::http::Proxy::direct.example "DIRECT";',
        'Acquire::https::Verify-Peer "false";',
    ):
        assert line in text.splitlines()[4:]
    assert "Dir::" not in text


def test_a_quote_in_a_proxy_is_refused() -> None:
    with pytest.raises(UnavailableError):
        network_conf(IndexSettings(proxies={"http_proxy": 'http://x"; Dir "/'}))


CONF = 'Acquire::http::Proxy "http://first.example:1";\nAcquire::http::Proxy "{proxy}";\n'


def test_an_archive_that_answers_by_the_proxy_of_apt_is_taken() -> None:
    with site({"http://mirror.example/debian/dists/trixie/InRelease": Answer(status=502)}) as proxy:
        conf = CONF.format(proxy=proxy.url)
        sources = lines("http://mirror.example/debian trixie")
        require_answer(sources, conf, IndexSettings(), PATIENT)
        assert len(proxy.asked) == 1
        assert proxy.asked[0][1]["Range"] == "bytes=0-99"


def test_a_host_that_apt_reaches_directly_is_asked_directly() -> None:
    with site({"/debian/dists/trixie/InRelease": Answer(body=b"Origin: Debian")}) as mirror:
        conf = CONF.format(proxy=closed()) + 'Acquire::http::Proxy::127.0.0.1 "DIRECT";\n'
        require_answer(lines(f"{mirror.url}/debian trixie"), conf, IndexSettings(), PATIENT)
        assert mirror.paths == ["/debian/dists/trixie/InRelease"]


def test_a_silent_archive_is_told_in_time() -> None:
    with silent() as address:
        start = time.monotonic()
        sources = lines(f"{address.replace('//', '//me:canary@')}/debian trixie")
        with pytest.raises(UnavailableError) as caught:
            require_answer(sources, "", IndexSettings(), QUICK)
        assert time.monotonic() - start < PATIENT.probe
        assert caught.value.message.startswith(
            f"{address}/debian/dists/trixie/InRelease: no answer"
        )
