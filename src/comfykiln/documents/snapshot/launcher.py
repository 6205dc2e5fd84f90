"""The launcher form: a snapshot beside a workflow, its files and unpinned requirements."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from comfykiln.documents.kinds import Kind
from comfykiln.documents.modelpaths import model_at, model_path
from comfykiln.environment import Digest, Environment, Model, ModelSource, Workflow
from comfykiln.parsing.faults import child
from comfykiln.parsing.fields import Obj
from comfykiln.parsing.requirements import parse_line
from comfykiln.parsing.schemes import check_model_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comfykiln.parsing.faults import Faults

_KEYS = {"snapshot_json", "workflow_json", "pip_requirements", "files"}


def launcher(document: Obj, snapshot: Environment, faults: Faults) -> Environment:
    """Return what a launcher file says beyond its snapshot, added to that."""
    lines = document.members("pip_requirements")
    packages = [parse_line(line, path, faults) for line, path in lines if isinstance(line, str)]
    return replace(
        snapshot,
        packages=(*snapshot.packages, *(package for package in packages if package)),
        models=(*snapshot.models, *_models(document, faults)),
        workflows=_workflows(document),
        extras=(*snapshot.extras, *document.extras(Kind.SNAPSHOT, _KEYS)),
    )


def _models(document: Obj, faults: Faults) -> Iterable[Model]:
    for places, path in document.members("files"):
        if not isinstance(places, list):
            continue
        found = [Obj(place, child(path, index)) for index, place in enumerate(places)]
        model = _model([place for place in found if place.value], faults)
        if model:
            yield model


def _model(places: list[Obj], faults: Faults) -> Model | None:
    """Return one file; the places it is available from become its sources, in their order."""
    if not places:
        return None
    first = places[0]
    target = model_path(
        first.text("dest_relative_path") or "", child(first.path, "dest_relative_path"), faults
    )
    urls = [
        (place.text("download_url") or "", child(place.path, "download_url")) for place in places
    ]
    checked = [check_model_url(url, path, faults) for url, path in urls]
    if not all(checked):
        return None
    if target is None:
        return None
    sha256 = first.text("sha256_checksum")
    return model_at(
        target,
        size=first.whole("size"),
        digests=(Digest(algorithm="sha256", value=sha256.lower()),) if sha256 else (),
        sources=tuple(ModelSource(url=url) for url, _ in urls),
        place=first.path,
    )


def _workflows(document: Obj) -> tuple[Workflow, ...]:
    """Return the workflow as its own reader understands it."""
    graph = document.obj("workflow_json").value
    if not graph:
        return ()
    from comfykiln.documents.workflow import format as workflow  # noqa: PLC0415  # many launcher files have none

    data = json.dumps(graph, ensure_ascii=False).encode()
    return workflow.parse(data, "workflow.json").environment.workflows
