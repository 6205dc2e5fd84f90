from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.exports import made_input

from comfykiln.errors import DocumentError, KilnError, NotPossibleError
from comfykiln.export import uvlock
from comfykiln.export.tarball import Exported, ExportModel, ExportNode, export_tarball

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        (
            {"image": "a/b", "target": "", "tag": "x y"},
            [
                "image: 'a/b' cannot be part of an image tag",
                "tag: 'x y' cannot be part of an image tag",
                "target: '' cannot be part of an image tag",
            ],
        ),
        (
            {"image_digest": "sha256:ab", "comfyui_commit": "abc", "comfyui_version": ""},
            [
                "comfyui_commit: 'abc' is not 40 hex digits",
                "comfyui_version: is empty",
                "image_digest: 'sha256:ab' is not sha256: and 64 hex digits",
            ],
        ),
        (
            {"python": "3.13.1", "epoch": -1},
            ["epoch: -1 lies before 1970", "python: '3.13.1' is no minor version such as 3.13"],
        ),
        (
            {"dependencies": ["--index-url=http://x"], "locked": ["alpha>=1"], "torch": {}},
            [
                (
                    "dependencies: '--index-url=http://x' is no requirement: "
                    "Expected package name at the start of dependency specifier"
                ),
                "locked: 'alpha>=1' has no exact version",
                "torch: names no package",
            ],
        ),
        (
            {"torch": {"torch": "1+cpu"}, "torch_index": None},
            ["torch_index: is needed, for torch carries a local version tag"],
        ),
        (
            {"torch_index": "https://me:pw@example.com/whl"},
            ["torch_index: holds a password; name the public index"],
        ),
        (
            {"dev_nodes": {}},
            ["nodes.cloud-storage: a development node without a folder in dev_nodes"],
        ),
        (
            {
                "nodes": [
                    ExportNode(name="cloud-storage", source="development"),
                    ExportNode(name="../up", source="git", commit="main"),
                    ExportNode(name="reg", source="registry", requirements=["-r other.txt"]),
                    ExportNode(name="reg", source="registry", version="1"),
                ]
            },
            [
                "nodes.../up.commit: 'main' is not 40 hex digits",
                "nodes.../up: '../up' is no folder name",
                (
                    "nodes.reg.requirements: '-r other.txt' is no requirement: "
                    "Expected package name at the start of dependency specifier"
                ),
                "nodes.reg.version: is needed for a node of the registry",
                "nodes.reg: occurs twice",
            ],
        ),
        (
            {"nodes": []},
            ["dev_nodes.cloud-storage: no development node of that name in nodes"],
        ),
        (
            {"workflows": {"a/b.json": b"{}", "x.txt": b"{}", "y.json": b"{"}, "models": ()},
            [
                "workflows/a/b.json: 'a/b.json' is no plain file name that ends with .json",
                "workflows/x.txt: 'x.txt' is no plain file name that ends with .json",
                (
                    "workflows/y.json: not JSON: Expecting property name enclosed in double "
                    "quotes: line 1 column 2 (char 1)"
                ),
            ],
        ),
        (
            {
                "models": [
                    ExportModel(
                        filename="m",
                        category="c",
                        relative_path="../m",
                        sha256="x",
                        size=1,
                        sources=["https://a:b@c/m"],
                        used_by=["no.json"],
                    )
                ]
            },
            [
                "models.m.relative_path: '../m' climbs out with '..'",
                "models.m.sha256: 'x' is not 64 hex digits",
                "models.m.sources: an address holds a password",
                "models.m.used_by: there is no workflow 'no.json'",
            ],
        ),
    ],
)
def test_faulty_input_writes_nothing(
    export: Callable[..., Exported], tmp_path: Path, changes: dict[str, Any], faults: list[str]
) -> None:
    with pytest.raises(DocumentError) as caught:
        export(**changes)
    assert list(caught.value.faults) == faults
    assert not (tmp_path / "new").exists()


def _link(pack: Path) -> str:
    (pack / "link.txt").symlink_to("/etc/hostname")
    return "link.txt: a link to '/etc/hostname'; put a copy of the file there"


def _folder_link(pack: Path) -> str:
    (pack / "sub" / "up").symlink_to("..")
    return "sub/up: a link to '..'; put a copy of the file there"


def _pipe(pack: Path) -> str:
    os.mkfifo(pack / "pipe")
    return "pipe: neither a file nor a folder; remove it"


def _private_key(pack: Path) -> str:
    (pack / "notes.txt").write_text(f"-----BEGIN RSA PRIVATE KEY-----\n{'A' * 64}\n")
    return "notes.txt: holds a private key; move it out of the node's folder"


def _profile(pack: Path) -> str:
    (pack / "profiles.yaml").write_text(f"secret_access_key: {'a1B/' * 10}\n")
    return "profiles.yaml: holds a secret access key; move it out of the node's folder"


def _huge(pack: Path) -> str:
    with (pack / "weights.bin").open("wb") as file:
        file.truncate((64 << 20) + 1)
    return "weights.bin: too large for an export (67108865 bytes)"


@pytest.mark.parametrize("spoil", [_link, _folder_link, _pipe, _private_key, _profile, _huge])
def test_a_bad_development_node_is_refused(
    export: Callable[..., Exported], pack: Path, tmp_path: Path, spoil: Callable[[Path], str]
) -> None:
    fault = spoil(pack)
    with pytest.raises(DocumentError) as caught:
        export()
    assert list(caught.value.faults) == [f"dev_nodes/cloud-storage/{fault}"]
    assert not (tmp_path / "new").exists()


def test_placeholders_are_no_secrets(export: Callable[..., Exported], pack: Path) -> None:
    (pack / "profiles.yaml").write_text(
        "secret_access_key: ${AWS_SECRET_ACCESS_KEY}\n"
        "access_key_id: AKIAIOSFODNN7EXAMPLE\n"
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n"
    )
    assert "dev_nodes/cloud-storage/profiles.yaml" in export().members


def test_colliding_names_in_a_node_are_refused(export: Callable[..., Exported], pack: Path) -> None:
    (pack / "SUB").write_text("")
    with pytest.raises(DocumentError, match="but for case or Unicode form"):
        export()


def test_a_password_in_the_receipt_is_refused(
    export: Callable[..., Exported], tmp_path: Path
) -> None:
    with pytest.raises(KilnError, match=r"a password stands in an address in receipt\.json"):
        export(receipt={"index": "https://me:canary@mirror.example.com/simple"})
    assert not (tmp_path / "new").exists()


def test_an_unreachable_index_is_not_possible(pack: Path, tmp_path: Path) -> None:
    env = {
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "UV_HTTP_RETRIES": "0",
        "NO_PROXY": "127.0.0.1",
    }
    with pytest.raises(NotPossibleError, match=r"uv\.lock cannot be made") as caught:
        export_tarball(made_input(pack), tmp_path / "dist", uv_env=env)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "dist").exists()


def test_a_lock_that_cannot_be_is_an_error(export: Callable[..., Exported]) -> None:
    with pytest.raises(KilnError, match="there is no version of alpha==9") as caught:
        export(locked=["alpha==9"])
    assert caught.value.exit_code == 1


def test_a_lock_that_is_not_the_image_is_an_error() -> None:
    text = '[[package]]\nname = "a"\nversion = "2"\nsource = { registry = "x" }\n'
    with pytest.raises(KilnError) as caught:
        uvlock._agrees(text, ["a==1", "B_c==3", "a==2.0"])
    assert caught.value.message.splitlines() == [
        "uv.lock does not describe the image:",
        "  a==1 in the image, 2 in the lock",
        "  B_c==3 in the image, none in the lock",
    ]


def test_a_damaged_kept_lock_is_told(pack: Path, tmp_path: Path, uv_env: dict[str, str]) -> None:
    export_tarball(made_input(pack), tmp_path / "dist", cache=tmp_path / "locks", uv_env=uv_env)
    (kept,) = (tmp_path / "locks").iterdir()
    kept.write_text("{}")
    with pytest.raises(KilnError, match="the kept lock is damaged") as caught:
        export_tarball(made_input(pack), tmp_path / "dist", cache=tmp_path / "locks", uv_env=uv_env)
    assert caught.value.remedy == "delete this file; it is made again"


def test_a_folder_that_cannot_be_written_is_told(
    pack: Path, tmp_path: Path, cache: Path, uv_env: dict[str, str]
) -> None:
    (tmp_path / "dist").write_text("a file")
    with pytest.raises(KilnError, match="cannot be written: ") as caught:
        export_tarball(made_input(pack), tmp_path / "dist", cache=cache, uv_env=uv_env)
    assert caught.value.exit_code == 1
