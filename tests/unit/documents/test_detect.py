"""Which kind something is: by what it holds, whatever its name."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from comfykiln.documents import read
from comfykiln.documents.detect import detect, detect_bytes
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import FaultyDocumentError

if TYPE_CHECKING:
    from pathlib import Path

NODE = {"url": "https://h/r", "commit_hash": "a" * 40}


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"git_custom_nodes": {}}, "snapshot"),
        ({"cnr_custom_nodes": {}, "models": {}}, "snapshot"),
        ({"file_custom_nodes": []}, "snapshot"),
        ({"custom_nodes": {"git_custom_nodes": {}}}, "snapshot"),
        ({"custom_nodes": {"https://h/r": {"hash": "main"}}, "pips": {}}, "snapshot"),
        ({"custom_nodes": {}}, "snapshot"),
        ({"snapshot_json": {}, "workflow_json": {"nodes": []}}, "snapshot"),
        ({"custom_nodes": {}, "models": []}, "comfylock"),
        ({"custom_nodes": {}, "auth": {}}, "comfylock"),
        ({"basic": None, "models": None, "custom_nodes": None}, "comfylock"),
        ({"custom_nodes": [NODE], "python": "3.11"}, "comfypack"),
        ({"custom_nodes": []}, "comfypack"),
        ({"custom_nodes": [], "dependencies": {}}, "manifest"),
        ({"schema_version": "1.0"}, "manifest"),
        ({"system_info": {}, "custom_nodes": []}, "manifest"),
        ({"basic": {}, "models": [], "custom_nodes": [NODE]}, "comfylock"),
        ({"nodes": [], "links": []}, "workflow"),
        ({"nodes": [], "links": [], "models": [{"name": "a.pt"}]}, "workflow"),
        ({"1": {"class_type": "X", "inputs": {}}}, "workflow"),
        ({"prompt": {"1": {"class_type": "X"}}}, "workflow"),
    ],
)
def test_json_and_yaml_by_their_keys(document: Any, kind: str) -> None:
    assert detect_bytes(json.dumps(document).encode(), "x.json").kind == kind
    assert detect_bytes(json.dumps(document).encode(), "noname").kind == kind
    assert detect_bytes(yaml.safe_dump(document).encode(), "x.yaml").kind == kind


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x1f\x8b\x08\x00", "export"),
        (b"PK\x03\x04", "comfypack"),
        (b"\x89PNG\r\n\x1a\n", "workflow"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "workflow"),
    ],
)
def test_archives_and_images_by_their_first_bytes(tmp_path: Path, data: bytes, kind: str) -> None:
    path = tmp_path / "whatever.json"
    path.write_bytes(data)
    assert detect(path).kind == kind


@pytest.mark.parametrize(
    ("name", "document", "said"),
    [
        ("m.yml", {"models": {"before_start": []}}, "a comfyui-api manifest of SaladTechnologies"),
        ("n.yaml", {"nodes": {"a": {"url": "u"}}}, "a node list of comfystream"),
        ("m.yaml", {"models": {"a": {"url": "u"}}}, "a model list of comfystream"),
        ("c.json", [{"repo": "u", "commit": "c"}], "a node list of cog-comfyui"),
        ("e.yaml", {"a111": {"base_path": "p"}}, "an extra_model_paths file of ComfyUI"),
        ("e.yaml", None, "an empty file"),
        ("r.txt", "numpy==1", "a .txt file"),
        ("o.json", {"x": 1}, "no known kind of document"),
        ("o.json", 3, "no known kind of document"),
    ],
)
def test_what_is_not_supported_is_named(
    tmp_path: Path, name: str, document: Any, said: str
) -> None:
    path = tmp_path / name
    text = "" if document is None else json.dumps(document)
    path.write_text(text if name != "r.txt" else "numpy==1\n")
    with pytest.raises(FaultyDocumentError) as caught:
        read(path)
    (fault,) = caught.value.records
    assert fault.rule == "document.kind"
    assert said in fault.problem


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"without a pyproject\.toml or a snapshot\.json"):
        detect(tmp_path)
    (tmp_path / "snapshot.json").write_text('{"custom_nodes": []}')
    assert detect(tmp_path).kind == "comfypack"
    (tmp_path / "pyproject.toml").write_text("")
    assert detect(tmp_path).kind == "export"


def test_a_pack_is_read_whatever_its_name(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("snapshot.json", '{"custom_nodes": [], "python": "3.12"}')
    path = tmp_path / "download"
    path.write_bytes(buffer.getvalue())
    assert read(str(path)).environment.system.python == "3.12"


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="no such file") as caught:
        read(tmp_path / "none.json")
    assert caught.value.exit_code == 2
