"""Advice on what may stand anywhere: credentials, somebody's folders, models, the size."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from comfykiln.parsing.values import has_credentials, is_home_path, is_windows_path
from comfykiln.system.gate import masked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comfykiln.environment import Environment

MANIFEST_LIMIT = 5_120
MANIFEST_NEAR = 4_608
"""Nine tenths of what a migration manifest may weigh."""
_MOVING = re.compile(r"https://huggingface\.co/.+/(resolve|raw)/(main|master)/")


def credentials_in_url(environment: Environment) -> Iterable[tuple[str, str]]:
    """Tell of addresses with a password, token or signature in them (never shown)."""
    for place, url in _urls(environment):
        if has_credentials(url):
            yield place, f"{masked(url)} carries a credential; take it back where it was issued"


def home_path(environment: Environment) -> Iterable[tuple[str, str]]:
    """Tell of paths of the machine that wrote the document: they exist nowhere else."""
    for place, path in _paths(environment):
        if is_home_path(path) or is_windows_path(path):
            yield place, f"{masked(path)} is a path of somebody's machine"


def model_unverified(environment: Environment) -> Iterable[tuple[str, str]]:
    """Tell of models whose bytes nothing proves."""
    bare = [model for model in environment.models if not model.digest("sha256")]
    if bare:
        moving = sum(bool(_MOVING.match(s.url)) for model in bare for s in model.sources)
        more = f", {moving} of them at a branch" if moving else ""
        yield bare[0].place, f"{len(bare)} of {len(environment.models)} models have no sha256{more}"


def manifest_size(size: int) -> Iterable[str]:
    """Tell that a manifest is close to the 5,120 bytes it may have."""
    if MANIFEST_NEAR <= size <= MANIFEST_LIMIT:
        yield f"{size:,} of {MANIFEST_LIMIT:,} bytes are used"


def _urls(environment: Environment) -> Iterable[tuple[str, str]]:
    for node in environment.nodes:
        for url in (node.url, node.fallback_url, node.download_url):
            if url:
                yield node.place, url
    packages = (*environment.packages, *environment.torch.packages)
    yield from ((package.place, package.url) for package in packages if package.url)
    for model in environment.models:
        yield from ((model.place, source.url) for source in model.sources)
    yield from (("", index.url) for index in environment.indexes)
    if environment.torch.index_url:
        yield "", environment.torch.index_url


def _paths(environment: Environment) -> Iterable[tuple[str, str]]:
    for node in environment.nodes:
        if node.source == "local" and node.url:
            yield node.place, node.url
    for package in environment.packages:
        path = package.path or (package.url if package.source == "local" else None)
        if path:
            yield package.place, path
    if environment.metadata.source_path:
        yield "", environment.metadata.source_path
