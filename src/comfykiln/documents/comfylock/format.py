"""comfy-lock.yaml: models with addresses, a Manager snapshot, and credentials by reference.

Forms: `basic` (with `basic:` settings, hashes that may be names) and `auth` (hosts to `${NAME}`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfykiln.documents.kinds import Kind, Parsed, Written
from comfykiln.documents.modelpaths import category_of, first_source, model_path
from comfykiln.documents.snapshot.format import check_names, comfyui_of, read_below
from comfykiln.documents.snapshot.write import document_of
from comfykiln.environment import (
    ComfyUISpec,
    Credential,
    Digest,
    Environment,
    Model,
    ModelSource,
)
from comfykiln.parsing import shape
from comfykiln.parsing.faults import Faults, child
from comfykiln.parsing.fields import Obj, put_extras
from comfykiln.parsing.reading import value as read_value
from comfykiln.parsing.requirements import file_name
from comfykiln.parsing.schemes import check_model_url
from comfykiln.parsing.values import DIGEST_LENGTHS, check_name, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEYS = {"basic", "basics", "auth", "models", "custom_nodes"}
_MODEL_KEYS = {"model", "url", "paths", "hashes", "type"}
_BASIC = "comfylock.basic"
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_KIND_FOLDER = re.compile(r"models/[^/.]+")
_DIGITS = re.compile(r"[0-9a-fA-F]{8,128}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?")


def parse(data: bytes, source: str) -> Parsed:
    """Return the comfy-lock in `data`. Raises `FaultyDocumentError` with every fault."""
    faults = Faults(source)
    value = read_value(data, source)
    document = Obj(value)
    shape.check(value, "comfylock", faults)
    nodes = read_below(document.obj("custom_nodes"), faults, "comfylock")
    environment = _environment(document, nodes, faults)
    check_names(environment.nodes, faults)
    faults.stop()
    return Parsed(
        kind=Kind.COMFYLOCK,
        source=source,
        environment=environment,
        form="auth" if "auth" in document else "basic",
        notes=tuple(faults.notes),
    )


def write(environment: Environment) -> Written:
    """Return a comfy-lock.yaml, with `auth` where the environment names credentials."""
    from comfykiln.parsing.yaml_writing import dump  # noqa: PLC0415  # 18 ms, writing only

    body = document_of(replace(environment, models=(), extras=_snapshot_extras(environment)))
    document: dict[str, Any] = {"basic": _basic(environment), "custom_nodes": body}
    if environment.credentials:
        document["auth"] = {
            credential.host: f"${{{credential.variable}}}" for credential in environment.credentials
        }
    document["models"] = [_model_value(model) for model in environment.models]
    put_extras(document, environment.extras, Kind.COMFYLOCK)
    return Written(kind=Kind.COMFYLOCK, filename="comfy-lock.yaml", data=dump(document).encode())


def _environment(document: Obj, nodes: Environment, faults: Faults) -> Environment:
    basic = document.obj("basic" if "basic" in document else "basics")
    return replace(
        nodes,
        comfyui=_comfyui(basic, nodes.comfyui, faults),
        models=tuple(_models(document, faults)),
        credentials=tuple(_credentials(document.obj("auth"), faults)),
        extras=(
            *nodes.extras,
            *basic.extras(_BASIC, {"comfyui_version"}),
            *document.extras(Kind.COMFYLOCK, _KEYS),
        ),
    )


def _comfyui(basic: Obj, spec: ComfyUISpec, faults: Faults) -> ComfyUISpec:
    """Join `basic.comfyui_version` with `custom_nodes.comfyui`, which may hold the commit."""
    version = comfyui_of(basic, "comfyui_version", faults).wanted
    if version is None or version == spec.wanted:
        return spec
    if spec.version:
        faults.add(
            child(basic.path, "comfyui_version"),
            "comfylock.comfyui",
            f"ComfyUI is {version} here and {spec.version} in custom_nodes.comfyui",
            expected="one version",
            remedy="keep one of them",
        )
    return replace(spec, version=version)


def _models(document: Obj, faults: Faults) -> Iterable[Model]:
    for model in document.objs("models"):
        url = model.text("url")
        if url and not check_model_url(url, child(model.path, "url"), faults):
            continue
        paths = _paths(model, url, faults)
        digests = tuple(_digests(model, faults))
        if not url and not paths:
            message = "it names neither an address nor a path: left out"
            faults.note(model.path, "comfylock.model", message)
            continue
        name = paths[0] if paths else (url or "").partition("?")[0]
        yield Model(
            filename=name.rstrip("/").rpartition("/")[2].replace(":", "-"),
            paths=paths,
            category=category_of(paths[0]) if paths else None,
            kind=model.text("type"),
            label=model.text("model"),
            digests=digests,
            sources=(ModelSource(url=url),) if url else (),
            extras=model.extras(Kind.COMFYLOCK, _MODEL_KEYS),
            place=model.path,
        )


def _digests(model: Obj, faults: Faults) -> Iterable[Digest]:
    for entry in model.objs("hashes"):
        digest, algorithm = entry.text("hash"), (entry.text("type") or "").lower()
        if not digest or not algorithm or not _DIGITS.fullmatch(digest):
            continue  # the shape check has told of it
        if len(digest) != DIGEST_LENGTHS.get(algorithm, len(digest)):
            faults.add(
                child(entry.path, "hash"),
                "comfylock.hash",
                f"{len(digest)} digits are no {algorithm}",
                expected=f"{DIGEST_LENGTHS[algorithm]} hex digits",
                remedy="copy the whole of it from the model's page, or remove it",
            )
        else:
            yield Digest(algorithm=algorithm, value=digest.lower())


def _paths(model: Obj, url: str | None, faults: Faults) -> tuple[str, ...]:
    """Return where the file goes; a path that is a folder's gets the name in the address."""
    found = []
    for entry in model.objs("paths"):
        text, place = entry.text("path"), child(entry.path, "path")
        path = model_path(text, place, faults) if text else None
        is_kind = path and _KIND_FOLDER.fullmatch(path) and "." in file_name(url or "")
        if text and path and (text.endswith("/") or is_kind):
            path = _inside(path, url, place, faults)
        found.append(path)
    return tuple(path for path in found if path)


def _inside(folder: str, url: str | None, place: str, faults: Faults) -> str | None:
    """Return the place of a file below `folder`: the form's own examples name the folder alone."""
    name = file_name(url or "")
    if "." in name and check_name(name, place, faults):
        return f"{folder}/{name}"
    faults.add(
        place,
        "path.folder",
        f"{shown(folder)} is a folder's path, and the address does not tell the file's name",
        expected="a path such as models/checkpoints/x.safetensors",
        remedy="add the file's name to it",
    )
    return None


def _credentials(auth: Obj, faults: Faults) -> Iterable[Credential]:
    for host, value, path in auth:
        if not _HOST.fullmatch(host):
            faults.add(path, "comfylock.host", "no host name", expected="a host such as hf.co")
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match:
            yield Credential(host=host, variable=match[1])
        elif isinstance(value, str):
            faults.add(
                path,
                "comfylock.credential",
                "a credential itself stands in the document (not shown)",
                expected="a reference such as ${HF_TOKEN}",
                remedy="put it into the environment, and take it back where it was issued",
            )


def _basic(environment: Environment) -> dict[str, Any]:
    spec = environment.comfyui
    basic: dict[str, Any] = {}
    if spec.version and spec.commit:
        basic["comfyui_version"] = spec.version
    put_extras(basic, environment.extras, _BASIC)
    return basic


def _snapshot_extras(environment: Environment) -> tuple[Any, ...]:
    return tuple(extra for extra in environment.extras if extra.kind == Kind.SNAPSHOT)


def _model_value(model: Model) -> dict[str, Any]:
    source = first_source(model)
    value: dict[str, Any] = {
        "model": model.label or model.filename,
        "url": source.url if source else None,
        "paths": [{"path": path} for path in model.paths],
        "hashes": [
            {"hash": digest.value, "type": digest.algorithm.upper()}
            for digest in model.digests
            if _DIGITS.fullmatch(digest.value)  # what peers sample of a file need not be hex digits
        ],
        "type": model.kind,
    }
    value = {key: entry for key, entry in value.items() if entry}
    put_extras(value, model.extras, Kind.COMFYLOCK)
    return value
