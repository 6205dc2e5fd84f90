from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from comfykiln.errors import DocumentError
from comfykiln.targets import load_targets

if TYPE_CHECKING:
    from pathlib import Path


def test_the_repository_has_the_four_targets(repository: Path) -> None:
    targets = load_targets(repository / "images" / "targets.yaml")
    assert {name: target.torch.local for name, target in targets.by_name.items()} == {
        "cpu": "cpu",
        "cuda": "cu130",
        "rocm": "rocm7.2",
        "xpu": "xpu",
    }
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
    assert str(error.value) == "there is no target 'tpu'\n  → use one of: cpu, cuda, rocm, xpu"
    assert error.value.exit_code == 2


def test_every_fault_of_a_malformed_file_is_named_with_its_place(repository: Path) -> None:
    path = repository / "images" / "targets.yaml"
    text = path.read_text("utf-8")
    text = text.replace("local: cpu\n", "local: CPU\n").replace(
        "server: [--cpu]", 'server: ["--cpu; rm"]'
    )
    path.write_text(text + "colour: red\n", "utf-8")
    with pytest.raises(DocumentError) as error:
        load_targets(path)
    assert [fault.split(":")[0] for fault in error.value.faults] == [
        "$",
        "$.targets.cpu.server[0]",
        "$.targets.cpu.torch.local",
    ]


def test_broken_yaml_is_one_message_with_its_line(repository: Path) -> None:
    path = repository / "images" / "targets.yaml"
    path.write_text("targets: [1,\n", "utf-8")
    with pytest.raises(DocumentError, match=r"is not YAML: .*line 2"):
        load_targets(path)
