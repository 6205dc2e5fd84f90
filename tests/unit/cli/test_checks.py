from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from comfykiln.cli import checks
from comfykiln.errors import KilnError, NotPossibleError

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small repository with the project's own settings for the checks."""
    for name in ("pyproject.toml", ".yamllint.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    project = tmp_path / "pyproject.toml"
    pack = ', "services/comfy/cloud-storage/cloud_storage"'
    project.write_text(project.read_text("utf-8").replace(pack, ""), "utf-8")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_each_file_is_given_to_the_programs_that_know_its_kind(checkout: Path) -> None:
    for name, text in {
        "images/cpu/core/Dockerfile": "FROM scratch\n",
        "kiln": "#!/bin/sh\n",
        "ci/run": "#!/usr/bin/env bash\n",
        "tool": "#!/usr/bin/env python3\n",
        "lib.sh": "true\n",
        "compose.yaml": "services: {}\n",
        ".github/workflows/ci.yml": "on: push\n",
        "src/a.schema.json": "{}\n",
        "ignored.sh": "",
        ".gitignore": "ignored.sh\n",
    }.items():
        write(checkout, name, text)
    planned = checks.plan_lint(checkout, checks.repository_files(checkout))
    given = [" ".join([check.name, "|", *check.argv]) for check in planned]
    workflow = ".github/workflows/ci.yml"
    check_schema = f"{BIN}/check-jsonschema --builtin-schema"
    assert given == [
        f"ruff | {BIN}/ruff check --quiet .",
        f"ruff format | {BIN}/ruff format --check --quiet .",
        f"mypy | {BIN}/mypy",
        f"codespell | {BIN}/codespell",
        f"hadolint | {BIN}/hadolint images/cpu/core/Dockerfile",
        f"shellcheck | {BIN}/shellcheck ci/run kiln lib.sh",
        f"yamllint | {BIN}/yamllint --strict {workflow} .yamllint.yaml compose.yaml",
        f"zizmor | {BIN}/zizmor --offline --quiet {workflow}",
        f"schema of compose.yaml | {check_schema} vendor.compose-spec compose.yaml",
        f"schema of workflows | {check_schema} vendor.github-workflows {workflow}",
        f"our schemas | {BIN}/check-jsonschema --check-metaschema src/a.schema.json",
    ]


def test_all_checks_run_and_all_faults_are_told(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(checkout, "bad.py", "import os\n")
    write(checkout, "bad.sh", "#!/bin/sh\necho $1\n")
    write(checkout, "images/Dockerfile", "FROM debian\n")
    write(checkout, "bad.yaml", "a:   1\n")
    for folder in ("src", "tests"):
        write(checkout, f"{folder}/fine.py", '"""Fine."""\n')
    write(checkout, "tasks.py", '"""Fine."""\n')
    with pytest.raises(KilnError) as caught:
        checks.run_lint(checkout)
    told = caught.value.message.partition(" checks found something: ")[2]
    assert {"ruff", "hadolint", "shellcheck", "yamllint"} <= set(told.split(", "))
    assert "codespell" not in told
    said = capsys.readouterr().out
    for fault in ("F401", "SC2086", "DL3006", "too many spaces after colon"):
        assert fault in said
    assert said.index("── ruff\n") < said.index("── hadolint\n") < said.index("── shellcheck\n")


def test_an_import_of_a_room_above_and_a_module_without_a_room_are_found(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    package = tmp_path / "src/comfykiln"
    (check,) = [
        check
        for check in checks.plan_lint(tmp_path, ["src/comfykiln/__init__.py"])
        if check.name == "imports"
    ]
    assert checks.run_check(check, tmp_path) == ""
    (package / "loose.py").touch()
    lazy = "\n\ndef run() -> None:\n    from comfykiln.cli import run\n"
    for name in ("system/console.py", "restore/trees.py"):
        with (package / name).open("a") as file:
            file.write(lazy)
    found = checks.run_check(check, tmp_path)
    assert "- comfykiln.loose" in found
    assert "- comfykiln.system.console -> comfykiln.cli.run" in found
    assert "comfykiln.restore.trees -> comfykiln.cli.run" in found
    assert "3 broken" in found


def test_clean_sources_say_so(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("src/fine.py", "tests/fine.py", "tasks.py"):
        write(checkout, name, '"""Fine."""\n')
    write(checkout, "src/__init__.py", '"""Fine."""\n')
    write(checkout, "tests/__init__.py", "")
    checks.run_lint(checkout)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("  all 5 checks are clean\n")


PASSING = "def test_it() -> None:\n    assert True\n"
FAILING = "def test_it() -> None:\n    assert 1 == 2\n"


def test_a_tier_shows_pytests_own_last_line(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(checkout, "tests/unit/test_a.py", PASSING)
    checks.run_tests("unit", root=checkout)
    assert " 1 passed in " in capsys.readouterr().out.splitlines()[-1]


def test_a_failed_tier_is_exit_code_1(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(checkout, "tests/unit/test_a.py", FAILING)
    with pytest.raises(KilnError) as caught:
        checks.run_tests("unit", root=checkout)
    assert str(caught.value) == (
        "tests/unit failed\n  → see above; repeat it by `./kiln test --tier unit`"
    )
    assert " 1 failed in " in capsys.readouterr().out.splitlines()[-1]


def test_test_files_without_a_test_are_a_failure(checkout: Path) -> None:
    write(checkout, "tests/unit/test_a.py", "")
    with pytest.raises(KilnError, match="tests/unit ran no test"):
        checks.run_tests("unit", root=checkout)


def test_a_tier_without_test_files_is_said(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checks.run_tests("unit", root=checkout)
    assert capsys.readouterr().err == "  tests/unit holds no tests\n"


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    monkeypatch.delenv("CI", raising=False)


@pytest.mark.usefixtures("no_engine")
def test_without_an_engine_its_tiers_are_left_out_and_said(
    checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "run_lint", lambda _: None)
    write(checkout, "tests/unit/test_a.py", PASSING)
    write(checkout, "tests/engine/test_a.py", FAILING)
    checks.run_tests(root=checkout)
    said = capsys.readouterr()
    assert "! tests/engine is not run: the Docker engine at unix:///nowhere/docker.sock" in said.err
    assert "! tests/real is not run: " in said.err
    assert " 1 passed in " in said.out.splitlines()[-1]


@pytest.mark.usefixtures("no_engine")
def test_without_an_engine_ci_fails(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "run_lint", lambda _: None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(NotPossibleError, match=r"/nowhere/docker\.sock does not answer"):
        checks.run_tests(root=checkout)


@pytest.mark.usefixtures("no_engine")
def test_without_an_engine_a_tier_asked_for_by_name_fails(checkout: Path) -> None:
    with pytest.raises(NotPossibleError, match=r"/nowhere/docker\.sock does not answer"):
        checks.run_tests("engine", root=checkout)
