"""What git is given and what it is not: variables, the person's settings, folders above."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.support.gitrepos import git, repository

from comfykiln.documents.export import files
from comfykiln.errors import DocumentError, NotPossibleError
from comfykiln.export import uvlock
from comfykiln.git import command, commits
from comfykiln.git.refs import Resolved, resolve

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://github.com/o/r"
SAYS = '#!/bin/sh\nenv | grep -v "^\\(PWD\\|OLDPWD\\|SHLVL\\|_\\)=" | sort\n'


@pytest.fixture
def told(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A `git` that prints its environment stands in; what it has whatever is asked."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text(SAYS, "utf-8")
    (tmp_path / "bin" / "git").chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    for name in [name for name in os.environ if name.isupper()]:
        monkeypatch.delenv(name)
    always = {"PATH": path, "HOME": str(home), "TMPDIR": str(tmp_path)}
    tokens = {"GH_TOKEN": "t", "XDG_RUNTIME_DIR": "/run/x"}
    odd = {"GIT_DIR": "/x", "GIT_SSH_COMMAND": "x", "SSH_AUTH_SOCK": "/s", "SECRET": "s"}
    for name, value in (always | tokens | odd).items():
        monkeypatch.setenv(name, value)
    return always | {
        "GCM_INTERACTIVE": "never",
        "GIT_ASKPASS": "/bin/false",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
        "SSH_ASKPASS": "/bin/false",
    }


def as_map(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_the_whole_environment_on_this_machine(told: dict[str, str], tmp_path: Path) -> None:
    nobodys = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    expected = told | nobodys | {"GIT_ALLOW_PROTOCOL": "none"}
    assert as_map(command.git("log", repository=tmp_path)) == expected
    found = command.ask("ls-remote", [], ["/x"], protocol="file")
    assert as_map(found) == expected | {"GIT_ALLOW_PROTOCOL": "file"}


def test_the_whole_environment_to_a_host(
    told: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    for name in ("http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "ca.pem").touch()
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "ca.pem"))
    found = as_map(command.ask("ls-remote", [], [URL], protocol="https"))
    assert found == told | {
        "GH_TOKEN": "t",
        "XDG_RUNTIME_DIR": "/run/x",
        "GIT_ALLOW_PROTOCOL": "https",
        "GIT_SSL_CAINFO": str(tmp_path / "ca.pem"),
        "https_proxy": "http://proxy:3128",
    }


def test_a_mirror_that_is_none_does_not_answer_for_the_checkout_around_it(tmp_path: Path) -> None:
    commit = repository(tmp_path, {"a": b""}, branch="main")
    (tmp_path / "mirrors/github.com/o/r.git").mkdir(parents=True)
    for ref in ("main", commit[:9]):
        with pytest.raises((DocumentError, NotPossibleError)):
            resolve(URL, ref, tmp_path / "mirrors")


@pytest.mark.skipif(os.geteuid() != 0, reason="another owner takes root")
def test_a_mirror_of_another_owner_is_read(tmp_path: Path) -> None:
    place = tmp_path / "github.com/o/r"
    commit = repository(place, {"a": b""}, branch="main")
    for path in (place, *place.rglob("*")):
        os.chown(path, 65534, 65534)
    assert resolve(URL, "main", tmp_path) == Resolved(commit=commit, how="branch main")
    found = resolve(URL, commit[:9], tmp_path)
    assert found == Resolved(commit=commit, how="abbreviated commit")


def test_a_filter_of_the_persons_takes_no_part(tmp_path: Path, home: Path) -> None:
    filtered = f'[filter "own"]\n\tsmudge = touch {home}/ran; cat\n\trequired = true\n'
    (home / ".gitconfig").write_text(filtered, "utf-8")
    members = {"pyproject.toml": b"[project]\n", ".gitattributes": b"* filter=own\n"}
    commit = repository(tmp_path / "x", members)
    commits.export(tmp_path / "x" / ".git", commit, tmp_path / "x.tar")
    found = files.from_repository(str(tmp_path / "x"))
    assert found.members == {"pyproject.toml": b"[project]\n"}
    assert not (home / "ran").exists()


def test_a_hook_or_template_of_the_persons_takes_no_part(tmp_path: Path, home: Path) -> None:
    (home / "t" / "hooks").mkdir(parents=True)
    hook = home / "t" / "hooks" / "reference-transaction"
    hook.write_text(f"#!/bin/sh\ntouch {home}/ran\n", "utf-8")
    hook.chmod(0o755)
    text = f"[init]\n\ttemplateDir = {home}/t\n[core]\n\thooksPath = {home}/t/hooks\n"
    (home / ".gitconfig").write_text(text, "utf-8")
    repository(tmp_path / "x", {"pyproject.toml": b""})
    files.from_repository(str(tmp_path / "x"))
    command.init(tmp_path / "new")
    assert not (tmp_path / "new" / "hooks").exists()
    assert not (home / "ran").exists()


def test_programs_that_may_run_git_get_no_variable_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/x")
    monkeypatch.setenv("UV_INDEX_STRATEGY", "first-index")
    assert command.without_git({"GIT_DIR": "/x", "A": "b"}) == {"A": "b"}
    assert "GIT_DIR" not in uvlock._environment({})


def test_the_folder_of_a_repository(tmp_path: Path) -> None:
    repository(tmp_path / "a", {})
    git(tmp_path, "clone", "-q", "--bare", "a", "b.git")
    git(tmp_path / "a", "worktree", "add", "-q", "-b", "side", str(tmp_path / "c"))
    assert [command.git_dir(tmp_path / name) for name in ("a", "b.git", "c")] == [
        tmp_path / "a" / ".git",
        tmp_path / "b.git",
        tmp_path / "c" / ".git",
    ]
    said = [
        command.git("rev-parse", "HEAD", repository=command.git_dir(tmp_path / name))
        for name in ("a", "b.git", "c")
    ]
    assert len(set(said)) == 1
