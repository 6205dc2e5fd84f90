"""The name of an image in a registry."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from comfykiln.errors import DocumentError

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_REGISTRY = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
)
DOCKER_HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"
_NAME_LIMIT = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """`registry/repository:tag`, each in the form that the registry itself uses."""

    registry: str
    repository: str
    tag: str

    @property
    def host(self) -> str:
        """The host and port that answer for the registry."""
        return _HUB_HOST if self.registry == DOCKER_HUB else self.registry

    @property
    def loopback(self) -> bool:
        """Whether the registry is on this machine's loopback, where plain HTTP is in order."""
        return is_loopback(self.registry)

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}:{self.tag}"


def parse(text: str, *, tag: str = "") -> Reference:
    """Return the reference; `tag` is used where the text has none.

    Raises `DocumentError` for what no registry would take, for a digest, and for no tag at all.
    """
    if "@" in text:
        raise _malformed(text, "a digest cannot be pushed to: name a tag")
    first, slash, rest = text.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    registry, path = (first, rest) if named else (DOCKER_HUB, text)
    repository, _, own = path.partition(":")
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    found = Reference(registry=registry, repository=repository, tag=own or tag)
    if not _REGISTRY.fullmatch(registry):
        raise _malformed(text, f"{registry!r} is no host with an optional port")
    if not _REPOSITORY.fullmatch(repository) or len(repository) > _NAME_LIMIT:
        raise _malformed(text, f"{repository!r} is no repository: lower case, digits, . _ - /")
    if not _TAG.fullmatch(found.tag) or path.endswith(":"):
        raise _malformed(text, f"{found.tag!r} is no tag" if found.tag else "it has no tag")
    return found


def is_loopback(registry: str) -> bool:
    """Tell whether the host of `registry` is this machine by its name or address alone."""
    host = registry.rpartition(":")[0] if re.search(r":[0-9]+\Z", registry) else registry
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _malformed(text: str, why: str) -> DocumentError:
    return DocumentError(
        f"{text!r} cannot be pushed to: {why}",
        remedy="name it as HOST[:PORT]/REPOSITORY:TAG, such as registry.example.com/team/comfy:v1",
    )
