"""Exports of comfydock 1.0.11 and comfygit 0.7.1, as their programs write them, and our own."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.support.peers import DEV, LOCK, comfydock, comfygit, packed, unpacked

from comfykiln.documents import Kind, read, write
from comfykiln.documents.export import format as export
from comfykiln.documents.export.write import members_of
from comfykiln.documents.losses import losses
from comfykiln.environment import (
    Attachment,
    ComfyUISpec,
    Digest,
    Environment,
    Extra,
    Index,
    Metadata,
    Model,
    ModelSource,
    ModelUse,
    Node,
    Package,
    Resolution,
    SystemSpec,
    TorchSpec,
    WidgetUse,
    Workflow,
)
from comfykiln.errors import DocumentError
from comfykiln.parsing import tarballs
from comfykiln.parsing.faults import FaultyDocumentError, Note

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Sequence
    from pathlib import Path

CPU = "https://download.pytorch.org/whl/cpu"
TORCH = (
    Package(name="torch", version="2.13.0+cpu"),
    Package(name="torchvision", version="0.28.0+cpu"),
    Package(name="torchaudio", version="2.13.0+cpu"),
)


def use(workflow: str, node_id: str, node_type: str, value: str, how: str) -> ModelUse:
    widget = WidgetUse(node_id=node_id, node_type=node_type, index=0, value=value)
    return ModelUse(
        workflow=workflow,
        criticality=how,  # type: ignore[arg-type]  # one of three words
        status="resolved",
        widgets=(widget,),
    )


def model(category: str, name: str, digest: Digest, uses: Sequence[ModelUse], *urls: str) -> Model:
    return Model(
        filename=name,
        paths=(f"models/{category}/{name}",),
        category=category,
        size=300_000,
        digests=(digest,),
        sources=tuple(ModelSource(url=url) for url in urls),
        uses=tuple(uses),
    )


def blake(value: str) -> Digest:
    return Digest(algorithm="sampled-blake3", value=value)


SDXL = "sd_xl_base_1.0.safetensors"
MODELS = "https://models.example.com"
COMFYDOCK = Environment(
    name="my-env",
    comfyui=ComfyUISpec(version="v0.3.64"),
    system=SystemSpec(python="3.11", requires_python=">=3.11"),
    torch=TorchSpec(version="2.13.0+cpu", backend="cpu", index_url=CPU, packages=TORCH),
    nodes=(Node(name="my-custom-node", source="development"),),
    models=(
        model(
            "checkpoints",
            SDXL,
            blake("b5c615449f7bb344"),
            [
                use("img2img", "1", "CheckpointLoaderSimple", SDXL, "flexible"),
                use("txt2img", "1", "CheckpointLoaderSimple", SDXL, "flexible"),
            ],
            f"{MODELS}/checkpoints/{SDXL}",
        ),
        model(
            "upscale_models",
            "upscaler_4x.pth",
            blake("4516f3a392759832"),
            [use("img2img", "2", "UpscaleModelLoader", "upscaler_4x.pth", "optional")],
            f"{MODELS}/404/upscaler_4x.pth",
        ),
        model(
            "controlnet",
            "control_v11p_sd15_openpose.pth",
            blake("65691e62466b78d7"),
            [
                use(
                    "img2img",
                    "3",
                    "ControlNetLoader",
                    "control_v11p_sd15_openpose.pth",
                    "required",
                )
            ],
            f"{MODELS}/controlnet/control_v11p_sd15_openpose.pth",
        ),
        model(
            "vae",
            "vae-ft-mse-840000.safetensors",
            blake("5bbeb1dce5bcb0af"),
            [use("txt2img", "2", "VAELoader", "vae-ft-mse-840000.safetensors", "flexible")],
        ),
        model(
            "loras",
            "lora_style.safetensors",
            blake("d670a4f018e8d593"),
            [use("txt2img", "3", "LoraLoader", "lora_style.safetensors", "flexible")],
        ),
    ),
    workflows=(
        Workflow(
            name="img2img",
            data=comfydock()["workflows/img2img.json"],
            path="workflows/img2img.json",
            node_types=("MyDevNode",),
            packs=("my-custom-node",),
            node_map=(("MyDevNode", "my-custom-node"),),
        ),
        Workflow(
            name="txt2img",
            data=comfydock()["workflows/txt2img.json"],
            path="workflows/txt2img.json",
        ),
    ),
    indexes=(
        Index(
            url=CPU,
            name="pytorch-cpu",
            explicit=True,
            packages=("torch", "torchvision", "torchaudio"),
        ),
    ),
    attachments=(
        Attachment(path=f"{DEV}/__init__.py", data=b""),
        Attachment(path=f"{DEV}/nodes.py", data=b"NODE_CLASS_MAPPINGS = {}\n"),
        Attachment(path=f"{DEV}/requirements.txt", data=b"colorama==0.4.6\n"),
        Attachment(path=f"{DEV}/sub/f.txt", data=b""),
        Attachment(path="uv.lock", data=LOCK),
    ),
    extras=(Extra(kind="export.project", path="version", json='"0.1.0"'),),
)


def tarball(folder: Path, members: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    path = folder / "env.tar.gz"
    path.write_bytes(packed(members, *more))
    return path


def test_an_export_of_comfydock(tmp_path: Path) -> None:
    parsed = read(tarball(tmp_path, comfydock()))
    packages = parsed.environment.packages
    assert (parsed.kind, parsed.form) == (Kind.EXPORT, "comfydock")
    assert replace(parsed.environment, packages=()) == COMFYDOCK
    assert len(packages) == 28
    assert packages[0] == Package(name="aiohttp", specifier=">=3.11.8")
    assert packages[-1] == Package(
        name="colorama", version="0.4.6", group="my-custom-node-f6c57cb5"
    )


def test_what_is_said_of_an_export_of_comfydock(tmp_path: Path) -> None:
    assert read(tarball(tmp_path, comfydock())).notes == (
        Note(
            path='pyproject.toml: $.tool.comfydock.models["4516f3a392759832"].sources[1]',
            rule="export.source",
            message="'not a url' is no address: left out",
        ),
        Note(
            path="$",
            rule="export.left-out",
            message=(
                "2 files, caches or possible secrets, left out: "
                f"{DEV}/.env, {DEV}/__pycache__/nodes.cpython-311.pyc"
            ),
        ),
    )


def test_an_export_of_comfygit(tmp_path: Path) -> None:
    parsed = read(tarball(tmp_path, comfygit()))
    found = parsed.environment
    assert parsed.form == "comfygit"
    assert found.comfyui == ComfyUISpec(
        version="v0.3.64",
        commit="c72adf2d91a939dd3ca4f4044b95b626f1d44de1",
        repository="https://github.com/Comfy-Org/ComfyUI.git",
    )
    assert found.system == SystemSpec(python="3.11", requires_python="==3.11.*")
    assert found.nodes == (
        Node(name="my-custom-node", source="development", criticality="required"),
    )
    headless = "opencv-contrib-python-headless"
    assert found.resolution == Resolution(
        overrides=("uv>=0.11.8",),
        excludes=("opencv-contrib-python", "opencv-python", "opencv-python-headless"),
        substitutions=(
            ("opencv-python", headless),
            ("opencv-contrib-python", headless),
            ("opencv-python-headless", headless),
        ),
    )
    assert [attachment.path for attachment in found.attachments] == ["package_config.toml"]
    assert {digest.algorithm for entry in found.models for digest in entry.digests} == {
        "sampled-xxhash"
    }
    assert [note.rule for note in parsed.notes] == ["export.no-code"]


@pytest.mark.parametrize("members", [comfydock(), comfygit()])
def test_a_folder_and_a_repository_say_the_same_as_the_tarball(
    members: dict[str, bytes], tmp_path: Path
) -> None:
    expected = read(tarball(tmp_path, members)).environment
    folder = unpacked(members, tmp_path / "folder")
    (folder / "README.md").write_text("no part of an export", "utf-8")
    assert read(folder).environment == expected
    assert read(folder / "pyproject.toml").environment == expected
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        argv = ["git", *identity, "-C", str(folder), *arguments]
        done = subprocess.run(argv, env=env, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    for name in (".git", ".env"):
        for found in folder.glob(f"dev_nodes/*/{name}"):
            shutil.rmtree(found) if found.is_dir() else found.unlink()
    git("init", "-q", "-b", "main")
    (folder / ".gitattributes").write_text("* export-ignore\n*.py export-subst\n", "utf-8")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    git("tag", "v1")
    commit = git("rev-parse", "HEAD")
    (folder / "pyproject.toml").write_text("changed since", "utf-8")
    for ref in (None, "main", "v1", commit, commit[:9]):
        parsed = export.read_repository(str(folder), ref)
        assert parsed.environment == expected
        assert parsed.source == f"{folder}@{commit}"
    bare = tmp_path / "bare.git"
    git("clone", "-q", "--bare", str(folder), str(bare))
    assert read(bare).environment == expected


def test_a_repository_without_an_export_is_refused(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "a").write_text("", "utf-8")
    argv = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t"]
    subprocess.run([*argv, "add", "."], check=True)
    subprocess.run([*argv, "commit", "-q", "-m", "one"], check=True)
    with pytest.raises(DocumentError, match=r"holds no pyproject\.toml"):
        export.read_repository(str(tmp_path))


@pytest.mark.parametrize("members", [comfydock(), comfygit()])
def test_an_export_survives_writing(members: dict[str, bytes], tmp_path: Path) -> None:
    environment = read(tarball(tmp_path, members)).environment
    written = write(environment, Kind.EXPORT)
    assert export.reread(written) == environment
    assert export.write(export.reread(written)).data == written.data
    assert losses(environment, export.reread(written)) == ()


def test_peers_find_the_same_in_what_is_written(tmp_path: Path) -> None:
    """Without the record, the peers' tables alone say all but what peers have no place for."""
    environment = read(tarball(tmp_path, comfydock())).environment
    members = members_of(environment)
    del members["environment.json"]
    found = read(tarball(tmp_path, members)).environment
    assert found == replace(environment, metadata=Metadata(state="exportable"))


def test_a_record_counts_only_while_nothing_else_was_changed(tmp_path: Path) -> None:
    environment = read(tarball(tmp_path, comfydock())).environment
    members = members_of(replace(environment, name="renamed"))
    assert read(tarball(tmp_path, members)).environment.name == "renamed"
    members["pyproject.toml"] = members["pyproject.toml"].replace(b"env-renamed", b"env-edited")
    parsed = read(tarball(tmp_path, members))
    assert parsed.environment.name == "edited"
    assert [note.rule for note in parsed.notes if note.path == "environment.json"] == [
        "export.changed"
    ]


def test_equal_environments_give_equal_bytes(tmp_path: Path) -> None:
    environment = read(tarball(tmp_path, comfydock())).environment
    written = write(environment, Kind.EXPORT)
    assert written.data == write(environment, Kind.EXPORT).data
    path = tmp_path / written.filename
    path.write_bytes(written.data)
    assert sorted(tarballs.read_members(path)) == [
        ".python-version",
        f"{DEV}/__init__.py",
        f"{DEV}/nodes.py",
        f"{DEV}/requirements.txt",
        f"{DEV}/sub/f.txt",
        "environment.json",
        "pyproject.toml",
        "uv.lock",
        "workflows/img2img.json",
        "workflows/txt2img.json",
    ]


def test_what_peers_have_no_place_for_travels_in_the_record() -> None:
    environment = Environment(
        name="odd name",
        nodes=(
            Node(name="single.py", source="file"),
            Node(name="off", source="git", url="https://github.com/a/off", disabled=True),
            Node(
                name="packed",
                source="archive",
                url="https://github.com/a/packed/archive/abc1234.tar.gz",
            ),
        ),
        packages=(Package(name="", source="editable", path="../x"),),
        attachments=(Attachment(path="input/picture.png", data=b"\x89PNG"),),
        workflows=(Workflow(name="odd", data=b'{"nodes": []}', path="odd.json"),),
    )
    assert export.reread(write(environment, Kind.EXPORT)) == environment
    text = members_of(environment)["pyproject.toml"].decode()
    assert 'name = "comfydock-env-odd-name"' in text
    assert "[tool.comfydock.nodes.packed]" in text
    assert 'repository = "https://github.com/a/packed"' in text
    assert "single.py" not in text


def test_two_files_of_one_name_are_refused() -> None:
    twins = tuple(Workflow(name="twin", data=b"{}") for _ in range(2))
    with pytest.raises(DocumentError, match=r"two files of the export would be workflows/twin"):
        write(Environment(workflows=twins), Kind.EXPORT)


def test_our_own_tarball_must_be_what_its_manifest_says(tmp_path: Path) -> None:
    members = comfygit()
    listed = {"files": {"pyproject.toml": {"sha256": "0" * 64}, "gone.txt": {"sha256": "1" * 64}}}
    members["manifest.json"] = json.dumps(listed).encode()
    with pytest.raises(FaultyDocumentError) as caught:
        read(tarball(tmp_path, members))
    assert [(fault.path, fault.problem) for fault in caught.value.records] == [
        ('manifest.json: $.files["gone.txt"]', "gone.txt is missing"),
        (
            'manifest.json: $.files["pyproject.toml"]',
            "pyproject.toml is not what the manifest says",
        ),
    ]
    parsed = read(unpacked(members, tmp_path / "folder"))
    assert parsed.form == "comfykiln"
    assert [note.rule for note in parsed.notes].count("export.digest") == 2


def test_what_can_be_executed_stays_so(tmp_path: Path) -> None:
    code = (
        Attachment(path="dev_nodes/mine/__init__.py", data=b"1"),
        Attachment(path="dev_nodes/mine/run.sh", data=b"2", executable=True),
    )
    environment = Environment(nodes=(Node(name="mine", source="development"),), attachments=code)
    path = tmp_path / "e.tar.gz"
    path.write_bytes(write(environment, Kind.EXPORT).data)
    assert read(path).environment.attachments == code
    members = {
        name: data
        for name, data in tarballs.read_members(path).items()
        if name not in ("environment.json", "manifest.json")
    }
    path.write_bytes(tarballs.write_members(members, 0, executable=["dev_nodes/mine/run.sh"]))
    assert read(path).environment.attachments == code
