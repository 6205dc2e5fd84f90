"""The names of an environment export's files."""

from __future__ import annotations

KIND = "export"
PROJECT = "pyproject.toml"
LOCK = "uv.lock"
PYTHON = ".python-version"
PACKAGES = "package_config.toml"
RECORD = "environment.json"
MANIFEST = "manifest.json"
RECEIPT = "receipt.json"
WORKFLOWS = "workflows/"
DEV_NODES = "dev_nodes/"
