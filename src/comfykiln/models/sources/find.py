"""What a source has now: where its bytes are read, how many, and what is known of them before."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from comfykiln.models.sources import credentials, web
from comfykiln.models.sources.addresses import (
    hub_file,
    is_civitai,
    local_path,
    normal_address,
    parts_of,
)
from comfykiln.models.sources.s3 import find_s3
from comfykiln.parsing.schemes import asked_of
from comfykiln.parsing.values import AddressError, split_url
from comfykiln.system.gate import bare_address
from comfykiln.transfer.errors import MissingError, StorageError
from comfykiln.transfer.parts import Remote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from comfykiln.models.records import ModelSource

HF_ENDPOINT, CIVITAI_ENDPOINT = "https://huggingface.co", "https://civitai.com"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A file that a source has: a `remote` one, or `local`, which is read in place.

    `sha256` is the source's own word for it ("" where it says none), `version` a version id, an
    ETag or a commit, `licence` what the hub states.
    """

    size: int
    remote: Remote | None = None
    local: Path | None = None
    sha256: str = ""
    version: str = ""
    licence: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pinned:
    """What is known of the file that is looked for; "" for what is not."""

    sha256: str
    version: str


def find(
    source: ModelSource, environ: Mapping[str, str], *, sha256: str = "", version: str = ""
) -> Found:
    """Return what `source` has. Raises `StorageError` where it has nothing for us.

    `sha256` chooses among several files; `version` is that of models.lock, if it came from there.
    """
    source = of_hub(source)
    look = _FINDERS.get(source.scheme, _web)
    return look(source, environ, Pinned(sha256=sha256, version=version))


def of_hub(source: ModelSource) -> ModelSource:
    """Return a source with the address of a hub's website in the hub's own words.

    The hub's token goes along then, its hashes count, and a page is not taken for the file.
    """
    return replace(source, url=normal_address(source.url))


def _s3(source: ModelSource, environ: Mapping[str, str], pinned: Pinned) -> Found:
    remote, version = find_s3(source, environ, pinned.version)
    return Found(size=remote.size, remote=remote, version=version)


def _web(source: ModelSource, environ: Mapping[str, str], _: Pinned) -> Found:
    """Return what a web server has, at the address itself or at the one that it stands for."""
    url = asked_of(source.url)
    usual = credentials.usual("civitai" if is_civitai(url) else source.scheme)
    headers = credentials.headers_for(url, source.auth, environ, usual=usual)
    return _on_web(source.url, url, headers, environ)


def _on_web(label: str, url: str, headers: Mapping[str, str], environ: Mapping[str, str]) -> Found:
    seen = web.look(url, headers, environ)
    remote = Remote(
        label=bare_address(label),
        size=seen.size,
        etag=seen.etag,
        request=web.lasting(url, headers, seen, environ),
    )
    return Found(size=seen.size, remote=remote, version=seen.etag)


def _hub(source: ModelSource, environ: Mapping[str, str], pinned: Pinned) -> Found:
    """Return a file of Hugging Face; the sha256 of large ones is told before the redirect."""
    file = hub_file(source.url)
    known = pinned.version
    revision = known if re.fullmatch(r"[0-9a-f]{40}", known) else file.revision
    endpoint = environ.get("HF_ENDPOINT", "").rstrip("/") or HF_ENDPOINT
    url = f"{endpoint}/{file.repository}/resolve/{quote(revision, safe='')}/{quote(file.path)}"
    headers = credentials.headers_for(
        url, source.auth, credentials.hub_token(environ), usual=credentials.usual(source.scheme)
    )
    seen = web.look(url, headers, environ)
    told = seen.told.get("x-linked-etag", "").strip('"').lower()
    sha256 = told if _SHA256.fullmatch(told) else ""
    _same_size(source, seen.size, seen.told.get("x-linked-size", ""))
    remote = Remote(
        label=source.url,
        size=seen.size,
        etag=seen.etag,
        request=web.lasting(url, headers, seen, environ),
    )
    commit = seen.told.get("x-repo-commit", "") or file.revision
    return Found(size=seen.size, remote=remote, sha256=sha256, version=commit)


def licence_of(source: ModelSource, environ: Mapping[str, str]) -> str:
    """Return what the hub states about the licence of a source, "" for nothing."""
    source = of_hub(source)
    ask = _LICENCES.get(source.scheme)
    return ask(source, environ) if ask else ""


def _hub_licence(source: ModelSource, environ: Mapping[str, str]) -> str:
    file = hub_file(source.url)
    endpoint = environ.get("HF_ENDPOINT", "").rstrip("/") or HF_ENDPOINT
    kind = "" if file.repository.startswith(("datasets/", "spaces/")) else "models/"
    url = f"{endpoint}/api/{kind}{file.repository}/revision/{quote(file.revision, safe='')}"
    headers = credentials.headers_for(
        url, source.auth, credentials.hub_token(environ), usual=credentials.usual(source.scheme)
    )
    answer = web.page(url, headers, environ)
    card = answer.get("cardData") if isinstance(answer, dict) else None
    found = card.get("license_name") or card.get("license") if isinstance(card, dict) else ""
    return _printable(found)


def _civitai_page(source: ModelSource, path: str, environ: Mapping[str, str]) -> Any:
    endpoint = environ.get("CIVITAI_ENDPOINT", "").rstrip("/") or CIVITAI_ENDPOINT
    url = f"{endpoint}/api/v1/{path}"
    return web.page(url, _civitai_headers(source, url, environ), environ)


def _civitai_headers(source: ModelSource, url: str, environ: Mapping[str, str]) -> dict[str, str]:
    return credentials.headers_for(
        url, source.auth, environ, usual=credentials.usual(source.scheme)
    )


def _civitai(source: ModelSource, environ: Mapping[str, str], pinned: Pinned) -> Found:
    """Return the file of a version that has the sha256, else its primary one."""
    number = int(parts_of(source.url)["version"])
    answer = _civitai_page(source, f"model-versions/{number}", environ)
    entries = answer.get("files") if isinstance(answer, dict) else None
    files = [entry for entry in entries or [] if isinstance(entry, dict)]
    if not files:
        raise MissingError(f"{source.url} has no file.", remedy="check the number of the version")
    sha256 = pinned.sha256
    chosen = next((file for file in files if sha256 and _civitai_sha256(file) == sha256), None)
    chosen = chosen or next((file for file in files if file.get("primary")), files[0])
    endpoint = environ.get("CIVITAI_ENDPOINT", "").rstrip("/") or CIVITAI_ENDPOINT
    # Only path and query are the hub's to choose: the token goes to no other host.
    url = f"{endpoint}{_path_of(chosen.get('downloadUrl'), number)}"
    found = _on_web(source.url, url, _civitai_headers(source, url, environ), environ)
    return Found(
        size=found.size,
        remote=found.remote,
        sha256=_civitai_sha256(chosen),
        version=str(answer.get("id") or number),
    )


def _path_of(told: object, number: int) -> str:
    """Return path and query of the hub's download address; its usual one where it tells none."""
    try:
        parts = split_url(told) if isinstance(told, str) else None
    except AddressError:
        parts = None
    if parts is None or not parts.path.startswith("/"):  # anything else would lengthen the host
        return f"/api/download/models/{number}"
    return f"{parts.path}{'?' + parts.query if parts.query else ''}"


def _civitai_sha256(entry: Mapping[str, Any]) -> str:
    hashes = entry.get("hashes")
    text = str(hashes.get("SHA256", "") if isinstance(hashes, dict) else "").lower()
    return text if _SHA256.fullmatch(text) else ""


def _civitai_licence(source: ModelSource, environ: Mapping[str, str]) -> str:
    """Return the commercial uses that the author allows, in the hub's own words."""
    version = _civitai_page(source, f"model-versions/{parts_of(source.url)['version']}", environ)
    number = version.get("modelId") if isinstance(version, dict) else None
    if not isinstance(number, int):
        return ""
    model = _civitai_page(source, f"models/{number}", environ)
    allowed = model.get("allowCommercialUse") if isinstance(model, dict) else None
    if allowed is None:
        return ""
    words = allowed if isinstance(allowed, list) else [allowed]
    return _printable(f"CivitAI, commercial use: {', '.join(map(str, words)) or 'None'}")


def _local(source: ModelSource, _environ: Mapping[str, str], _: Pinned) -> Found:
    path = local_path(source.url, source.folder)
    try:
        status = path.stat()
    except OSError as error:
        raise MissingError(
            f"{source.url} cannot be read: {error.strerror} ({path}).", remedy="check the path"
        ) from None
    if not path.is_file():
        raise MissingError(f"{source.url} is no file ({path}).", remedy="name the file itself")
    return Found(size=status.st_size, local=path)


def _same_size(source: ModelSource, size: int, told: str) -> None:
    if told.isdigit() and int(told) != size:
        raise StorageError(
            f"{source.url}: the hub announces {told} bytes, its store has {size}.",
            remedy="try again later",
        )


def _printable(text: object) -> str:
    """Return the hub's words in one short line."""
    words = text if isinstance(text, str) else json.dumps(text) if text else ""
    return "".join(letter if letter.isprintable() else " " for letter in words)[:120].strip()


# What has a protocol of its own; every other scheme is asked over the web.
_FINDERS: Mapping[str, Callable[[ModelSource, Mapping[str, str], Pinned], Found]] = {
    "s3": _s3,
    "hf": _hub,
    "civitai": _civitai,
    "file": _local,
}
_LICENCES: Mapping[str, Callable[[ModelSource, Mapping[str, str]], str]] = {
    "hf": _hub_licence,
    "civitai": _civitai_licence,
}
