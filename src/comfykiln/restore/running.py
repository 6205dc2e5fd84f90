"""Run programs inside a build step, with the host's network settings from mounted secrets."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SECRETS = Path("/run/secrets")


class StepError(Exception):
    """A build step failed; the message names what and why."""


def network_environment(secrets: Path = SECRETS) -> dict[str, str]:
    """Return the variables that let programs reach the outside: indexes, proxies, the CA bundle.

    They come from the secrets `network.json` and `ca.crt`, which no layer holds.
    """
    settings = secrets / "network.json"
    variables: dict[str, str] = {}
    if settings.is_file():
        variables |= json.loads(settings.read_text("utf-8"))
    bundle = secrets / "ca.crt"
    if bundle.is_file() and bundle.stat().st_size:
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
        variables |= dict.fromkeys(names, str(bundle))
    return variables


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: Path = Path(os.devnull),
) -> None:
    """Run `argv` with its output going to the build log; a status other than 0 is a `StepError`."""
    print("+ " + " ".join(argv), flush=True)
    with stdin.open("rb") as given:
        done = subprocess.run(list(argv), env=_joined(env), cwd=cwd, stdin=given, check=False)
    status = done.returncode
    if status != 0:
        raise StepError(f"`{' '.join(argv)}` ended with status {status}; its output is above")


def content(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> bytes:
    """Run `argv` and return the bytes it prints; a status other than 0 is a `StepError`."""
    done = subprocess.run(
        list(argv), env=_joined(env), check=False, stdin=subprocess.DEVNULL, capture_output=True
    )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise StepError(f"`{' '.join(argv)}` ended with status {done.returncode}: {said}")
    return done.stdout


def output(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> tuple[int, str]:
    """Run `argv` and return its status and joined output, for a caller that judges both itself."""
    print("+ " + " ".join(argv), flush=True)
    done = subprocess.run(
        list(argv),
        env=_joined(env),
        cwd=cwd,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return done.returncode, done.stdout


def _joined(extra: Mapping[str, str] | None) -> dict[str, str]:
    return dict(os.environ) | dict(extra or {})
