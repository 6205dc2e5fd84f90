"""ComfyUI-Manager snapshots: every form that occurs, every oddity, every fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfykiln.documents import Kind, read, write
from comfykiln.documents.snapshot.format import as_yaml, parse
from comfykiln.environment import (
    ComfyUISpec,
    Digest,
    Environment,
    Extra,
    Model,
    ModelSource,
    Node,
    Package,
)
from comfykiln.parsing.faults import FaultyDocumentError, Note

DATA = Path(__file__).parent / "data"
PACK = "https://github.com/example-nodes/"
PIN = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"


def git(name: str, **fields: Any) -> Node:
    return Node(name=name, source="git", **{"url": PACK + name, **fields})


def registry(name: str, **fields: Any) -> Node:
    return Node(name=name, source="registry", registry_id=name, **fields)


MANAGER = Environment(
    comfyui=ComfyUISpec(commit="3c0ffee1d2b3a4958677f5e4d3c2b1a098765432"),
    nodes=(
        git("ComfyUI-Sample-Pack", commit=PIN),
        git(
            "ComfyUI-Trailing-Newline",
            url=f"{PACK}ComfyUI-Trailing-Newline.git",
            commit="9f8e7d6c5b4a39281706f5e4d3c2b1a0fedcba98",
        ),
        git(
            "comfyui-ssh-node",
            url="git@codeberg.org:example-nodes/comfyui-ssh-node.git",
            disabled=True,
        ),
        git("comfyui-null-hash"),
        git("comfyui-dash"),
        git("comfyui-short", ref=PIN[:39]),
        git("comfyui-branch", ref="main", disabled=True),
        git(
            "comfyui_renamed",
            url=f"{PACK}comfyui-upper",
            commit="abcdef0123456789abcdef0123456789abcdef01",
        ),
        registry("comfyui-sample-registry", version="1.0.7"),
        registry("ComfyUI-Big-Version", version="1.0.2506230015"),
        registry("comfyui-nightly", ref="nightly"),
        registry("comfyui-unknown"),
        Node(name="websocket_image_save.py", source="file"),
        Node(name="old_node.py", source="file", disabled=True),
    ),
    packages=(
        Package(name="absl-py", version="2.1.0"),
        Package(name="torch", version="2.6.0+cu126"),
        Package(name="Jinja2", version="3.1.6"),
        Package(name="wandb"),
        Package(name="numpy", version="1.26.4"),
        Package(
            name="sample-git",
            source="git",
            url="https://github.com/example/sample-git.git",
            ref="0520c29a18a7a869a6e5983861d6f7a4c86f8e9b",
        ),
        Package(
            name="sample-ssh",
            source="git",
            url="ssh://git@github.com/example/private.git",
            ref="v1.0",
            subdirectory="python",
        ),
        Package(
            name="sample-wheel",
            source="url",
            url="https://example.org/wheels/sample_wheel-1.0-py3-none-any.whl",
            sha256="01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b",
        ),
        Package(
            name="smmap",
            source="local",
            url="file:///home/conda/feedstock_root/build_artifacts/smmap_1634310307496/work",
        ),
        Package(
            name="torchvision",
            source="local",
            url="file:///D:/a/ComfyUI/cu126_python_deps/"
            "torchvision-0.21.0%2Bcu126-cp312-cp312-win_amd64.whl",
        ),
        Package(name="", source="editable", path="c:\\users\\someone\\sample-editable"),
        Package(
            name="editable",
            source="editable",
            url="https://github.com/example/editable.git",
            ref="f000737698b387ffaeab7cd871b0e9185811230d",
        ),
    ),
    extras=(
        Extra(kind="snapshot", path="_comment", json='"a note of its author"'),
        Extra(kind="snapshot", path="timestamp", json='"2026-03-04T05:06:07Z"'),
    ),
)


def test_the_form_that_manager_writes_with_the_oddities_of_real_files() -> None:
    parsed = read(DATA / "snapshot-manager.json")
    comment = "# Editable install with no version control (old-tool==0.1)"
    assert parsed.kind is Kind.SNAPSHOT
    assert parsed.form == "manager"
    assert parsed.environment == MANAGER
    assert parsed.notes == (
        Note(
            path=f'$.pips["{comment}"]',
            rule="snapshot.pip-comment",
            message="a comment, left out",
        ),
    )


def test_each_thing_knows_its_place() -> None:
    environment = read(DATA / "snapshot-manager.json").environment
    places = {node.name: node.place for node in environment.nodes}
    assert places["comfyui-branch"] == f'$.git_custom_nodes["{PACK}comfyui-branch"]'
    assert places["comfyui-nightly"] == "$.cnr_custom_nodes.comfyui-nightly"
    assert places["old_node.py"] == "$.file_custom_nodes[1]"
    assert environment.packages[3].place == "$.pips.wandb"


def test_the_yaml_form_below_custom_nodes() -> None:
    parsed = read(DATA / "snapshot-nested.yaml")
    assert parsed.form == "nested"
    assert parsed.environment == Environment(
        comfyui=ComfyUISpec(version="v0.3.64"),
        nodes=(
            git("ComfyUI-Sample-Pack", commit=PIN),
            git("comfyui-tagged", url=f"{PACK}comfyui-tagged.git", ref="3.33.8", disabled=True),
            registry("comfyui-sample-registry", version="1.0.7"),
            Node(name="websocket_image_save.py", source="file"),
        ),
        packages=(
            Package(name="Cython", version="3.0.11"),
            Package(name="PyYAML", version="6.0.2"),
        ),
    )


def test_the_map_of_the_snapshot_spec() -> None:
    parsed = read(DATA / "snapshot-map.json")
    assert parsed.form == "map"
    assert parsed.environment == Environment(
        comfyui=ComfyUISpec(branch="main"),
        nodes=(
            git("ComfyUI-Sample-Pack", url=f"{PACK}ComfyUI-Sample-Pack.git", commit=PIN),
            git("comfyui-branch", ref="main", disabled=True),
            git("my-folder", url=f"{PACK}comfyui-other"),
        ),
        packages=(Package(name="six", version="1.16.0"), Package(name="pillow", version="10.4.0")),
    )


def test_a_launcher_file_brings_models_packages_and_a_workflow() -> None:
    parsed = read(DATA / "snapshot-launcher.json")
    environment = parsed.environment
    assert parsed.form == "launcher"
    assert environment.nodes == (git("ComfyUI-Sample-Pack"),)
    assert environment.packages == (
        Package(name="insightface"),
        Package(name="onnxruntime", specifier=">=1.17"),
    )
    assert environment.models == (
        Model(
            filename="sample.safetensors",
            paths=("models/checkpoints/sample.safetensors",),
            category="checkpoints",
            size=1071149741,
            digests=(
                Digest(
                    algorithm="sha256",
                    value="01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b",
                ),
            ),
            sources=(
                ModelSource(url="https://example.org/a/download"),
                ModelSource(url="https://example.org/b/download"),
            ),
        ),
    )
    (workflow,) = environment.workflows
    assert json.loads(workflow.data)["nodes"][0]["type"] == "CheckpointLoaderSimple"
    assert [extra.path for extra in environment.extras] == ["version", "os", "python_version"]


def test_models_and_downloads_that_some_tools_add() -> None:
    environment = read(DATA / "snapshot-models.json").environment
    assert [
        (model.paths, [source.url for source in model.sources]) for model in environment.models
    ] == [
        (("models/vae/sample-vae.safetensors",), ["https://example.org/sample-vae.safetensors"]),
        (("models/loras/no-address.safetensors",), []),
        (("models/checkpoints/sample.safetensors",), ["https://example.org/sample.safetensors"]),
        (
            ("custom_nodes/ComfyUI-Sample-Pack/ckpts/sample.pth",),
            ["https://example.org/sample.pth"],
        ),
    ]


@pytest.mark.parametrize(
    ("value", "spec"),
    [
        (None, ComfyUISpec()),
        ("unknown", ComfyUISpec()),
        ("a" * 40, ComfyUISpec(commit="a" * 40)),
        ("a" * 40 + "\n", ComfyUISpec(commit="a" * 40)),
        ("v0.3.64", ComfyUISpec(version="v0.3.64")),
        ("0.26.0", ComfyUISpec(version="0.26.0")),
        ("v0.3.64-rc.1", ComfyUISpec(version="v0.3.64-rc.1")),
        ("abc1234", ComfyUISpec(ref="abc1234")),
        ("master", ComfyUISpec(branch="master")),
    ],
)
def test_what_comfyui_may_be(value: str | None, spec: ComfyUISpec) -> None:
    data = json.dumps({"comfyui": value, "git_custom_nodes": {}}).encode()
    assert parse(data, "s.json").environment.comfyui == spec


def test_absent_null_and_empty_mean_nothing() -> None:
    for text in (
        "{}",
        '{"git_custom_nodes": null, "cnr_custom_nodes": null, "file_custom_nodes": null}',
        '{"custom_nodes": {}}',
        '{"git_custom_nodes": {}, "pips": null, "comfyui": null}',
    ):
        assert parse(text.encode(), "s.json").environment == Environment()


def faults_of(document: Any) -> list[str]:
    with pytest.raises(FaultyDocumentError) as caught:
        parse(json.dumps(document).encode(), "s.json")
    return [f"{fault.path} {fault.rule}" for fault in caught.value.records]


def node(**fields: Any) -> dict[str, Any]:
    return {"git_custom_nodes": {f"{PACK}x": fields}}


X = f'$.git_custom_nodes["{PACK}x"]'


@pytest.mark.parametrize(
    ("document", "faults"),
    [
        ([], ["$ snapshot.type"]),
        ({"git_custom_nodes": []}, ["$.git_custom_nodes snapshot.type"]),
        ({"comfyui": 1.5}, ["$.comfyui snapshot.comfyui"]),
        ({"comfyui": "--help"}, ["$.comfyui ref.dash"]),
        (node(hash=12345678), [f"{X}.hash snapshot.hash"]),
        (node(hash="--upload-pack=x"), [f"{X}.hash ref.dash"]),
        (node(hash="a b"), [f"{X}.hash ref.format"]),
        (node(hash="$(id)"), []),
        (node(disabled="yes"), [f"{X}.disabled snapshot.disabled"]),
        (node(state="gone"), [f"{X}.state snapshot.disabled"]),
        (node(name="../up"), [f"{X} name.separator"]),
        ({"git_custom_nodes": {f"{PACK}x": "abc"}}, [f"{X} snapshot.node"]),
        (
            {"git_custom_nodes": {"ext::sh -c id": {}}},
            ['$.git_custom_nodes["ext::sh -c id"] url.transport'],
        ),
        (
            {"git_custom_nodes": {"file:///etc/x": {}}},
            ['$.git_custom_nodes["file:///etc/x"] url.transport'],
        ),
        (
            {"git_custom_nodes": {"https://h/..": {}}},
            ['$.git_custom_nodes["https://h/.."] name.reserved'],
        ),
        (
            {"git_custom_nodes": {"https://h/-x": {}}},
            ['$.git_custom_nodes["https://h/-x"] name.dash'],
        ),
        (
            {"git_custom_nodes": {"https://h/A": {}, "https://g/a": {}}},
            ['$.git_custom_nodes["https://g/a"] name.case'],
        ),
        (node(url=f"{PACK}y"), [f"{X}.url snapshot.url"]),
        (node(hash="main", commit=PIN), [f"{X} snapshot.hash"]),
        (
            {"custom_nodes": {"http://[": {"url": f"{PACK}x"}}},
            ['$.custom_nodes["http://["] url.format'],
        ),
        ({"pips": {"a": "latest"}}, ["$.pips.a requirement.format"]),
        ({"pips": {"a==1": "2"}}, ['$.pips["a==1"] requirement.format']),
        (
            {"comfyui": "v1.0", "custom_nodes": {"comfyui": "v1.1"}},
            ["$.comfyui snapshot.comfyui"],
        ),
        ({"cnr_custom_nodes": {"a b": "1"}}, ['$.cnr_custom_nodes["a b"] snapshot.registry-id']),
        ({"cnr_custom_nodes": {"a": 1.5}}, ["$.cnr_custom_nodes.a snapshot.version"]),
        ({"cnr_custom_nodes": {"a": ">=1"}}, ["$.cnr_custom_nodes.a snapshot.version"]),
        ({"file_custom_nodes": [{}]}, ["$.file_custom_nodes[0] snapshot.file"]),
        (
            {"file_custom_nodes": [{"filename": "../x.py"}]},
            ["$.file_custom_nodes[0].filename name.separator"],
        ),
        (
            {"file_custom_nodes": [{"filename": "a.py"}, {"filename": "A.py"}]},
            ["$.file_custom_nodes[1] name.case"],
        ),
        ({"pips": {"a==1": 1}}, ['$.pips["a==1"] snapshot.pips']),
        (
            {"pips": {"--index-url=http://evil": ""}},
            ['$.pips["--index-url=http://evil"] requirement.option'],
        ),
        ({"pips": {"-r x.txt": ""}}, ['$.pips["-r x.txt"] requirement.option']),
        ({"pips": {"a==1 --pre": ""}}, ['$.pips["a==1 --pre"] requirement.format']),
        ({"pips": {"a==1\nb==2": ""}}, ['$.pips["a==1\\nb==2"] requirement.format']),
        ({"pips": {"a": "git+ext::sh -c id"}}, ["$.pips.a url.transport"]),
        ({"pips": {"a": "git+file:///etc"}}, ["$.pips.a url.transport"]),
        ({"pips": {"a": "hg+https://h/r"}}, ["$.pips.a requirement.format"]),
        ({"pips": {"a": "git+https://h/r@--x"}}, ["$.pips.a ref.dash"]),
        ({"pips": {"a": "--pre"}}, ["$.pips.a url.dash"]),
        ({"pips": {"a b": "1.0"}}, ['$.pips["a b"] requirement.format']),
        ({"models": {"../x": {"url": "https://h/x"}}}, ['$.models["../x"] name.reserved']),
        ({"models": {"/x": {"url": "https://h/x"}}}, ['$.models["/x"] path.absolute']),
        ({"models": {"C:\\x": {"url": "https://h/x"}}}, ['$.models["C:\\\\x"] path.absolute']),
        ({"downloads": {"vae/x": "file:///etc"}}, ['$.downloads["vae/x"] url.transport']),
        ({"snapshot_json": {"comfyui": 1}}, ["$.snapshot_json.comfyui snapshot.comfyui"]),
        (
            {"custom_nodes": {"git_custom_nodes": 1}},
            ["$.custom_nodes.git_custom_nodes snapshot.type"],
        ),
        ({"custom_nodes": []}, ["$.custom_nodes snapshot.type"]),
    ],
)
def test_each_fault_has_its_place_and_rule(document: Any, faults: list[str]) -> None:
    if not faults:
        parse(json.dumps(document).encode(), "s.json")
        return
    assert faults_of(document) == faults


def test_one_repository_under_two_spellings_is_no_collision() -> None:
    urls = ("https://github.com/O/Sample", "https://github.com/o/sample.git")
    nodes: dict[str, Any] = {url: {} for url in urls}
    found = parse(json.dumps({"git_custom_nodes": nodes}).encode(), "s.json").environment.nodes
    assert [entry.name for entry in found] == ["Sample", "sample"]


def test_faults_of_shape_and_of_meaning_come_together() -> None:
    document = {
        "comfyui": 1,
        "git_custom_nodes": {f"{PACK}x": {"hash": "-x", "disabled": 1}, "file:///x": {}},
        "pips": {"--pre": ""},
    }
    assert faults_of(document) == [
        "$.comfyui snapshot.comfyui",
        '$.git_custom_nodes["file:///x"] url.transport',
        f"{X}.disabled snapshot.disabled",
        f"{X}.hash ref.dash",
        '$.pips["--pre"] requirement.option',
    ]


def test_a_message_says_what_is_there_what_was_expected_and_what_to_do() -> None:
    with pytest.raises(FaultyDocumentError) as caught:
        parse(json.dumps(node(hash=1)).encode(), "nodes/s.json")
    assert str(caught.value) == (
        "nodes/s.json: 1 fault\n"
        f"  {X}.hash: 1 is a whole number; expected 40 hex digits, a branch, a tag or null; "
        "put it in quotes [snapshot.hash]"
    )


def test_credentials_never_stand_in_a_message() -> None:
    with pytest.raises(FaultyDocumentError) as caught:
        parse(b'{"git_custom_nodes": {"file://me:s3cret@h/x": {}}}', "s.json")
    assert "s3cret" not in caught.value.records[0].problem


def test_what_is_written_is_what_manager_restores() -> None:
    written = write(MANAGER, Kind.SNAPSHOT)
    document = json.loads(written.data)
    assert written.filename == "snapshot.json"
    assert list(document) == [
        "comfyui",
        "git_custom_nodes",
        "cnr_custom_nodes",
        "file_custom_nodes",
        "pips",
        "_comment",
        "timestamp",
    ]
    assert document["git_custom_nodes"][f"{PACK}comfyui-branch"] == {
        "hash": "main",
        "disabled": True,
    }
    assert document["cnr_custom_nodes"]["comfyui-unknown"] is None
    assert document["file_custom_nodes"][1] == {"filename": "old_node.py", "disabled": True}
    assert document["pips"]["numpy==1.26.4"] == ""
    assert document["pips"]["sample-ssh"] == (
        "git+ssh://git@github.com/example/private.git@v1.0#subdirectory=python"
    )
    assert parse(written.data, "s.json").environment == MANAGER


@pytest.mark.parametrize("name", ["manager.json", "nested.yaml", "map.json", "models.json"])
def test_every_form_survives_writing(name: str) -> None:
    environment = read(DATA / f"snapshot-{name}").environment
    written = write(environment, Kind.SNAPSHOT)
    assert parse(written.data, "s.json").environment == environment
    assert parse(as_yaml(written).data, "s.yaml").environment == environment


def test_nodes_of_other_kinds_are_written_where_git_has_them() -> None:
    environment = Environment(
        nodes=(
            Node(name="a", source="archive", url=f"https://github.com/o/a/archive/{PIN}.tar.gz"),
            Node(name="b", source="archive", url="https://example.org/b.zip"),
            Node(name="c", source="development", url="https://github.com/o/c", ref="dev"),
            Node(name="d", source="local", url="/srv/d"),
            Node(name="e", source="registry", url="https://github.com/o/e"),
        )
    )
    assert json.loads(write(environment, Kind.SNAPSHOT).data)["git_custom_nodes"] == {
        "https://github.com/o/a": {"hash": PIN, "disabled": False},
        "https://github.com/o/c": {"hash": "dev", "disabled": False},
        "https://github.com/o/e": {"hash": None, "disabled": False},
    }


PIPS = (Package(name="numpy", version="1.26.4"),)


@pytest.mark.parametrize("key", ["hash", "commit_hash", "commit", "ref"])
def test_the_spec_names_no_key_for_the_commit(key: str) -> None:
    document = {"comfyui": "v0.30.0", "custom_nodes": {f"{PACK}x": {key: PIN}}, "pips": {}}
    assert parse(json.dumps(document).encode(), "s.json").environment == Environment(
        comfyui=ComfyUISpec(version="v0.30.0"), nodes=(git("x", commit=PIN),)
    )


@pytest.mark.parametrize(
    ("document", "form", "nodes"),
    [
        ({"custom_nodes": {}}, "map", ()),
        (
            {"custom_nodes": {f"{PACK}x": {"hash": PIN}}, "cnr_custom_nodes": {"y": "1.0"}},
            "map",
            (git("x", commit=PIN), registry("y", version="1.0")),
        ),
        (
            {"custom_nodes": {f"{PACK}x": {}}, "git_custom_nodes": {f"{PACK}y": {}}},
            "map",
            (git("x"), git("y")),
        ),
        (
            {"custom_nodes": {"git_custom_nodes": {f"{PACK}x": {}}}},
            "nested",
            (git("x"),),
        ),
    ],
)
def test_what_stands_beside_the_nodes_counts(
    document: dict[str, Any], form: str, nodes: tuple[Node, ...]
) -> None:
    whole = {**document, "comfyui": "v0.30.0", "pips": {"numpy": "1.26.4"}}
    parsed = parse(json.dumps(whole).encode(), "s.json")
    assert parsed.form == form
    assert parsed.environment == Environment(
        comfyui=ComfyUISpec(version="v0.30.0"), nodes=nodes, packages=PIPS
    )


@pytest.mark.parametrize(
    ("value", "package"),
    [
        ("==1.26.4", PIPS[0]),
        (">=1.26", Package(name="numpy", specifier=">=1.26")),
    ],
)
def test_versions_with_a_comparison(value: str, package: Package) -> None:
    document = {"git_custom_nodes": {}, "pips": {"numpy": value}}
    assert parse(json.dumps(document).encode(), "s.json").environment.packages == (package,)
