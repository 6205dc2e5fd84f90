from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from comfykiln.errors import DocumentError
from comfykiln.plan.project import Project
from comfykiln.plan.targets import load_targets

if TYPE_CHECKING:
    from pathlib import Path


def test_the_repository_has_the_four_targets(repository: Path) -> None:
    targets = load_targets(repository / "images" / "targets.yaml")
    found = {name: target.torch.local for name, target in targets.by_name.items()}
    four = {"cpu": "cpu", "cuda": "cu130", "rocm": "rocm7.2", "xpu": "xpu"}
    assert four.items() <= found.items()
    assert targets.get("cpu").torch.requirements == (
        "torch==2.13.0",
        "torchvision==0.28.0",
        "torchaudio==2.11.0",
    )
    assert targets.get("cpu").server == ("--cpu",)


@pytest.mark.parametrize(
    ("name", "belongs"),
    [
        ("torch", True),
        ("nvidia-cublas", True),
        ("cuda-toolkit", True),
        ("triton", True),
        ("torchsde", False),
        ("numpy", False),
        ("setuptools", False),
    ],
)
def test_accelerator_packages_are_told_from_shared_ones(
    repository: Path,
    name: str,
    belongs: bool,  # noqa: FBT001  # a table of cases
) -> None:
    targets = load_targets(repository / "images" / "targets.yaml")
    assert targets.is_accelerator_package(name) is belongs


def test_an_unknown_target_is_answered_with_those_there_are(repository: Path) -> None:
    targets = load_targets(repository / "images" / "targets.yaml")
    with pytest.raises(DocumentError) as error:
        targets.get("tpu")
    known = ", ".join(targets.by_name)
    assert str(error.value) == f"there is no target 'tpu'\n  → use one of: {known}"
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("accelerator", "fault"),
    [
        ("{kind: tpu}", "kind: 'tpu' is not one of ['none', 'nvidia', 'amd', 'intel', 'other']"),
        ("{kind: none, ipc: host}", " {'kind': 'none', 'ipc': 'host'} has too many properties"),
        ("{kind: other, groups: {npu: 5}}", " 'devices' is a dependency of 'groups'"),
        ("{kind: other, colour: red}", " Additional properties are not allowed ('colour' was"),
        ("{kind: other, devices: [/etc/passwd]}", "devices[0]: '/etc/passwd' does not match"),
    ],
)
def test_an_accelerator_that_nobody_could_serve_is_a_fault(
    repository: Path, accelerator: str, fault: str
) -> None:
    path = repository / "images" / "targets.yaml"
    path.write_text(path.read_text("utf-8").replace("{kind: none}", accelerator), "utf-8")
    with pytest.raises(DocumentError) as error:
        load_targets(path)
    (found,) = error.value.faults
    assert found.removeprefix("$.targets.cpu.accelerator")[1:].startswith(fault)


def test_what_a_container_is_given_comes_from_the_data(repository: Path) -> None:
    path = repository / "images" / "targets.yaml"
    own = "{kind: other, devices: [/dev/a0], groups: {Hw-U: 7}, gpus: all, runtime: r, shm: 8g}"
    path.write_text(path.read_text("utf-8").replace("{kind: none}", own), "utf-8")
    found = load_targets(path).get("cpu").accelerator
    assert found.flags == ("--device=/dev/a0", "--gpus=all", "--runtime=r", "--shm-size=8g")
    assert found.group_variables == {"HW_U_GID": 7}
    assert found.nodes == ("/dev/a0",)


def test_every_fault_of_a_malformed_file_is_named_with_its_place(repository: Path) -> None:
    path = repository / "images" / "targets.yaml"
    text = path.read_text("utf-8")
    text = text.replace("local: cpu\n", "local: CPU\n", 1).replace(
        "server: [--cpu]", 'server: ["--cpu; rm"]', 1
    )
    path.write_text(text + "colour: red\n", "utf-8")
    with pytest.raises(DocumentError) as error:
        load_targets(path)
    assert [fault.split(":")[0] for fault in error.value.faults] == [
        "$",
        "$.targets.cpu.server[0]",
        "$.targets.cpu.torch.local",
    ]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "  cuda:\n",
            "  cpu:\n",
            "$.targets.cpu: in line {cpu} and again in line {here}: keep one",
        ),
        (
            "environment: {}",
            "environment: {1: x}",
            "$.targets.cpu.environment: the key 1 in line {here} is no text: put it in quotes",
        ),
        (
            "gigabytes: 0.9",
            "gigabytes: .nan",
            "$.targets.cpu.torch.gigabytes: .nan in line {here} is no finite number",
        ),
        (
            "gigabytes: 0.9",
            "gigabytes: 1.0e+999",
            "$.targets.cpu.torch.gigabytes: 1.0e+999 in line {here} is no finite number",
        ),
        (
            "https://download.pytorch.org/whl/cpu",
            "https://me:secret@download.pytorch.org/whl/cpu",
            (
                "$.targets.cpu.torch.index: 'https://***@download.pytorch.org/whl/cpu' does not "
                r"match '^https?://[!-.0-?A-~]+(/[!-?A-~]*)?[!-.0-?A-~]$'"
            ),
        ),
    ],
)
def test_what_yaml_would_let_pass_in_silence_is_a_fault(
    repository: Path, old: str, new: str, fault: str
) -> None:
    path = repository / "images" / "targets.yaml"
    text = path.read_text("utf-8")
    lines = {"{cpu}": _line(text, "  cpu:\n"), "{here}": _line(text, old)}
    path.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(DocumentError) as error:
        load_targets(path)
    for name, line in lines.items():
        fault = fault.replace(name, str(line))
    assert error.value.faults == (fault,)


def _line(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_anchors_and_merges_may_save_typing(repository: Path) -> None:
    path = repository / "images" / "targets.yaml"
    text = path.read_text("utf-8")
    versions = "versions: {torch: 2.13.0, torchvision: 0.28.0, torchaudio: 2.11.0}"
    shared = text.replace(versions, f"{versions[:10]}&family {versions[10:]}", 1)
    shared = shared.replace(versions, "versions: {<<: *family, torch: 2.13.0}")
    before = load_targets(path)
    path.write_text(shared, "utf-8")
    assert load_targets(path) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"targets: [1,\n", "line 2, column 1: did not find expected node content"),
        (b"a: b\nc: Intel\xe9\n", "line 2: not UTF-8"),
        (b"a: " + b"[" * 3000 + b"]" * 3000, "nested too deeply"),
    ],
)
def test_broken_yaml_is_one_message_with_its_line(
    repository: Path, text: bytes, message: str
) -> None:
    path = repository / "images" / "targets.yaml"
    path.write_bytes(text)
    with pytest.raises(DocumentError) as error:
        load_targets(path)
    assert error.value.message == f"{path} is not YAML: {message}"


def test_a_service_that_wants_another_python_than_its_base_has_is_refused(repository: Path) -> None:
    service = repository / "services" / "comfy" / "core" / "service.yaml"
    service.write_text(service.read_text("utf-8").replace('"3.13"', '"3.12"'), "utf-8")
    with pytest.raises(DocumentError) as error:
        Project(root=repository).plan("cpu", "core")
    assert str(error.value) == (
        f"{service}: python is 3.12, but Debian trixie has 3.13\n"
        '  → write python: "3.13", or name the suite that has 3.12'
    )
