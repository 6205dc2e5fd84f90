from __future__ import annotations

import socket
from pathlib import Path

import pytest

from comfykiln.cli import run
from comfykiln.errors import DocumentError, NotPossibleError
from comfykiln.plan.targets import load_targets

REF = "comfykiln/core:cuda-v0.30.0-0123456789ab"


def test_a_models_folder_may_have_any_name(repository: Path) -> None:
    target = load_targets(repository / "images" / "targets.yaml").get("cpu")
    argv = run.command(target, REF, port=8188, models=Path('/my, own "models"'))
    assert '--mount=type=bind,"source=/my, own ""models""",target=/app/models' in argv


def test_run_gives_the_container_what_its_target_needs_and_no_more(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLI_ARGS", raising=False)
    target = load_targets(repository / "images" / "targets.yaml").get("cuda")
    assert run.command(target, REF, port=8190, models=repository) == [
        "docker",
        "run",
        "--rm",
        "--init=false",
        "--read-only",
        "--tmpfs=/tmp",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--publish=127.0.0.1:8190:8190",
        "--env=COMFY_PORT=8190",
        "--volume=comfykiln-core-cuda-v0.30.0-0123456789ab-user:/app/user",
        "--volume=comfykiln-core-cuda-v0.30.0-0123456789ab-input:/app/input",
        "--volume=comfykiln-core-cuda-v0.30.0-0123456789ab-output:/app/output",
        "--volume=comfykiln-core-cuda-v0.30.0-0123456789ab-temp:/app/temp",
        f"--mount=type=bind,source={repository},target=/app/models",
        "--gpus=all",
        REF,
    ]


def test_cli_args_of_the_caller_reach_the_container(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLI_ARGS", "--preview-method auto")
    target = load_targets(repository / "images" / "targets.yaml").get("cpu")
    assert "--env=CLI_ARGS" in run.command(target, REF, port=8188, models=None)


def test_a_taken_port_is_said_before_the_container_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(NotPossibleError, match=f"port {port} of 127.0.0.1 is taken"):
            run.require_port(port)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none_is_wrong_usage(port: int) -> None:
    with pytest.raises(DocumentError, match=f"--port is {port}"):
        run.require_port(port)


def test_missing_devices_are_named(repository: Path) -> None:
    path = repository / "images" / "targets.yaml"
    text = path.read_text("utf-8").replace(
        "[/dev/kfd, /dev/dri/renderD*]", "[/dev/kiln-*, /dev/null]"
    )
    path.write_text(text, "utf-8")
    with pytest.raises(NotPossibleError, match=r"this machine has no /dev/kiln-\*, which rocm"):
        run.require_devices(load_targets(path).get("rocm"))


def test_the_groups_of_the_device_files_are_joined(repository: Path) -> None:
    path = repository / "images" / "targets.yaml"
    text = path.read_text("utf-8").replace("[/dev/kfd, /dev/dri/renderD*]", "[/dev/nul*]")
    path.write_text(text, "utf-8")
    target = load_targets(path).get("rocm")
    run.require_devices(target)
    group = Path("/dev/null").stat().st_gid
    assert run.command(target, REF, port=8188, models=None)[-5:] == [
        "--device=/dev/kfd",
        "--device=/dev/dri",
        "--ipc=host",
        f"--group-add={group}",
        REF,
    ]
