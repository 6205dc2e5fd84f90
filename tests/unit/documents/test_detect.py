"""Which kind something is: by what it holds, whatever its name."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from comfykiln.documents import Kind, read
from comfykiln.documents.detect import detect, detect_bytes
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import FaultyDocumentError

if TYPE_CHECKING:
    from pathlib import Path

NODE = {"url": "https://h/r", "commit_hash": "a" * 40}


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"git_custom_nodes": {}}, Kind.SNAPSHOT),
        ({"cnr_custom_nodes": {}, "models": {}}, Kind.SNAPSHOT),
        ({"file_custom_nodes": []}, Kind.SNAPSHOT),
        ({"custom_nodes": {"git_custom_nodes": {}}}, Kind.SNAPSHOT),
        ({"custom_nodes": {"https://h/r": {"hash": "main"}}, "pips": {}}, Kind.SNAPSHOT),
        ({"custom_nodes": {}}, Kind.SNAPSHOT),
        ({"snapshot_json": {}, "workflow_json": {"nodes": []}}, Kind.SNAPSHOT),
        ({"custom_nodes": {}, "models": []}, Kind.COMFYLOCK),
        ({"custom_nodes": {}, "auth": {}}, Kind.COMFYLOCK),
        ({"basic": None, "models": None, "custom_nodes": None}, Kind.COMFYLOCK),
        ({"custom_nodes": [NODE], "python": "3.11"}, Kind.COMFYPACK),
        ({"custom_nodes": []}, Kind.COMFYPACK),
        ({"custom_nodes": [], "dependencies": {}}, Kind.MANIFEST),
        ({"schema_version": "1.0"}, Kind.MANIFEST),
        ({"system_info": {}, "custom_nodes": []}, Kind.MANIFEST),
        ({"basic": {}, "models": [], "custom_nodes": [NODE]}, Kind.COMFYLOCK),
        ({"nodes": [], "links": []}, Kind.WORKFLOW),
        ({"nodes": [], "links": [], "models": [{"name": "a.pt"}]}, Kind.WORKFLOW),
        ({"1": {"class_type": "X", "inputs": {}}}, Kind.WORKFLOW),
        ({"prompt": {"1": {"class_type": "X"}}}, Kind.WORKFLOW),
    ],
)
def test_json_and_yaml_by_their_keys(document: Any, kind: Kind) -> None:
    assert detect_bytes(json.dumps(document).encode(), "x.json") is kind
    assert detect_bytes(json.dumps(document).encode(), "noname") is kind
    assert detect_bytes(yaml.safe_dump(document).encode(), "x.yaml") is kind


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x1f\x8b\x08\x00", Kind.EXPORT),
        (b"PK\x03\x04", Kind.COMFYPACK),
        (b"\x89PNG\r\n\x1a\n", Kind.WORKFLOW),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", Kind.WORKFLOW),
    ],
)
def test_archives_and_images_by_their_first_bytes(tmp_path: Path, data: bytes, kind: Kind) -> None:
    path = tmp_path / "whatever.json"
    path.write_bytes(data)
    assert detect(path) is kind


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
    assert detect(tmp_path) is Kind.COMFYPACK
    (tmp_path / "pyproject.toml").write_text("")
    assert detect(tmp_path) is Kind.EXPORT


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
