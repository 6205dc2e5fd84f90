"""comfy-lock.yaml in both its forms, on real files (see data/README-documents.md)."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from comfykiln.documents import read, write
from comfykiln.documents.comfylock.format import parse
from comfykiln.environment import (
    ComfyUISpec,
    Credential,
    Digest,
    Environment,
    Extra,
    Model,
    ModelSource,
    Node,
)
from comfykiln.parsing.faults import FaultyDocumentError

DATA = Path(__file__).parent / "data"
KJNODES = Node(
    name="ComfyUI-KJNodes",
    source="git",
    url="https://github.com/kijai/ComfyUI-KJNodes",
    commit="a40cf52c4779454451c4480c95947045e3f31c94",
)


def test_the_basic_form() -> None:
    parsed = read(DATA / "comfy-lock-basic.yaml")
    assert parsed.kind == "comfylock"
    assert parsed.form == "basic"
    assert parsed.environment == Environment(
        comfyui=ComfyUISpec(version="v0.3.43"),
        nodes=(
            Node(
                name="ComfyUI-Manager",
                source="git",
                url="https://github.com/ltdrdata/ComfyUI-Manager",
                ref="latest",
            ),
        ),
        extras=(Extra(kind="comfylock.basic", path="workspace", json='"/home/ubuntu/app"'),),
    )


def test_the_form_with_auth() -> None:
    parsed = read(DATA / "comfy-lock-auth.yaml")
    environment = parsed.environment
    assert parsed.form == "auth"
    assert environment.nodes == (KJNODES,)
    assert environment.comfyui == ComfyUISpec(commit="8f40b43e0204d5b9780f3e9618e140e929e80594")
    assert environment.credentials == (
        Credential(host="civitai.com", variable="CIVITAI_TOKEN"),
        Credential(host="huggingface.co", variable="HF_TOKEN"),
        Credential(host="github.com", variable="GITHUB_TOKEN"),
    )
    assert environment.models[3] == Model(
        filename="RealESRGAN_x4plus.pth",
        paths=("models/upscale_models/RealESRGAN_x4plus.pth",),
        category="upscale_models",
        kind="upscale_model",
        label="RealESRGAN_x4plus.pth",
        digests=(
            Digest(
                algorithm="sha256",
                value="4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
            ),
        ),
        sources=(
            ModelSource(
                url="https://github.com/xinntao/Real-ESRGAN/releases/download/v0.1.0/"
                "RealESRGAN_x4plus.pth"
            ),
        ),
    )


def test_a_model_with_several_paths_and_nodes_without_hashes() -> None:
    environment = read(DATA / "comfy-lock-basic-models.yaml").environment
    by_label = {model.label: model for model in environment.models}
    refs = {node.name: (node.commit, node.ref) for node in environment.nodes}
    assert len(environment.models) == 26
    assert by_label["TAESD"].paths == (
        "models/vae_approx/taesd_decoder.safetensors",
        "models/vae_approx/taesd_encoder.safetensors",
    )
    assert refs["comfystream"] == (None, None)
    assert refs["ComfyUI_TensorRT"] == (None, "patch-1")
    assert refs["ComfyUI-Stream-Pack"] == (None, "main")


@pytest.mark.parametrize("name", ["basic", "auth", "basic-models"])
def test_writing_and_reading_again_gives_the_same(name: str) -> None:
    environment = read(DATA / f"comfy-lock-{name}.yaml").environment
    written = write(environment, "comfylock")
    assert written.filename == "comfy-lock.yaml"
    assert parse(written.data, "comfy-lock.yaml").environment == environment


def test_what_is_written() -> None:
    environment = Environment(
        comfyui=ComfyUISpec(version="v0.3.64", commit="c" * 40),
        nodes=(KJNODES,),
        models=(
            Model(
                filename="a.safetensors",
                paths=("models/vae/a.safetensors",),
                kind="vae",
                digests=(Digest(algorithm="sha256", value="d" * 64),),
                sources=(ModelSource(url="https://h/a"), ModelSource(url="https://h/b")),
            ),
        ),
        credentials=(Credential(host="h", variable="TOKEN"),),
    )
    assert yaml.safe_load(write(environment, "comfylock").data) == {
        "basic": {"comfyui_version": "v0.3.64"},
        "custom_nodes": {
            "comfyui": "c" * 40,
            "git_custom_nodes": {
                "https://github.com/kijai/ComfyUI-KJNodes": {
                    "hash": "a40cf52c4779454451c4480c95947045e3f31c94",
                    "disabled": False,
                }
            },
            "cnr_custom_nodes": {},
            "file_custom_nodes": [],
            "pips": {},
        },
        "auth": {"h": "${TOKEN}"},
        "models": [
            {
                "model": "a.safetensors",
                "url": "https://h/a",
                "paths": [{"path": "models/vae/a.safetensors"}],
                "hashes": [{"hash": "d" * 64, "type": "SHA256"}],
                "type": "vae",
            }
        ],
    }


@pytest.mark.parametrize(
    ("text", "path", "rule"),
    [
        ("basic: 1", "$.basic", "comfylock.type"),
        ("basic: {comfyui_version: 0.3}", "$.basic.comfyui_version", "comfylock.type"),
        (
            "basic: {comfyui_version: v0.3.1}\ncustom_nodes: {comfyui: v0.3.2}",
            "$.basic.comfyui_version",
            "comfylock.comfyui",
        ),
        ("models: [{url: 'file:///etc/x'}]", "$.models[0].url", "url.transport"),
        ("models: [{paths: [{}]}]", "$.models[0].paths[0]", "comfylock.required"),
        ("models: [{paths: [{path: ../x}]}]", "$.models[0].paths[0].path", "name.reserved"),
        (
            "models: [{hashes: [{hash: xyz, type: SHA256}]}]",
            "$.models[0].hashes[0].hash",
            "comfylock.pattern",
        ),
        (
            f"models: [{{hashes: [{{hash: {'d' * 63}, type: SHA256}}]}}]",
            "$.models[0].hashes[0].hash",
            "comfylock.hash",
        ),
        ("models: [{paths: [{path: ~/x.pt}]}]", "$.models[0].paths[0].path", "path.absolute"),
        ("models: [{paths: [{path: checkpoints/}]}]", "$.models[0].paths[0].path", "path.folder"),
        ("basic: {}\ncustom_nodes: [{url: 'https://h/r'}]", "$.custom_nodes", "comfylock.type"),
        ("auth: {h: hf_abcdef}", "$.auth.h", "comfylock.credential"),
        ("auth: {'a b': '${X}'}", '$.auth["a b"]', "comfylock.host"),
        (
            "basic: {}\ncustom_nodes: {git_custom_nodes: {'https://h/r': {hash: 12345678}}}",
            '$.custom_nodes.git_custom_nodes["https://h/r"].hash',
            "snapshot.hash",
        ),
    ],
)
def test_each_fault_has_its_place_and_rule(text: str, path: str, rule: str) -> None:
    with pytest.raises(FaultyDocumentError) as caught:
        parse(text.encode(), "comfy-lock.yaml")
    assert [(fault.path, fault.rule) for fault in caught.value.records] == [(path, rule)]


@pytest.mark.parametrize("folder", ["models/vae/", "vae", "models/vae"])
def test_a_folder_is_completed_by_the_files_name(folder: str) -> None:
    text = f"models: [{{url: 'https://h/x/a%20b.pt?download=true', paths: [{{path: {folder}}}]}}]"
    (model,) = parse(text.encode(), "comfy-lock.yaml").environment.models
    assert (model.filename, model.paths, model.category) == (
        "a b.pt",
        ("models/vae/a b.pt",),
        "vae",
    )


def test_a_model_of_which_nothing_is_known_is_told() -> None:
    found = parse(b"models: [{model: SD15}, {}]", "comfy-lock.yaml")
    assert found.environment.models == ()
    assert [(note.path, note.rule) for note in found.notes] == [
        ("$.models[0]", "comfylock.model"),
        ("$.models[1]", "comfylock.model"),
    ]


def test_nodes_as_a_map_of_addresses() -> None:
    text = f"basic: {{}}\ncustom_nodes: {{'{KJNODES.url}': {{commit: {KJNODES.commit}}}}}"
    assert parse(text.encode(), "comfy-lock.yaml").environment.nodes == (KJNODES,)


@pytest.mark.parametrize("value", ["12345678", "{token: hf_abcdef}", "[hf_abcdef]"])
def test_a_credential_of_another_type_is_not_shown(value: str) -> None:
    with pytest.raises(FaultyDocumentError) as caught:
        parse(f"auth: {{h: {value}}}".encode(), "comfy-lock.yaml")
    (fault,) = caught.value.records
    assert (fault.path, fault.rule) == ("$.auth.h", "comfylock.type")
    assert fault.problem.startswith("a value (not shown) is ")


def test_a_credential_in_the_document_is_not_repeated() -> None:
    with pytest.raises(FaultyDocumentError) as caught:
        parse(b"auth: {huggingface.co: hf_canary}", "comfy-lock.yaml")
    assert "hf_canary" not in str(caught.value)
