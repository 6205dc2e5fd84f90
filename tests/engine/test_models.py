"""Images with models: from a real S3 server into the engine, an archive and a registry."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import secrets
import subprocess
import tarfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import dockerregistry, s3

from comfykiln.bake.line import BuildOptions, Built, build
from comfykiln.cli import models as model_commands
from comfykiln.cli import push as modelpush
from comfykiln.cli import run
from comfykiln.cli.options import ModelsPush
from comfykiln.engine import engine
from comfykiln.errors import DocumentError, KilnError
from comfykiln.export.tarball import verify_tarball
from comfykiln.models import store as model_store
from comfykiln.plan.project import Project
from comfykiln.verify import again as reverify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.images import Line

pytestmark = pytest.mark.engine

REPOSITORY = "comfykiln/kilntest"
LARGE = "checkpoints/large.safetensors"
# The store is the user's: other runs at the same time must not have the same files.
OWN = secrets.token_hex(8).encode()
SMALL = {"vae/small one.safetensors": b"small" * 1000, "loras/é.safetensors": b"lora" * 50}


def safetensors(size: int, mark: bytes) -> bytes:
    """A valid file of `size` bytes of data, zeros but for a mark at its end."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size - len(mark)) + mark


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """An S3 server with one bucket of model files."""
    folder = tmp_path / "s3" / "models"
    for name, data in contents(b"first").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.SECRET_KEY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with s3.rclone(folder.parent) as server:
        yield server.url, folder


def contents(mark: bytes) -> dict[str, bytes]:
    small = {name: OWN + data for name, data in SMALL.items()}
    return {
        LARGE: safetensors(70_000_000, OWN + mark),
        **{name: safetensors(len(data), data) for name, data in small.items()},
    }


@pytest.fixture
def models(line: Line, bucket: tuple[str, Path]) -> Iterator[Line]:
    """The small project with models, locked."""
    write_models(line, bucket[0])
    model_commands.lock(line.root, "kilntest", "", check=False)
    yield line
    for path in stored(line):
        path.unlink(missing_ok=True)


def write_models(line: Line, url: str, **missing: str) -> None:
    entries: list[dict[str, Any]] = [
        {
            "name": name.rpartition("/")[2],
            "destination": name,
            "criticality": "required",
            "sources": [
                {
                    "url": f"s3://models/{name}",
                    "provider": "Custom",
                    "endpoint": url,
                    "region": "us-east-1",
                }
            ],
        }
        for name in contents(b"")
    ]
    entries += [
        {
            "name": name,
            "destination": f"loras/{name}.safetensors",
            "criticality": criticality,
            "sha256": "0" * 64,
            "size": 70_000_000,
            "sources": ["https://models.invalid/a", "https://models.invalid/b"],
        }
        for name, criticality in missing.items()
    ]
    path = line.root / "services" / "comfy" / "kilntest" / "models.yaml"
    path.write_text(json.dumps({"models": entries}), "utf-8")


def stored(line: Line) -> list[Path]:
    path = line.root / "services" / "comfy" / "kilntest" / "models.lock"
    lock = json.loads(path.read_text("utf-8"))
    return [model_store.path_of(model["sha256"]) for model in lock["models"]]


def build_line(line: Line, target: str = "cpu", **options: Any) -> Built:
    project = Project(root=line.root)
    plan = project.plan(target, "kilntest")
    return build(project, plan, BuildOptions(git_mirror=line.mirror, **options))


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def inspected(ref: str) -> dict[str, Any]:
    image: dict[str, Any] = json.loads(docker("image", "inspect", ref))[0]
    return image


def oras(*words: str) -> Any:
    done = subprocess.run(["oras", *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def oras_digest(ref: str) -> str:
    digest: str = oras("manifest", "fetch", "--plain-http", "--descriptor", ref)["digest"]
    return digest


def model_layers(ref: str) -> list[str]:
    """The layers of the models: the large one's, and that of the small ones."""
    layers: list[str] = inspected(ref)["RootFS"]["Layers"]
    return layers[-2:]


def inside(ref: str) -> dict[str, str]:
    """The sha256 of every model in the image, as another user than the image's reads it."""
    script = "find . -type f -print0 | sort -z | xargs -0 sha256sum"
    argv = ["run", "--rm", "--network=none", "--read-only", "--user=4711:4711"]
    said = docker(*argv, "--workdir=/app/models", "--entrypoint=sh", ref, "-c", script)
    pairs = [line.split("  ./", 1) for line in said.splitlines()]
    return {name: digest for digest, name in pairs if name != "here"}


def expected(mark: bytes) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in contents(mark).items()}


@contextmanager
def loaded(ref: str) -> Iterator[str]:
    try:
        yield ref
    finally:
        subprocess.run(["docker", "rmi", "-f", ref], capture_output=True, check=True)


def test_from_a_bucket_into_engine_and_registry(
    models: Line, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volumes = docker("volume", "ls", "-q")
    with dockerregistry.serve(tmp_path / "registry") as registry:
        push = f"{registry.address}/team/kilntest"
        built = build_line(models, push=push)
        assert inside(built.ref) == expected(b"first")
        assert run.models_inside(built.ref) == expected(b"first")
        assert docker("volume", "ls", "-q") == volumes
        assert reverify.verify_ref(built.ref)["target"] == "cpu"
        name, _, digest = (built.pushed or "").partition("@")
        assert digest == built.digest
        assert oras_digest(name) == digest
        written = registry.written

        # The same again: nothing is fetched, loaded or sent.
        capsys.readouterr()
        again = build_line(models, push=push)
        told = capsys.readouterr().err
        assert again == built
        assert "3 model(s), 0.0 MB fetched" in told
        assert "has its 3 model(s) already" in told
        assert ": 0.0 MB sent" in told

        # A second target: its models are the layers that are there, in engine and registry.
        other = build_line(models, "gpu", push=push)
        told = capsys.readouterr().err
        assert "large.safetensors: there already" in told
        assert model_layers(other.ref) == model_layers(built.ref)
        assert registry.written - written < 5_000_000


def test_one_of_the_models_changes(models: Line, tmp_path: Path, bucket: tuple[str, Path]) -> None:
    with dockerregistry.serve(tmp_path / "registry") as registry:
        push = f"{registry.address}/team/kilntest:t"
        before = model_layers(build_line(models, push=push).ref)
        written = registry.written
        (bucket[1] / LARGE).write_bytes(contents(b"other")[LARGE])
        old = stored(models)
        model_commands.lock(models.root, "kilntest", "all", check=False)
        for path in set(old) - set(stored(models)):
            path.unlink()
        changed = build_line(models, push=push)
        after = model_layers(changed.ref)
        assert (before[0] != after[0], before[1:]) == (True, after[1:])
        assert 70_000_000 < registry.written - written < 70_100_000
        # What the registry hands out is what the engine has.
        with loaded(push):
            docker("pull", "-q", push)
            assert inside(push) == expected(b"other")
            assert inspected(push)["Id"] == changed.digest


def test_an_archive(models: Line, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(b"an old one")
    built = build_line(models, archive=archive, export=False)
    with tarfile.open(archive) as tar:
        members = {member.name: member.size for member in tar}
    layers = inspected(built.ref)["RootFS"]["Layers"]
    blobs = {name: size for name, size in members.items() if name.startswith("blobs/")}
    assert members.keys() - blobs.keys() == {"oci-layout", "index.json", "manifest.json"}
    assert {f"blobs/{digest.replace(':', '/')}" for digest in layers} <= blobs.keys()
    assert archive.stat().st_size < sum(members.values()) + 8192 * len(members)
    docker("rmi", "-f", built.ref, f"{REPOSITORY}:cpu")
    docker("load", "-i", str(archive))
    assert inspected(built.ref)["Id"] == built.digest
    assert inside(built.ref) == expected(b"first")


def test_what_is_not_let_in_is_an_intent_of_the_export(
    line: Line, bucket: tuple[str, Path]
) -> None:
    write_models(line, bucket[0])
    model_commands.lock(line.root, "kilntest", "", check=False)
    try:
        skipped = build_line(line, models="skip")
        assert skipped.export is not None
        manifest = verify_tarball(skipped.export)
        assert {model.relative_path: model.in_image for model in manifest.models} == dict.fromkeys(
            contents(b""), False
        )
        assert manifest.models[0].sources == (f"s3://models/{manifest.models[0].relative_path}",)
        assert inside(skipped.ref) == {}
        full = build_line(line)
        assert inside(full.ref) == expected(b"first")
        assert full.export is not None
        assert all(model.in_image for model in verify_tarball(full.export).models)
        # And back: the models leave the image, whose software is as it was verified.
        assert build_line(line, models="required").digest == full.digest
        assert build_line(line, models="skip").digest == skipped.digest
    finally:
        for path in stored(line):
            path.unlink(missing_ok=True)


def test_a_required_model_that_cannot_be_had(models: Line, bucket: tuple[str, Path]) -> None:
    for path in stored(models):
        path.unlink(missing_ok=True)
    (bucket[1] / LARGE).write_bytes(b"something else")
    with pytest.raises(KilnError) as caught:
        build_line(models)
    assert "required models are not available:\n  large.safetensors: s3://models/" in str(
        caught.value
    )
    assert docker("images", "-q", REPOSITORY) == ""


def test_models_that_are_kept_nowhere_here(
    models: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in stored(models):
        path.unlink(missing_ok=True)
    with dockerregistry.serve(tmp_path / "registry", login=True) as registry:
        config = tmp_path / "docker"
        config.mkdir()
        pair = f"{dockerregistry.USER}:{dockerregistry.PASSWORD}".encode()
        auth = {"auth": base64.b64encode(pair).decode()}
        monkeypatch.setenv("DOCKER_CONFIG", str(config))
        with pytest.raises(KilnError, match="lets nobody push without a login to team/kilntest"):
            build_line(models, push=f"{registry.address}/team/kilntest:t", keep=False)
        text = json.dumps({"auths": {registry.address: auth}})
        (config / "config.json").write_text(text, "utf-8")
        built = build_line(models, push=f"{registry.address}/team/kilntest:t", keep=False)
        assert [path.exists() for path in stored(models)].count(True) == len(SMALL)
        assert inside(built.ref) == {}
        name = f"{registry.address}/team/kilntest:t"
        login = [f"--username={dockerregistry.USER}", f"--password={dockerregistry.PASSWORD}"]
        manifest = oras("manifest", "fetch", "--plain-http", *login, name)
        large = contents(b"first")[LARGE]
        assert manifest["layers"][-2]["size"] > len(large)


def test_models_alone_as_an_artifact(models: Line, tmp_path: Path) -> None:
    with dockerregistry.serve(tmp_path / "registry") as registry:
        ref = f"{registry.address}/team/models:v1"
        modelpush.push(models.root, ModelsPush(image="kilntest", ref=ref))
        manifest = oras("manifest", "fetch", "--plain-http", ref)
        assert manifest["artifactType"] == "application/vnd.comfykiln.models.v1"
        # A runtime mounts what it can unpack: the engine does, and so the files are read out.
        with loaded(ref):
            docker("pull", "-q", ref)
            name = docker("create", ref, "nothing")
            try:
                argv = ["docker", "cp", f"{name}:/app/models/.", "-"]
                packed = subprocess.run(argv, capture_output=True, check=True).stdout
            finally:
                docker("rm", name)
        found = {}
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            for member in tar:
                file = tar.extractfile(member)
                if file is not None:
                    found[member.name.removeprefix("./")] = hashlib.sha256(file.read()).hexdigest()
        assert found == expected(b"first")


def test_an_engine_never_keeps_a_half_made_name(models: Line) -> None:
    build_line(models)
    names = docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    assert [name for name in names if "unfinished" in name and "kilntest" in name] == []
    assert [name for name in names if name.startswith("127.0.0.1")] == []


def test_a_name_that_no_registry_takes(models: Line) -> None:
    with pytest.raises(DocumentError):
        build_line(models, push="Upper/case:tag")
    assert engine.find_image(engine.client(), f"{REPOSITORY}:cpu") is None
