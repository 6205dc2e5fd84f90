"""Hand the host's way to the outside to the build steps: as secrets, which no layer keeps."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.network.client import LOOPBACK, scheme_proxy
from comfykiln.network.indexes import (
    PROXY_VARIABLES,
    IndexSettings,
    host_indexes,
    step_environment,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMES = ("http", "https")
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")
# All that `environment_of` may set.
HANDED_OVER = (*CA_VARIABLES, *PROXY_VARIABLES, *(name.upper() for name in PROXY_VARIABLES))
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


def environment_of(
    settings: IndexSettings, environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return `environ` (this process's) with the CA and the proxies of `settings` in it.

    In the variables that programs and libraries read which know no other way: boto3, transfer/.
    This very machine is reached without a proxy, as `comfykiln.network.client` does.
    """
    values = dict(os.environ if environ is None else environ)
    bundle = settings.storage_ca_bundle or settings.ca_bundle
    for name in CA_VARIABLES if bundle else ():
        values[name] = str(bundle)
    chosen = {f"{name}_proxy": scheme_proxy(name, settings.proxies) for name in SCHEMES}
    found = {name: url for name, url in chosen.items() if url}
    if found:
        own = [settings.proxies.get("no_proxy", ""), *LOOPBACK]
        found["no_proxy"] = ",".join(filter(None, own))
    return values | found | {name.upper(): url for name, url in found.items()}


def settings_in(environ: Mapping[str, str]) -> IndexSettings:
    """Return the CA and the proxies that `environment_of` wrote into an environment."""
    bundle = environ.get("AWS_CA_BUNDLE") or environ.get("SSL_CERT_FILE")
    found = {name: environ.get(name) or environ.get(name.upper()) for name in PROXY_VARIABLES}
    proxies = {name: value for name, value in found.items() if value}
    return IndexSettings(ca_bundle=Path(bundle) if bundle else None, proxies=proxies)


def _apt_conf(settings: IndexSettings) -> str:
    lines = [
        f'Acquire::{scheme}::Proxy "{proxy}";'
        for scheme in SCHEMES
        if (proxy := scheme_proxy(scheme, settings.proxies))
    ]
    return "".join(f"{line}\n" for line in lines)
