"""Hand the host's way to the outside to the build steps: as secrets, which no layer keeps."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.network.indexes import host_indexes, step_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfykiln.network.indexes import IndexSettings

# uv's own three tries again are over after 12 to 45 seconds. The index answered when the build was
# planned, so a network that fails in the middle of one is waited for, for one to two minutes.
PATIENCE = {"UV_HTTP_RETRIES": "6"}


@contextmanager
def step_secrets(settings: IndexSettings, apt_sources: str) -> Iterator[dict[str, Path]]:
    """Yield secret id → file for one build; only this user can read them, and only meanwhile."""
    with tempfile.TemporaryDirectory(prefix="kiln-secrets-") as folder:
        contents = {
            "network.json": json.dumps(PATIENCE | step_environment(settings)).encode(),
            "ca.crt": settings.ca_bundle.read_bytes() if settings.ca_bundle else b"",
            "apt.conf": _apt_conf(settings).encode(),
            "apt.list": apt_sources.encode(),
        }
        secrets = {}
        for name, data in contents.items():
            path = Path(folder) / name
            path.write_bytes(data)
            path.chmod(0o600)
            secrets[name] = path
        yield secrets


def settings_of_host(ca_bundle: Path | None) -> IndexSettings:
    """Return the host's index, proxy and CA settings; `ca_bundle` overrides the CA."""
    return host_indexes(os.environ, Path.home(), ca_bundle=ca_bundle)


def _apt_conf(settings: IndexSettings) -> str:
    lines = [
        f'Acquire::{scheme}::Proxy "{proxy}";'
        for scheme in ("http", "https")
        if (proxy := settings.proxies.get(f"{scheme}_proxy"))
    ]
    return "".join(f"{line}\n" for line in lines)
