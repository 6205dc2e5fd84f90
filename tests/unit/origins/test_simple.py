from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.support.sites import Answer, closed, site

from comfykiln.network.client import UnavailableError
from comfykiln.network.http import Patience
from comfykiln.network.indexes import IndexSettings
from comfykiln.origins.simple import places_of, project_files

if TYPE_CHECKING:
    from pathlib import Path

PATIENT = Patience()
FILE = "some_thing-1.0.tar.gz"
HTML = Answer(
    body=f"""<!DOCTYPE html><html><head><base href="/base/"></head><body>
    <a href="../files/{FILE}?token=x#sha256=00" data-requires-python="&gt;=9">{FILE}</a>
    <a href="https://elsewhere.example/some_thing-2.0%2Bcpu-py3-none-any.whl">wheel</a>
    </body></html>""".encode(),
    headers={"Content-Type": "text/html"},
)
JSON = Answer(
    body=json.dumps(
        {
            "meta": {"api-version": "1.1"},
            "name": "some-thing",
            "files": [{"filename": FILE, "url": f"../../files/{FILE}", "hashes": {}}],
        }
    ).encode(),
    headers={"Content-Type": "application/vnd.pypi.simple.v1+json"},
)


def test_an_html_index_is_read() -> None:
    with site({"/simple/some-thing/": HTML}) as host:
        found = project_files(f"{host.url}/simple", "Some_Thing", IndexSettings(), PATIENT)
        accepted = host.asked[0][1]["Accept"]
    assert found == {
        FILE: f"{host.url}/files/{FILE}?token=x#sha256=00",
        "some_thing-2.0+cpu-py3-none-any.whl": (
            "https://elsewhere.example/some_thing-2.0%2Bcpu-py3-none-any.whl"
        ),
    }
    assert accepted.startswith("application/vnd.pypi.simple.v1+json, ")
    assert "text/html" in accepted


def test_a_json_index_is_read() -> None:
    with site({"/simple/some-thing/": JSON}) as host:
        found = project_files(f"{host.url}/simple/", "some.thing", IndexSettings(), PATIENT)
    assert found == {FILE: f"{host.url}/files/{FILE}"}


def test_a_json_that_is_no_index_says_so() -> None:
    answer = Answer(body=b"{}", headers=JSON.headers)
    with site({"/simple/some-thing/": answer}) as host, pytest.raises(UnavailableError) as caught:
        project_files(f"{host.url}/simple", "some-thing", IndexSettings(), PATIENT)
    assert caught.value.message == (f"{host.url}/simple/some-thing/: is no simple index ('files')")


def test_an_index_in_a_folder_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "simple" / "some-thing"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(f'<a href="{FILE}">{FILE}</a>')
    for index in (f"file://{tmp_path}/simple", f"{tmp_path}/simple"):
        found = project_files(index, "some-thing", IndexSettings(), PATIENT)
        assert found == {FILE: f"file://{folder}/{FILE}"}


def test_credentials_go_along_on_the_same_host_alone() -> None:
    with site({"/simple/some-thing/": HTML}) as host:
        index = host.with_login("me:pw") + "/simple"
        found = project_files(index, "some-thing", IndexSettings(), PATIENT)
    assert found[FILE].startswith("http://me:pw@127.0.0.1:")
    assert found["some_thing-2.0+cpu-py3-none-any.whl"].startswith("https://elsewhere.example/")


def test_all_indexes_and_folders_are_looked_through_in_order(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"")
    with (
        site({"/a/some-thing/": Answer(body=b"<html>")}) as one,
        site({"/b/some-thing/": JSON}) as two,
    ):
        settings = IndexSettings(
            default_index=f"{one.url}/a",
            extra=(closed(), f"{two.url}/b"),
            find_links=(str(tmp_path / "none"), str(tmp_path)),
        )
        found = list(places_of("some-thing", FILE, settings, PATIENT))
    assert found == [f"{two.url}/files/{FILE}", str(tmp_path / FILE)]


def test_where_nothing_is_found_every_place_is_told() -> None:
    with site({"/a/some-thing/": Answer(body=b"<html>")}) as one:
        dead = closed()
        settings = IndexSettings(default_index=f"{one.with_login('me:pw')}/a", extra=(dead,))
        with pytest.raises(UnavailableError) as caught:
            list(places_of("some-thing", FILE, settings, PATIENT))
    assert caught.value.message == (
        f"{one.url}/a: has no {FILE}; {dead}/some-thing/: Connection refused"
    )


@pytest.mark.parametrize("link", ["https://[", "https://℀/x.whl", "http://h:port/x.whl"])
@pytest.mark.parametrize("form", ["html", "json", "base"])
def test_a_link_that_is_no_address_is_the_fault_of_the_index(form: str, link: str) -> None:
    bodies = {
        "html": f'<a href="{link}">x</a>',
        "base": f'<base href="{link}"><a href="x.whl">x</a>',
        "json": json.dumps({"files": [{"filename": "x.whl", "url": link}]}),
    }
    headers = JSON.headers if form == "json" else HTML.headers
    answer = Answer(body=bodies[form].encode(), headers=headers)
    with site({"/simple/some-thing/": answer}) as host, pytest.raises(UnavailableError) as caught:
        project_files(f"{host.url}/simple", "some-thing", IndexSettings(), PATIENT)
    assert caught.value.message == (
        f"{host.url}/simple/some-thing/: is no simple index "
        f"({link!r}: no address: its host or port cannot be read)"
    )
