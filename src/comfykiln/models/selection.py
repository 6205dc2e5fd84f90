"""Which of an image's locked models go into a build, had beforehand and arranged in layers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from comfykiln.errors import DriftError, KilnError
from comfykiln.network.host import environment_of
from comfykiln.oci import contents as oci_contents
from comfykiln.oci import layers as oci_layers
from comfykiln.oci.contents import Contents, Stored
from comfykiln.oci.layers import OWN_LAYER_BYTES, Layer, ModelFile
from comfykiln.system import console

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from comfykiln.models.records import Failed, LockedModel
    from comfykiln.network.access import Access
    from comfykiln.plan.services import Service


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSet:
    """The models of one build: those in the image, those that are only named, and the layers."""

    inside: tuple[LockedModel, ...] = ()
    intents: tuple[LockedModel, ...] = ()
    layers: tuple[Layer, ...] = ()
    contents: Contents


@dataclass(frozen=True, kw_only=True)
class Direct:
    """The contents of small files in the store, and of large ones straight from their source."""

    stored: Stored
    models: dict[str, LockedModel]
    environ: Mapping[str, str] = field(repr=False)

    def path(self, file: ModelFile) -> Path | None:
        """Return the file of the store, None for one that is not kept."""
        return self.stored.path(file) if _is_small(file) else None

    def stream(self, file: ModelFile) -> AbstractContextManager[Iterator[bytes | memoryview]]:
        """Open the file in the store, or its source."""
        from comfykiln.models import streaming  # noqa: PLC0415  # boto3, where it is used

        if _is_small(file):
            return self.stored.stream(file)
        return streaming.stream(self.models[file.path], environ=self.environ)


def obtain(service: Service, choice: str, access: Access, *, keep: bool = True) -> ModelSet:
    """Return the models of `service` that `choice` (all, required, skip) lets in, in layers.

    They come by the CA and the proxies of `access`, as all else does. Without `keep`, files with a
    layer of their own are not fetched but read from their source whenever they are sent. What is
    not let in, or is not available, is an intent. Raises `KilnError` with every required model that
    is not available, `DriftError` for a lock that is out of date.
    """
    from comfykiln.models import lockfile  # noqa: PLC0415  # yaml, where it is used
    from comfykiln.models import store as model_store  # noqa: PLC0415  # as above

    locked = lockfile.load_lock(service)
    wanted = [model for model in locked if _let_in(model, choice)]
    environ = environment_of(access.settings)
    failed = _fetch([model for model in wanted if keep or _is_small(model)], environ)
    inside = tuple(model for model in wanted if model.name not in failed)
    stored = Stored(path_of=model_store.path_of)
    models = {model.destination: model for model in inside}
    source: Contents = stored if keep else Direct(stored=stored, models=models, environ=environ)
    arranged = oci_layers.arrange(_file(model) for model in inside)
    if not keep:
        _require_digests(arranged, models)
    known = [_locked(layer, models) for layer in arranged]
    cache = access.store.root / "layers"
    return ModelSet(
        inside=inside,
        intents=(*(model for model in locked if model not in inside), *_unlocked(service, locked)),
        layers=tuple(oci_contents.with_digest(layer, source, cache) for layer in known),
        contents=source,
    )


def _unlocked(service: Service, locked: Sequence[LockedModel]) -> list[LockedModel]:
    """Return the models that were not available when the others were locked, as intents.

    One whose digest and size nobody has written down cannot be named in an export.
    """
    from comfykiln.models.document import load_models  # noqa: PLC0415  # yaml, where it is used
    from comfykiln.models.records import LockedModel  # noqa: PLC0415  # as above

    names = {model.name for model in locked}
    found = []
    for entry in load_models(service).entries:
        if entry.name in names:
            continue
        console.warn(f"{entry.name} ({entry.criticality}) is left out: it could not be locked")
        if entry.sha256 is None or entry.size is None:
            console.note("the export does not name it either: its sha256 and size are not known")
            continue
        found.append(
            LockedModel(
                name=entry.name,
                destination=entry.destination,
                criticality=entry.criticality,
                sources=entry.sources,
                sha256=entry.sha256,
                size=entry.size,
            )
        )
    return found


def _let_in(model: LockedModel, choice: str) -> bool:
    return choice == "all" or (choice == "required" and model.criticality == "required")


def _fetch(models: Sequence[LockedModel], environ: Mapping[str, str]) -> set[str]:
    """Bring the models into the store, and return the names of those that are done without."""
    if not models:
        return set()
    from comfykiln.models import fetch, progress  # noqa: PLC0415  # where they are used

    with console.timed(f"{len(models)} model(s) into the store"):
        with progress.shown() as shown:
            result = fetch.fetch(models, shown=shown, environ=environ)
        fetched = sum(entry.fetched for entry in result.done)
        console.note(f"{len(result.done)} model(s), {fetched / 1e6:.1f} MB fetched")
    _refuse([entry for entry in result.failed if entry.criticality == "required"])
    for entry in result.failed:
        console.warn(f"{entry.name} ({entry.criticality}) is left out: {'; '.join(entry.reasons)}")
    return {entry.name for entry in result.failed}


def _refuse(failed: Sequence[Failed]) -> None:
    if failed:
        lines = [f"  {entry.name}: {'; '.join(entry.reasons) or 'no source'}" for entry in failed]
        raise KilnError(
            "\n".join(["required models are not available:", *lines]),
            remedy="fix the sources (./kiln models.add-source), or build with --models skip",
        )


def _require_digests(arranged: Sequence[Layer], models: dict[str, LockedModel]) -> None:
    unknown = [
        file.path
        for layer in arranged
        for file in layer.files
        if not _is_small(file) and not models[file.path].layer
    ]
    if unknown:
        raise DriftError(
            f"models.lock has no layer digest of {', '.join(unknown)} for today's packing rules",
            remedy="run `./kiln models.lock` and commit models.lock",
        )


def _locked(layer: Layer, models: dict[str, LockedModel]) -> Layer:
    """Return the layer with the digest that the lock has for its only file."""
    first = layer.files[0]
    return layer if _is_small(first) else replace(layer, digest=models[first.path].layer)


def _file(model: LockedModel) -> ModelFile:
    return ModelFile(path=model.destination, sha256=model.sha256, size=model.size)


def _is_small(file: ModelFile | LockedModel) -> bool:
    return file.size < OWN_LAYER_BYTES
