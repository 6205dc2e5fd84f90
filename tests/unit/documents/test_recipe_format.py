"""A new kind of document is three files by hand: its format, its schema, its test.

The recipe is followed in a copy of the repository for comfy-cli's `deps.json`, which a workflow's
nodes are listed in; `./kiln render` and the bench of the page on conversions write the rest.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COPIED = ("bench", "docs", "images", "services", "src", "templates", "tests")
FORMAT = '''"""The deps.json of comfy-cli: the nodes from git that a workflow needs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from comfykiln.documents.formats import Format, Parsed, Pins, Sign, Written
from comfykiln.documents.snapshot.parse import check_names, hash_of
from comfykiln.environment import Environment, Node
from comfykiln.parsing import shape
from comfykiln.parsing.faults import Faults
from comfykiln.parsing.fields import Obj, put_extras
from comfykiln.parsing.reading import json_value
from comfykiln.parsing.values import check_name, check_repository, directory_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KIND = "deps"
_KEYS = {"custom_nodes"}


def parse(data: bytes, source: str) -> Parsed:
    """Return the deps.json in `data`. Raises `FaultyDocumentError` with every fault."""
    faults = Faults(source)
    value = json_value(data, source)
    shape.check(value, KIND, faults)
    document = Obj(value)
    nodes = tuple(_nodes(document.obj("custom_nodes"), faults))
    check_names(nodes, faults)
    faults.stop()
    environment = Environment(nodes=nodes, extras=document.extras(KIND, _KEYS))
    return Parsed(kind=KIND, source=source, environment=environment)


def write(environment: Environment) -> Written:
    """Return a deps.json with the nodes from git."""
    nodes = {
        node.url: {"hash": node.commit or node.ref or "-", "state": "installed"}
        for node in environment.nodes
        if node.source == "git" and node.url
    }
    document: dict[str, Any] = {"custom_nodes": nodes}
    put_extras(document, environment.extras, KIND)
    document.setdefault("unknown_nodes", [])
    return Written(kind=KIND, filename="deps.json", data=json.dumps(document, indent=2).encode())


def _nodes(nodes: Obj, faults: Faults) -> Iterable[Node]:
    for url, value, path in nodes:
        name = directory_name(url)
        if check_repository(url, path, faults) and check_name(name, path, faults):
            commit, ref = hash_of(Obj(value, path), faults)
            yield Node(name=name, source="git", url=url, commit=commit, ref=ref, place=path)


def _lists_unknown_nodes(document: Mapping[str, Any]) -> bool:
    return "unknown_nodes" in document and isinstance(document.get("custom_nodes"), dict)


FORMAT = Format(
    kind=KIND,
    title="deps file",
    files="`deps.json` of comfy-cli",
    schema=KIND,
    parse=parse,
    write=write,
    signs=(Sign(rank=15, holds=_lists_unknown_nodes),),
    pins=Pins(key="hash"),
)
'''
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "urn:comfykiln:schema:deps",
    "title": "deps.json of comfy-cli",
    "type": "object",
    "properties": {
        "custom_nodes": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {"hash": {"type": "string"}, "state": {"type": "string"}},
            },
        },
        "unknown_nodes": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["custom_nodes"],
}
TEST = '''"""The deps.json of comfy-cli."""

from __future__ import annotations

import json

import pytest

from comfykiln.documents.convert import convert, reread
from comfykiln.documents.deps.format import parse
from comfykiln.parsing.faults import FaultyDocumentError

PIN = {"hash": "1" * 40, "state": "installed"}
NODES = {"https://github.com/o/pack": PIN}
DOCUMENT = json.dumps({"custom_nodes": NODES, "unknown_nodes": ["X"]}).encode()


def test_it_survives_writing() -> None:
    environment = parse(DOCUMENT, "deps.json").environment
    converted = convert(environment, "deps")
    assert converted.losses == ()
    assert reread(converted.written) == environment


def test_a_fault_has_its_place() -> None:
    with pytest.raises(FaultyDocumentError) as caught:
        parse(b'{"custom_nodes": {"--upload-pack=x": {}}}', "deps.json")
    assert [fault.path for fault in caught.value.records] == ['$.custom_nodes["--upload-pack=x"]']
'''
INIT = "src/comfykiln/documents/deps/__init__.py"
RECIPE = {
    "src/comfykiln/documents/deps/format.py": FORMAT,
    "src/comfykiln/schemas/deps.schema.json": json.dumps(SCHEMA, indent=2) + "\n",
    "tests/unit/documents/test_deps.py": TEST,
}
RENDERED = (
    "docs/conversions.md",
    "docs/documents.md",
    "docs/schemas/deps.schema.json",
    INIT,
)
WALKS = (
    "tests/unit/documents/test_convert.py::test_the_page_says_what_really_survives",
    "tests/unit/documents/test_deps.py",
    "tests/unit/documents/test_formats.py",
    "tests/unit/documents/test_pages.py",
    "tests/unit/parsing/test_shape.py::test_a_schema_is_valid_and_uses_what_the_check_understands",
    "tests/unit/parsing/test_shape.py::test_the_published_schema_is_the_shipped_one",
)
NODE = {"https://github.com/o/pack": {"hash": "1" * 40, "state": "installed"}}
OTHER = {"https://github.com/o/other": {"hash": "2" * 40, "state": "installed"}}
LISTED = {"custom_nodes": {**NODE, **OTHER}, "unknown_nodes": []}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which the recipe was followed."""
    root = tmp_path_factory.mktemp("checkout")
    for name in COPIED:
        left_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, root / name, ignore=left_out, symlinks=True)
    for name in ("pyproject.toml", "tasks.py"):
        shutil.copyfile(ROOT / name, root / name)
    for name, text in RECIPE.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    kiln(root, "render")
    python(root, "bench/conversions.py", "docs/conversions.md")
    (root / "deps.json").write_text(json.dumps(LISTED), encoding="utf-8")
    return root


def python(root: Path, *arguments: str) -> str:
    """Run this Python in the copy, on the copy's sources, and return what it printed."""
    env = {**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kiln(root: Path, *words: str) -> str:
    return python(root, "-m", "comfykiln", *words)


def files(root: Path) -> dict[str, bytes]:
    found = [path for name in COPIED for path in (root / name).rglob("*") if path.is_file()]
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in found
        if "__pycache__" not in path.parts
    }


def test_three_files_are_written_by_hand_and_four_are_rendered(checkout: Path) -> None:
    before, after = files(ROOT), files(checkout)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed - set(RENDERED) == set(RECIPE)
    assert changed & set(RENDERED) == set(RENDERED)
    assert len(RECIPE) == 3
    assert kiln(checkout, "render", "--check").endswith("generated file(s) are as rendered\n")


def test_it_is_checked(checkout: Path) -> None:
    assert kiln(checkout, "snapshot.check", "deps.json").splitlines()[0] == (
        "deps.json: valid deps: 2 nodes, 0 packages, 0 models, 0 workflows"
    )


def test_it_is_converted_both_ways(checkout: Path) -> None:
    snapshot = kiln(checkout, "snapshot.convert", "deps.json", "--to", "snapshot")
    assert [*json.loads(snapshot)["git_custom_nodes"]] == [*NODE, *OTHER]
    (checkout / "snapshot.json").write_text(snapshot, encoding="utf-8")
    again = kiln(checkout, "snapshot.convert", "snapshot.json", "--to", "deps")
    assert json.loads(again) == LISTED


def test_it_is_compared(checkout: Path) -> None:
    fewer = json.dumps({**LISTED, "custom_nodes": NODE})
    (checkout / "fewer.json").write_text(fewer, encoding="utf-8")
    shown = json.loads(
        kiln(checkout, "snapshot.diff", "fewer.json", "deps.json", "--format", "json")
    )
    assert [(entry["what"], entry["name"]) for entry in shown["nodes"]] == [("added", "other")]


def test_it_is_pinned(checkout: Path) -> None:
    assert kiln(checkout, "snapshot.pin", "deps.json") == "deps.json: nothing to pin\n"


def test_it_is_planned(checkout: Path) -> None:
    flags = ("--comfyui", "v0.30.0", "--python-match", "any")
    planned = kiln(checkout, "plan", "--from", "deps.json", "--target", "cpu", *flags)
    assert "from deps.json: deps\n" in planned
    assert f"    other (git) {'2' * 12}\n" in planned


def test_help_and_the_page_name_it(checkout: Path) -> None:
    shown = " ".join(kiln(checkout, "snapshot.convert", "--help").split())
    assert "the kind to write: snapshot, manifest, export, comfylock, comfypack, deps" in shown
    page = (checkout / "docs" / "documents.md").read_text(encoding="utf-8")
    assert "\n| `deps` | `deps.json` of comfy-cli | |\n" in page


def test_the_tests_that_walk_all_kinds_pass(checkout: Path) -> None:
    python(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", *WALKS)
