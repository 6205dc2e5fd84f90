"""What the docker client says of its engine and of itself: one question, asked in one place."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import TYPE_CHECKING, Any

from comfykiln.errors import NotPossibleError
from comfykiln.system import process

if TYPE_CHECKING:
    from collections.abc import Mapping

# What the client says of a socket that it may not open; a login that ssh refuses is another thing.
FORBIDDEN = re.compile(r"permission denied while trying to connect|connect: permission denied")
DOTTED = re.compile(r"\d+(?:\.\d+)+")
Version = tuple[int, ...]
# The oldest engine and buildx that the templates were tried on (reference: Debian 13's packages).
OLDEST_ENGINE = (26, 1)
OLDEST_BUILDX = (0, 13)
# What `docker info` says where it says it; each of these is relied on.
SHAPES = {
    "ServerVersion": str,
    "ClientInfo": dict,
    "DriverStatus": list,
    "Runtimes": dict,
    "MemTotal": int,
    "NCPU": int,
    "SecurityOptions": list,
    "ServerErrors": list,
}
OWN_ADDRESS = "unix:///var/run/docker.sock"
PATIENCE = 30  # seconds for an engine that is there to answer


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineInfo:
    """An engine that answers (`facts` as `docker info` gives them), or the client's `complaint`."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    complaint: str = ""
    remedy: str = ""  # against the complaint, where it is a known one
    client: bool = True  # whether there is a docker command at all
    plugins: Mapping[str, Version] = field(default_factory=dict)

    @property
    def answers(self) -> bool:
        """Tell whether an engine answered."""
        return bool(self.facts)

    @property
    def version(self) -> str:
        """Return the engine's version as it says it, or nothing."""
        return str(self.facts.get("ServerVersion", ""))

    @property
    def forbidden(self) -> bool:
        """Tell whether an engine is there that this user may not use."""
        return FORBIDDEN.search(self.complaint.lower()) is not None

    @property
    def buildx(self) -> Version:
        """Return the version of buildx, or nothing where the client has none."""
        return self.plugins.get("buildx", ())


def ask() -> EngineInfo:
    """Ask the docker client for the engine that it is set to use, and for its own plugins.

    Raises `NotPossibleError` for an engine that is there and hangs.
    """
    try:
        return read(process.capture(["docker", "info", "--format", "{{json .}}"], timeout=PATIENCE))
    except process.ProgramError as error:
        return read(error.output)
    except process.BrokenProgramError as error:
        return EngineInfo(complaint=error.message, remedy=error.remedy)
    except NotPossibleError:
        return EngineInfo(complaint="the docker client is not installed", client=False)
    except process.SilentProgramError as error:
        raise NotPossibleError(
            f"a Docker engine is there, but gave no answer within {PATIENCE} s",
            remedy="look at its log, and restart it (`systemctl restart docker`)",
        ) from error


def chosen(environ: Mapping[str, str]) -> str:
    """Return the address or the context that a person chose, or nothing for this machine's own."""
    return _chosen_host(environ) or _chosen_context(environ)


def _chosen_host(environ: Mapping[str, str]) -> str:
    """Return the address in DOCKER_HOST, or nothing when it is this machine's own engine."""
    host = environ.get("DOCKER_HOST", "")
    return "" if host == OWN_ADDRESS else host


def _chosen_context(environ: Mapping[str, str]) -> str:
    """Return the docker context that somebody chose, or nothing for the default one."""
    if shutil.which("docker") is None:
        return ""
    # `docker context show` is younger than Debian 12's client.
    argv = ["docker", "context", "inspect", "--format", "{{.Name}}"]
    try:
        context = environ.get("DOCKER_CONTEXT") or process.capture(argv).strip()
    except process.ProgramError as error:
        raise NotPossibleError(
            f"the docker command does not tell which engine it is set to use:\n    {error.message}",
            remedy="run `docker context use default`, and start the task again",
        ) from error
    return "" if context == "default" else f"context {context}"


def told() -> EngineInfo:
    """Ask as `ask` does; what is wrong is the complaint, with the remedy where one is known."""
    try:
        info = ask()
    except NotPossibleError as error:
        return EngineInfo(complaint=error.message, remedy=error.remedy)
    if not info.forbidden:
        return info
    fault = not_allowed(info)
    return replace(info, complaint=fault.message, remedy=fault.remedy)


def require(remedy: str) -> EngineInfo:
    """Ask, and raise `NotPossibleError` unless an engine answers that this user may use.

    `remedy` says what to do where none answers, and the client is the one that is expected.
    """
    info = ask()
    if info.forbidden:
        raise not_allowed(info)
    if not info.answers:
        said = " ".join(info.complaint.split())
        raise NotPossibleError(f"no container engine answers: {said}", remedy=info.remedy or remedy)
    return info


def read(text: str) -> EngineInfo:
    """Read what `docker info` printed on both streams: its JSON, then what it complains of.

    Without an engine the client still tells of itself and its plugins. Wrappers of the client may
    print lines of their own before it; what another program prints under docker's name is a
    complaint with its remedy.
    """
    start = re.search(r"^\s*\{", text, flags=re.MULTILINE)
    if start is None:
        return EngineInfo(complaint=text.strip() or "docker info says nothing")
    try:
        found, end = json.JSONDecoder().raw_decode(text, start.end() - 1)
    except json.JSONDecodeError:
        return _another(text)
    if not _is_dockers(found):
        return _another(text)
    versions = {
        entry["Name"]: version_of(str(entry.get("Version") or "")) for entry in _plugins(found)
    }
    if found.get("ServerVersion"):
        return EngineInfo(facts=found, plugins=versions)
    faults = "\n".join(map(str, found.get("ServerErrors") or [])) or text[end:].strip()
    return EngineInfo(complaint=faults or "the engine gives no version", plugins=versions)


def _plugins(found: Mapping[str, Any]) -> Any:
    return (found.get("ClientInfo") or {}).get("Plugins") or []


def _is_dockers(found: Mapping[str, Any]) -> bool:
    """Tell whether what `docker info` printed has the form that Docker's own client gives it."""
    shaped = all(isinstance(found.get(name), (kind, NoneType)) for name, kind in SHAPES.items())
    if not shaped or (found and not SHAPES.keys() & found.keys()):
        return False
    pairs = all(isinstance(row, list) and len(row) == 2 for row in found.get("DriverStatus") or [])  # noqa: PLR2004  # name and value
    plugins = _plugins(found)
    return (
        pairs
        and isinstance(plugins, list)
        and all(isinstance(entry, dict) and "Name" in entry for entry in plugins)
    )


def _another(text: str) -> EngineInfo:
    """Return the complaint about a docker command that is not Docker's, such as Podman's."""
    start = " ".join(text.split())[:60]
    return EngineInfo(
        complaint=f"the docker command here is not Docker's: its `docker info` prints {start!r}",
        remedy="put Docker's own client before it in PATH, or remove it (Podman's is the package "
        "podman-docker)",
    )


def version_of(text: str) -> Version:
    """Return the first dotted number in `text` as a tuple, or nothing where there is none."""
    found = DOTTED.search(text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def not_allowed(info: EngineInfo) -> NotPossibleError:
    """Return the error for an engine that this user may not use."""
    return NotPossibleError(
        f"a Docker engine runs here, but you may not use it:\n    {info.complaint}",
        remedy="run `sudo usermod -aG docker $USER`, log in again, and start the task again",
    )
