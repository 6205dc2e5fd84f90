"""The addresses of sources: what each scheme means, and what is wrong with an address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from comfykiln.parsing.values import check_url, has_credentials, shown

if TYPE_CHECKING:
    from comfykiln.parsing.faults import Faults

SCHEMES = ("s3", "hf", "civitai", "https", "http", "file")
_S3 = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{0,254})/(.+)")
_HF = re.compile(
    r"hf://((?:datasets/|spaces/)?[\w.-]+(?:/[\w.-]+)?)@([\w./-]+?)/((?:[^/@]+/)*[^/@]+)", re.ASCII
)
_HF_PAGE = re.compile(r"/((?:datasets/|spaces/)?[^/]+(?:/[^/]+)?)/(?:resolve|blob)/([^/]+)/(.+)")
_CIVITAI_HOSTS = ("civitai.com", "www.civitai.com", "civitai.red")
# What chooses among the files of a version; every model's primary file is of the type Model.
_CHOICE = re.compile(r"(?i)(?:^|&)(?:size|fp|format|type=(?!model(?:&|$)))")
_CIVITAI = re.compile(r"civitai:(\d{1,15})", re.ASCII)
_FORMS = {
    "s3": (_S3, "no bucket or no key"),
    "civitai": (_CIVITAI, "no number of a model version"),
}
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1", re.ASCII)
_EXPECTED = "s3://bucket/key, hf://owner/repo@commit/path, civitai:VERSION, https://… or file:…"


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFile:
    """A file of a repository on Hugging Face; `revision` is a commit, a tag or a branch."""

    repository: str
    revision: str
    path: str


def s3_parts(url: str) -> tuple[str, str]:
    """Return bucket and key of a checked `s3://` address."""
    match = _S3.fullmatch(url)
    if match is None:
        raise ValueError(url)
    return match[1], match[2]


def hub_file(url: str) -> HubFile:
    """Return what a checked `hf://` address names."""
    match = _HF.fullmatch(url)
    if match is None:
        raise ValueError(url)
    return HubFile(repository=match[1], revision=match[2], path=match[3])


def civitai_version(url: str) -> int:
    """Return the version that a checked `civitai:` address names."""
    match = _CIVITAI.fullmatch(url)
    if match is None:
        raise ValueError(url)
    return int(match[1])


def local_path(url: str, folder: Path) -> Path:
    """Return the file of a checked `file:` address; a relative one lies below `folder`."""
    rest = url.partition(":")[2]
    text = urlsplit(url).path if rest.startswith("//") else rest
    path = Path(unquote(text)).expanduser()
    return path if path.is_absolute() else folder / path


def normal_address(url: str) -> str:
    """Return the address of a hub's file in our words, any other unchanged.

    Unchanged too is what our words cannot say: a revision with slashes, and a query that chooses
    another file of a version than its primary one.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http"):
        return url
    if (parts.hostname or "") in ("huggingface.co", "hf.co"):
        match = _HF_PAGE.fullmatch(parts.path)
        found = f"hf://{match[1]}@{match[2]}/{unquote(match[3])}" if match else ""
        return found if found and not _hub_problem(found) else url
    if is_civitai(url):
        match = re.fullmatch(r"/api/(?:download/models|v1/model-versions)/(\d+)", parts.path)
        version = match[1] if match else _query_version(parts.query)
        return f"civitai:{version}" if version and not _CHOICE.search(parts.query) else url
    return url


def is_civitai(url: str) -> bool:
    """Tell whether the address is one of CivitAI's website."""
    return (urlsplit(url).hostname or "") in _CIVITAI_HOSTS


def _query_version(query: str) -> str:
    match = re.search(r"(?:^|&)modelVersionId=(\d+)(?:&|$)", query)
    return match[1] if match else ""


def is_loopback(host: str) -> bool:
    """Tell whether the host is this machine itself."""
    return _LOOPBACK.fullmatch(host) is not None


def check_address(url: str, path: str, faults: Faults, *, pinned: bool) -> bool:
    """Add a fault where `url` is no address that a model is available from.

    `pinned` says that the sha256 is known: only then may bytes come over an open line.
    """
    scheme = url.partition(":")[0].lower()
    # The @ of hf:// stands before a revision, and what is before it may be a repository alone.
    if has_credentials(url.replace("@", "/") if scheme == "hf" else url):
        faults.add(
            path,
            "models.credential",
            f"{shown(url)} holds a credential",
            expected="an address without one",
            remedy="put it into an environment variable and name that in `auth`",
        )
        return False
    if scheme in ("https", "http"):
        return _check_web(url, scheme, path, faults, pinned=pinned)
    problem = _problem(url, scheme)
    if problem:
        faults.add(path, "models.source", f"{shown(url)}: {problem}", expected=_EXPECTED)
    return not problem


def _check_web(url: str, scheme: str, path: str, faults: Faults, *, pinned: bool) -> bool:
    if not check_url(url, path, faults, ("https", "http")):
        return False
    if scheme == "https" or pinned or is_loopback(urlsplit(url).hostname or ""):
        return True
    faults.add(
        path,
        "models.open-transport",
        f"{shown(url)}: anyone on the way can change the bytes",
        expected="https, or a sha256 beside it",
        remedy="add the sha256 of the file",
    )
    return False


def _problem(url: str, scheme: str) -> str:
    """Return what is wrong with an address of a scheme other than http, "" for nothing."""
    if any(not letter.isprintable() for letter in url):
        return "control characters"
    if scheme == "file":
        return _local_problem(url)
    if scheme == "hf":
        return _hub_problem(url)
    form, problem = _FORMS.get(scheme, (None, f"the scheme {scheme!r} is not known"))
    return "" if form is not None and form.fullmatch(url) else problem


def _hub_problem(url: str) -> str:
    if "@" not in url:
        return "no revision (write owner/repo@commit)"
    hostile = any(part in (".", "..") for part in url.split("/"))
    return "no repository, revision or path" if hostile or not _HF.fullmatch(url) else ""


def _local_problem(url: str) -> str:
    rest = url.partition(":")[2]
    if rest.startswith("//") and urlsplit(url).netloc not in ("", "localhost"):
        return "a host (write file:///path)"
    return "" if rest.strip("/") else "no path"
