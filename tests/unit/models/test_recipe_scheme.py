"""The recipe for a new scheme of models, followed in a copy: its record, and its test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
OLD = ["tests/unit/parsing/test_schemes.py", "tests/unit/models/test_document.py"]
COPIED = ["src", "docs", "tests/support", "tests/unit/conftest.py", "pyproject.toml", *OLD]
RECORD = """\
    Scheme(
        name="gs",
        form="gs://bucket/key",
        pattern=re.compile(r"gs://(?P<bucket>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])/(?P<key>.+)"),
        problem="no bucket or no key",
        web="https://storage.googleapis.com/{bucket}/{key}",
    ),
"""
TEST = '''\
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from tests.support.exports import made_input

import comfykiln
from comfykiln.documents.export import format as export
from comfykiln.documents.export.write import plain_members
from comfykiln.errors import KilnError
from comfykiln.export.environment import environment_of
from comfykiln.export.tarball import ExportModel
from comfykiln.models import locking
from comfykiln.models.document import load_models
from comfykiln.models.listing import listed, table
from comfykiln.models.records import ImageFolder
from comfykiln.models.sources import web
from comfykiln.parsing.faults import FaultyDocumentError
from comfykiln.parsing.reading import yaml_value
from comfykiln.parsing.tarballs import write_members
from comfykiln.transfer.errors import MissingError

ROOT = Path(__file__).parents[3]
URL = "gs://models/sub dir/100%.safetensors"
YAML = f"""\\
models:
  - name: a
    destination: vae/a.safetensors
    sources: ["{URL}"]
"""


def image(folder, text=YAML):
    (folder / "models.yaml").write_text(text)
    return ImageFolder(name="core", folder=folder)


def test_models_yaml_holds_it(tmp_path):
    assert Path(comfykiln.__file__).is_relative_to(ROOT)
    (entry,) = load_models(image(tmp_path)).entries
    assert [source.url for source in entry.sources] == [URL]
    told = "'gs://m': no bucket or no key; expected .*, gs://bucket/key, "
    with pytest.raises(FaultyDocumentError, match=told):
        load_models(image(tmp_path, YAML.replace(URL, "gs://m")))


def test_the_schema_of_models_yaml_takes_it():
    for folder in (ROOT / "docs" / "schemas", ROOT / "src" / "comfykiln" / "schemas"):
        schema = json.loads((folder / "models.schema.json").read_text())
        Draft202012Validator(schema).validate(yaml_value(YAML.encode(), "models.yaml"))


def test_the_list_of_models_shows_it(tmp_path):
    (line,) = table(listed([image(tmp_path)])).splitlines()[1:-1]
    assert line.split() == ["a", "?", "required", "not", "locked", *URL.split(), "-", "core"]


def test_locking_asks_the_mapped_address(tmp_path, home, monkeypatch):
    asked = []

    def look(url, headers, environ):
        asked.append((url, headers))
        raise MissingError("nothing", remedy="")

    monkeypatch.setattr(web, "look", look)
    with pytest.raises(KilnError, match="1 required model"):
        locking.lock_models(load_models(image(tmp_path)))
    address = "https://storage.googleapis.com/models/sub%20dir/100%25.safetensors"
    assert asked == [(address, {})]


def test_an_export_is_read_back_with_it():
    model = ExportModel(
        filename="a.safetensors",
        category="vae",
        relative_path="vae/a.safetensors",
        sha256="0a" * 32,
        size=7,
        sources=(URL,),
    )
    environment = environment_of(made_input(Path(), models=[model], nodes=(), dev_nodes={}))
    found = export.parse(write_members(plain_members(environment), 0), "core.tar.gz").environment
    assert [source.url for source in found.models[0].sources] == [URL]
'''


def test_a_new_scheme_touches_its_record_and_its_test(tmp_path: Path) -> None:
    for name in COPIED:
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, place)
    before = _files(tmp_path)

    record = tmp_path / "src" / "comfykiln" / "parsing" / "schemes.py"
    text = record.read_text()
    anchor = '    Scheme(name="https"'
    assert text.count(anchor) == 1
    record.write_text(text.replace(anchor, RECORD + anchor))
    own = tmp_path / "tests" / "unit" / "models" / "test_gs.py"
    own.write_text(TEST)

    after = _files(tmp_path)
    touched = {name for name in before | after if before.get(name) != after.get(name)}
    assert touched == {"src/comfykiln/parsing/schemes.py", "tests/unit/models/test_gs.py"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(own), *OLD],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
