"""What the manifest tasks print and write, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.manifests import changed, encoded, whole

from comfykiln.cli import manifest
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import FaultyDocumentError

DATA = Path(__file__).parents[1] / "documents" / "data"
INDEX = "--index https://packages.example.org/simple"
CPU = str(DATA / "manifest-cpu.json")


def test_a_valid_manifest_is_told_with_advice(capsys: pytest.CaptureFixture[str]) -> None:
    manifest.manifest_check(CPU)
    wheels = "resolves to a CUDA build on the default index of linux x86_64"
    left = "is left to the target's torch build"
    assert capsys.readouterr().out == (
        f"{CPU}: a valid manifest of version 1.0, 354 of 5,120 bytes\n"
        "  advice.cpu-cuda-wheels (docs/advice/cpu-cuda-wheels.md):\n"
        f"    $.dependencies.packages.torch: torch {wheels}\n"
        f"    $.dependencies.packages.torchvision: torchvision {wheels}\n"
        "  advice.torch-in-packages (docs/advice/torch-in-packages.md):\n"
        f"    $.dependencies.packages.torch: torch 2.1.0 {left}\n"
        f"    $.dependencies.packages.torchvision: torchvision 0.16.0 {left}\n"
    )


def test_a_valid_manifest_as_data(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(encoded(changed("future", 1)))
    manifest.manifest_check(str(path), as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"source", "valid", "bytes", "notes", "advice"}
    assert found["valid"] is True
    assert found["bytes"] == path.stat().st_size
    assert found["notes"][-1] == {
        "path": "$.future",
        "rule": "manifest.unknown-member",
        "message": "'future' is not in version 1.0: it is kept and has no effect",
    }
    assert found["advice"][0].keys() == {"path", "rule", "message", "page"}


@pytest.mark.parametrize("task", ["manifest_check", "manifest_commands"])
def test_faults_as_data_go_before_the_error(
    task: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(encoded(changed("system_info/python_version", "3.11")))
    with pytest.raises(FaultyDocumentError):
        getattr(manifest, task)(str(path), as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "valid": False,
        "source": str(path),
        "faults": [
            {
                "path": "$.system_info.python_version",
                "rule": "manifest.python-version",
                "problem": "'3.11'",
                "expected": 'three numbers, such as "3.11.7"',
                "remedy": "write the exact version that `python --version` prints",
            }
        ],
    }


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="no such file"):
        manifest.manifest_check(str(tmp_path / "none.json"))


def test_of_a_huge_manifest_only_the_size_is_told(tmp_path: Path) -> None:
    nodes = [{"name": "../x"} for _ in range(9_000)]
    data = encoded({"schema_version": "1.0", "custom_nodes": nodes})
    for task in (manifest.manifest_check, manifest.manifest_minimize):
        (tmp_path / "m.json").write_bytes(data)
        with pytest.raises(FaultyDocumentError) as caught:
            task(str(tmp_path / "m.json"))
        assert [fault.rule for fault in caught.value.records] == ["manifest.size"]


def test_commands_for_people_and_what_to_know_about_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://example.org/simple")
    manifest.manifest_commands(CPU, platform="linux-x86_64")
    said = capsys.readouterr()
    assert said.out.splitlines()[4:8] == [
        "# venv: the exact Python",
        "uv venv --python 3.11.7",
        "# packages: the pinned packages",
        "uv pip install torch==2.1.0 torchvision==0.16.0 numpy==1.24.3 pillow==10.0.0",
    ]
    assert said.err.count("--torch-backend cpu avoids it [advice.cpu-cuda-wheels]") == 2
    assert "UV_DEFAULT_INDEX" not in said.err
    manifest.manifest_commands(str(DATA / "manifest-gpu.json"), platform="linux")
    assert capsys.readouterr().err == (
        "! UV_DEFAULT_INDEX is set here and goes before --index-url: unset it for that step\n"
    )
    manifest.manifest_commands(CPU, torch_backend="cpu")
    assert "cpu-cuda-wheels" not in capsys.readouterr().err


def test_relative_paths_begin_at_the_manifest(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (folder / "m.json").write_bytes(encoded(whole()))
    manifest.manifest_commands(str(folder / "m.json"), platform="linux")
    lines = capsys.readouterr().out.splitlines()
    assert f"uv pip install {INDEX} -e {tmp_path}/sampler" in lines
    wheel = f"{folder}/wheels/six-1.16.0-py3-none-any.whl#sha256={'ab' * 32}"
    assert f"uv pip install {INDEX} 'six @ {wheel}'" in lines


def test_commands_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    manifest.manifest_commands(CPU, as_json=True, platform="linux-x86_64")
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"source", "platform", "files", "environment", "commands", "notes"}
    assert found["commands"][0] == {
        "stage": "venv",
        "argv": ["uv", "venv", "--python", "3.11.7"],
        "why": "the exact Python",
    }


def test_minimizing_to_a_file_and_to_standard_output(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "small.json"
    manifest.manifest_minimize(CPU, out=str(out))
    assert len(out.read_bytes()) == 264
    assert "354 → 264 bytes" in capsys.readouterr().err
    manifest.manifest_minimize(str(out))
    assert capsys.readouterr().out.encode() == out.read_bytes() + b"\n"
