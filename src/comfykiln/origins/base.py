"""The base image: the registry's by digest, else the same Debian suite bootstrapped here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from comfykiln.engine import engine
from comfykiln.origins import apt, bootstrap, registry, rootfs_image
from comfykiln.origins.attempts import Attempt, first_available
from comfykiln.plan.origins import BaseSpec, OriginUse

if TYPE_CHECKING:
    import docker

    from comfykiln.network.access import Access
    from comfykiln.origins.bootstrap import Rootfs
    from comfykiln.system.store import Store

REPOSITORY = "comfykiln-base"
# Days after which a kept base is called old: the registry's changes about once a month.
OLD = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseImage:
    """A base that the engine has.

    `override` is the value of the named context, keyed by the reference, that stands for it: a
    local name, since for a reference by digest BuildKit asks the registry even when the engine has
    the image, and waits 40 s for a silent one. `apt_sources` is '' where the base has sources of
    its own; a bootstrapped one has none, and this is the text of a sources.list for the steps that
    install packages: to be handed over as a secret, as it may hold credentials.
    """

    override: str
    apt_sources: str = ""


def obtain_base(spec: BaseSpec, access: Access) -> tuple[BaseImage, OriginUse]:
    """Make the engine hold the base of `spec`, and say where it came from.

    Raises `NotPossibleError` when no allowed origin can be used, `KilnError` when the registry
    answers that it has no such digest.
    """
    client = engine.client()
    known = {"registry": _from_registry, "mmdebstrap": _from_mmdebstrap}
    attempts = [
        Attempt(
            origin=origin,
            detail=spec.ref,
            fallback=number > 0,
            get=partial(known[origin], spec, access, client, fallback=number > 0),
        )
        for number, origin in enumerate(spec.origins)
    ]
    (image, use), _ = first_available(
        f"the base {spec.ref}", attempts, strict=access.strict, store=access.store
    )
    return image, use


def _from_registry(
    spec: BaseSpec, access: Access, client: docker.DockerClient, *, fallback: bool
) -> tuple[BaseImage, OriginUse]:
    ref = spec.ref
    registry.ensure_pulled(client, ref, access.patience)
    name = f"{spec.suite}-{ref.rpartition(':')[2][:12]}"
    registry.name_locally(client, ref, REPOSITORY, name)
    use = OriginUse(thing="base", identity=ref, origin="registry", detail=ref, fallback=fallback)
    return BaseImage(override=f"docker-image://{REPOSITORY}:{name}"), use


def _from_mmdebstrap(
    spec: BaseSpec, access: Access, client: docker.DockerClient, *, fallback: bool
) -> tuple[BaseImage, OriginUse]:
    bootstrap.require_engine_architecture(client.version()["Arch"])
    apt_sources = apt.debian_sources(spec.suite)
    rootfs = bootstrap.bootstrapped(spec, access)
    name = f"{REPOSITORY}:{spec.suite}-{rootfs.sha256[:12]}"
    tar = access.store.path(rootfs.sha256)
    rootfs_image.ensure_loaded(client, name, tar, rootfs.sha256, epoch=bootstrap.EPOCH)
    use = OriginUse(
        thing="base",
        identity=f"sha256:{rootfs.sha256}",
        origin="mmdebstrap",
        detail=f"Debian {spec.suite} of {rootfs.made}, {len(rootfs.packages)} packages",
        fallback=fallback,
        warning=_warning(spec, rootfs, access.store) if fallback else "",
    )
    return BaseImage(override=f"docker-image://{name}", apt_sources=apt_sources), use


def _warning(spec: BaseSpec, rootfs: Rootfs, store: Store) -> str:
    text = f"the base is not {spec.ref} but the same suite with the packages of {rootfs.made}"
    if rootfs.age > OLD:
        text += f"; that is old: remove {bootstrap.note_of(spec, store)} to make it anew"
    return text
