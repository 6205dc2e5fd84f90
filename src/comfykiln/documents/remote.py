"""Documents at an address: a git repository with an export, or a file that is fetched first."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import Faults, FaultyDocumentError
from comfykiln.parsing.values import check_url, is_scp_address, split_url
from comfykiln.system.gate import masked

if TYPE_CHECKING:
    from collections.abc import Callable

    from comfykiln.documents.formats import Parsed
    from comfykiln.network.indexes import IndexSettings

_FILE = re.compile(r"(?i)\.(json|ya?ml|toml|zip|png|webp|tar\.gz|tgz)\Z")


def is_address(source: str) -> bool:
    """Say whether `source` is an address rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*:(//|:)", source) is not None or is_scp_address(source)


def read(
    address: str,
    ref: str | None,
    read_file: Callable[[Path], Parsed],
    settings: IndexSettings | None = None,
) -> Parsed:
    """Return the document at an https address; one that names no file is a git repository's.

    `ref` is the branch, tag or commit of the repository, `read_file` the reader of a fetched file.
    Raises `NotPossibleError` when the host cannot be reached, `DocumentError` otherwise.
    """
    if is_scp_address(address) or ref or _FILE.search(split_url(address).path) is None:
        from comfykiln.documents.export.parse import read_repository  # noqa: PLC0415  # exports only

        return read_repository(address, ref, settings)
    faults = Faults(masked(address))
    check_url(address, "$", faults)
    faults.stop()
    return _fetch(address, read_file, settings)


def _fetch(
    address: str, read_file: Callable[[Path], Parsed], settings: IndexSettings | None
) -> Parsed:
    """Fetch a file under its own name, which may settle its kind, and read it."""
    from comfykiln.network import http  # noqa: PLC0415  # addresses only
    from comfykiln.network.indexes import host_indexes  # noqa: PLC0415  # the same

    settings = settings or host_indexes(os.environ, Path.home())
    page = http.page(address, settings, patience=http.patience_of(os.environ))
    if page.media_type == "text/html":
        raise DocumentError(
            f"{masked(address)}: answers with a web page, no document", remedy=_raw(address)
        )
    with tempfile.TemporaryDirectory(prefix="comfykiln-document-") as folder:
        name = re.sub(r"[^\w.-]", "_", unquote(split_url(address).path).rpartition("/")[2])
        path = Path(folder) / name.lstrip("-.")
        path.write_bytes(page.body)
        try:
            return replace(read_file(path), source=masked(address))
        except FaultyDocumentError as error:
            raise FaultyDocumentError(masked(address), error.records) from error


def _raw(address: str) -> str:
    """Say which address holds the file itself, where that can be told."""
    page = re.fullmatch(r"https://github\.com/([^/]+/[^/]+)/blob/([^?#]+).*", address)
    if page:
        return f"name https://raw.githubusercontent.com/{page[1]}/{page[2]}"
    return "name the address of the file itself"
