"""Read models.yaml: every fault at once, each with its place."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfykiln.models.records import ModelEntry, ModelList, ModelSource
from comfykiln.models.sources.addresses import check_address
from comfykiln.parsing import shape
from comfykiln.parsing.faults import Faults
from comfykiln.parsing.fields import Obj
from comfykiln.parsing.reading import load, yaml_value
from comfykiln.parsing.schemes import scheme_of
from comfykiln.parsing.values import WEB, check_name, check_url, has_credentials, shown
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from comfykiln.models.records import Image
    from comfykiln.parsing.schemes import Login


NAME = "models.yaml"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# What tokens and keys look like, so that none is committed by mistake.
_SECRET = re.compile(
    r"(?i)(hf|ghp|gho|glpat|sk|xox[a-z])[_-][a-z0-9_-]{12,}|(akia|asia)[a-z0-9]{16}|[0-9a-f]{32,}"
)
_NOT_EVERYWHERE = re.compile(r'[<>:"|?*]|\.\Z')
_S3_WORDS = ("profile", "provider", "endpoint", "region", "account_id")


def load_models(service: Image) -> ModelList:
    """Return the models of an image; none where its folder has no models.yaml.

    Raises `FaultyDocumentError` with every fault.
    """
    path = service.folder / NAME
    if not path.exists():
        return ModelList(path=path, entries=(), digest=digest_of(()))
    return read_models(path)


def read_models(path: Path) -> ModelList:
    """Return the models.yaml at `path`. Raises `FaultyDocumentError` with every fault."""
    entries = parse(load(path), str(path))
    return ModelList(path=path, entries=entries, digest=digest_of(entries))


def parse(data: bytes, source: str) -> tuple[ModelEntry, ...]:
    """Return the entries of a models.yaml; `source` is its name in messages."""
    faults = Faults(source)
    value = yaml_value(data, source)
    shape.check(value, "models", faults)
    read = [(_entry(entry, faults), entry.path) for entry in Obj(value).objs("models")]
    _check_names(((entry.name, path) for entry, path in read), faults)
    check_destinations(((entry.destination, f"{path}.destination") for entry, path in read), faults)
    faults.stop()
    return tuple(entry for entry, _ in read)


def digest_of(entries: Iterable[ModelEntry]) -> str:
    """Return the digest of what the entries mean, whatever their comments and spelling."""
    meant = [
        {
            "name": entry.name,
            "destination": entry.destination,
            "criticality": entry.criticality,
            "sources": [source.data() for source in entry.sources],
            "sha256": entry.sha256,
            "size": entry.size,
            "pickle_reason": entry.pickle_reason,
        }
        for entry in entries
    ]
    return f"sha256:{files.sha256(files.canonical_json(meant))}"


def _entry(item: Obj, faults: Faults) -> ModelEntry:
    sha256 = item.text("sha256")
    pinned = sha256 is not None
    entry = ModelEntry(
        name=item.text("name") or "",
        destination=item.text("destination") or "",
        criticality=_criticality(item),
        sources=tuple(
            _source(member, path, item.text("auth"), faults, pinned=pinned)
            for member, path in item.members("sources")
        ),
        sha256=sha256.lower() if sha256 else None,
        size=item.whole("size"),
        pickle_reason=item.text("allow_pickle"),
    )
    _check_auth(item.text("auth"), f"{item.path}.auth", faults)
    _check_repeated(entry, item, faults)
    _check_destination(entry.destination, f"{item.path}.destination", faults)
    _check_pickle(entry, item, faults)
    return entry


def parse_source(member: Any, folder: Path) -> ModelSource:
    """Return one source as a document has it, unchecked; relative paths begin in `folder`."""
    given = Obj({"url": member} if isinstance(member, str) else member)
    return ModelSource(
        url=given.text("url") or "",
        auth=given.text("profile", "auth"),
        provider=given.text("provider"),
        endpoint=given.text("endpoint"),
        region=given.text("region"),
        account_id=given.text("account_id"),
        folder=folder,
    )


def _criticality(entry: Obj) -> Any:
    """Return the word; an entry of the image's own list is needed unless it says otherwise."""
    return entry.text("criticality") or "required"


def _source(
    member: Any, path: str, auth: str | None, faults: Faults, *, pinned: bool
) -> ModelSource:
    one = Obj({"url": member} if isinstance(member, str) else member, path)
    source = parse_source(member, Path(faults.source).parent)
    source = replace(source, auth=source.auth or _inherited(source.url, auth))
    if source.url:
        check_address(source.url, path, faults, pinned=pinned)
    _check_leading(source, one, faults)
    return source


def _inherited(url: str, auth: str | None) -> str | None:
    """Return the entry's own `auth` for a source: an upper-case name is a variable, else a profile.

    Variables hold what hubs and web servers want, profiles what S3 wants.
    """
    is_variable = re.fullmatch(r"[A-Z_][A-Z0-9_]*", auth or "") is not None
    return auth if _login(url) == ("variable" if is_variable else "profile") else None


def _login(url: str) -> Login:
    """Return what `auth` may name for a source; a variable where its scheme is not known."""
    scheme = scheme_of(url)
    return scheme.login if scheme else "variable"


def _check_leading(source: ModelSource, entry: Obj, faults: Faults) -> None:
    """Check the words that lead to a source against its scheme and each other."""
    own_auth = entry.text("profile", "auth")
    _check_auth(own_auth, f"{entry.path}.auth", faults)
    _check_endpoint(source.endpoint or "", f"{entry.path}.endpoint", faults)
    if _login(source.url) != "profile":
        for word in _S3_WORDS:
            if word in entry:
                faults.add(
                    f"{entry.path}.{word}",
                    "models.leading",
                    f"`{word}` leads to an S3 store, not to {shown(source.url)}",
                    remedy="remove it",
                )
        if own_auth and not _VARIABLE.fullmatch(own_auth):
            faults.add(
                f"{entry.path}.auth",
                "models.auth",
                f"{shown(own_auth)} cannot be the name of an environment variable",
                expected="letters, digits and underscores",
            )
    elif own_auth and any(word in entry for word in ("endpoint", "region", "account_id")):
        faults.add(
            entry.path,
            "models.leading",
            f"the profile {shown(own_auth)} says by itself where it leads to",
            remedy="remove endpoint, region and account_id, or the profile",
        )


def _check_endpoint(endpoint: str, path: str, faults: Faults) -> None:
    """Check the address of an S3 store: no credential in it, and nothing but scheme and host."""
    if endpoint and has_credentials(endpoint):
        faults.add(
            path,
            "models.credential",
            f"{shown(endpoint)} holds a credential",
            expected="an address without one",
            remedy="put the keys into a profile, or where the AWS chain finds them",
        )
    elif endpoint:
        check_url(endpoint, path, faults, WEB)


def _check_auth(auth: str | None, path: str, faults: Faults) -> None:
    if auth and _SECRET.search(auth):
        faults.add(
            path,
            "models.credential",
            "this looks like a credential itself",
            expected="the name of an environment variable or of a profile",
            remedy="revoke it if it was committed; then name the variable that holds the new one",
        )


def _check_repeated(entry: ModelEntry, item: Obj, faults: Faults) -> None:
    seen: set[str] = set()
    for source, (_, path) in zip(entry.sources, item.members("sources"), strict=True):
        if source.url and source.url in seen:
            faults.add(path, "models.source", f"{shown(source.url)} twice", remedy="keep one")
        seen.add(source.url)


def _check_destination(text: str, path: str, faults: Faults) -> None:
    """Check that a destination is a file in a folder below /app/models, on every file system."""
    if not text:
        return
    problem = _destination_problem(text)
    if problem:
        faults.add(
            path,
            "models.destination",
            f"{shown(text)}: {problem}",
            expected="folder/file, such as checkpoints/x.safetensors",
        )
        return
    for part in text.split("/"):
        if not check_name(part, path, faults):
            return


def _destination_problem(text: str) -> str:
    parts = text.split("/")
    if text.startswith(("/", "~", "models/")) or "\\" in text:
        return "it is not relative to /app/models"
    if len(parts) == 1:
        return "ComfyUI looks into the folders below models/ alone"
    if any(_NOT_EVERYWHERE.search(part) for part in parts if part not in (".", "..")):
        return 'not every file system takes < > : " | ? * or a dot at the end of a name'
    if any(part.startswith(".wh.") for part in parts):
        return "a name with .wh. at its start deletes a file of an image"
    return ""


def _check_pickle(entry: ModelEntry, item: Obj, faults: Faults) -> None:
    if entry.is_pickle and not entry.pickle_reason:
        faults.add(
            f"{item.path}.destination",
            "models.pickle",
            f"{shown(entry.destination)} is a pickle format, which can run code when it is loaded",
            expected="a safetensors or GGUF file",
            remedy="take the safetensors file of this model, or add `allow_pickle: the reason`",
        )


def _check_names(names: Iterable[tuple[str, str]], faults: Faults) -> None:
    seen: dict[str, str] = {}
    for name, path in names:
        first = seen.setdefault(name, path)
        if name and first != path:
            faults.add(
                f"{path}.name",
                "models.duplicate",
                f"{shown(name)} is the name of {first} too",
                remedy="give each model a name of its own",
            )


def check_destinations(destinations: Iterable[tuple[str, str]], faults: Faults) -> None:
    """Add a fault for each (destination, path) that clashes with an earlier one.

    Equal ones, those that differ by case or Unicode form only, and a file below another file.
    """
    taken: dict[str, tuple[str, str]] = {}
    for text, path in destinations:
        if not text:
            continue
        earlier = taken.get(_folded(text))
        if earlier is None:
            taken[_folded(text)] = (text, path)
        elif earlier[0] == text:
            _clash(path, f"{shown(text)} is taken at {earlier[1]}", faults)
        else:
            _clash(path, f"{shown(text)} differs from {shown(earlier[0])} by case only", faults)
    _check_below(taken, faults)


def _check_below(taken: Mapping[str, tuple[str, str]], faults: Faults) -> None:
    for key, (text, path) in taken.items():
        parts = key.split("/")
        for count in range(1, len(parts)):
            parent = taken.get("/".join(parts[:count]))
            if parent is not None:
                _clash(path, f"{shown(text)} lies below {shown(parent[0])}, a model", faults)


def _clash(path: str, problem: str, faults: Faults) -> None:
    faults.add(
        path,
        "models.duplicate",
        problem,
        expected="one place for each model, on every file system",
        remedy="change or remove one of them",
    )


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
