from __future__ import annotations

import pytest

from comfykiln.bake.progress import BuildProgress

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


STEP = "#5 [packages 2/2] RUN --mount=type=cache python3 -m comfykiln.restore packages"
# What is printed of each line, and how many steps it counts: (cached, run).
LINES: dict[str, tuple[list[str], list[str], tuple[int, int]]] = {
    "a step that runs": ([STEP, "#5 DONE 1.5s"], ["  packages 2/2 RUN: 1.5s"], (0, 1)),
    "a step from the cache": ([STEP, "#5 CACHED"], [], (1, 0)),
    "a copy names where it is from": (
        ["#6 [final 3/9] COPY --link --from=nodes /app /app", "#6 DONE 0.1s"],
        ["  final 3/9 COPY --from=nodes: 0.1s"],
        (0, 1),
    ),
    "a step of one target among several": (
        ["#7 [core-cpu base 1/3] FROM docker-image://base", "#7 DONE 0.0s"],
        ["  base 1/3 FROM: 0.0s"],
        (0, 1),
    ),
    "a step that gets its name later": (
        ["#8 resolve image config for docker-image://base", f"#8{STEP[2:]}", "#8 CACHED"],
        [],
        (1, 0),
    ),
    "what tells a person nothing": (
        ["#1 [internal] load .dockerignore", "#1 CACHED", "#2 [auth] token", "#2 DONE 0.1s"],
        [],
        (0, 0),
    ),
    "an export says that it starts, as it may take minutes": (
        ["#30 exporting to image", "#30 exporting layers", "#30 exporting layers 9.8s done"],
        ["  exporting to image: started"],
        (0, 0),
    ),
    "what is no step": (["", "WARNING: no step", "#x 1"], [], (0, 0)),
    "a program's own words": ([STEP, "#5 0.2 Resolved 22 packages", "#5 0.3 1.5 MB"], [], (0, 0)),
    "ours among them": (
        [STEP, "#5 0.2 kiln: 3 nodes", "#5 10.25 + uv sync"],
        ["  packages 2/2 RUN: kiln: 3 nodes", "  packages 2/2 RUN: + uv sync"],
        (0, 0),
    ),
}


@pytest.mark.parametrize(("lines", "printed", "counted"), LINES.values(), ids=list(LINES))
def test_what_is_printed_of_each_line(
    lines: list[str],
    printed: list[str],
    counted: tuple[int, int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = BuildProgress()
    for line in lines:
        progress(line)
    assert capsys.readouterr().err.splitlines() == printed
    assert (progress.cached, progress.run) == counted
    assert (progress.failed_name(), progress.failure()) == ("", [])


def test_everything_is_printed_where_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    progress = BuildProgress(verbose=True)
    for line in (STEP, "#5 0.2 Resolved 22 packages", "#5 DONE 1.5s"):
        progress(line)
    assert capsys.readouterr().err.splitlines() == [
        "  packages 2/2 RUN: Resolved 22 packages",
        "  packages 2/2 RUN: 1.5s",
    ]


def test_of_a_long_step_its_last_lines_are_kept_and_no_other_step_s() -> None:
    progress = BuildProgress()
    progress(STEP)
    progress("#6 [torch 1/1] RUN python3")
    for number in range(100):
        progress(f"#5 0.1 line {number}")
        progress(f"#6 0.1 other {number}")
    progress("#5 ERROR: exit code: 1")
    kept = [f"line {number}" for number in range(41, 100)]
    assert progress.failed_name() == "packages 2/2 RUN"
    assert progress.failure() == [*kept, "ERROR: exit code: 1"]
