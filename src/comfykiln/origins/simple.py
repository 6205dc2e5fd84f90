"""Find one file in a package index by the simple API (PEP 691 JSON, else PEP 503 HTML)."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from comfykiln.network.client import UnavailableError
from comfykiln.network.http import Page, Patience, page
from comfykiln.network.indexes import effective_index
from comfykiln.parsing.values import WEB, AddressError, join_url, normal_name, split_url
from comfykiln.system.gate import bare_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfykiln.network.indexes import IndexSettings

ACCEPT = (
    "application/vnd.pypi.simple.v1+json, "
    "application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
)


def places_of(
    project: str, file: str, settings: IndexSettings, patience: Patience
) -> Iterator[str]:
    """Yield the addresses of `file` of `project`, from the default index, the others, the links.

    An address without a scheme is a path on this host. Raises `UnavailableError` with every reason
    when there was none.
    """
    reasons: list[str] = []
    found = False
    for index in (effective_index(settings), *settings.extra):
        try:
            links = project_files(index, project, settings, patience)
        except UnavailableError as error:
            reasons.append(error.message)
            continue
        if file in links:
            found = True
            yield links[file]
        else:
            reasons.append(f"{bare_address(index)}: has no {file}")
    for folder in settings.find_links:
        path = Path(folder.removeprefix("file://")) / file
        if path.is_file():
            found = True
            yield str(path)
    if not found:
        raise UnavailableError("; ".join(reasons))


def project_files(
    index: str, project: str, settings: IndexSettings, patience: Patience
) -> dict[str, str]:
    """Return file name → address of everything the index lists for `project` (normalised name).

    The credentials of the index go along to files on the same host, and to no other.
    """
    name = normal_name(project)
    address = f"{index.rstrip('/')}/{name}/"
    if split_url(index).scheme not in WEB:
        address = f"file://{Path(index.removeprefix('file://')) / name}/index.html"
    answer = page(address, settings, patience=patience, headers={"Accept": ACCEPT})
    try:
        links = _json_links(answer) if answer.media_type.endswith("+json") else _html_links(answer)
    except AddressError as error:
        problem = f"{bare_address(answer.url)}: is no simple index ({error.message})"
        raise UnavailableError(problem) from error
    # The address asked for keeps its credentials; that of the answer never had them.
    return {file: _with_credentials(url, address) for file, url in links.items()}


def _json_links(answer: Page) -> dict[str, str]:
    try:
        entries = json.loads(answer.body)["files"]
        return {str(entry["filename"]): join_url(answer.url, entry["url"]) for entry in entries}
    except (ValueError, KeyError, TypeError) as error:
        raise UnavailableError(
            f"{bare_address(answer.url)}: is no simple index ({error})"
        ) from error


class _Anchors(HTMLParser):
    """Collect the targets of all anchors, and the document's base address."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        target = values.get("href")
        if tag == "a" and target:
            self.targets.append(target)
        elif tag == "base" and target:
            self.base = target


def _html_links(answer: Page) -> dict[str, str]:
    parser = _Anchors()
    parser.feed(answer.body.decode("utf-8", "replace"))
    base = join_url(answer.url, parser.base)
    urls = [join_url(base, target) for target in parser.targets]
    return {unquote(split_url(url).path.rpartition("/")[2]): url for url in urls}


def _with_credentials(url: str, index: str) -> str:
    there, asked = split_url(url), split_url(index)
    userinfo, separator, host = asked.netloc.rpartition("@")
    if not separator or (there.scheme, there.netloc) != (asked.scheme, host):
        return url
    return there._replace(netloc=f"{userinfo}@{there.netloc}").geturl()
