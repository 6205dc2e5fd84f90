"""The checks and the tests a change must pass: `lint` and `test`, in CI and on a laptop alike."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from comfykiln.cli import options
from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.git.command import git
from comfykiln.system import console
from comfykiln.system.process import ProgramError, capture, stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TIERS: tuple[options.Tier, ...] = get_args(options.Tier)  # in order of cost
NEED_ENGINE = ("engine", "real")
ROOT = Path(__file__).resolve().parents[3]  # checks and tests exist in a checkout only
NO_TESTS = 5  # pytest's exit status
PATIENCE = 600  # seconds for one check on a slow machine


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One program over some of the repository's files."""

    name: str
    argv: tuple[str, ...]


def run_lint(root: Path = ROOT) -> None:
    """Run every check over the repository and raise one `KilnError` that names those that failed.

    All of them run, however many fail; each one's findings are printed in a fixed order.
    """
    with console.timed("checking the sources"):
        checks = list(plan_lint(root, repository_files(root)))
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            findings = list(pool.map(lambda check: run_check(check, root), checks))
    for check, finding in zip(checks, findings, strict=True):
        if finding:
            console.out(f"── {check.name}\n{finding}")
    failed = [check.name for check, finding in zip(checks, findings, strict=True) if finding]
    if failed:
        raise KilnError(
            f"{len(failed)} of {len(checks)} checks found something: {', '.join(failed)}",
            remedy="fix what is named above (`ruff format .` formats the Python sources)",
        )
    console.note(f"all {len(checks)} checks are clean")


def run_check(check: Check, root: Path) -> str:
    """Run one check and return what it found, or nothing when it found nothing."""
    try:
        capture(check.argv, cwd=root, timeout=PATIENCE)
    except ProgramError as error:
        return error.output.strip() or f"ended with status {error.status}"
    return ""


def repository_files(root: Path) -> list[str]:
    """Return the paths of all files in the checkout that git does not ignore, sorted."""
    words = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listing = git(*words, repository=root / ".git", options=["-C", str(root)])
    names = {name for name in listing.split("\0") if name}
    return sorted(name for name in names if (root / name).is_file())


def plan_lint(root: Path, files: Sequence[str]) -> Iterator[Check]:
    """Return the checks that concern `files`; depends on nothing else but files' first lines."""
    yield _check("ruff", "check", "--quiet", ".")
    yield Check(name="ruff format", argv=(_tool("ruff"), "format", "--check", "--quiet", "."))
    yield _check("mypy")
    yield _check("codespell")
    if "src/comfykiln/__init__.py" in files:
        yield _imports_check()
    chosen = {
        ("hadolint",): [name for name in files if Path(name).name == "Dockerfile"],
        ("shellcheck",): [name for name in files if is_shell(root / name)],
        ("yamllint", "--strict"): [name for name in files if name.endswith((".yaml", ".yml"))],
        ("zizmor", "--offline", "--quiet"): _workflows(files),
    }
    for argv, paths in chosen.items():
        if paths:
            yield _check(*argv, *paths)
    yield from _schema_checks(files)


def is_shell(path: Path) -> bool:
    """Tell whether a file is a shell script, by its name or by its first line."""
    if path.suffix == ".sh":
        return True
    with path.open("rb") as file:
        first = file.readline(80)
    return first.startswith(b"#!") and first.rstrip().endswith((b"/sh", b"bash", b" sh"))


def _schema_checks(files: Sequence[str]) -> Iterator[Check]:
    schemas = [name for name in files if name.endswith(".schema.json")]
    compose = [name for name in files if name == "compose.yaml"]
    groups = {
        "schema of compose.yaml": (compose, ["--builtin-schema", "vendor.compose-spec"]),
        "schema of workflows": (_workflows(files), ["--builtin-schema", "vendor.github-workflows"]),
        "our schemas": (schemas, ["--check-metaschema"]),
    }
    for name, (paths, words) in groups.items():
        if paths:
            yield Check(name=name, argv=(_tool("check-jsonschema"), *words, *paths))


def _imports_check() -> Check:
    """Return the check of which room imports which, on this very checkout's sources."""
    program = (_tool("lint-imports"), "--no-logo", "--no-cache")
    return Check(name="imports", argv=("env", "PYTHONPATH=src", *program))


def _workflows(files: Sequence[str]) -> list[str]:
    return [name for name in files if name.startswith(".github/workflows/")]


def _check(program: str, *arguments: str) -> Check:
    return Check(name=program, argv=(_tool(program), *arguments))


def _tool(name: str) -> str:
    """Return the program of this environment, so that nobody's other version is taken for it."""
    return str(Path(sys.executable).parent / name)


def run_tests(tier: options.Tier | None = None, *, root: Path = ROOT) -> None:
    """Run the checks and all tiers of tests, or the one `tier` alone; the first failure ends it.

    Tiers that need an engine are left out, with the reason said, where none is available; in CI
    (CI=true) or when asked for by name, that is a `NotPossibleError`.
    """
    if tier is None:
        run_lint(root)
    for chosen in TIERS if tier is None else (tier,):
        reason = _why_not(chosen, must=tier is not None)
        if reason:
            console.warn(f"tests/{chosen} is not run: {reason}")
        else:
            run_tier(chosen, root)


def run_tier(tier: str, root: Path) -> None:
    """Run the tests of one tier; a tier with test files that runs no test has failed."""
    folder = root / "tests" / tier
    if not any(folder.glob("**/test_*.py")):
        console.note(f"tests/{tier} holds no tests")
        return
    console.step(f"running tests/{tier}")
    try:
        stream([sys.executable, "-m", "pytest", str(folder)], console.out, cwd=root)
    except ProgramError as error:
        what = "ran no test" if error.status == NO_TESTS else "failed"
        raise KilnError(
            f"tests/{tier} {what}", remedy=f"see above; repeat it by `./kiln test --tier {tier}`"
        ) from error


def _why_not(tier: str, *, must: bool) -> str:
    """Return why a tier cannot run here, or nothing when it can."""
    from comfykiln.setup import engine  # noqa: PLC0415  # lint and the unit tier need none of it

    if tier not in NEED_ENGINE:
        return ""
    try:
        engine.ensure()
    except NotPossibleError as error:
        if must or os.environ.get("CI", "").lower() in {"true", "1"}:
            raise
        return str(error)
    return ""
