"""The bootstrapped base without an engine: the command, what is looked at, the archive's bytes."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.origins import bootstrap
from comfykiln.origins.bootstrap import Rootfs
from comfykiln.origins.rootfs_image import image_archive
from comfykiln.plan.origins import BaseSpec

if TYPE_CHECKING:
    from pathlib import Path

SPEC = BaseSpec(
    ref="debian:trixie-slim@sha256:" + "a" * 64,
    suite="trixie",
    python="3.13",
    include=("ca-certificates", "python3"),
)
STATUS = """\
Package: ca-certificates
Status: install ok installed
Version: 20250419
Description: many
 Lines: of text

Package: python3
Status: install ok installed
Version: 3.13.5-1

Package: gone
Status: deinstall ok config-files
Version: 1
"""


def rootfs(tmp_path: Path, *, status: str = STATUS, codename: str = "trixie") -> Path:
    path = tmp_path / "rootfs.tar"
    members = {
        "./usr/lib/os-release": f"ID=debian\nVERSION_CODENAME={codename}\n",
        "./var/lib/dpkg/status": status,
    }
    with tarfile.open(path, "w") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def test_addresses_travel_in_files_and_nothing_of_the_host_stays(tmp_path: Path) -> None:
    forget = (
        'rm -rf "$1/etc/hostname" "$1/etc/apt/apt.conf.d/00kiln-network" '
        '"$1/etc/apt/sources.list" "$1"/etc/apt/sources.list.d/* "$1"/var/cache/debconf/*-old; '
        ': >"$1/etc/resolv.conf"; : >"$1/etc/hosts"'
    )
    argv = bootstrap.command(
        SPEC, tmp_path / "sources.list", tmp_path / "a net", tmp_path / "rootfs.tar"
    )
    assert argv == [
        "mmdebstrap",
        "--variant=minbase",
        "--format=tar",
        "--skip=output/dev",
        "--include=ca-certificates,python3",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/info/*",
        "--dpkgopt=path-exclude=/usr/share/groff/*",
        "--dpkgopt=path-exclude=/usr/share/linda/*",
        "--dpkgopt=path-exclude=/usr/share/lintian/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-include=/usr/share/locale/locale.alias",
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=APT::AutoRemove::SuggestsImportant "false"',
        f"--setup-hook=copy-in '{tmp_path}/a net' /etc/apt/apt.conf.d",
        f"--customize-hook={forget}",
        "trixie",
        str(tmp_path / "rootfs.tar"),
        str(tmp_path / "sources.list"),
    ]


def test_what_was_bootstrapped_is_read_from_it(tmp_path: Path) -> None:
    path = rootfs(tmp_path)
    assert bootstrap._examined(SPEC, path) == Rootfs(
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        suite="trixie",
        made=time.strftime("%Y-%m-%d"),
        packages=("ca-certificates=20250419", "python3=3.13.5-1"),
    )


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"codename": "forky"}, "its os-release does not name trixie"),
        ({"status": STATUS.replace("3.13.5-1", "3.14.0-1")}, "its python3 is 3.14.0-1, not 3.13"),
        ({"status": STATUS.partition("\n\n")[0]}, "python3 is not installed"),
    ],
)
def test_a_base_that_is_not_what_was_asked_for_is_an_error(
    tmp_path: Path, change: dict[str, str], fault: str
) -> None:
    with pytest.raises(KilnError) as caught:
        bootstrap._examined(SPEC, rootfs(tmp_path, **change))
    assert caught.value.message == f"mmdebstrap reported success, but {fault}"


def test_a_tar_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rootfs.tar"
    path.write_bytes(b"half")
    with pytest.raises(KilnError, match="its tar cannot be read"):
        bootstrap._examined(SPEC, path)


@pytest.mark.parametrize("made", [["./", "./bin"], ["./", "./dev", "./bin"]])
def test_the_folder_dev_is_there_once_whichever_mmdebstrap_made_it(
    tmp_path: Path, made: list[str]
) -> None:
    tar = tmp_path / "rootfs.tar"
    with tarfile.open(tar, "w") as archive:
        for name in made:
            folder = tarfile.TarInfo(name)
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
    bootstrap._add_dev(tar)
    with tarfile.open(tar) as archive:
        assert sorted(archive.getnames()) == [".", "./bin", "./dev"]


def test_a_folder_of_temporary_files_that_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    with pytest.raises(NotPossibleError) as caught:
        bootstrap._require_room()
    assert str(caught.value) == f"TMPDIR: there is no folder {tmp_path}/none\n  → name one, or none"


def test_a_new_pin_or_other_packages_make_a_new_base() -> None:
    others = [
        replace(SPEC, ref=SPEC.ref.replace("a" * 64, "b" * 64)),
        replace(SPEC, include=("python3",)),
        replace(SPEC, suite="bookworm"),
    ]
    keys = {bootstrap._key(spec) for spec in [SPEC, *others]}
    assert len(keys) == 4
    assert bootstrap._key(replace(SPEC)) in keys


def test_the_archive_for_the_engine_has_equal_bytes(tmp_path: Path) -> None:
    tar = rootfs(tmp_path)
    sha256 = hashlib.sha256(tar.read_bytes()).hexdigest()

    first, second = (
        b"".join(image_archive("kiln:x", tar, sha256, "amd64", 1_760_000_000)) for _ in range(2)
    )

    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        files = {member.name: archive.extractfile(member) for member in archive}
        config_name, layer, manifest = files
        content = {name: file.read() for name, file in files.items() if file}
    assert (layer, manifest) == ("layer.tar", "manifest.json")
    assert content["layer.tar"] == tar.read_bytes()
    assert config_name == f"{hashlib.sha256(content[config_name]).hexdigest()}.json"
    assert json.loads(content["manifest.json"]) == [
        {"Config": config_name, "RepoTags": ["kiln:x"], "Layers": ["layer.tar"]}
    ]
    assert json.loads(content[config_name]) == {
        "architecture": "amd64",
        "os": "linux",
        "created": "2025-10-09T08:53:20Z",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["bash"],
        },
        "history": [{"created": "2025-10-09T08:53:20Z", "created_by": "comfykiln: mmdebstrap"}],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256}"]},
    }


def test_an_engine_of_another_architecture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "architecture", lambda: "amd64")
    bootstrap.require_engine_architecture("amd64")
    with pytest.raises(NotPossibleError) as caught:
        bootstrap.require_engine_architecture("arm64")
    assert caught.value.message == (
        "the engine is arm64, this host amd64: a base bootstrapped here cannot run there"
    )
