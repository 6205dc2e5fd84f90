"""Git over HTTPS behind a CA that only this host knows: in every place that asks or fetches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.fakenet import certificate
from tests.support.gitrepos import git, repository
from tests.support.sites import git_host

from comfykiln.cli import from_document
from comfykiln.cli.options import FromDocument
from comfykiln.documents import read
from comfykiln.documents.pin import pin
from comfykiln.errors import NotPossibleError
from comfykiln.gather.sources import resolve_sources
from comfykiln.git import commits
from comfykiln.git.refs import resolve
from comfykiln.network.host import settings_of_host
from comfykiln.network.http import Patience
from comfykiln.plan.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from comfykiln.network.indexes import IndexSettings

    Place = Callable[[str, Path, IndexSettings | None], str]

EXPORT = """[project]
name = "mine"
version = "0.1.0"
requires-python = ">=3.13"
[tool.comfydock]
comfyui_version = "v0.30.0"
comfyui_version_type = "release"
python_version = "3.13.5"
"""
VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """The address of a repository with an export, its commit, the CA of its host."""
    root = tmp_path_factory.mktemp("tls")
    commit = repository(root / "work", {"pyproject.toml": EXPORT.encode()}, branch="main")
    git(root, "clone", "-q", "--bare", str(root / "work"), str(root / "hosts" / "o" / "r.git"))
    ca, context = certificate(root, "localhost")
    with git_host(root / "hosts", tls=context) as url:
        yield f"{url.replace('127.0.0.1', 'localhost')}/o/r.git", commit, ca


@pytest.fixture(autouse=True)
def alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No setting of this machine counts; the home is empty."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return home


def by_names(url: str, _: Path, settings: IndexSettings | None) -> str:
    return resolve(url, "main", settings=settings).commit


def by_short_commit(url: str, _: Path, settings: IndexSettings | None) -> str:
    return resolve(url, resolve(url, None, settings=settings).commit[:9], settings=settings).commit


def by_document(url: str, _: Path, settings: IndexSettings | None) -> str:
    return read(url, ref="main", settings=settings).source.rpartition("@")[2]


def by_lock(url: str, _: Path, settings: IndexSettings | None) -> str:
    found = resolve_sources([(url, "main", "")], (), (), None, settings or settings_of_host(None))
    return found[0].commit


def by_commit(url: str, folder: Path, settings: IndexSettings | None) -> str:
    settings = settings or settings_of_host(None)
    commit = resolve(url, "main", settings=settings).commit
    commits.fetch_commit(url, commit, folder / "r", settings=settings, patience=Patience())
    commits.require_commit(folder / "r", commit)
    return commit


PLACES = (by_names, by_short_commit, by_document, by_lock, by_commit)


@pytest.mark.parametrize("place", PLACES)
def test_the_option_opens_it(served: tuple[str, str, Path], tmp_path: Path, place: Place) -> None:
    url, commit, ca = served
    assert place(url, tmp_path, settings_of_host(ca)) == commit
    with pytest.raises(NotPossibleError):
        place(url, tmp_path / "again", None)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("variable", VARIABLES[:4])
def test_each_variable_of_the_host_opens_it(
    served: tuple[str, str, Path],
    tmp_path: Path,
    place: Place,
    variable: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, commit, ca = served
    monkeypatch.setenv(variable, str(ca))
    assert place(url, tmp_path, None) == commit


@pytest.mark.parametrize("place", [by_names, by_short_commit, by_document, by_lock])
def test_gits_own_setting_and_variable_open_it(
    served: tuple[str, str, Path],
    alone: Path,
    tmp_path: Path,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, commit, ca = served
    (alone / ".gitconfig").write_text(f"[http]\n\tsslCAInfo = {ca}\n", "utf-8")
    assert place(url, tmp_path, None) == commit
    (alone / ".gitconfig").unlink()
    monkeypatch.setenv("GIT_SSL_CAINFO", str(ca))
    assert place(url, tmp_path, None) == commit


def test_tasks_pin_and_build_from_there(
    served: tuple[str, str, Path], repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, commit, ca = served
    given = FromDocument(from_=url, ref="main")
    with pytest.raises(NotPossibleError):
        from_document.prepare(Project(root=repository), given)
    taken = from_document.prepare(Project(root=repository), given, ca)
    assert taken.parsed.source == f"{url}@{commit}"
    monkeypatch.setenv("SSL_CERT_FILE", str(ca))
    document = tmp_path / "s.json"
    document.write_text(f'{{"git_custom_nodes": {{"{url}": {{"hash": "main"}}}}}}', "utf-8")
    assert [change.commit for change in pin(document).changes] == [commit]
