"""`models.push`: an image's models as an OCI artifact in a registry, without ComfyUI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfykiln.cli.build import existing
from comfykiln.errors import DocumentError
from comfykiln.models import selection
from comfykiln.network.access import host_access
from comfykiln.oci import artifact, references, registry
from comfykiln.oci.pushing import Push
from comfykiln.plan.project import Project
from comfykiln.system import console

if TYPE_CHECKING:
    from pathlib import Path

    from comfykiln.cli import options


def push(root: Path, given: options.ModelsPush) -> None:
    """Push the locked models of an image and print the name with its digest.

    The layers are those of the images, so that a registry that has one of these gets no byte.
    """
    if given.ref is None:
        raise DocumentError("no name given", remedy="add --ref HOST/REPOSITORY:TAG")
    reference = references.parse(given.ref)
    project = Project(root=root)
    service = project.service(given.image)
    bundle = existing(given.ca_bundle, "--ca-bundle", folder=False)
    access = host_access(project.store, ca_bundle=bundle)
    repository = registry.repository(reference, access.settings)
    repository.require_push()  # before gigabytes are fetched for it
    found = selection.obtain(service, given.models, access, keep=given.store)
    if not found.layers:
        raise DocumentError(
            f"{service.name} has no models to push", remedy="name them in its models.yaml"
        )
    pushing = Push(repository=repository, seen=project.store.root / "pushed")
    with console.timed(f"push {len(found.inside)} model(s) to {reference}"):
        pushing.models(found.layers, found.contents)
        sent = pushing.finish(artifact.of_layers(found.layers))
    result: dict[str, Any] = {
        "ref": str(reference),
        "digest": sent.digest,
        "models": [model.destination for model in found.inside],
        "bytes_sent": sent.bytes,
    }
    if given.json:
        console.out_json(result)
    else:
        console.out(f"{reference}@{sent.digest}  {sent.bytes / 1e6:.1f} MB sent")
