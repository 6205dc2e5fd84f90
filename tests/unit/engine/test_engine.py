"""What the engine's absence, age and refusal look like.

A small `docker` program stands in here, for states that the real one cannot be put into at will.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from comfykiln.engine import disk, engine
from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.setup import engine_info

if TYPE_CHECKING:
    from collections.abc import Mapping

INFO: dict[str, object] = {
    "ServerVersion": "26.1.5+dfsg1",
    "Driver": "overlayfs",
    "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
    "DockerRootDir": "/var/lib/docker",
    "Architecture": "x86_64",
}


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH; a test writes its `docker` there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "docker"


def write(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}", "utf-8")
    path.chmod(0o755)


def answering(info: Mapping[str, object], buildx: str = "0.13.1+ds1-3") -> str:
    plugins = [{"Name": "buildx", "Version": buildx}] if buildx else []
    return f"echo '{json.dumps({**info, 'ClientInfo': {'Plugins': plugins}})}'\n"


def test_an_engine_says_its_version_store_and_root(docker: Path) -> None:
    write(docker, answering(INFO))
    assert engine.connect() == engine.Engine(
        version="26.1.5+dfsg1",
        store="containerd",
        data_root="/var/lib/docker",
        architecture="x86_64",
    )


def test_the_overlay2_store_is_named_as_it_is(docker: Path) -> None:
    write(docker, answering(INFO | {"Driver": "overlay2", "DriverStatus": [["Supports", "x"]]}))
    found = engine.connect()
    assert (found.store, found.containerd_store) == ("overlay2", False)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo 'Cannot connect to the Docker daemon at unix:///x. Is it running?' >&2; exit 1",
            "no container engine answers: Cannot connect to the Docker daemon at unix:///x.",
        ),
        (
            "echo 'permission denied while trying to connect' >&2; exit 1",
            "a Docker engine runs here, but you may not use it:\n    permission denied",
        ),
        (
            answering({"ServerErrors": ["Cannot connect"]}),
            "no container engine answers: Cannot connect",
        ),
        (
            answering(INFO | {"ServerVersion": "20.10.24+dfsg1"}),
            "Docker Engine is 20.10.24+dfsg1, older than 26.1",
        ),
        (
            answering(INFO, buildx="v0.12.1-desktop.4"),
            "docker buildx is 0.12.1, older than 0.13",
        ),
        (
            answering(INFO, buildx="dev"),
            "docker buildx is of an unknown version, older than 0.13",
        ),
        (
            "echo 'git@host: Permission denied (publickey).' >&2; exit 1",
            "no container engine answers: git@host: Permission denied (publickey).",
        ),
        (
            answering(INFO, buildx=""),
            "the docker command has no buildx",
        ),
    ],
)
def test_an_engine_that_cannot_build_is_one_message(
    docker: Path, script: str, message: str
) -> None:
    write(docker, script)
    with pytest.raises(NotPossibleError) as error:
        engine.connect()
    assert error.value.message.startswith(message)
    assert error.value.remedy
    assert error.value.exit_code == 3


def test_what_doctor_says_of_an_engine_that_does_not_serve(
    docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = "permission denied while trying to connect"
    plugins = json.dumps({"ClientInfo": {"Plugins": [{"Name": "buildx", "Version": "0.13.1"}]}})
    write(docker, f"echo '{plugins}'; echo '{refusal}' >&2; exit 1")
    assert engine_info.told() == engine_info.EngineInfo(
        complaint=f"a Docker engine runs here, but you may not use it:\n    {refusal}",
        remedy="run `sudo usermod -aG docker $USER`, log in again, and start the task again",
        plugins={"buildx": (0, 13, 1)},
    )
    monkeypatch.setattr(engine_info, "PATIENCE", 1)
    write(docker, "while :; do :; done")
    assert engine_info.told() == engine_info.EngineInfo(
        complaint="a Docker engine is there, but gave no answer within 1 s",
        remedy="look at its log, and restart it (`systemctl restart docker`)",
    )


@pytest.mark.parametrize(
    ("buildx", "allowed"),
    [
        ("0.13.1+ds1-3", []),
        ("v0.18.0", []),
        ("v0.19.0", ["--allow=fs.read=/a/tree", "--allow=fs.read=/b/ca.crt"]),
        ("0.29.1+ds1-4", ["--allow=fs.read=/a/tree", "--allow=fs.read=/b/ca.crt"]),
    ],
)
def test_paths_outside_the_checkout_are_allowed_where_buildx_asks(
    docker: Path, tmp_path: Path, buildx: str, allowed: list[str]
) -> None:
    """buildx 0.29.1 ended every build with "additional privileges requested"; 0.13.1 knows none."""
    metadata = tmp_path / "metadata.json"
    built = json.dumps({"image": {"containerimage.digest": "sha256:1"}})
    write(
        docker,
        f'[ "$1" = info ] && {{ {answering(INFO, buildx=buildx)}exit; }}\n'
        f"echo \"$@\" >{tmp_path}/words; echo '{built}' >{metadata}\n",
    )
    digest = engine.bake(
        [tmp_path / "bake.json"],
        "image",
        cwd=tmp_path,
        metadata=metadata,
        on_line=print,
        reads=[Path("/a/tree"), Path("/b/ca.crt")],
    )
    assert digest == "sha256:1"
    assert (tmp_path / "words").read_text().split() == [
        *("buildx", "bake", "--progress=plain", f"--metadata-file={metadata}"),
        *(f"--file={tmp_path}/bake.json", *allowed, "image"),
    ]


def test_no_docker_command_at_all(docker: Path) -> None:
    assert not docker.exists()
    with pytest.raises(NotPossibleError, match="the docker client is not installed"):
        engine.connect()


def test_a_disk_too_small_is_refused_before_the_build(tmp_path: Path) -> None:
    small = engine.Engine(
        version="26.1.5", store="containerd", data_root=str(tmp_path), architecture="x86_64"
    )
    disk.require_space(small, 1)
    with pytest.raises(NotPossibleError, match=r"GB free, the build needs about 1000000\.0 GB"):
        disk.require_space(small, 10**15)


def test_a_folder_without_room_is_named_with_what_to_do(tmp_path: Path) -> None:
    disk.require_room(tmp_path, 1, "bootstrapping a base", ", or set TMPDIR")
    with pytest.raises(NotPossibleError) as error:
        disk.require_room(tmp_path, 10**15, "bootstrapping a base", ", or set TMPDIR")
    found, sep, rest = str(error.value).partition(" GB free, ")
    assert found.startswith(f"{tmp_path} has ")
    assert sep + rest == (
        " GB free, bootstrapping a base needs about 1000000.0 GB\n"
        "  → free space there, or set TMPDIR"
    )


def test_a_data_root_on_another_machine_cannot_be_judged(tmp_path: Path) -> None:
    elsewhere = engine.Engine(
        version="26.1.5",
        store="containerd",
        data_root=str(tmp_path / "none"),
        architecture="x86_64",
    )
    disk.require_space(elsewhere, 10**15)


@pytest.mark.parametrize(
    ("torch", "further", "rebuild", "containerd_store", "gigabytes"),
    [
        (4.9, 0, False, True, 35.5),  # 34.4 were measured, and 0.4 beside the engine
        (4.9, 0, False, False, 21.3),
        (0.9, 0, False, True, 15.5),
        (4.9, 2.4, False, True, 47.5),
        (4.9, 2.4, True, True, 2),
    ],
)
def test_the_room_a_build_needs(
    torch: float,
    further: float,
    *,
    rebuild: bool,
    containerd_store: bool,
    gigabytes: float,
) -> None:
    needed = disk.bytes_needed(
        torch, rebuild=rebuild, containerd_store=containerd_store, further=further
    )
    assert needed == gigabytes * disk.GB


@pytest.mark.parametrize(
    ("ref", "remedy"),
    [
        ("comfykiln/core:cpu", "`./kiln build --target cpu --image core` makes it"),
        ("comfykiln/core:cpu-mine", "`./kiln build --target cpu --image core --tag mine` makes it"),
        ("comfykiln-base:x", "`docker pull comfykiln-base:x` gets it, if it is in a registry"),
    ],
)
def test_a_lacking_image_is_told_with_the_command_that_makes_it(
    monkeypatch: pytest.MonkeyPatch, ref: str, remedy: str
) -> None:
    monkeypatch.setattr(engine, "find_image", lambda _engine, _ref: None)
    with pytest.raises(KilnError) as caught:
        engine.require_image(Mock(), ref)
    assert (caught.value.message, caught.value.remedy) == (f"the engine has no image {ref}", remedy)
