"""What an image does when it starts, as its receipt holds it: equal under every engine.

The layers say what is inside; entry point, variables, user, volumes, health check and labels say
what is made of it, and an image with the same layers and others of these is another image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfykiln.oci.images import MODELS_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREFIX = "io.comfykiln"
# On the sealed image: the digest of what was verified, and of the receipt that says so.
SOFTWARE_LABEL = f"{PREFIX}.software"
RECEIPT_LABEL = f"{PREFIX}.receipt"
# Written after the verification, and held against the receipt and the layers by themselves.
LATER_LABELS = (SOFTWARE_LABEL, RECEIPT_LABEL, MODELS_LABEL)
MEMBERS = (
    *("Entrypoint", "Cmd", "Env", "User", "WorkingDir", "Volumes", "ExposedPorts"),
    *("Healthcheck", "StopSignal", "StopTimeout", "Shell", "OnBuild", "NetworkDisabled"),
)


def configuration_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the engine's `Config` of an image says of its start, without what is empty.

    Engines differ in how they write a member that is not there.
    """
    labels = config.get("Labels") or {}
    own = {name: labels[name] for name in sorted(labels) if name not in LATER_LABELS}
    members = {name: config[name] for name in MEMBERS if config.get(name)}
    return members | ({"Labels": own} if own else {})


def changes(found: Mapping[str, Any], sealed: Mapping[str, Any]) -> list[str]:
    """Return what differs in `found` from the `sealed` configuration, a line each."""
    return [line for name in (*MEMBERS, "Labels") for line in _changed(name, found, sealed)]


def _changed(name: str, found: Mapping[str, Any], sealed: Mapping[str, Any]) -> Iterator[str]:
    now, before = found.get(name), sealed.get(name)
    if now == before:
        return
    if name == "Labels":
        labels, told = now or {}, before or {}
        for key in sorted({*labels, *told}):
            if labels.get(key) != told.get(key):
                yield f"label {key}: {told.get(key, 'none')} → {labels.get(key, 'none')}"
        return
    yield f"{name}: {before or 'none'} → {now or 'none'}"
