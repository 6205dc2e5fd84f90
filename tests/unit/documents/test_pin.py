"""Pinning with the real git: mirrors on disk, a repository over HTTPS, an unreachable host."""

from __future__ import annotations

import functools
import http.server
import json
import os
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from comfykiln.cli.documents import snapshot_pin
from comfykiln.documents.pin import Change, pin
from comfykiln.errors import DocumentError, NotPossibleError
from comfykiln.git.refs import Resolved, commit_date, mirror_of, resolve
from comfykiln.parsing.spans import apply, set_text, spans

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

URL = "https://github.com/example-nodes/sample"


def git(folder: Path, *arguments: str, date: str = "2026-01-01T00:00:00Z") -> str:
    env = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_AUTHOR_NAME": "n",
        "GIT_AUTHOR_EMAIL": "e",
        "GIT_COMMITTER_NAME": "n",
        "GIT_COMMITTER_EMAIL": "e",
        "GIT_AUTHOR_DATE": date,
        "GIT_COMMITTER_DATE": date,
    }
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], env=env, capture_output=True, check=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def mirrors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of mirrors with one repository: three commits, a branch, tags of both sorts."""
    root = tmp_path_factory.mktemp("mirrors")
    work = root / "work"
    work.mkdir()
    git(work, "init", "-q", "-b", "main")
    for number in (1, 2, 3):
        date = f"2026-0{number}-01T00:00:00Z"
        git(work, "commit", "-q", "--allow-empty", "-m", f"c{number}", date=date)
    git(work, "tag", "-a", "-m", "annotated", "v1", "HEAD~1")
    git(work, "tag", "3.33.8", "HEAD~2")
    git(work, "branch", "side", "HEAD~1")
    git(work, "branch", "both", "HEAD~1")
    git(work, "tag", "both", "HEAD")
    for name in ("example-nodes/sample", "Comfy-Org/ComfyUI"):
        target = root / "github.com" / f"{name}.git"
        target.parent.mkdir(parents=True, exist_ok=True)
        git(root, "clone", "-q", "--bare", str(work), str(target))
    return root


@pytest.fixture(scope="module")
def commits(mirrors: Path) -> list[str]:
    return git(mirrors / "work", "rev-list", "--reverse", "main").split()


def test_each_kind_of_name(mirrors: Path, commits: list[str]) -> None:
    for ref, commit, how in (
        ("main", commits[2], "branch main"),
        ("side", commits[1], "branch side"),
        ("v1", commits[1], "tag v1"),
        ("3.33.8", commits[0], "tag 3.33.8"),
        ("refs/tags/both", commits[2], "refs/tags/both"),
        ("latest", commits[2], "default branch"),
        (None, commits[2], "default branch"),
        (commits[0][:7], commits[0], "abbreviated commit"),
        (commits[0][:39], commits[0], "abbreviated commit"),
    ):
        assert resolve(URL, ref, mirrors) == Resolved(commit=commit, how=how)


@pytest.mark.parametrize(
    ("ref", "problem"),
    [
        ("gone", "has no branch or tag gone"),
        ("both", "both is both a branch and a tag"),
        ("0000000", "0000000 begins no commit"),
    ],
)
def test_names_that_mean_nothing_or_two_things(mirrors: Path, ref: str, problem: str) -> None:
    with pytest.raises(DocumentError, match=problem) as caught:
        resolve(URL, ref, mirrors)
    assert caught.value.exit_code == 2


def test_where_a_mirror_lies(mirrors: Path) -> None:
    found = mirrors / "github.com" / "example-nodes" / "sample.git"
    for url in (URL, f"{URL}.git", "git@github.com:example-nodes/sample.git", f"{URL}/"):
        assert mirror_of(url, mirrors) == found
    assert mirror_of("https://github.com/Example-Nodes/Sample", mirrors) == found
    assert mirror_of("https://github.com/../work", mirrors) is None
    assert mirror_of("https://example.org/a/b", mirrors) is None
    assert mirror_of(URL, None) is None


def test_days_of_commits(mirrors: Path, commits: list[str]) -> None:
    assert commit_date(URL, commits[1], mirrors) == "2026-02-01"
    assert commit_date(URL, "0" * 40, mirrors) is None
    assert commit_date(URL, "--all", mirrors) is None
    assert commit_date(URL, commits[1], None) is None


JSON = """{
  "comfyui": "v1", "git_custom_nodes": {
    "https://github.com/example-nodes/sample": {"hash": "main", "disabled": false},
    "https://github.com/example-nodes/Sample.git": {
        "disabled":true
    },
    "git@github.com:example-nodes/sample.git":{"hash":null,"name":"b"},
    "https://github.com/Example-Nodes/sample": {"hash": "SHORT\\n", "name": "c\\u00e9"},
    "https://github.com/example-nodes/sample.git": {"hash": "PINNED"},
    "https://github.com/example-nodes/sample/": {}
  },
  "cnr_custom_nodes": {"some-node": "nightly", "other-node": "1.0"}
}
"""


def test_json_keeps_its_form(mirrors: Path, commits: list[str], tmp_path: Path) -> None:
    first, _, last = commits
    before = (
        JSON.replace("SHORT", first[:10]).replace("PINNED", "f" * 40).replace("Sample", "sample2")
    )
    (mirrors / "github.com/example-nodes/sample2.git").unlink(missing_ok=True)
    (mirrors / "github.com/example-nodes/sample2.git").symlink_to("sample.git")
    path = tmp_path / "s.json"
    path.write_text(before)
    pinned = pin(path, mirrors)
    assert pinned.after == (
        before.replace('"comfyui": "v1"', f'"comfyui": "{commits[1]}"')
        .replace('"hash": "main"', f'"hash": "{last}"')
        .replace(
            '{\n        "disabled":true\n',
            f'{{\n        "hash": "{last}",\n        "disabled":true\n',
        )
        .replace('"hash":null', f'"hash":"{last}"')
        .replace(f'"hash": "{first[:10]}\\n"', f'"hash": "{first}"')
        .replace('sample/": {}', f'sample/": {{"hash": "{last}"}}')
    )
    assert pinned.changes[0] == Change(
        name="ComfyUI", path="$.comfyui", before="v1", commit=commits[1], how="tag v1"
    )
    assert pinned.warnings == (
        "$.cnr_custom_nodes.some-node: some-node has no registry version, which git cannot tell",
    )
    path.write_text(pinned.after)
    assert pin(path, mirrors).after == pinned.after
    assert pin(path, mirrors).changes == ()


YAML = """# née
custom_nodes:
  comfyui: main   # moves
  git_custom_nodes:
    "https://github.com/example-nodes/sample":
      disabled: false
    https://github.com/example-nodes/sample.git: {disabled: true, hash: 'v1'}
    git@github.com:example-nodes/sample.git:
      hash:
      name: b
    https://github.com/example-nodes/sample/:
        hash: latest # newest
basic:
  comfyui_version: v1.0
"""


def test_yaml_keeps_its_form_and_comments(
    mirrors: Path, commits: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "comfy-lock.yaml"
    path.write_text(YAML)
    _, middle, last = commits
    assert pin(path, mirrors).after == (
        YAML.replace("comfyui: main ", f"comfyui: {last} ")
        .replace("      disabled: false", f"      hash: {last}\n      disabled: false")
        .replace("'v1'", f"'{middle}'")
        .replace("hash:\n", f"hash: {last}\n")
        .replace("latest", last)
    )


@pytest.mark.parametrize("key", ["hash", "commit", "commit_hash", "ref"])
def test_the_name_is_replaced_where_it_stands(
    mirrors: Path, commits: list[str], tmp_path: Path, key: str
) -> None:
    path = tmp_path / "snapshot.json"
    text = json.dumps({"comfyui": "main", "custom_nodes": {URL: {"url": URL, key: "main"}}})
    path.write_text(text)
    assert pin(path, mirrors).after == text.replace('"main"', f'"{commits[2]}"')


def test_comfyui_beside_nested_nodes(mirrors: Path, commits: list[str], tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    text = json.dumps({"custom_nodes": {"git_custom_nodes": {}}, "comfyui": "main"})
    path.write_text(text)
    assert pin(path, mirrors).after == text.replace('"main"', f'"{commits[2]}"')


def test_a_comfy_pack_and_line_ends_of_windows(
    mirrors: Path, commits: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "snapshot.json"
    text = '{\r\n "custom_nodes": [{\r\n  "url": "' + URL + '"\r\n }]\r\n}\r\n'
    path.write_bytes(text.encode())
    assert pin(path, mirrors).after == text.replace(
        '  "url"', f'  "commit_hash": "{commits[2]}",\r\n  "url"'
    )


def test_a_manifest_keeps_its_version_of_comfyui(
    mirrors: Path, commits: list[str], tmp_path: Path
) -> None:
    system = '"python_version": "3.11.7", "cuda_version": null, "torch_version": "2.1.0+cpu"'
    text = f"""{{"schema_version": "1.0",
 "system_info": {{{system}, "comfyui_version": "v1"}},
 "custom_nodes": [
  {{"name": "a", "install_method": "git", "url": "{URL}.git", "ref": "v1"}},
  {{"name": "b", "install_method": "git", "url": "{URL}"}}],
 "dependencies": {{"packages": {{}}}}}}"""
    path = tmp_path / "comfyui_migration.json"
    path.write_text(text)
    assert pin(path, mirrors).after == text.replace(
        '"ref": "v1"', f'"ref": "{commits[1]}"'
    ).replace('{"name": "b"', f'{{"ref": "{commits[2]}", "name": "b"')


def test_comfyui_is_found_under_its_former_name_too(
    mirrors: Path, commits: list[str], tmp_path: Path
) -> None:
    old = tmp_path / "mirrors" / "github.com" / "comfyanonymous"
    old.mkdir(parents=True)
    (old / "ComfyUI.git").symlink_to(mirrors / "github.com" / "Comfy-Org" / "ComfyUI.git")
    path = tmp_path / "s.json"
    path.write_text('{"comfyui": "v1", "git_custom_nodes": {}}')
    assert commits[1] in pin(path, tmp_path / "mirrors").after


def test_the_task_writes_and_shows_the_difference(
    mirrors: Path, commits: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.json"
    path.write_text(f'{{"git_custom_nodes": {{\n "{URL}": {{"hash": "v1"}}\n}}}}\n')
    path.chmod(0o640)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    snapshot_pin(str(link), str(mirrors), write=False)
    assert '"v1"' in path.read_text()
    snapshot_pin(str(link), str(mirrors))
    assert json.loads(path.read_text())["git_custom_nodes"][URL]["hash"] == commits[1]
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    shown = capsys.readouterr()
    assert f'-  "{URL}": {{"hash": "v1"}}'.replace("-  ", "- ") in shown.out
    assert f'+ "{URL}": {{"hash": "{commits[1]}"}}' in shown.out
    snapshot_pin(str(path), str(mirrors), as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "source": str(path),
        "written": False,
        "changes": [],
        "warnings": [],
    }


def test_an_unreachable_host_is_status_3_and_nothing_is_written(
    mirrors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "")
    monkeypatch.setenv("HTTPS_PROXY", "")
    path = tmp_path / "s.json"
    text = json.dumps(
        {
            "git_custom_nodes": {
                URL: {"hash": "main"},
                "https://127.0.0.1:1/o/r": {"hash": "main"},
                "https://localhost:1/o/q": {"hash": "main"},
            }
        }
    )
    path.write_text(text)
    with pytest.raises(NotPossibleError) as caught:
        snapshot_pin(str(path), str(mirrors))
    assert caught.value.exit_code == 3
    assert "https://127.0.0.1:1/o/r: cannot be reached" in str(caught.value)
    assert "https://localhost:1/o/q: cannot be reached" in str(caught.value)
    assert "--git-mirror" in str(caught.value)
    assert path.read_text() == text
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.json"]


def test_every_missing_name_is_told_and_nothing_is_written(mirrors: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    nodes = {URL: {"hash": "gone"}, f"{URL}.git": {"hash": "lost"}, f"{URL}/": {"hash": "main"}}
    text = json.dumps({"git_custom_nodes": nodes})
    path.write_text(text)
    with pytest.raises(DocumentError) as caught:
        pin(path, mirrors)
    assert caught.value.faults == (
        f'$.git_custom_nodes["{URL}"]: {URL}: has no branch or tag gone',
        f'$.git_custom_nodes["{URL}.git"]: {URL}.git: has no branch or tag lost',
    )
    assert path.read_text() == text


def test_a_release_of_comfyui_out_of_reach_is_kept_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfykiln.documents.pin.COMFYUI", "https://127.0.0.1:1/o/ComfyUI")
    path = tmp_path / "s.json"
    path.write_text('{"comfyui": "v0.3.30", "git_custom_nodes": {}}')
    pinned = pin(path)
    assert pinned.after == pinned.before
    assert pinned.warnings == (
        "ComfyUI stays at the release v0.3.30: https://127.0.0.1:1/o/ComfyUI is out of reach",
    )


def test_a_document_without_refs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    path.write_text('{"nodes": [], "links": []}')
    with pytest.raises(DocumentError, match="holds no refs"):
        pin(path)


@pytest.fixture(scope="module")
def served(mirrors: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The mirrors over HTTPS on loopback, by git's plain file protocol."""
    bare = mirrors / "github.com" / "example-nodes" / "sample.git"
    git(bare, "update-server-info")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*new, *subject, *files], check=True, capture_output=True)
    handler = functools.partial(_Quiet, directory=str(mirrors / "github.com"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_port}/example-nodes", certificate
    server.shutdown()
    server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Say nothing: the test's output is its own."""


def test_over_https_names_and_abbreviated_commits(
    served: tuple[str, Path], commits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, certificate = served
    monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
    monkeypatch.setenv("no_proxy", "localhost")
    url = f"{base}/sample.git"
    assert resolve(url, "v1") == Resolved(commit=commits[1], how="tag v1")
    assert resolve(url, commits[0][:8]) == Resolved(commit=commits[0], how="abbreviated commit")
    with pytest.raises(DocumentError, match="no such repository"):
        resolve(f"{base}/absent.git", "main")
    monkeypatch.delenv("GIT_SSL_CAINFO")
    with pytest.raises(NotPossibleError, match="cannot be reached"):
        resolve(url, "v1")


def test_only_https_is_spoken() -> None:
    for url in ("http://localhost/o/r", "/tmp/r"):  # noqa: S108  # no file is made
        with pytest.raises(DocumentError, match="unencrypted or local transport"):
            resolve(url, "main")


def test_values_stand_behind_the_end_of_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `git` that writes down its arguments stands in: what is shown is what it would be given."""
    log = tmp_path / "log"
    fake = tmp_path / "git"
    fake.write_text(
        "#!/bin/sh\n"
        'while case "$1" in -c) shift;; --git-dir=*);; *) false;; esac; do shift; done\n'
        f'printf "%s\\n" "$*" >> {log}\n'
        f'case "$1" in ls-remote) printf "{"a" * 40}\\tHEAD\\n";; '
        f"rev-parse) echo {'b' * 40};; esac\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    resolve("https://example.org/-o/--upload-pack=x", "deadbee")
    lines = log.read_text().splitlines()
    assert lines[0] == (
        "ls-remote --quiet -- https://example.org/-o/--upload-pack=x HEAD refs/heads/* refs/tags/*"
    )
    options = "clone --quiet --bare --template= --filter=tree:0"
    assert lines[1].startswith(f"{options} -- https://example.org/-o/--upload-pack=x ")
    assert lines[2] == "rev-parse --verify --end-of-options deadbee^{commit}"


def test_edits_do_not_touch_what_is_around_them() -> None:
    text = '{"é": {"a" : [1, {"hash":"x"}], "b":-1.5e3, "c":{ } } , "d":"\\u00e9\\""}'
    found = spans(text, yaml=False)
    assert text[found["$.d"].start : found["$.d"].end] == '"\\u00e9\\""'
    assert text[found['$["é"].b'].start : found['$["é"].b'].end] == "-1.5e3"
    edits = [
        set_text(text, found, '$["é"].a[1]', "hash", "y"),
        set_text(text, found, '$["é"].c', "hash", "z"),
        set_text(text, found, "$", "hash", "w"),
    ]
    assert apply(text, edits) == (
        '{"hash": "w", "é": {"a" : [1, {"hash":"y"}], "b":-1.5e3, "c":{"hash": "z"} } , '
        '"d":"\\u00e9\\""}'
    )


def test_a_commit_of_digits_alone_is_quoted_in_yaml() -> None:
    for commit in ("1" * 40, "1234567e" + "8" * 32):
        text = "a:\n  hash: main\n"
        found = spans(text, yaml=True)
        after = apply(text, [set_text(text, found, "$.a", "hash", commit)])
        assert after == f'a:\n  hash: "{commit}"\n'
