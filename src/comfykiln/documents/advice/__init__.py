"""Advice beyond validity: what a valid document should better not say, each rule with a page.

The pages are `docs/advice/<rule>.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfykiln.parsing.faults import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from comfykiln.environment import Environment

    Found = Iterable[tuple[str, str]]
    Rule = Callable[[Environment], Found]

PREFIX = "advice."


def rules() -> dict[str, Rule]:
    """Return every rule by its id; a rule yields (place, message) pairs for an environment."""
    from comfykiln.documents.advice import nodes, packages, whole  # noqa: PLC0415  # only `check` advises

    return {
        "cpu-cuda-wheels": packages.cpu_cuda_wheels,
        "credentials-in-url": whole.credentials_in_url,
        "duplicate-node": nodes.duplicate_node,
        "duplicate-package": packages.duplicate_package,
        "floating-ref": nodes.floating_ref,
        "home-path": whole.home_path,
        "manager-as-node": nodes.manager_as_node,
        "model-unverified": whole.model_unverified,
        "open-transport": nodes.open_transport,
        "repository-archived": nodes.repository_archived,
        "repository-renamed": nodes.repository_renamed,
        "torch-in-packages": packages.torch_in_packages,
        "unpinned-package": packages.unpinned_package,
        "unsafe": nodes.unsafe,
        "windows-package": packages.windows_package,
    }


def advise(environment: Environment, *, manifest_bytes: int | None = None) -> tuple[Note, ...]:
    """Return what is to be said about a valid environment, by rule and then in its order.

    `manifest_bytes` is the size of the migration manifest it was read from.
    """
    notes = [
        Note(path=place or "$", rule=PREFIX + name, message=message)
        for name, rule in rules().items()
        for place, message in rule(environment)
    ]
    if manifest_bytes is not None:
        from comfykiln.documents.advice.whole import manifest_size  # noqa: PLC0415  # manifests only

        notes += [
            Note(path="$", rule=f"{PREFIX}manifest-size", message=message)
            for message in manifest_size(manifest_bytes)
        ]
    return tuple(notes)
