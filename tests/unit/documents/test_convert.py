"""Conversion: an account of every loss, by reading the new document again."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path
from typing import Any

import pytest

from comfykiln.documents import Kind, read
from comfykiln.documents.convert import completed, convert, reread
from comfykiln.documents.losses import losses
from comfykiln.environment import (
    ComfyUISpec,
    Digest,
    Environment,
    Model,
    ModelSource,
    Node,
    Package,
    SystemSpec,
    TorchSpec,
)
from comfykiln.errors import DocumentError

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parents[3]
PIN = "0" * 40


def said(before: Environment, after: Environment) -> list[str]:
    return [str(note) for note in losses(before, after)]


def node(name: str) -> Node:
    return Node(name=name, source="git", url=f"https://h/{name}", commit=PIN)


def test_nothing_is_lost_between_equals() -> None:
    environment = read(DATA / "snapshot-manager.json").environment
    assert losses(environment, environment) == ()


def test_what_is_added_is_no_loss() -> None:
    more = Environment(nodes=(node("a"),), comfyui=ComfyUISpec(commit=PIN), name="x")
    assert losses(Environment(), more) == ()


def test_things_left_out_are_named_five_at_most() -> None:
    before = Environment(nodes=tuple(node(f"n{number}") for number in range(7)))
    after = Environment(nodes=before.nodes[:1])
    assert said(before, after) == [
        "nodes: left out: n1, n2, n3, n4, n5 and 1 more [convert.left-out]"
    ]


def test_a_field_is_told_once_with_all_it_was_lost_for() -> None:
    before = Environment(
        nodes=(
            Node(name="a", source="git", url="u", fallback_url="f", install_order=1),
            Node(name="b", source="git", url="u2", fallback_url="f"),
        ),
        system=SystemSpec(python="3.11.7"),
    )
    after = Environment(
        nodes=(Node(name="a", source="git", url="u"), Node(name="b", source="git", url="u2")),
        system=SystemSpec(python="3.11"),
    )
    assert said(before, after) == [
        "nodes[].fallback_url: not kept: a, b [convert.lost]",
        "nodes[].install_order: not kept: a [convert.lost]",
        "system.python: changed: 3.11.7 → 3.11 [convert.changed]",
    ]


def test_deep_things_tell_whose_they_are() -> None:
    def model(*urls: str) -> Model:
        return Model(
            filename="m",
            paths=("models/vae/m",),
            digests=(Digest(algorithm="sha256", value="a" * 64),),
            sources=tuple(ModelSource(url=url) for url in urls),
        )

    before = Environment(models=(model("https://h/1", "https://me:canary@h/2"),))
    after = Environment(models=(model("https://h/1"),))
    assert said(before, after) == [
        "models[].sources: left out: https://***@h/2 (models/vae/m) [convert.left-out]"
    ]


def test_another_order_is_told() -> None:
    before = Environment(nodes=(node("a"), node("b")))
    after = Environment(nodes=(node("b"), node("a")))
    assert said(before, after) == ["nodes: in another order [convert.order]"]


def test_packages_are_the_same_under_other_spellings() -> None:
    before = Environment(packages=(Package(name="Foo_Bar", version="1"),))
    after = Environment(packages=(Package(name="foo-bar", version="1"),))
    assert said(before, after) == [
        "packages[].name: changed: Foo_Bar: Foo_Bar → foo-bar [convert.changed]"
    ]


def test_a_lock_as_a_snapshot_loses_what_a_snapshot_cannot_hold() -> None:
    environment = read(DATA / "comfy-lock-auth.yaml").environment
    converted = convert(environment, Kind.SNAPSHOT)
    assert [note.path for note in converted.losses] == [
        "credentials",
        "models[].digests",
        "models[].kind",
        "models[].label",
    ]
    assert reread(converted.written).nodes == environment.nodes


def test_leaving_packages_out_is_a_loss_like_any_other() -> None:
    environment = Environment(packages=(Package(name="a", version="1"),))
    converted = convert(environment, Kind.SNAPSHOT, packages="none")
    assert [str(note) for note in converted.losses] == ["packages: left out: a [convert.left-out]"]


def test_versions_that_a_document_does_not_tell() -> None:
    environment = Environment(system=SystemSpec(python="3.12"))
    assert completed(environment, torch="2.1.0+cpu", comfyui="v0.3.64") == Environment(
        system=SystemSpec(python="3.12"),
        torch=TorchSpec(version="2.1.0+cpu"),
        comfyui=ComfyUISpec(version="v0.3.64"),
    )
    assert completed(environment, comfyui=PIN).comfyui == ComfyUISpec(commit=PIN)
    assert completed(environment, python="3.12") == environment
    with pytest.raises(DocumentError, match=r"the document says 3\.12"):
        completed(environment, python="3.11")


@pytest.fixture(scope="module")
def bench() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "bench" / "conversions.py"))


def test_the_page_says_what_really_survives(bench: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "conversions.md").read_text(encoding="utf-8")
    tables = page.partition(f"{bench['BEGIN']}\n")[2].partition(bench["END"])[0]
    assert tables == bench["tables"](), "run: python bench/conversions.py docs/conversions.md"


def test_the_richest_kind_loses_nothing(bench: dict[str, Any]) -> None:
    full = bench["FULL"]
    converted = convert(full, Kind.EXPORT)
    assert converted.losses == ()
    assert reread(converted.written) == full


def test_the_sample_uses_every_field(bench: dict[str, Any]) -> None:
    used: dict[type, set[str]] = {}
    _note_used(bench["FULL"], used)
    unused = {
        f"{record.__name__}.{field.name}"
        for record, names in used.items()
        for field in dataclasses.fields(record)
        if field.compare and field.name not in names
    }
    assert unused == {
        "ComfyUISpec.branch",
        "ComfyUISpec.ref",
        "Index.packages",
        "Model.extras",
        "Node.extras",
        "Package.unknown",
        "PlatformOverride.extras",
        "Workflow.extras",
        "Workflow.format",
        "Workflow.unresolved",
    }


def _note_used(value: Any, used: dict[type, set[str]]) -> None:
    if isinstance(value, tuple):
        for entry in value:
            _note_used(entry, used)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            inner = getattr(value, field.name)
            if inner != field.default:
                used.setdefault(type(value), set()).add(field.name)
            _note_used(inner, used)


def test_sampled_digits_that_are_no_hex_digits_stay_in_exports() -> None:
    """The specification's own example of a download intent has `hash = "abc123..."`."""
    digests = (Digest(algorithm="sampled-blake3", value="abc123..."),)
    model = Model(filename="m.pt", paths=("models/vae/m.pt",), category="vae", digests=digests)
    converted = convert(Environment(models=(model,)), Kind.COMFYLOCK)
    assert [str(note) for note in converted.losses] == [
        "models[].digests: left out: sampled-blake3 (models/vae/m.pt) [convert.left-out]"
    ]


@pytest.mark.parametrize("kind", [Kind.SNAPSHOT, Kind.COMFYLOCK])
@pytest.mark.parametrize(
    ("ref", "lost"),
    [
        ("main", ["nodes[].ref: not kept: p [convert.lost]"]),
        ("abc1234", ["nodes[].ref: not kept: p [convert.lost]"]),
        ("nightly", []),
    ],
)
def test_a_branch_is_no_version_of_the_registry(kind: Kind, ref: str, lost: list[str]) -> None:
    pack = Node(name="p", source="registry", registry_id="p", ref=ref)
    converted = convert(Environment(nodes=(pack,)), kind)
    assert [str(note) for note in converted.losses] == lost


def test_a_folder_of_models_inside_models_keeps_its_place() -> None:
    model = Model(filename="m.pt", paths=("models/models/m.pt",), category="models")
    environment = Environment(models=(model,))
    assert convert(environment, Kind.SNAPSHOT).losses == ()
