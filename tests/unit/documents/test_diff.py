"""Differences of two environments, in text, in Markdown and as data: whole outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from comfykiln.documents import read
from comfykiln.documents.diff import diff
from comfykiln.documents.diffshown import as_data, as_markdown, as_text
from comfykiln.environment import (
    ComfyUISpec,
    Digest,
    Environment,
    Model,
    ModelSource,
    Node,
    Package,
)

DATA = Path(__file__).parent / "data"
OLD, NEW = "1" * 40, "2" * 40


def git(name: str, **fields: Any) -> Node:
    return Node(name=name, source="git", **{"url": f"https://github.com/o/{name}", **fields})


def model(name: str, **fields: Any) -> Model:
    return Model(filename=name, paths=(f"models/vae/{name}",), **fields)


BEFORE = Environment(
    comfyui=ComfyUISpec(version="v0.3.30"),
    nodes=(
        git("moved", commit=OLD),
        git("gone", commit=OLD),
        git("same", commit=OLD),
        git("switched-off", commit=OLD),
        git("cloned", commit=OLD),
        Node(name="registered", source="registry", registry_id="registered", version="1.0"),
        Node(name="old_node.py", source="file"),
    ),
    packages=(
        Package(name="Foo_Bar", version="1.0"),
        Package(name="gone", version="1"),
        Package(name="same", version="1"),
        Package(name="from-git", source="git", url="https://h/r", ref=OLD),
    ),
    models=(
        model("a", digests=(Digest(algorithm="sha256", value="a" * 64),), size=1),
        model("gone"),
        model("url", sources=(ModelSource(url="https://h/1"),)),
    ),
)
AFTER = Environment(
    comfyui=ComfyUISpec(commit=NEW),
    nodes=(
        git("moved", url="https://github.com/O/moved.git", commit=NEW),
        git("same", commit=OLD),
        git("switched-off", commit=OLD, disabled=True),
        Node(name="Cloned", source="registry", registry_id="Cloned", version="2.0"),
        Node(name="registered", source="registry", registry_id="registered", version="1.1"),
        git("new", commit=NEW),
    ),
    packages=(
        Package(name="foo-bar", version="2.0"),
        Package(name="same", version="1"),
        Package(name="from-git", source="git", url="https://h/r", ref=NEW),
        Package(name="new"),
    ),
    models=(
        model("a", digests=(Digest(algorithm="sha256", value="b" * 64),), size=2),
        model("url", sources=(ModelSource(url="https://h/2"),)),
        model("new", sources=(ModelSource(url="https://u:p@h/3"),)),
    ),
)


def day(url: str, commit: str) -> str | None:
    known = {OLD: "2025-01-01", NEW: "2026-01-01"}
    return known.get(commit) if "moved" in url else None


def test_as_text() -> None:
    assert as_text(diff(BEFORE, AFTER, day), "a.json", "b.json") == (
        "a.json → b.json\n"
        "comfyui: 1 moved\n"
        "  ~  ComfyUI  v0.3.30 → 2222222222\n"
        "nodes: 3 moved, 2 removed, 1 added, 1 changed\n"
        "  ~  Cloned  1111111111 → 2.0  source: git → registry; folder: cloned → Cloned\n"
        "  -  gone  1111111111  https://github.com/o/gone\n"
        "  ~  moved  1111111111 (2025-01-01) → 2222222222 (2026-01-01)  "
        "address: https://github.com/o/moved → https://github.com/O/moved.git\n"
        "  +  new  2222222222  https://github.com/o/new\n"
        "  -  old_node.py\n"
        "  ~  registered  1.0 → 1.1\n"
        "  ~  switched-off  1111111111  disabled: no → yes\n"
        "packages: 2 moved, 1 removed, 1 added\n"
        "  ~  foo-bar  1.0 → 2.0\n"
        f"  ~  from-git  git+https://h/r@{OLD} → git+https://h/r@{NEW}\n"
        "  -  gone  1\n"
        "  +  new  any\n"
        "models: 2 changed, 1 removed, 1 added\n"
        "  ~  models/vae/a  sha256: aaaaaaaaaaaa… → bbbbbbbbbbbb…; size: 1 → 2\n"
        "  -  models/vae/gone\n"
        "  +  models/vae/new  https://***@h/3\n"
        "  ~  models/vae/url  address: https://h/1 → https://h/2"
    )


def test_as_markdown() -> None:
    small = Environment(nodes=BEFORE.nodes[:2]), Environment(nodes=AFTER.nodes[:1])
    assert as_markdown(diff(*small, day), "a_b.json", "b.json") == (
        "### Environment: a\\_b.json → b.json\n"
        "\n"
        "**nodes**: 1 removed, 1 moved\n"
        "\n"
        "| | name | before | after | |\n"
        "|---|---|---|---|---|\n"
        "| removed | gone | 1111111111 |  |  |\n"
        "| moved | moved | 1111111111 (2025-01-01) | 2222222222 (2026-01-01) | "
        f"[commits](https://github.com/O/moved/compare/{OLD}...{NEW}) "
        "address: https:\u2060//github.com/o/moved → https:\u2060//github.com/O/moved.git |"
    )


def test_markdown_shows_hostile_values_and_nothing_more() -> None:
    name = "x|@team`<img src=https://e/x>[a](https://e)"
    environment = Environment(packages=(Package(name=name, version="1"),))
    line = as_markdown(diff(Environment(), environment), "a", "b").splitlines()[-1]
    shown = "x\\|@\u2060team\\`\\<img src=https:\u2060//e/x\\>\\[a\\](https:\u2060//e)"
    assert line == f"| added | {shown} |  | 1 |  |"


def test_as_data() -> None:
    found = as_data(diff(BEFORE, AFTER, day))
    assert json.loads(json.dumps(found)) == found
    assert found["equal"] is False
    assert found["comfyui"] == [
        {
            "what": "moved",
            "name": "ComfyUI",
            "before": "v0.3.30",
            "after": NEW,
            "url": "https://github.com/Comfy-Org/ComfyUI",
        }
    ]
    assert found["nodes"][2] == {
        "what": "moved",
        "name": "moved",
        "before": OLD,
        "after": NEW,
        "url": "https://github.com/O/moved.git",
        "detail": "address: https://github.com/o/moved → https://github.com/O/moved.git",
        "before_date": "2025-01-01",
        "after_date": "2026-01-01",
    }
    assert [entry["what"] for entry in found["models"]] == [
        "changed",
        "removed",
        "added",
        "changed",
    ]


def test_no_difference() -> None:
    environment = read(DATA / "snapshot-manager.json").environment
    found = diff(environment, environment)
    assert found.equal
    assert as_text(found, "a", "b") == "a → b\nno difference"
    assert as_markdown(found, "a", "b") == "### Environment: a → b\n\nNo difference."
    assert as_data(found) == {
        "equal": True,
        "comfyui": [],
        "nodes": [],
        "packages": [],
        "models": [],
    }


def test_documents_of_different_kinds_compare() -> None:
    lock = read(DATA / "comfy-lock-auth.yaml").environment
    other = read(DATA / "snapshot-nested.yaml").environment
    found = diff(lock, other)
    assert [(node.what, node.name) for node in found.nodes] == [
        ("removed", "ComfyUI-KJNodes"),
        ("added", "ComfyUI-Sample-Pack"),
        ("added", "comfyui-sample-registry"),
        ("added", "comfyui-tagged"),
        ("added", "websocket_image_save.py"),
    ]
