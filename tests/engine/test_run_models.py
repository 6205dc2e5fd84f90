"""`run` shows stored models inside a container, read-only and without a copy."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.support.modelfiles import locked, safetensors, sha256

from comfykiln.bake.line import BuildOptions, build
from comfykiln.cli import run
from comfykiln.models.fetch import fetch
from comfykiln.models.placing import mounts
from comfykiln.plan.project import Project
from comfykiln.system.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.images import Line

pytestmark = pytest.mark.engine

LOOK = """
import hashlib, json, os, sys
path = "/app/models/vae/a model, 1.safetensors"
try:
    open(path, "ab")
    refusal = 0
except OSError as error:
    refusal = error.errno
print(json.dumps([hashlib.sha256(open(path, "rb").read()).hexdigest(), refusal, os.getuid()]))
"""


def test_a_stored_model_is_there_read_only_and_copied_nowhere(line: Line, tmp_path: Path) -> None:
    project = Project(root=line.root)
    plan = project.plan("cpu", "kilntest")
    built = build(project, plan, BuildOptions(git_mirror=line.mirror, export=False))
    data = safetensors(100_000)
    (tmp_path / "m").write_bytes(data)
    model = locked(data, f"file:{tmp_path}/m", destination="vae/a model, 1.safetensors")
    path = Store.of_user().path(sha256(data))
    try:
        assert fetch([model]).failed == ()
        arguments, missing = mounts([model])
        assert missing == []
        argv = run.command(plan.target, built.ref, port=8188, models=None, mounts=arguments)
        argv = [word for word in argv if not word.startswith("--volume=")]  # they would stay
        argv[-1:] = ["--entrypoint=/app/.venv/bin/python", built.ref, "-c", LOOK]
        said = subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout
    finally:
        path.unlink(missing_ok=True)
    assert json.loads(said) == [sha256(data), 13, 1000]
