"""The addresses of sources: what each scheme means, and what is wrong with an address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from comfykiln.parsing.schemes import EXPECTED, name_of, problem_of, scheme_of
from comfykiln.parsing.values import WEB, check_url, has_credentials, shown, split_url

if TYPE_CHECKING:
    from comfykiln.parsing.faults import Faults

_HF_PAGE = re.compile(r"/((?:datasets/|spaces/)?[^/]+(?:/[^/]+)?)/(?:resolve|blob)/([^/]+)/(.+)")
_CIVITAI_HOSTS = ("civitai.com", "www.civitai.com", "civitai.red")
# What chooses among the files of a version; every model's primary file is of the type Model.
_CHOICE = re.compile(r"(?i)(?:^|&)(?:size|fp|format|type=(?!model(?:&|\Z)))")
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFile:
    """A file of a repository on Hugging Face; `revision` is a commit, a tag or a branch."""

    repository: str
    revision: str
    path: str


def parts_of(url: str) -> dict[str, str]:
    """Return the parts of a checked address, by the names that its scheme gives them."""
    scheme = scheme_of(url)
    if scheme is None:
        raise ValueError(url)
    return scheme.parts(url)


def hub_file(url: str) -> HubFile:
    """Return what a checked `hf://` address names."""
    parts = parts_of(url)
    return HubFile(**{**parts, "revision": unquote(parts["revision"])})


def local_path(url: str, folder: Path) -> Path:
    """Return the file of a checked `file:` address; a relative one lies below `folder`."""
    rest = url.partition(":")[2]
    text = split_url(url).path if rest.startswith("//") else rest
    path = Path(unquote(text)).expanduser()
    return path if path.is_absolute() else folder / path


def normal_address(url: str) -> str:
    """Return the address of a hub's file in our words, any other unchanged.

    Unchanged too is what our words cannot say: a query that chooses another file of a version than
    its primary one.
    """
    parts = split_url(url)
    if parts.scheme not in WEB:
        return url
    if (parts.hostname or "") in ("huggingface.co", "hf.co"):
        match = _HF_PAGE.fullmatch(parts.path)
        found = f"hf://{match[1]}@{match[2]}/{unquote(match[3])}" if match else ""
        return found if found and not any(problem_of(found)) else url
    if is_civitai(url):
        match = re.fullmatch(r"/api/(?:download/models|v1/model-versions)/(\d+)", parts.path)
        version = match[1] if match else _query_version(parts.query)
        return f"civitai:{version}" if version and not _CHOICE.search(parts.query) else url
    return url


def is_civitai(url: str) -> bool:
    """Tell whether the address is one of CivitAI's website."""
    return (split_url(url).hostname or "") in _CIVITAI_HOSTS


def _query_version(query: str) -> str:
    match = re.search(r"(?:^|&)modelVersionId=(\d+)(?:&|\Z)", query)
    return match[1] if match else ""


def is_loopback(host: str) -> bool:
    """Tell whether the host is this machine itself."""
    return _LOOPBACK.fullmatch(host) is not None


def check_address(url: str, path: str, faults: Faults, *, pinned: bool) -> bool:
    """Add a fault where `url` is no address that a model is available from.

    `pinned` says that the sha256 is known: only then may bytes come over an open line.
    """
    if has_credentials(_bare(url)):
        faults.add(
            path,
            "models.credential",
            f"{shown(url)} holds a credential",
            expected="an address without one",
            remedy="put it into an environment variable and name that in `auth`",
        )
        return False
    if name_of(url) in WEB:
        return _check_web(url, path, faults, pinned=pinned)
    _, problem = problem_of(url)
    if problem:
        faults.add(path, "models.source", f"{shown(url)}: {problem}", expected=EXPECTED)
    return not problem


def _bare(url: str) -> str:
    """Return the address without what looks like a user's name and is none.

    The @ of hf:// stands before a revision, and what is before it may be a repository alone.
    """
    return url.replace("@", "/") if name_of(url) == "hf" else url


def _check_web(url: str, path: str, faults: Faults, *, pinned: bool) -> bool:
    if not check_url(url, path, faults, WEB):
        return False
    if name_of(url) == "https" or pinned or is_loopback(split_url(url).hostname or ""):
        return True
    faults.add(
        path,
        "models.open-transport",
        f"{shown(url)}: anyone on the way can change the bytes",
        expected="https, or a sha256 beside it",
        remedy="add the sha256 of the file",
    )
    return False
