from __future__ import annotations

import io
import json
import tarfile
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.exports import EPOCH, made_input

from comfykiln.errors import DocumentError, DriftError
from comfykiln.export import manifest
from comfykiln.export.tarball import Exported, export_tarball, verify_tarball
from comfykiln.parsing.tarballs import read_members, write_members

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


NAME = st.text("abcxyz019-_é", min_size=1, max_size=12)


@settings(max_examples=20, deadline=None)
@given(
    workflows=st.dictionaries(NAME.map("{}.json".format), st.just(b"{}"), max_size=4),
    extra=st.dictionaries(NAME.map("f-{}.txt".format), st.text(max_size=80), max_size=4),
    receipt=st.dictionaries(NAME, st.one_of(st.none(), st.text(), st.floats(allow_nan=False))),
    tag=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,40}", fullmatch=True),
)
def test_whatever_is_exported_verifies(  # hypothesis and fixtures
    workflows: dict[str, bytes],
    extra: dict[str, str],
    receipt: dict[str, Any],
    tag: str,
    tmp_path_factory: pytest.TempPathFactory,
    cache: Path,
    uv_env: dict[str, str],
) -> None:
    folder = tmp_path_factory.mktemp("any")
    node = folder / "node"
    node.mkdir()
    (node / "requirements.txt").write_text("nodelib==0.1\n")
    for name, text in extra.items():
        (node / name).write_text(text)
    what = made_input(node, workflows=workflows, models=(), receipt=receipt, tag=tag)
    done = export_tarball(what, folder, cache=cache, uv_env=uv_env)
    described = verify_tarball(done.path)
    assert described.workflows == tuple(sorted(workflows))
    assert described.files.keys() | {"manifest.json"} == set(done.members)
    assert manifest.read(manifest.write(described), "again") == described


def _repacked(path: Path, change: Callable[[dict[str, bytes]], Mapping[str, bytes] | None]) -> Path:
    members = read_members(path)
    run = [name for name in members if name.endswith(".sh")]
    changed = change(members) or members
    path.with_name(path.name + ".sha256").unlink()
    path.write_bytes(write_members(changed, EPOCH, executable=run))
    return path


def _add(members: dict[str, bytes]) -> None:
    members["dev_nodes/evil/x.py"] = b""


def _remove(members: dict[str, bytes]) -> None:
    del members["receipt.json"]


def _edit(members: dict[str, bytes]) -> None:
    members["pyproject.toml"] += b"#"


def _edit_manifest(members: dict[str, bytes]) -> None:
    members["manifest.json"] = members["manifest.json"].replace(b'"receipt": "1', b'"receipt": "2')


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (_add, ["  dev_nodes/evil/x.py: there, but not listed"]),
        (_remove, ["  receipt.json: listed, but not there"]),
        (
            _edit,
            [
                (
                    "  pyproject.toml: has sha256 "
                    "40a88172a57a84e944cc7dea88ec66bbb0424eecad5b79cc2308134b7b212373, listed is "
                    "bee842bd967b14c443955ab52cd7c9fa90b9eeb2fac70d3158c59998af807f69"
                )
            ],
        ),
        (_edit_manifest, ["  receipt.json: is not the receipt that the manifest names"]),
    ],
)
def test_changed_content_is_drift(
    export: Callable[..., Exported],
    change: Callable[[dict[str, bytes]], None],
    faults: list[str],
) -> None:
    path = _repacked(export().path, change)
    with pytest.raises(DriftError) as caught:
        verify_tarball(path)
    assert caught.value.exit_code == 4
    assert caught.value.message.splitlines() == [f"{path}: not what its manifest says", *faults]


def test_other_modes_times_or_order_are_drift(export: Callable[..., Exported]) -> None:
    path = export().path
    members = read_members(path)
    path.with_name(path.name + ".sha256").unlink()
    for epoch, run in [(EPOCH, list(members)), (EPOCH + 1, ["dev_nodes/cloud-storage/run.sh"])]:
        path.write_bytes(write_members(members, epoch, executable=run))
        with pytest.raises(DriftError, match="order, modes or times"):
            verify_tarball(path)


def test_a_wrong_checksum_beside_it_is_drift(export: Callable[..., Exported]) -> None:
    path = export().path
    path.with_name(path.name + ".sha256").write_text(f"{'0' * 64}  {path.name}\n")
    with pytest.raises(DriftError, match=rf"\.sha256 says {'0' * 64}, the file has [0-9a-f]"):
        verify_tarball(path)


def test_every_flipped_byte_is_noticed(export: Callable[..., Exported]) -> None:
    path = export().path
    data = path.read_bytes()
    for place in range(0, len(data), max(1, len(data) // 150)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        with pytest.raises((DocumentError, DriftError)):
            verify_tarball(path)


def test_a_tarball_without_manifest_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "foreign.tar.gz"
    path.write_bytes(write_members({"pyproject.toml": b""}, EPOCH))
    with pytest.raises(DocumentError, match=r"there is no manifest\.json in it"):
        verify_tarball(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"format_version": 2}', "format_version 2 is newer than this comfykiln knows"),
        (b'{"format_version": 1}', "not a manifest"),
        (b"[]", "not a manifest"),
    ],
)
def test_a_broken_manifest_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(write_members({"manifest.json": text}, EPOCH))
    with pytest.raises(DocumentError) as caught:
        verify_tarball(path)
    assert f"{path}: manifest.json: {message}" in caught.value.message


def test_a_hostile_tarball_is_not_verified(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../manifest.json"), io.BytesIO())
    with pytest.raises(DocumentError, match="not a safe tarball"):
        verify_tarball(path)


def test_the_schema_is_a_schema() -> None:
    schema = resources.files("comfykiln").joinpath("schemas/export-manifest.schema.json")
    jsonschema.Draft202012Validator.check_schema(json.loads(schema.read_text()))
