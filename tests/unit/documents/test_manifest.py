"""The migration manifest: the specification's examples, every rule with its place, the limits."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.manifests import INDEX, changed, encoded, whole

from comfykiln.documents import read
from comfykiln.documents.manifest import parse as manifest
from comfykiln.documents.manifest import rules
from comfykiln.documents.manifest.write import write
from comfykiln.environment import (
    ComfyUISpec,
    Environment,
    Extra,
    Index,
    Metadata,
    Node,
    Package,
    PlatformOverride,
    SystemSpec,
    TorchSpec,
)
from comfykiln.parsing.faults import Fault, Faults, FaultyDocumentError, Note
from comfykiln.parsing.fields import Obj

DATA = Path(__file__).parent / "data"
EXAMPLES = {"cpu": (354, 264), "gpu": (762, 563), "development": (1579, 1140)}
TORCH = (
    Package(name="torch", version="2.1.0"),
    Package(name="torchvision", version="0.16.0"),
    Package(name="torchaudio", version="2.1.0"),
)


def example(name: str) -> bytes:
    return (DATA / f"manifest-{name}.json").read_bytes()


WHOLE = Environment(
    comfyui=ComfyUISpec(version="v0.3.47"),
    system=SystemSpec(
        python="3.11.7", platform="linux", architecture="x86_64", cuda="12.1", cuda_stated=True
    ),
    torch=TorchSpec(version="2.1.0+cu121", backend="cu121", index_url=INDEX, packages=TORCH),
    nodes=(
        Node(
            name="by-git",
            source="git",
            url="https://github.com/example-nodes/by-git.git",
            commit="0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
            has_post_install=True,
            has_requirements=False,
            fallback_url="https://codeberg.org/example-nodes/by-git.git",
            install_order=1,
        ),
        Node(
            name="by-archive",
            source="archive",
            url="https://github.com/example-nodes/by-archive/archive/2f377ef.tar.gz",
        ),
        Node(name="by-copy", source="local", url="/srv/nodes/by-copy"),
        Node(name="by-id", source="registry", registry_id="by-id", version="1.0.5"),
        Node(
            name="by-address", source="registry", url="https://github.com/example-nodes/by-address"
        ),
    ),
    packages=(
        Package(name="numpy", version="1.24.3"),
        Package(name="opencv-python", extras=("extra", "more"), version="4.8.0.74"),
        Package(
            name="my_nodes",
            source="git",
            url="https://github.com/example/private.git",
            ref="dev",
            subdirectory="python/core",
        ),
        Package(name="sampler", source="editable", path="../sampler"),
        Package(
            name="", source="local", path="wheels/six-1.16.0-py3-none-any.whl", sha256="ab" * 32
        ),
    ),
    indexes=(Index(url="https://packages.example.org/simple"),),
    platform_overrides=(
        PlatformOverride(
            platform="win32", packages=(Package(name="windows-curses", version="2.3.1"),)
        ),
        PlatformOverride(
            platform="linux-aarch64",
            excludes=("nvidia-cudnn-cu11",),
            environment=(("OMP_NUM_THREADS", "4"), ("LANG", "")),
        ),
    ),
    metadata=Metadata(
        generated_at="2026-01-15T10:30:00Z",
        generator_version="1.0.0",
        source_path="/srv/ComfyUI",
        capture_duration_ms=12.5,
    ),
)


def test_every_field_has_its_place() -> None:
    parsed = manifest.parse(encoded(whole()), "m.json")
    assert parsed.kind == "manifest"
    assert parsed.form == "1.0"
    assert parsed.environment == WHOLE


def test_notes_of_the_whole_manifest() -> None:
    notes = manifest.parse(encoded(whole()), "m.json").notes
    host_path = "exists only where the manifest was captured"
    wheel = "wheels/six-1.16.0-py3-none-any.whl"
    assert notes == (
        Note(
            path="$.custom_nodes[2].url",
            rule="manifest.host-path",
            message=f"'/srv/nodes/by-copy' {host_path}",
        ),
        Note(
            path="$.dependencies.editable[0].path",
            rule="manifest.host-path",
            message=f"'../sampler' {host_path}",
        ),
        Note(
            path="$.dependencies.local_packages[0].path",
            rule="manifest.host-path",
            message=f"'{wheel}' {host_path}",
        ),
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_specification(name: str, tmp_path: Path) -> None:
    size, compact = EXAMPLES[name]
    data = example(name)
    assert len(data) == size
    path = tmp_path / "comfyui_migration.json"
    path.write_bytes(data)
    environment = read(path).environment
    again = write(environment)
    assert manifest.parse(again.data, "again").environment == environment
    smallest = manifest.minimize(data, "m.json")
    assert len(smallest) == compact
    assert json.loads(smallest) == json.loads(data)


def test_the_cpu_example_as_an_environment() -> None:
    assert manifest.parse(example("cpu"), "m.json").environment == Environment(
        comfyui=ComfyUISpec(version="v0.3.47"),
        system=SystemSpec(python="3.11.7", cuda=None, cuda_stated=True),
        torch=TorchSpec(version="2.1.0+cpu", backend="cpu"),
        packages=(
            Package(name="torch", version="2.1.0"),
            Package(name="torchvision", version="0.16.0"),
            Package(name="numpy", version="1.24.3"),
            Package(name="pillow", version="10.0.0"),
        ),
    )


def test_writing_reads_the_same() -> None:
    written = write(WHOLE)
    assert written.filename == "comfyui_migration.json"
    assert manifest.parse(written.data, "m.json").environment == WHOLE


@pytest.mark.parametrize(
    ("version", "spec"),
    [
        ("v0.3.47", ComfyUISpec(version="v0.3.47")),
        ("0.3.47", ComfyUISpec(version="0.3.47")),
        ("abc1234", ComfyUISpec(ref="abc1234")),
        ("AB" * 20, ComfyUISpec(commit="ab" * 20)),
        ("master", ComfyUISpec(branch="master")),
    ],
)
def test_what_comfyui_version_names(version: str, spec: ComfyUISpec) -> None:
    document = changed("system_info/comfyui_version", version)
    assert manifest.parse(encoded(document), "m.json").environment.comfyui == spec


@pytest.mark.parametrize("torch", ["2.1.0a0+gitunknown", "2.8.0.dev20260101+cu128", "2.1"])
def test_odd_builds_of_torch_are_versions(torch: str) -> None:
    document = changed("system_info/torch_version", torch)
    document["dependencies"]["pytorch"] = None
    assert manifest.parse(encoded(document), "m.json").environment.torch.version == torch


def test_a_cuda_version_without_an_index() -> None:
    document = changed("system_info/cuda_version", "12.7")
    document["system_info"]["torch_version"] = "2.1.0"
    del document["dependencies"]["pytorch"]
    notes = manifest.parse(encoded(document), "m.json").notes
    assert notes[-1] == Note(
        path="$.system_info.cuda_version",
        rule="manifest.cuda-index",
        message="PyTorch has no index for CUDA 12.7: name one under $.dependencies.pytorch",
    )


def test_every_fault_at_once_sorted_by_place() -> None:
    document = changed("schema_version", "2.0")
    document["custom_nodes"][0]["name"] = "../x"
    document["custom_nodes"].append({"name": "y"})
    document["dependencies"]["packages"]["numpy"] = "1.*"
    with pytest.raises(FaultyDocumentError) as caught:
        manifest.parse(encoded(document), "m.json")
    assert str(caught.value) == (
        "m.json: 5 faults\n"
        "  $.custom_nodes[0].name: '../x': a path separator; expected one folder or file name; "
        "use letters, digits, dots, dashes and underscores [name.separator]\n"
        "  $.custom_nodes[5]: the key `install_method` is missing; "
        "use git for a repository, managed for the registry [manifest.install-method]\n"
        "  $.custom_nodes[5]: the key `url` is missing; add `url` [manifest.required]\n"
        "  $.dependencies.packages.numpy: '1.*' is no exact version; "
        'expected one exact version, such as "1.24.3"; '
        "pin it to the version that is installed [manifest.package-version]\n"
        "  $.schema_version: '2.0'; expected \"1.0\"; "
        'write "schema_version": "1.0"; no other version is defined [manifest.schema-version]'
    )
    assert caught.value.exit_code == 2


def test_an_exact_version_behind_equals_signs_is_suggested() -> None:
    with pytest.raises(FaultyDocumentError) as caught:
        manifest.parse(encoded(changed("dependencies/packages/numpy", "==1.24.3")), "m.json")
    assert caught.value.records == (
        Fault(
            path="$.dependencies.packages.numpy",
            rule="manifest.package-version",
            problem="'==1.24.3' is no exact version",
            expected='one exact version, such as "1.24.3"',
            remedy='write "1.24.3"',
        ),
    )


def padded(size: int) -> bytes:
    """A valid manifest of exactly `size` bytes."""
    document = json.loads(example("cpu"))
    document["metadata"] = {"generator_version": ""}
    bare = len(json.dumps(document).encode())
    document["metadata"]["generator_version"] = "x" * (size - bare)
    data = json.dumps(document).encode()
    assert len(data) == size
    return data


def test_5120_bytes_pass_and_5121_fail() -> None:
    manifest.parse(padded(5120), "m.json")
    with pytest.raises(FaultyDocumentError) as caught:
        manifest.parse(padded(5121), "m.json")
    assert str(caught.value) == (
        "m.json: 1 fault\n"
        "  $: the file has 5,121 bytes; expected at most 5,120; "
        "run manifest.minimize, or leave packages to a lock beside it [manifest.size]"
    )


def test_size_counts_bytes_and_white_space() -> None:
    data = example("cpu")
    manifest.parse(data + b" " * (5120 - len(data)), "m.json")
    assert [rule for _, rule in faults_of_bytes(data + b" " * (5121 - len(data)))] == [
        "manifest.size"
    ]
    wide = padded(5120).replace(b"xx", "é".encode(), 1)
    assert len(wide) == 5120
    manifest.parse(wide, "m.json")


def faults_of_bytes(data: bytes) -> list[tuple[str, str]]:
    with pytest.raises(FaultyDocumentError) as caught:
        manifest.parse(data, "m.json")
    return [(fault.path, fault.rule) for fault in caught.value.records]


def test_size_and_other_faults_are_told_together() -> None:
    document = json.loads(padded(5200))
    document["schema_version"] = "1"
    assert faults_of_bytes(json.dumps(document).encode()) == [
        ("$", "manifest.size"),
        ("$.schema_version", "manifest.schema-version"),
    ]
    assert faults_of_bytes(b"{" + b" " * 5200) == [
        ("$", "manifest.size"),
        ("line 1 column 5202", "reading.syntax"),
    ]


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"\xef\xbb\xbf" + b"{}", "reading.bom"),
        (b'{"schema_version": "1.0", "schema_version": "1.0"}', "reading.duplicate-key"),
        (b'{"metadata": {"capture_duration_ms": NaN}}', "reading.number"),
        (b'{"a": "\xff"}', "reading.utf8"),
        (b'{"a": "\\u0000"}', "reading.nul"),
        (b"[" * 5000, "reading.depth"),
        (b"{'schema_version': '1.0'}", "reading.syntax"),
        (b"[]", "manifest.type"),
        (b"", "reading.syntax"),
    ],
)
def test_hostile_bytes_are_refused_by_name(data: bytes, rule: str) -> None:
    assert rule in [found for _, found in faults_of_bytes(data)]


def test_more_than_500_packages_are_told() -> None:
    document = json.loads(example("cpu"))
    document["dependencies"]["packages"] = {f"a{number}": "1" for number in range(501)}
    notes = manifest_notes(document)
    assert [note.rule for note in notes] == ["manifest.many-packages"]
    del document["dependencies"]["packages"]["a0"]
    assert manifest_notes(document) == []


def manifest_notes(document: Any) -> list[Note]:
    """The notes of a manifest whose size is left out of account, by its smaller twin's rules."""
    faults = Faults("m.json")
    rules.check(Obj(document), faults)
    assert faults.records == []
    return faults.notes


def test_unknown_members_survive_at_every_level() -> None:
    document = whole()
    for place in (
        document,
        document["metadata"],
        document["system_info"],
        document["custom_nodes"][0],
        document["dependencies"],
        document["dependencies"]["pytorch"],
        document["dependencies"]["git_packages"][0],
        document["dependencies"]["editable"][0],
        document["dependencies"]["local_packages"][0],
        document["platform_overrides"]["win32"],
    ):
        place["x.y"] = {"kept": [1, "two"]}
    environment = manifest.parse(encoded(document), "m.json").environment
    written = json.loads(write(environment).data)
    expected = copy.deepcopy(document)
    expected["system_info"]["architecture"] = "x86_64"
    expected["custom_nodes"][0] |= {"ref": document["custom_nodes"][0]["ref"].lower()}
    expected["dependencies"]["local_packages"][0]["hash"] = "sha256:" + "ab" * 32
    assert written == expected
    assert Extra(kind="manifest.metadata", path="x.y", json='{"kept":[1,"two"]}') in (
        environment.extras
    )
