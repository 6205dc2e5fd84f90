"""`manifest.commands` on the specification's examples: the real uv, the real package index.

Nothing is installed: `--dry-run` resolves for the Python and the platform that the examples name.
The torch steps of 7.2 and 7.3 need download.pytorch.org; what the other steps do with those pins is
seen here all the same, since the constraints carry them.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from comfykiln.cli import manifest
from comfykiln.network.indexes import uv_program

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.real

DATA = Path(__file__).parents[1] / "unit" / "documents" / "data"
WHERE = ("--python-version", "3.11.7", "--python-platform", "x86_64-manylinux_2_28")


def resolved(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the pins of the example's packages, and what uv would install for them."""
    manifest.manifest_commands(
        str(DATA / f"manifest-{name}.json"), as_json=True, platform="linux-x86_64"
    )
    said = json.loads(capsys.readouterr().out)
    (argv,) = [entry["argv"] for entry in said["commands"] if entry["stage"] == "packages"]
    assert argv[:3] == ["uv", "pip", "install"]
    for file, text in said["files"].items():
        (folder / file).write_text(text, "utf-8")
    command = [uv_program(), *argv[1:], "--dry-run", "--target", "there", *WHERE]
    done = run(command, folder, said["environment"])
    found = dict(re.findall(r"^ \+ (\S+)==(\S+)$", done, re.MULTILINE))
    return dict(word.split("==") for word in argv[3:]), found


def run(argv: list[str], folder: Path, variables: Mapping[str, str]) -> str:
    import os  # one use

    done = subprocess.run(
        argv, cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("name", "torch"), [("cpu", "2.1.0"), ("gpu", ""), ("development", "2.1.0")]
)
def test_the_packages_of_the_examples_are_what_they_pin(
    name: str, torch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pins, found = resolved(name, tmp_path, capsys)
    assert {package: found.get(package) for package in pins} == pins
    assert found.get("torch", "") == torch


def test_the_cpu_example_would_pull_cuda_as_the_advice_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = resolved("cpu", tmp_path, capsys)
    assert len([name for name in found if name.startswith("nvidia-")]) == 12
