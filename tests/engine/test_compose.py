"""What Docker Compose itself makes of compose.yaml, profile by profile."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from comfykiln.plan.targets import load_targets
from comfykiln.system.process import capture

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]


def _config(profile: str, **variables: str) -> dict[str, Any]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("COMF")}
    argv = ["docker", "compose", "--project-directory", str(ROOT), "--profile", profile, "config"]
    services: dict[str, dict[str, Any]] = json.loads(
        capture([*argv, "--format", "json"], cwd=ROOT, env={**env, **variables})
    )["services"]
    assert list(services) == [profile]
    return services[profile]


@pytest.mark.parametrize("profile", load_targets(ROOT / "images" / "targets.yaml").by_name)
def test_a_profile_with_nothing_set(profile: str) -> None:
    service = _config(profile)
    assert service["image"] == f"comfykiln/core:{profile}"
    assert service["user"] == "1000:1000"
    assert service["environment"] == {"COMFY_PORT": "8188", "CLI_ARGS": ""}
    assert _ports(service) == [("127.0.0.1", 8188, "8188")]
    assert _mounts(service) == [
        ("volume", "user", "/app/user"),
        ("volume", "input", "/app/input"),
        ("volume", "output", "/app/output"),
        ("volume", "temp", "/app/temp"),
        ("volume", "no-models", "/models"),
    ]


def test_a_profile_with_everything_set(tmp_path: Path) -> None:
    service = _config(
        "rocm",
        COMFYKILN_IMAGE="complete",
        COMFYKILN_TAG="v0.30.0-0123456789ab",
        COMFYKILN_MODELS=str(tmp_path),
        COMFYKILN_UID="1234",
        COMFYKILN_GID="5",
        COMFY_PORT="9001",
        CLI_ARGS="--preview-method 'latent2rgb'",
        RENDER_GID="105",
    )
    assert service["image"] == "comfykiln/complete:rocm-v0.30.0-0123456789ab"
    assert service["user"] == "1234:5"
    assert service["environment"] == {
        "COMFY_PORT": "9001",
        "CLI_ARGS": "--preview-method 'latent2rgb'",
    }
    assert _ports(service) == [("127.0.0.1", 9001, "9001")]
    assert _mounts(service)[-1] == ("bind", str(tmp_path), "/app/models")
    assert service["group_add"] == ["44", "105"]
    assert service["ipc"] == "host"


def _ports(service: dict[str, Any]) -> list[tuple[str, int, str]]:
    return [(port["host_ip"], port["target"], port["published"]) for port in service["ports"]]


def _mounts(service: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(mount["type"], mount["source"], mount["target"]) for mount in service["volumes"]]
