"""compose.yaml says the same as `./kiln run` and images/targets.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from comfykiln.cli import run
from comfykiln.plan.targets import load_targets

ROOT = Path(__file__).parents[3]
TARGETS = load_targets(ROOT / "images" / "targets.yaml").by_name
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
COMMON = {
    "pull_policy": "never",
    "user": "${COMFYKILN_UID:-1000}:${COMFYKILN_GID:-1000}",
    "environment": {"COMFY_PORT": "${COMFY_PORT:-8188}", "CLI_ARGS": "${CLI_ARGS:-}"},
    "ports": ["127.0.0.1:${COMFY_PORT:-8188}:${COMFY_PORT:-8188}"],
    "read_only": True,
    "tmpfs": ["/tmp"],  # noqa: S108  # inside a container
    "volumes": [
        "user:/app/user",
        "input:/app/input",
        "output:/app/output",
        "temp:/app/temp",
        "${COMFYKILN_MODELS:-no-models}:/${COMFYKILN_MODELS:+app/}models",
    ],
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "restart": "unless-stopped",
}
OWN = {"profiles", "image", "devices", "group_add", "ipc", "deploy", "runtime", "shm_size"}


def test_every_target_has_its_profile() -> None:
    assert list(COMPOSE["services"]) == list(TARGETS)
    for name, service in COMPOSE["services"].items():
        assert service["profiles"] == [name]
        assert service["image"] == (
            f"comfykiln/${{COMFYKILN_IMAGE:-core}}:{name}${{COMFYKILN_TAG:+-${{COMFYKILN_TAG:-}}}}"
        )


@pytest.mark.parametrize("name", TARGETS)
def test_all_share_the_contract(name: str) -> None:
    service = COMPOSE["services"][name]
    assert {key: value for key, value in service.items() if key not in OWN} == COMMON


@pytest.mark.parametrize("name", TARGETS)
def test_devices_are_those_of_the_target(name: str) -> None:
    service, given = COMPOSE["services"][name], TARGETS[name].accelerator
    flags = [f"--device={device}" for device in service.get("devices", [])]
    if "deploy" in service:
        (gpus,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert (gpus["driver"], gpus["capabilities"]) == ("nvidia", ["gpu"])
        flags.append(f"--gpus={gpus['count']}")
    named = {"runtime": "runtime", "ipc": "ipc", "shm_size": "shm-size"}
    flags += [f"--{flag}={service[key]}" for key, flag in named.items() if key in service]
    assert flags == list(given.flags)
    numbers = [f"${{{name}:-{number}}}" for name, number in given.group_variables.items()]
    assert service.get("group_add", []) == numbers


@pytest.mark.parametrize("name", TARGETS)
def test_the_run_task_says_the_same(name: str) -> None:
    argv = run.command(TARGETS[name], "comfykiln/core:x", port=8188, models=None)
    assert {"--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"} < set(argv)
    assert {"--security-opt=no-new-privileges", "--publish=127.0.0.1:8188:8188"} < set(argv)
    mounted = [word.rpartition(":")[2] for word in argv if word.startswith("--volume=")]
    assert mounted == [volume.rpartition(":")[2] for volume in COMMON["volumes"][:-1]]  # type: ignore[index]  # it is a list


def test_every_named_volume_is_declared() -> None:
    assert list(COMPOSE["volumes"]) == ["user", "input", "output", "temp", "no-models"]
