"""The snapshot tasks from end to end: what they print, what they write, how they fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from comfykiln.cli import options
from comfykiln.cli.documents import snapshot_check, snapshot_convert, snapshot_diff
from comfykiln.documents import read
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import FaultyDocumentError

DATA = Path(__file__).parents[1] / "documents" / "data"
MANAGER = str(DATA / "snapshot-manager.json")
NESTED = str(DATA / "snapshot-nested.yaml")


def convert(file: str, to: options.Written, out: str | None = None, **more: Any) -> None:
    snapshot_convert(options.SnapshotConvert(file=file, to=to, out=out, **more))


def test_check_says_what_is_there_and_what_to_think_about(
    capsys: pytest.CaptureFixture[str],
) -> None:
    snapshot_check(NESTED)
    assert capsys.readouterr().out == (
        f"{NESTED}: valid snapshot (nested): 4 nodes, 2 packages, 0 models, 0 workflows, "
        "ComfyUI v0.3.64\n"
    )
    snapshot_check(str(DATA / "comfy-lock-basic.yaml"))
    where = '$.custom_nodes.git_custom_nodes["https://github.com/ltdrdata/ComfyUI-Manager"]'
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  advice.floating-ref (docs/advice/floating-ref.md):",
        f"    {where}: ComfyUI-Manager is not pinned (latest)",
        "  advice.manager-as-node (docs/advice/manager-as-node.md):",
        f"    {where}: ComfyUI-Manager is ComfyUI-Manager, which is no node to restore",
        "  advice.repository-renamed (docs/advice/repository-renamed.md):",
        (
            f"    {where}: ltdrdata/ComfyUI-Manager has moved; "
            "use https://github.com/Comfy-Org/ComfyUI-Manager"
        ),
    ]


def test_check_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    snapshot_check(MANAGER, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert {key: value for key, value in found.items() if key != "advice"} == {
        "source": MANAGER,
        "valid": True,
        "kind": "snapshot",
        "form": "manager",
        "comfyui": "3c0ffee1d2b3a4958677f5e4d3c2b1a098765432",
        "nodes": 14,
        "packages": 12,
        "models": 0,
        "workflows": 0,
        "notes": [
            {
                "path": '$.pips["# Editable install with no version control (old-tool==0.1)"]',
                "rule": "snapshot.pip-comment",
                "message": "a comment, left out",
            }
        ],
    }
    assert found["advice"][0] == {
        "path": '$.git_custom_nodes["https://github.com/example-nodes/comfyui-null-hash"]',
        "rule": "advice.floating-ref",
        "message": "comfyui-null-hash is not pinned (no commit is named)",
        "page": "docs/advice/floating-ref.md",
    }


def test_check_of_a_faulty_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.json"
    path.write_text('{"git_custom_nodes": {"file:///x": {"hash": 1}}}')
    with pytest.raises(FaultyDocumentError) as caught:
        snapshot_check(str(path))
    assert caught.value.exit_code == 2
    assert capsys.readouterr().out == ""
    with pytest.raises(FaultyDocumentError):
        snapshot_check(str(path), as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["valid"] is False
    assert [fault["rule"] for fault in found["faults"]] == ["url.transport", "snapshot.hash"]


def test_convert_to_a_file_says_what_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "s.json"
    convert(str(DATA / "comfy-lock-auth.yaml"), "snapshot", str(out))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "! a snapshot cannot hold everything:",
        "!   credentials: left out: civitai.com, huggingface.co, github.com",
        "!   models[].digests: left out: "
        + ", ".join(
            f"sha256 ({model.paths[0]})"
            for model in read(DATA / "comfy-lock-auth.yaml").environment.models
        ),
        *shown.err.splitlines()[3:5],
        f"  {out} is written",
    ]
    assert list(json.loads(out.read_bytes())["git_custom_nodes"]) == [
        "https://github.com/kijai/ComfyUI-KJNodes"
    ]


def test_convert_prints_where_no_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    convert(NESTED, "comfylock")
    found = yaml.safe_load(capsys.readouterr().out)
    assert found["custom_nodes"]["comfyui"] == "v0.3.64"


def test_the_target_s_name_chooses_the_form(tmp_path: Path) -> None:
    convert(MANAGER, "snapshot", str(tmp_path / "s.yaml"))
    assert list(yaml.safe_load((tmp_path / "s.yaml").read_text())) == ["custom_nodes"]
    convert(NESTED, "comfypack", str(tmp_path / "x.cpack.zip"))
    assert read(tmp_path / "x.cpack.zip").environment.packages == read(NESTED).environment.packages
    convert(NESTED, "comfypack", str(tmp_path))
    assert (tmp_path / "requirements.txt").read_text() == "Cython==3.0.11\nPyYAML==6.0.2\n"


def test_convert_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s.json"
    convert(NESTED, "snapshot", str(out), packages="none", json=True)
    assert json.loads(capsys.readouterr().out) == {
        "source": NESTED,
        "kind": "snapshot",
        "file": str(out),
        "losses": [
            {
                "path": "packages",
                "rule": "convert.left-out",
                "message": "left out: Cython, PyYAML",
            }
        ],
    }


def test_what_is_no_single_text_is_not_printed() -> None:
    with pytest.raises(DocumentError, match="no single text"):
        convert(NESTED, "comfypack")


def test_nothing_that_is_there_is_lost(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_bytes(Path(MANAGER).read_bytes())
    with pytest.raises(DocumentError, match="is the document itself"):
        convert(str(own), "snapshot", str(own))
    (tmp_path / "requirements.txt").write_text("mine\n")
    with pytest.raises(DocumentError, match="would be replaced"):
        convert(NESTED, "comfypack", str(tmp_path))
    assert (tmp_path / "requirements.txt").read_text() == "mine\n"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["own.json", "requirements.txt"]


def test_diff_in_each_format(capsys: pytest.CaptureFixture[str]) -> None:
    snapshot_diff(NESTED, NESTED)
    assert capsys.readouterr().out == f"{NESTED} → {NESTED}\nno difference\n"
    snapshot_diff(NESTED, MANAGER, "markdown")
    assert capsys.readouterr().out.startswith("### Environment: ")
    snapshot_diff(NESTED, MANAGER, "json")
    found = json.loads(capsys.readouterr().out)
    assert (found["before"], found["after"], found["equal"]) == (NESTED, MANAGER, False)
    with pytest.raises(DocumentError, match="no such folder"):
        snapshot_diff(NESTED, NESTED, git_mirror="/nonexistent")


def test_checking_json_loads_no_heavy_library() -> None:
    """The budget of 0.3 s CPU rests on it: each of these costs 20 to 180 ms."""
    program = (
        "import sys\n"
        "from comfykiln.cli.documents import snapshot_check\n"
        f"snapshot_check({str(DATA / 'snapshot-map.json')!r}, as_json=True)\n"
        "heavy = {'yaml', 'jsonschema', 'packaging', 'boto3', 'docker', 'rich', 'jinja2'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stderr == b"[]\n"


def test_convert_to_a_manifest_and_to_an_export(tmp_path: Path) -> None:
    out = tmp_path / "comfyui_migration.json"
    with pytest.raises(DocumentError, match="python_version"):
        convert(NESTED, "manifest", str(out))
    assert not out.exists()
    convert(NESTED, "manifest", str(out), python="3.12.3", torch="2.6.0+cu124")
    assert read(out).environment.system.python == "3.12.3"
    export = tmp_path / "e.tar.gz"
    convert(NESTED, "export", str(export))
    assert read(export).environment == read(NESTED).environment
    with pytest.raises(DocumentError, match="no single text"):
        convert(NESTED, "export")
