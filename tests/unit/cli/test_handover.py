"""`invoke TASK` and an installed `kiln` become ./kiln: the same help, messages and exit codes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import invoke
import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds invoke alone, as `pip install invoke` leaves an environment."""
    folder = tmp_path_factory.mktemp("bare")
    package = Path(invoke.__file__).parent
    for part in (package, *package.parent.glob("invoke-*.dist-info")):
        shutil.copytree(part, folder / part.name)
    return folder


def run(argv: list[str], folder: Path | None = None, cwd: Path = ROOT) -> tuple[int, str, str]:
    environ = {**os.environ, "KILN_SETUP": "never", "PYTHONPATH": str(folder or "")}
    done = subprocess.run(
        argv, cwd=cwd, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


WORDS = [
    ["--list"],
    ["--help", "build"],
    ["plan", "--target", "cuda", "--image", "core", "--json"],
    ["build", "--nonsense"],
    ["nonsense"],
    ["plan", "--target", "nonsense"],
    ["models.list", "--image", "core"],
]


@pytest.mark.parametrize("words", WORDS)
def test_an_invoke_without_the_toolkits_packages_becomes_kiln(bare: Path, words: list[str]) -> None:
    # -S: no site-packages, so that what the toolkit needs is really missing.
    by_invoke = run([sys.executable, "-S", "-m", "invoke", *words], bare)
    assert by_invoke == run([str(ROOT / "kiln"), *words])


def test_the_environments_own_invoke_becomes_kiln_too() -> None:
    code, out, err = run([str(Path(sys.executable).with_name("invoke")), "build", "--nonsense"])
    assert (code, out) == (2, "")
    assert err == (
        "error: build has no option --nonsense\n  → `./kiln build --help` says what it takes\n"
    )


def test_the_installed_command_works_anywhere_below_a_checkout() -> None:
    argv = [sys.executable, "-S", "-P", "-c", COMMAND, "plan", "--target", "nonsense"]
    found = run(argv, ROOT / "src", cwd=ROOT / "docs/decisions")
    assert found == run([str(ROOT / "kiln"), "plan", "--target", "nonsense"])
    assert found[0] == 2


COMMAND = "import sys; from comfykiln.cli.handover import main; sys.argv[0] = 'kiln'; main()"


def test_the_installed_command_says_so_elsewhere(tmp_path: Path) -> None:
    argv = [sys.executable, "-S", "-P", "-c", COMMAND, "--list"]
    assert run(argv, ROOT / "src", cwd=tmp_path) == (
        2,
        "",
        (
            f"error: {tmp_path} is in no checkout of comfykiln, and images are built from one\n"
            "  → clone the repository, and start kiln there\n"
        ),
    )


def test_a_checkout_has_unix_lines_whatever_git_is_set_to(tmp_path: Path) -> None:
    """Git for Windows sets core.autocrlf=true; such a clone ended with 127, cannot execute."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    source = tmp_path / "source"
    for name in filter(None, names):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], cwd=source, check=True)
    clone = tmp_path / "clone"
    crlf = ["git", "-c", "core.autocrlf=true", "-c", "core.eol=crlf", "clone", "-q"]
    subprocess.run([*crlf, str(source), str(clone)], check=True)
    differing = [
        name
        for name in filter(None, names)
        if (clone / name).read_bytes() != (ROOT / name).read_bytes()
    ]
    assert differing == []
    (clone / ".venv").symlink_to(sys.prefix)
    code, out, _ = run([str(clone / "kiln"), "--version"], cwd=clone)
    assert (code, out.split()[0].lower()) == (0, "kiln")
