from __future__ import annotations

import subprocess
import tarfile
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.sites import closed, git_host, silent

from comfykiln.errors import KilnError
from comfykiln.git import commits as git
from comfykiln.network.client import UnavailableError
from comfykiln.network.http import Patience
from comfykiln.network.indexes import IndexSettings

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = IndexSettings()
QUICK = Patience(probe=1.0, stall=2.0, total=30.0)  # for hosts that do not answer
PATIENT = Patience()
ABSENT = "0123456789" * 4


def run(*argv: str, cwd: Path) -> str:
    return subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A folder of bare repositories, and the older and the newer commit of o/r.git."""
    root = tmp_path_factory.mktemp("git")
    work = root / "work"
    run("git", "init", "-q", "-b", "main", str(work), cwd=root)
    author = ("-c", "user.name=T", "-c", "user.email=t@example.invalid")
    commits = []
    for text in ("one", "two"):
        (work / "main.py").write_text(f"{text}\r\n")
        (work / "run.sh").write_text("#!/bin/sh\n")
        (work / "run.sh").chmod(0o755)
        run("git", "-c", "core.autocrlf=false", "add", "-A", cwd=work)
        run("git", *author, "commit", "-q", "-m", text, cwd=work)
        commits.append(run("git", "rev-parse", "HEAD", cwd=work))
    run("git", "clone", "-q", "--bare", str(work), str(root / "hosts" / "o" / "r.git"), cwd=root)
    return root / "hosts", commits[0], commits[1]


def names(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        files = [member for member in tar if member.isreg()]
        return {
            member.name: (tar.extractfile(member) or archive.open("rb")).read() for member in files
        }


def fetch(url: str, commit: str, target: Path, patience: Patience = PATIENT) -> Path:
    return git.fetch_commit(
        url, commit, target, settings=SETTINGS, patience=patience, protocol="http"
    )


def test_one_commit_is_fetched_without_its_history(
    hosted: tuple[Path, str, str], tmp_path: Path
) -> None:
    root, older, newer = hosted
    with git_host(root) as url:
        for commit, text in ((older, b"one\r\n"), (newer, b"two\r\n")):
            repository = fetch(f"{url}/o/r.git", commit, tmp_path / text.decode()[:3])
            git.require_commit(repository, commit)
            git.export(repository, commit, tmp_path / "tree.tar")
            assert names(tmp_path / "tree.tar") == {"main.py": text, "run.sh": b"#!/bin/sh\n"}
            count = run("git", "rev-list", "--count", commit, cwd=repository)
            assert count == "1"
            assert not (repository / "hooks").exists()


def test_a_commit_that_the_host_lacks_is_told(
    hosted: tuple[Path, str, str], tmp_path: Path
) -> None:
    with git_host(hosted[0]) as url, pytest.raises(UnavailableError) as caught:
        fetch(f"{url}/o/r.git", ABSENT, tmp_path / "r")
    assert caught.value.message.startswith(f"{url}/o/r.git: ")
    assert ABSENT in caught.value.message


def test_a_repository_that_is_not_there_is_told(
    hosted: tuple[Path, str, str], tmp_path: Path
) -> None:
    with git_host(hosted[0]) as url, pytest.raises(UnavailableError) as caught:
        fetch(f"{url}/o/none.git", ABSENT, tmp_path / "r")
    assert caught.value.message == f"{url}/o/none.git/info/refs: answers 404"


def test_dead_hosts_cost_what_was_allowed(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(UnavailableError, match="Connection refused"):
        fetch(f"{closed()}/o/r.git", ABSENT, tmp_path / "r")
    assert time.monotonic() - start < PATIENT.probe
    with silent() as address, pytest.raises(UnavailableError, match="no answer"):
        fetch(f"{address}/o/r.git", ABSENT, tmp_path / "r", QUICK)
    assert time.monotonic() - start < 2 * PATIENT.probe


def test_other_protocols_than_https_are_refused_by_git_itself(
    hosted: tuple[Path, str, str], tmp_path: Path
) -> None:
    root, _, newer = hosted
    with git_host(root) as url, pytest.raises(UnavailableError) as caught:
        git.fetch_commit(
            f"{url}/o/r.git", newer, tmp_path / "r", settings=SETTINGS, patience=PATIENT
        )
    assert caught.value.message == f"{url}/o/r.git: fatal: transport 'http' not allowed"


@pytest.mark.parametrize("commit", ["main", "--upload-pack=touch x", "A" * 40, "", ABSENT + "\n"])
def test_only_a_commit_is_fetched(commit: str, tmp_path: Path) -> None:
    with pytest.raises(KilnError, match="is no commit"):
        fetch("http://127.0.0.1:9/r.git", commit, tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_a_mirror_is_found_by_host_owner_and_name(tmp_path: Path) -> None:
    expected = tmp_path / "github.com" / "Comfy-Org" / "ComfyUI.git"
    assert git.mirrored(tmp_path, "https://github.com/Comfy-Org/ComfyUI") == expected
    assert git.mirrored(tmp_path, "https://github.com/Comfy-Org/ComfyUI.git/") == expected


def test_a_mirror_without_the_commit_is_told(hosted: tuple[Path, str, str], tmp_path: Path) -> None:
    repository = hosted[0] / "o" / "r.git"
    with pytest.raises(UnavailableError) as caught:
        git.require_commit(repository, ABSENT)
    assert caught.value.message == f"{repository} does not have the commit {ABSENT}"
    with pytest.raises(UnavailableError) as caught:
        git.require_commit(tmp_path / "none.git", ABSENT)
    assert caught.value.message == f"{tmp_path}/none.git is no git repository"
    tree = run("git", "rev-parse", f"{hosted[1]}^{{tree}}", cwd=repository)
    with pytest.raises(UnavailableError, match=r"is a tree, not a commit"):
        git.require_commit(repository, tree)


def test_the_environment_of_a_caller_does_not_steer_git(
    hosted: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    root, _, newer = hosted
    with git_host(root) as url:
        repository = fetch(f"{url}/o/r.git", newer, tmp_path / "r")
    assert repository == tmp_path / "r"
    assert not (tmp_path / "elsewhere").exists()
