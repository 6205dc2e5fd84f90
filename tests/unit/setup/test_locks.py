"""The committed locks: every package by exact version and hash, and no address anywhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def entries(name: str) -> dict[str, str]:
    """Return requirement line (with its marker) → its hashes, as one text."""
    text = (ROOT / f"locks/{name}.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    return dict(tuple(part.strip() for part in line.split(" --hash=", 1)) for line in lines)  # type: ignore[misc]  # always two parts


def versions(name: str) -> dict[str, set[Version]]:
    found: dict[str, set[Version]] = {}
    for line in entries(name):
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        found.setdefault(requirement.name, set()).add(Version(specifier.version))
    return found


@pytest.mark.parametrize("name", ["uv", "run", "dev", "comfy"])
def test_every_package_has_one_exact_version_and_hashes(name: str) -> None:
    found = entries(name)
    assert found
    for line, hashes in found.items():
        assert re.fullmatch(r"[A-Za-z0-9._-]+(\[[a-z0-9,]+\])?==[^\s;*]+( *;.+)?", line), line
        assert re.fullmatch(r"sha256:[0-9a-f]{64}( +--hash=sha256:[0-9a-f]{64})*", hashes), line


@pytest.mark.parametrize("name", ["uv", "run", "dev", "comfy"])
def test_no_lock_names_an_address(name: str) -> None:
    text = (ROOT / f"locks/{name}.txt").read_text()
    assert re.findall(r"[a-z]+://\S+|--(?:extra-)?index-url|--find-links|@ file", text) == []


def test_adding_the_tools_changes_no_version_that_tasks_run_with() -> None:
    def pins(name: str) -> set[tuple[str, str]]:
        # The tools may need a package on more versions of Python than tasks do.
        return {(line.partition(";")[0].strip(), held) for line, held in entries(name).items()}

    assert pins("run") - pins("dev") == set()
    assert pins("uv") - pins("run") == set()


def test_the_locks_satisfy_what_the_project_asks_for() -> None:
    groups = PROJECT["dependency-groups"]
    wanted = {
        "run": PROJECT["project"]["dependencies"],
        "dev": [*PROJECT["project"]["dependencies"], *groups["test"], *groups["lint"]],
        "comfy": groups["comfy"],
    }
    for name, requirements in wanted.items():
        locked = versions(name)
        for line in requirements:
            requirement = Requirement(line)
            held = locked[requirement.name.lower()]
            assert all(version in requirement.specifier for version in held), line
