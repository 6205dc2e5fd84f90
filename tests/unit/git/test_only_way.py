"""Git is run by one module, and only by it: the syntax trees of all sources are walked."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(__file__).parents[3] / "src" / "comfykiln"
EXEMPT = {
    "git/command.py": "the one way",
    "restore": "runs in a build step: the standard library alone, its bytes are in the digests",
    "documents/capture/probe.py": "runs inside images: the standard library alone",
    "documents/manifest/nodes.py": "commands that are printed for a person; none is run here",
}
WORD = re.compile(
    r"-|init|clone|fetch|ls-|cat-file|rev-|archive|log|checkout|index-pack|update-ref|status|config"
    r"|push|pull|add|commit|tag|branch|remote|submodule|show|diff|worktree|read-tree|describe|gc"
)


def runs_git(node: ast.AST) -> bool:
    """Say whether a list or tuple reads as the argument list of git, or names its variables."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and re.fullmatch(r"GIT_[A-Z_]+", node.value) is not None
    if not isinstance(node, ast.List | ast.Tuple) or not node.elts:
        return False
    first, *rest = node.elts
    named = isinstance(first, ast.Constant) and re.fullmatch(r"(.*/)?git", str(first.value))
    if not named:
        return False
    if isinstance(node, ast.List) or not rest:
        return isinstance(node, ast.List)
    # Tuples that begin with "git" are kinds of nodes or facts unless a word of git's follows.
    word = rest[0]
    if isinstance(word, ast.Constant):
        return WORD.match(str(word.value)) is not None
    return isinstance(word, ast.Starred | ast.JoinedStr)


def found_in(source: str) -> list[int]:
    return [node.lineno for node in ast.walk(ast.parse(source)) if runs_git(node)]  # type: ignore[attr-defined]  # only expressions


def modules() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCES.rglob("*.py")):
        yield path.relative_to(SOURCES).as_posix(), path.read_text("utf-8")


def is_exempt(name: str) -> bool:
    return name in EXEMPT or name.partition("/")[0] in EXEMPT


@pytest.mark.parametrize(
    "line",
    [
        'run(["git", "init"])',
        'run(["/usr/bin/git", word])',
        'run(("git", "-C", folder, "log"))',
        'run(["git", *words])',
        'x = ("git", *words)',
        'env["GIT_DIR"] = "x"',
    ],
)
def test_what_runs_git_is_seen(line: str) -> None:
    assert found_in(line) == [1]


@pytest.mark.parametrize(
    "line", ['x in ("git", "registry")', 'x, y = "git", ref', 'f("git")', 'x = {"git", "uv"}']
)
def test_what_does_not_is_passed_over(line: str) -> None:
    assert found_in(line) == []


def test_no_other_module_runs_git() -> None:
    wrong = {
        name: lines
        for name, source in modules()
        if not is_exempt(name) and (lines := found_in(source))
    }
    assert wrong == {}


def test_no_exemption_is_left_over() -> None:
    used = {name for name, source in modules() if is_exempt(name) and found_in(source)}
    assert {name if name in EXEMPT else name.partition("/")[0] for name in used} == set(EXEMPT)
    printed = (SOURCES / "documents/manifest/nodes.py").read_text("utf-8")
    assert not re.search(r"process|subprocess|capture\(", printed)
