"""Every `./kiln …` that a message tells a person to run is a command, and ends what it is told for.

What is told is read from the sources. A command that cannot be tried here says why.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.modelfiles import safetensors

from comfykiln.cli.program import Kiln
from comfykiln.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "src/comfykiln"
GROUPS = "lock|models|snapshot|manifest"
TASKS = f"build|doctor|lint|plan|render|run|test|verify|{GROUPS}"
# In backticks to their end; in plain text the task and its options.
QUOTED = re.compile(rf"`\./kiln ((?:{TASKS})\b[^`]*)`")
PLAIN = re.compile(rf"(?<!`)\./kiln ((?:{TASKS})\b(?:\.[a-z-]+)?(?: --[a-z-]+(?: [A-Z]+\b)?)*)")


def told() -> dict[str, list[str]]:
    """Return every command line that a message names, with the modules that name it."""
    found: dict[str, list[str]] = {}
    for path in sorted(SOURCES.rglob("*.py")):
        for text in strings(ast.parse(path.read_bytes())):
            for line in (*QUOTED.findall(text), *PLAIN.findall(text)):
                found.setdefault(line, []).append(str(path.relative_to(SOURCES)))
    return found


def strings(tree: ast.Module) -> list[str]:
    """Return the texts of a module, without docstrings; X stands for what is filled in."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    inside = docs | {id(part) for node in joined for part in node.values}
    texts = [
        "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)  # type: ignore[misc]
        for node in joined
    ]
    return texts + [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside
    ]


# Every command that is told, and the test below that tries it, or why none does.
TRIED = {
    "render": "test_the_remedy_ends_the_situation",
    "models.lock": "test_the_remedy_ends_the_situation",
    "models.lock --upgrade X": "test_the_remedy_ends_the_situation",
    "models.add-source": "tests/unit/cli/test_models.py: it asks for the source",
    "snapshot.save X": "tests/unit/documents/test_capture.py: a folder without torch",
    "snapshot.pin X --out FILE": "tests/unit/intake/test_pinned_copies.py",
    "models.fetch": "tests/unit/cli/test_models.py: a damaged file is fetched again",
    "models.fetch --image X": "as models.fetch",
    "models.lock --upgrade NAME": "as models.lock --upgrade X",
    "lock": "needs a package index with ComfyUI's packages: tests/engine and tests/real",
    "lock --image X": "as lock",
    "build": "needs an engine",
    "build --target X --image X": "needs an engine",
    "build --target X --image X --tag X": "needs an engine",
    "run --target X --image X": "needs an engine",
    "verify --ref REF": "needs an engine",
    "doctor": "tests/unit/doctor: it looks at the machine, and changes nothing",
    "test --tier X": "runs the tests themselves",
}


def test_every_command_that_is_told_is_known_here() -> None:
    assert set(told()) == set(TRIED)


@pytest.mark.parametrize("line", told())
def test_every_command_that_is_told_is_parsed(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str | None] = []
    monkeypatch.setattr(
        Kiln, "execute", lambda self: ran.extend(context.name for context in self.tasks)
    )
    choice = {"--tier X": "--tier unit"}.get(line.partition(" ")[2], line.partition(" ")[2])
    kiln(ROOT, line.partition(" ")[0], *shlex.split(choice))
    assert len(ran) == 1


def kiln(root: Path, *words: str) -> None:
    Kiln().run(["./kiln", "--search-root", str(root), *words])


@pytest.fixture
def checkout(repository: Path, home: Path) -> Path:
    """A copy of the checkout with its tasks, and a models.yaml with one model in a file."""
    shutil.copy(ROOT / "tasks.py", repository / "tasks.py")
    for name in ("src", "docs"):
        shutil.copytree(
            ROOT / name, repository / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    (home / "vae.safetensors").write_bytes(safetensors(4_000))
    (repository / "services/comfy/core/models.yaml").write_text(
        f"models:\n  - {{name: o'brien, destination: vae/v.safetensors, "
        f"sources: ['file:{home}/vae.safetensors']}}\n"
    )
    return repository


def rendered_differently(root: Path) -> list[str]:
    next((root / "images").rglob("Dockerfile")).write_text("FROM scratch\n")
    return ["render", "--check"]


def copied_differently(root: Path) -> list[str]:
    shared = root / "services/comfy/cloud-storage/cloud_storage/shared"
    next(path for path in shared.glob("*.py")).write_text("changed = True\n")
    return ["render", "--check"]


def never_locked(_: Path) -> list[str]:
    return ["models.lock", "--check", "--image", "core"]


def another_model(root: Path) -> list[str]:
    kiln(root, "models.lock")
    path = root / "services/comfy/core/models.yaml"
    path.write_text(path.read_text().replace("vae/v.", "vae/w."))
    return ["models.lock", "--check", "--image", "core"]


def another_size(root: Path) -> list[str]:
    kiln(root, "models.lock")
    path = root / "services/comfy/core/models.lock"
    path.write_text(re.sub(r'"size": \d+', '"size": 7', path.read_text()))
    return ["models.fetch", "--image", "core"]


@pytest.mark.parametrize(
    ("situation", "line"),
    [
        (rendered_differently, "./kiln render"),
        (copied_differently, "./kiln render"),
        (never_locked, "./kiln models.lock"),
        (another_model, "./kiln models.lock"),
        (another_size, """./kiln models.lock --upgrade 'o'"'"'brien'"""),
    ],
)
def test_the_remedy_ends_the_situation(
    checkout: Path, situation: Callable[[Path], list[str]], line: str
) -> None:
    words = situation(checkout)
    with pytest.raises(DriftError) as caught:
        kiln(checkout, *words)
    assert line in caught.value.remedy
    kiln(checkout, *shlex.split(line)[1:])
    kiln(checkout, *words)
