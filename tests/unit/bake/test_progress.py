from __future__ import annotations

from typing import TYPE_CHECKING

from comfykiln.bake.progress import BuildProgress

if TYPE_CHECKING:
    import pytest

# Lines as `docker buildx bake --progress=plain` of buildx 0.13.1 printed them.
LOG = """\
#0 building with "default" instance using docker driver
#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 4.25kB done
#1 DONE 0.0s
#10 [base 1/3] FROM docker-image://comfykiln-base:trixie
#10 CACHED
#13 [torch 1/1] RUN --mount=type=secret,id=network.json python3 -m comfykiln.restore torch
#13 0.210 + uv venv --quiet /app/.venv
#13 0.912 Resolved 22 packages in 3ms
#13 DONE 26.0s
#14 [nodes 1/1] RUN --network=none python3 -m comfykiln.restore nodes /nodes/restore.json
#14 2.246 kiln: the restored nodes are not what the snapshot says:
#14 2.246   websocket: at 1, pinned to 2
#14 ERROR: process "/bin/sh -eu -c python3" did not complete successfully: exit code: 1
"""


def test_progress_becomes_steps_and_a_failure_keeps_its_last_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = BuildProgress()
    for line in LOG.splitlines():
        progress(line)
    assert capsys.readouterr().err.splitlines() == [
        "  torch 1/1 RUN: + uv venv --quiet /app/.venv",
        "  torch 1/1 RUN: 26.0s",
        "  nodes 1/1 RUN: kiln: the restored nodes are not what the snapshot says:",
    ]
    assert (progress.cached, progress.run) == (1, 1)
    assert progress.failed_name() == "nodes 1/1 RUN"
    assert progress.failure() == [
        "kiln: the restored nodes are not what the snapshot says:",
        "  websocket: at 1, pinned to 2",
        'ERROR: process "/bin/sh -eu -c python3" did not complete successfully: exit code: 1',
    ]
