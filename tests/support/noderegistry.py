"""A registry of custom nodes on loopback, and the zip archives that it hands out."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.sites import Answer, Site, site

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def archive(files: Mapping[str, str]) -> bytes:
    """Return a zip archive of the files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in files.items():
            made.writestr(zipfile.ZipInfo(name), text)
    return packed.getvalue()


def published(name: str, version: str, files: Mapping[str, str]) -> dict[str, str]:
    """Return the files with the pyproject.toml by which the registry knows a node."""
    project = f'[project]\nname = "{name}"\nversion = "{version}"\n'
    return {"pyproject.toml": project, **files}


@dataclass(frozen=True)
class Registry:
    """A running registry; what it was asked stands in `site.paths`."""

    site: Site

    def add(self, name: str, version: str, data: bytes) -> None:
        """Offer `data` as the archive of a version."""
        path = f"/archives/{name}-{version}.zip"
        said = {"id": "any", "version": version, "downloadUrl": f"{self.site.url}{path}"}
        self.site.answers[f"/nodes/{name}/install?version={version}"] = Answer(
            body=json.dumps(said).encode()
        )
        self.site.answers[path] = Answer(body=data)


@contextmanager
def registry() -> Iterator[Registry]:
    """Run a registry until the block ends; what nobody added is 404."""
    with site() as running:
        yield Registry(site=running)
