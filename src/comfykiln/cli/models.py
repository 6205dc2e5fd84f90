"""What the tasks of models do: one function a task, with plain parameters."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import DocumentError, KilnError
from comfykiln.plan.project import DEFAULT_IMAGE
from comfykiln.system import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comfykiln.cli import options
    from comfykiln.models.fetch import FetchResult
    from comfykiln.models.records import ImageFolder, LockedModel, ModelList


def lock(
    root: Path, image: str | None, upgrade: str, *, check: bool, ca_bundle: str | None = None
) -> None:
    """Write models.lock of one image or of all, or hold them against models.yaml (exit 4)."""
    from comfykiln.models.document import load_models  # noqa: PLC0415  # as everywhere here
    from comfykiln.models.lockfile import checked_lock, write_lock  # noqa: PLC0415
    from comfykiln.models.locking import lock_models  # noqa: PLC0415
    from comfykiln.models.progress import shown  # noqa: PLC0415

    names = tuple(name.strip() for name in upgrade.split(",") if name.strip())
    for service in _services(root, image):
        models = load_models(service)
        if not models.entries:
            console.out(f"{service.name}: no models")
        elif check:
            checked_lock(models)
            console.out(f"{_relative(root, models)} fits")
        else:
            with console.timed(f"lock the models of {service.name}"), shown() as bars:
                environ = _environment(ca_bundle)
                locked = lock_models(models, upgrade=names, shown=bars, environ=environ)
            for entry in locked.left_out:
                console.warn(
                    f"{entry.name} ({entry.criticality}) is not in the lock: it is not available"
                )
                for reason in entry.reasons or ("it has no source",):
                    console.note(reason)
            write_lock(models, locked.models)
            console.out(f"written: {_relative(root, models)} ({len(locked.models)} models)")


def fetch(
    root: Path,
    image: str | None,
    to: str | None,
    only: str,
    models: options.FetchedModels,
    *,
    as_json: bool,
    ca_bundle: str | None = None,
) -> None:
    """Bring the locked models into the store, and with `to` into a folder laid out as models/."""
    from comfykiln.models import fetch as fetching  # noqa: PLC0415
    from comfykiln.models.progress import shown  # noqa: PLC0415

    chosen = _chosen(root, image, only, models)
    if to is not None:
        _require_folder(to, chosen)
    environ = _environment(ca_bundle)
    with shown() as bars:
        result = fetching.fetch(chosen, shown=bars, environ=environ)
    placed = _placed(chosen, result, Path(to)) if to else {}
    if as_json:
        console.out_json(_as_data(chosen, result, placed))
    else:
        _tell(chosen, result)
        if to:
            console.out(f"{len(placed)} model(s) below {to}")
    _refuse_missing(result, everything=models == "all" or bool(only))


def list_models(root: Path, image: str | None, *, as_json: bool) -> None:
    """Print every model with its size, its source, its licence and where it is used."""
    from comfykiln.models.listing import listed, table  # noqa: PLC0415

    rows = listed(_services(root, image))
    if as_json:
        console.out_json([row.as_data() for row in rows])
    else:
        console.out(table(rows) if rows else "no models")


def add_source(root: Path, image: str | None, name: str | None, source: str | None) -> None:
    """Add a source to one model, or ask for one for each model that has none."""
    from comfykiln.models.adding import add, ask  # noqa: PLC0415

    services = _services(root, image)
    if name is not None and source is not None:
        path = add(services, name, source)
        console.out(f"{name}: {source} added to {path.relative_to(root)}")
    elif source is not None:
        raise DocumentError("--source without --name", remedy="say which model it is for")
    else:
        ask(services, name)


def add_from(root: Path, image: str | None, document: str, *, as_json: bool) -> None:
    """Take the models that a document names into the models.yaml of an image."""
    from comfykiln.models.taking import take  # noqa: PLC0415

    (service,) = _services(root, image or DEFAULT_IMAGE)
    added = take(service, document)
    for note in added.notes:
        console.warn(note)
    if as_json:
        console.out_json(asdict(added))
        return
    console.out(
        f"{service.name}: {len(added.new)} new model(s), {len(added.changed)} with more sources; "
        "lock them: ./kiln models.lock"
    )


def _environment(ca_bundle: str | None) -> dict[str, str]:
    """Return the environment of this process with the CA and the proxies that count."""
    from comfykiln.cli.build import existing  # noqa: PLC0415
    from comfykiln.network.host import environment_of, settings_of_host  # noqa: PLC0415

    return environment_of(settings_of_host(existing(ca_bundle, "--ca-bundle", folder=False)))


def _services(root: Path, image: str | None) -> list[ImageFolder]:
    """Return the images of the repository, or the one called `image`."""
    from comfykiln.models.records import ImageFolder  # noqa: PLC0415
    from comfykiln.plan.services import service_names  # noqa: PLC0415

    known = service_names(root)
    if image is not None and image not in known:
        raise DocumentError(
            f"there is no image {image!r}", remedy=f"use one of: {', '.join(known)}"
        )
    return [
        ImageFolder(name=name, folder=root / "services" / "comfy" / name)
        for name in ([image] if image else known)
    ]


def _require_folder(to: str, chosen: Sequence[LockedModel]) -> None:
    """Raise `DocumentError` unless `to` names a folder that can hold each model at its place."""
    if not to.strip():
        raise DocumentError("--to is empty", remedy="name a folder, or leave --to out")
    places: dict[str, LockedModel] = {}
    clashes = [
        f"{model.destination}: {model.name} and {places[model.destination].name}"
        for model in chosen
        if places.setdefault(model.destination, model) is not model
    ]
    if clashes:
        raise DocumentError(
            f"{len(clashes)} place(s) below {to} are for two different files",
            faults=clashes,
            remedy="fetch for one image at a time: --image",
        )


def _chosen(root: Path, image: str | None, only: str, models: str) -> list[LockedModel]:
    from comfykiln.models.lockfile import load_lock  # noqa: PLC0415

    locked = [(service.name, m) for service in _services(root, image) for m in load_lock(service)]
    names = {name.strip() for name in only.split(",") if name.strip()}
    known = {model.name for _, model in locked}
    if unknown := ", ".join(sorted(names - known)):
        there = ", ".join(sorted(known)) or "none"
        raise DocumentError(f"--only: no model {unknown}", remedy=f"locked are: {there}")
    chosen = [
        (name, model)
        for name, model in locked
        if model.name in names
        or (not names and (models == "all" or model.criticality == "required"))
    ]
    return _named_apart(chosen)


def _named_apart(chosen: Sequence[tuple[str, LockedModel]]) -> list[LockedModel]:
    """Return each file once, with its image behind a name that another file has too."""
    every: dict[tuple[str, str], tuple[str, LockedModel]] = {}
    for image, model in chosen:
        every.setdefault((model.destination, model.sha256), (image, model))
    count = Counter(model.name for _, model in every.values())
    return [
        model if count[model.name] == 1 else replace(model, name=f"{model.name} ({image})")
        for image, model in every.values()
    ]


def _placed(chosen: Sequence[LockedModel], result: FetchResult, folder: Path) -> dict[str, str]:
    """Copy what was fetched to its destination below `folder`, where it is not there already."""
    from comfykiln.models.placing import place  # noqa: PLC0415

    done = {entry.name for entry in result.done}
    return {model.name: str(place(model, folder)) for model in chosen if model.name in done}


def _tell(chosen: Sequence[LockedModel], result: FetchResult) -> None:
    from comfykiln.models.progress import amount  # noqa: PLC0415

    for entry in result.done:
        how = "in the store" if not entry.source else f"{amount(entry.fetched)} from {entry.source}"
        kept = f", {amount(entry.kept)} kept from before" if entry.kept else ""
        console.out(f"{entry.name}: {amount(entry.size)}, {how}{kept}")
    fetched = sum(entry.fetched for entry in result.done)
    console.out(f"{len(result.done)} of {len(chosen)} models; {amount(fetched)} fetched")


def _refuse_missing(result: FetchResult, *, everything: bool) -> None:
    for entry in result.failed:
        console.warn(f"{entry.name} ({entry.criticality}) is not available")
        for reason in entry.reasons or ("it has no source",):
            console.note(reason)
    needed = [o.name for o in result.failed if everything or o.criticality == "required"]
    if needed:
        raise KilnError(
            f"{len(needed)} model(s) are not available: {', '.join(needed)}",
            remedy="fix a source, or add one: ./kiln models.add-source",
        )


def _as_data(
    chosen: Sequence[LockedModel], result: FetchResult, placed: dict[str, str]
) -> dict[str, object]:
    layers = {model.name: model.layer for model in chosen}
    return {
        "done": [
            asdict(entry) | {"layer": layers[entry.name], "path": placed.get(entry.name)}
            for entry in result.done
        ],
        "failed": [asdict(entry) for entry in result.failed],
    }


def _relative(root: Path, models: ModelList) -> Path:
    from comfykiln.models.lockfile import lock_path  # noqa: PLC0415

    return lock_path(models).relative_to(root)
