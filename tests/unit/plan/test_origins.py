from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from comfykiln.errors import DocumentError
from comfykiln.origins.filelist import LEFT_OUT, read_list
from comfykiln.plan.origins import GitOrigin, SdistOrigin, load_origins

IMAGES = Path(__file__).parents[3] / "images"


@pytest.fixture
def document(tmp_path: Path) -> Path:
    shutil.copytree(IMAGES / "comfyui", tmp_path / "comfyui")
    shutil.copyfile(IMAGES / "origins.yaml", tmp_path / "origins.yaml")
    return tmp_path / "origins.yaml"


def change(document: Path, old: str, new: str) -> None:
    text = document.read_text()
    assert old in text
    document.write_text(text.replace(old, new))


def test_the_projects_own_origins_hold_together() -> None:
    origins = load_origins(IMAGES / "origins.yaml")

    assert {suite: base.python for suite, base in origins.bases.items()} == {
        "trixie": "3.13",
        "bookworm": "3.11",
    }
    release = origins.comfyui("v0.30.0")
    assert release is origins.comfyui("0.30.0")
    assert [type(origin) for origin in release.origins] == [GitOrigin, SdistOrigin]
    assert release.repository == "https://github.com/Comfy-Org/ComfyUI"
    assert origins.torch.package_index == "cu130"


def test_the_list_has_what_comfyui_needs_at_run_time() -> None:
    names = read_list(IMAGES / "comfyui" / "v0.30.0.files").keys()
    needed = {
        *("main.py", "server.py", "execution.py", "nodes.py", "folder_paths.py", "LICENSE"),
        *("requirements.txt", "manager_requirements.txt", "comfyui_version.py", "alembic.ini"),
        *("custom_nodes/websocket_image_save.py", "models/checkpoints/put_checkpoints_here"),
        *("models/configs/v1-inference.yaml", "input/example.png"),
        *("output/_output_images_will_be_put_here", "comfy/sd1_tokenizer/vocab.json"),
        *("comfy/text_encoders/llama_tokenizer/tokenizer.json", "utils/json_util.py"),
    }
    assert needed - names == set()
    tops = {name.partition("/")[0] for name in names}
    folders = {"alembic_db", "api_server", "app", "blueprints", "comfy", "comfy_api"}
    folders |= {"comfy_api_nodes", "comfy_execution", "comfy_extras", "middleware"}
    folders |= {"script_examples"}
    assert folders - tops == set()
    assert not [name for name in names if name.startswith(LEFT_OUT) or name in LEFT_OUT]
    assert ".git" not in tops
    assert not [name for name in names if name.endswith(".pyc")]


def test_what_is_not_there_is_answered_with_what_is() -> None:
    origins = load_origins(IMAGES / "origins.yaml")
    with pytest.raises(DocumentError) as caught:
        origins.base("sid")
    assert str(caught.value) == "there is no base for 'sid'\n  → use one of: trixie, bookworm"
    with pytest.raises(DocumentError) as caught:
        origins.comfyui("v0.1")
    assert str(caught.value) == (
        "ComfyUI 0.1 is not pinned in origins.yaml\n"
        "  → use one of: 0.30.0; or pin it as docs/origins.md says"
    )


def test_every_fault_is_told_with_its_place(document: Path) -> None:
    change(document, "debian:trixie-slim@sha256:", "debian:trixie-slim@sha512:")
    change(document, "origins: [registry, mmdebstrap]", "origins: [registry, docker]")
    change(document, "commit: b1693ecba9f5b65f8c80ab36b195ab963ec92413", "commit: master")
    change(document, "url: https://github.com/", "url: ext::sh -c ")
    change(document, "folder: vendor/ComfyUI", "folder: ../ComfyUI")
    change(document, "path: requirements.txt", "path: /requirements.txt")

    with pytest.raises(DocumentError) as caught:
        load_origins(document)

    assert [fault.partition(": ")[0] for fault in caught.value.faults] == [
        "$.base.bookworm.origins[1]",
        "$.base.trixie.origins[1]",
        "$.base.trixie.ref",
        "$.comfyui['v0.30.0'].commit",
        "$.comfyui['v0.30.0'].origins[0].url",
        "$.comfyui['v0.30.0'].origins[1].corrections[0].path",
        "$.comfyui['v0.30.0'].origins[1].folder",
    ]
    assert caught.value.exit_code == 2


def test_a_changed_list_is_noticed(document: Path) -> None:
    listed = document.parent / "comfyui" / "v0.30.0.files"
    listed.write_text(listed.read_text().replace("  644  main.py", "  755  main.py"))
    with pytest.raises(DocumentError) as caught:
        load_origins(document)
    (fault,) = caught.value.faults
    assert fault.startswith(f"$.comfyui['v0.30.0'].content: {listed} has the sha256 ")


def test_a_missing_list_is_named(document: Path) -> None:
    (document.parent / "comfyui" / "v0.30.0.files").unlink()
    with pytest.raises(DocumentError) as caught:
        load_origins(document)
    assert caught.value.faults == (
        f"$.comfyui['v0.30.0'].files: {document.parent}/comfyui/v0.30.0.files does not exist",
    )
