# Generated from src/comfykiln/transfer: change it there, then run `invoke render`.
"""Read `profiles.json`: private to its owner, whole, every fault at once."""

from __future__ import annotations

import json
import os
import shlex
import stat
from typing import TYPE_CHECKING, Any

from .errors import ProfileError

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = (
    "provider",
    "access_key",
    "secret_key",
    "session_token",
    "bucket",
    "region",
    "endpoint_url",
    "account_id",
    "path_prefix",
    "addressing_style",
    "credentials",
    "aws_profile",
)
LIMIT = 1 << 20


def read_profiles(path: Path) -> dict[str, dict[str, str]]:
    """Return the profiles of the file by name; none where there is no file.

    Raises `ProfileError` where others can read the file, or for every fault in it with its place.
    No value of the file ever appears in an error.
    """
    text = _read_private(path)
    if text is None:
        return {}
    twice: list[str] = []
    try:
        document = json.loads(text, object_pairs_hook=lambda pairs: _once(pairs, twice))
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise ProfileError(
            f"{path} is no valid JSON{where}.", remedy="correct the file; the README has an example"
        ) from None
    profiles: dict[str, dict[str, str]] = {}
    faults = [f"$: {name!r} stands there twice" for name in twice] + _read(document, profiles)
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise ProfileError(f"{path} has faults:\n{lines}", remedy="correct them all")
    return profiles


def _read_private(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            _refuse_shared(path, os.fstat(file.fileno()))
            data = file.read(LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProfileError(
            f"{path} cannot be read: {error.strerror}.",
            remedy="give the user that runs ComfyUI the right to read it",
        ) from None
    if len(data) > LIMIT:
        raise ProfileError(f"{path} is larger than 1 MiB.", remedy="it holds profiles alone")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ProfileError(f"{path} is not UTF-8.", remedy="save it as UTF-8") from None


def _refuse_shared(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ProfileError(f"{path} is no regular file.", remedy="put a file there")
    if os.name == "posix" and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ProfileError(
            f"{path} holds keys and is open to others (mode {stat.S_IMODE(status.st_mode):o}).",
            remedy=f"run: chmod 600 {shlex.quote(str(path))}",
        )


def _once(pairs: list[tuple[str, Any]], twice: list[str]) -> dict[str, Any]:
    """Return an object of the file; note every name that a later one of the same would replace."""
    names = [name for name, _ in pairs]
    twice += sorted({name for name in names if names.count(name) > 1})
    return dict(pairs)


def _read(document: Any, profiles: dict[str, dict[str, str]]) -> list[str]:
    """Fill `profiles` from the parsed file and return the faults, each with its place."""
    if not isinstance(document, dict) or not isinstance(document.get("profiles"), dict):
        return ['$: expected an object with "profiles", which maps names to profiles']
    faults = [f"$: unknown field {name!r}" for name in document if name != "profiles"]
    for name, entry in document["profiles"].items():
        place = f"$.profiles[{name!r}]"
        if not name.strip() or name.startswith("("):
            faults.append(f"{place}: a name is not empty and does not begin with a parenthesis")
        if not isinstance(entry, dict):
            faults.append(f"{place}: expected an object")
            continue
        faults += [f"{place}: unknown field {key!r}" for key in entry if key not in FIELDS]
        faults += [
            f"{place}.{key}: expected text"
            for key, value in entry.items()
            if key in FIELDS and value is not None and not isinstance(value, str)
        ]
        profiles[name] = {
            k: v.strip() for k, v in entry.items() if isinstance(v, str) and v.strip()
        }
    return faults
