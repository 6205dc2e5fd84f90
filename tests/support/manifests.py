"""Migration manifests for tests: one that uses every field, and variants of it."""

from __future__ import annotations

import json
from typing import Any

INDEX = "https://download.pytorch.org/whl/cu121"


def whole() -> dict[str, Any]:
    """A manifest that uses every field of version 1.0."""
    return {
        "schema_version": "1.0",
        "metadata": {
            "generated_at": "2026-01-15T10:30:00Z",
            "generator_version": "1.0.0",
            "source_path": "/srv/ComfyUI",
            "capture_duration_ms": 12.5,
        },
        "system_info": {
            "python_version": "3.11.7",
            "cuda_version": "12.1",
            "torch_version": "2.1.0+cu121",
            "comfyui_version": "v0.3.47",
            "platform": "linux",
            "architecture": "amd64",
        },
        "custom_nodes": [
            {
                "name": "by-git",
                "install_method": "git",
                "url": "https://github.com/example-nodes/by-git.git",
                "ref": "0A1b2c3d4e5f60718293a4b5c6d7e8f901234567",
                "has_post_install": True,
                "has_requirements": False,
                "fallback_url": "https://codeberg.org/example-nodes/by-git.git",
                "install_order": 1.0,
            },
            {
                "name": "by-archive",
                "install_method": "archive",
                "url": "https://github.com/example-nodes/by-archive/archive/2f377ef.tar.gz",
            },
            {"name": "by-copy", "install_method": "local", "url": "/srv/nodes/by-copy"},
            {"name": "by-id", "install_method": "managed", "url": "by-id@1.0.5"},
            {
                "name": "by-address",
                "install_method": "managed",
                "url": "https://github.com/example-nodes/by-address",
            },
        ],
        "dependencies": {
            "packages": {"numpy": "1.24.3", "opencv-python[extra,more]": "4.8.0.74"},
            "pytorch": {
                "index_url": INDEX,
                "packages": {"torch": "2.1.0", "torchvision": "0.16.0", "torchaudio": "2.1.0"},
            },
            "git_packages": [
                {
                    "url": "https://github.com/example/private.git",
                    "ref": "dev",
                    "subdirectory": "python/core",
                    "egg_name": "my_nodes",
                }
            ],
            "editable": [{"path": "../sampler", "egg_name": "sampler"}],
            "local_packages": [{"path": "wheels/six-1.16.0-py3-none-any.whl", "hash": "AB" * 32}],
            "index_urls": ["https://packages.example.org/simple"],
        },
        "platform_overrides": {
            "win32": {"packages": {"windows-curses": "2.3.1"}},
            "linux-aarch64": {
                "exclude_packages": ["nvidia-cudnn-cu11"],
                "environment": {"OMP_NUM_THREADS": "4", "LANG": ""},
            },
        },
    }


def encoded(value: Any) -> bytes:
    """Return `value` as JSON."""
    return json.dumps(value).encode()


def changed(path: str, value: Any) -> dict[str, Any]:
    """The whole manifest with the member at `path` (`a.b.0.c`) set to `value`; ... removes it."""
    document = whole()
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    place: Any = document
    for part in parents:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document
