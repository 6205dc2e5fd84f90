"""`pip install .` gives the command `kiln`, built for real by uv and the index's hatchling."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import uv

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]


def test_the_installed_command_is_kiln(tmp_path: Path) -> None:
    program = uv.find_uv_bin()
    folder = str(tmp_path / "environment")
    subprocess.run([program, "venv", "--quiet", folder], check=True)
    install = [program, "pip", "install", "--quiet", "--no-deps", "--python", folder, str(ROOT)]
    subprocess.run(install, check=True)

    def run(cwd: Path) -> tuple[int, str, str]:
        words = [f"{folder}/bin/kiln", "plan", "--target", "nonsense"]
        done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    asked = "error: there is no target 'nonsense'\n  → use one of: cpu, cuda, rocm, xpu\n"
    assert run(ROOT / "docs") == (2, "", asked)
    code, _, said = run(tmp_path)
    elsewhere = f"error: {tmp_path} is in no checkout of comfykiln, and images are built from one"
    assert (code, said.splitlines()[0]) == (2, elsewhere)
