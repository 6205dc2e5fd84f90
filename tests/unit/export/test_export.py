from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.exports import EPOCH, PUBLIC, golden, made_input
from tests.support.wheelindex import Index, serving
from uv import find_uv_bin

from comfykiln.export import uvlock
from comfykiln.export.tarball import Exported, export_tarball, verify_tarball
from comfykiln.parsing.tarballs import read_members

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def test_the_whole_tarball(export: Callable[..., Exported]) -> None:
    done = export()
    assert done.path.name == "core-cpu-v0.30.0-0123456789ab.tar.gz"
    assert done.path.with_name(done.path.name + ".sha256").read_text() == (
        f"{hashlib.sha256(done.path.read_bytes()).hexdigest()}  {done.path.name}\n"
    )
    with tarfile.open(done.path) as archive:
        listed = [(m.name, f"{m.mode:o}", m.uid, m.gid, m.uname, m.mtime) for m in archive]
    assert listed == [
        (name, mode, 0, 0, "", EPOCH)
        for name, mode in [
            (".python-version", "644"),
            ("dev_nodes/cloud-storage/.env.example", "644"),
            ("dev_nodes/cloud-storage/__init__.py", "644"),
            ("dev_nodes/cloud-storage/credentials.py", "644"),
            ("dev_nodes/cloud-storage/requirements.txt", "644"),
            ("dev_nodes/cloud-storage/run.sh", "755"),
            ("dev_nodes/cloud-storage/sub/data.json", "644"),
            ("manifest.json", "644"),
            ("pyproject.toml", "644"),
            ("receipt.json", "644"),
            ("uv.lock", "644"),
            ("workflows/txt2img.json", "644"),
        ]
    ]
    members = read_members(done.path)
    assert members[".python-version"] == b"3.13\n"
    assert members["receipt.json"] == b'{\n  "image": "core",\n  "passed": true\n}\n'
    assert members["pyproject.toml"].decode() == golden("pyproject.toml")
    assert members["uv.lock"].decode() == golden("uv.lock")
    assert members["manifest.json"].decode() == golden("manifest.json")
    assert done.members == tuple(name for name, *_ in listed)
    assert done.sha256 == hashlib.sha256(done.path.read_bytes()).hexdigest()
    assert (done.size, done.changed) == (done.path.stat().st_size, True)


def test_sha256sum_accepts_the_checksum(export: Callable[..., Exported]) -> None:
    done = export()
    checked = subprocess.run(
        ["sha256sum", "-c", f"{done.path.name}.sha256"],
        cwd=done.path.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert checked.stdout == f"{done.path.name}: OK\n"


def test_what_was_left_out_as_secret_is_said(
    export: Callable[..., Exported], capsys: pytest.CaptureFixture[str]
) -> None:
    export()
    assert capsys.readouterr().err.splitlines() == [
        f"  left out of the export, it may hold a secret: dev_nodes/cloud-storage/{name}"
        for name in [".env", "credentials.json", "deploy.pem", "id_rsa"]
    ]


def test_uv_takes_the_lock_as_it_is(
    export: Callable[..., Exported], uv_env: dict[str, str], tmp_path: Path
) -> None:
    """A recipient's uv keeps every version, though newer ones exist and the index is another."""
    members = read_members(export(python=_this_python()).path)
    for name in ("pyproject.toml", "uv.lock"):
        (tmp_path / name).write_bytes(members[name])
    subprocess.run(
        [find_uv_bin(), "sync", "-q", "--directory", tmp_path],
        env={**os.environ, **uv_env, "UV_PYTHON": sys.executable},
        check=True,
    )
    installed = {
        path.name.removesuffix(".dist-info")
        for path in tmp_path.glob(".venv/lib/*/site-packages/*.dist-info")
    }
    assert installed == {
        "alpha-1.0",
        "beta_lib-1.0",
        "nodelib-0.1",
        "nvidia_thing-13.0",
        "torch-2.13.0",
        "torchvision-0.28.0",
        "unasked-1.5",
    }


def _this_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def test_torch_from_its_own_index(uv_env: dict[str, str], pack: Path, tmp_path: Path) -> None:
    """The torch index is public, and stays in; the package index of the machine does not."""
    with serving({"/whl/cpu": PUBLIC["/whl/cpu"]}) as torch:
        what = made_input(
            pack,
            torch={"torch": "2.13.0+cpu", "torchvision": "0.28.0+cpu"},
            torch_index=f"{torch.url}/whl/cpu",
        )
        done = export_tarball(what, tmp_path, uv_env=uv_env)
    members = read_members(done.path)
    tail = members["pyproject.toml"].decode().split("[tool.uv]\n")[1]
    assert (
        tail
        == f"""\
default-groups = "all"
environments = ["python_version == '3.13'"]
constraint-dependencies = [
    "torch==2.13.0+cpu",
    "torchvision==0.28.0+cpu",
]

[[tool.uv.index]]
name = "pytorch-cpu"
url = "{torch.url}/whl/cpu"
explicit = true

[tool.uv.sources.torch]
index = "pytorch-cpu"

[tool.uv.sources.torchvision]
index = "pytorch-cpu"
"""
    )
    lock = tomllib.loads(members["uv.lock"].decode())
    assert {
        package["name"]: (package["version"], package["source"]["registry"])
        for package in lock["package"]
        if "registry" in package["source"]
    } == {
        "alpha": ("1.0", "https://package-index.invalid/simple"),
        "beta-lib": ("1.0", "https://package-index.invalid/simple"),
        "nodelib": ("0.1", "https://package-index.invalid/simple"),
        "torch": ("2.13.0+cpu", f"{torch.url}/whl/cpu"),
        "torchvision": ("0.28.0+cpu", f"{torch.url}/whl/cpu"),
        "unasked": ("1.5", "https://package-index.invalid/simple"),
        "winonly": ("3.0", "https://package-index.invalid/simple"),
    }
    described = verify_tarball(done.path)
    assert (described.torch_origin, described.hidden_indexes) == ("torch-index", 1)


def test_no_address_or_secret_of_this_machine_is_inside(
    export: Callable[..., Exported], index: Index, tmp_path: Path
) -> None:
    for name, data in read_members(export().path).items():
        for canary in ("canary", "127.0.0.1", str(index.port), str(tmp_path), os.uname().nodename):
            assert canary not in data.decode(), (name, canary)


def test_a_folder_of_wheels_leaves_no_path(
    pack: Path, tmp_path: Path, uv_env: dict[str, str]
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, data in PUBLIC["/simple"]:
        (wheels / name).write_bytes(data)
    env = {**uv_env, "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheels)}
    done = export_tarball(made_input(pack), tmp_path, uv_env=env)
    lock = read_members(done.path)["uv.lock"].decode()
    assert str(tmp_path) not in lock
    assert lock.count('registry = "https://package-index.invalid/simple"') == 8
    assert lock.count("https://package-index.invalid/files/") == 8


def test_the_index_that_uv_knows_by_itself_stays() -> None:
    """No mirror, nothing to hide: such a lock binds by hash. uv says which index that is."""
    default = uvlock._default_index()
    text = (
        f'[[package]]\nsource = {{ registry = "{default}/" }}\nsdist = {{ url = "https://x/y" }}\n'
    )
    assert uvlock._neutralise(text, {default, None}) == (text, 0)


def test_settings_that_bend_the_solve_do_not_count(
    export: Callable[..., Exported], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_RESOLUTION", "lowest")
    monkeypatch.setenv("UV_EXCLUDE_NEWER", "2001-01-01")
    monkeypatch.setenv("UV_PYTHON", "3.99")
    assert read_members(export().path)["uv.lock"].decode() == golden("uv.lock")


def test_equal_bytes_whatever_the_surroundings(
    export: Callable[..., Exported],
    pack: Path,
    tmp_path: Path,
    uv_env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = export()
    moved = tmp_path / "elsewhere"
    for path in sorted(pack.rglob("*"), reverse=True):
        target = moved / path.relative_to(pack)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            shutil.copy(path, target)
    monkeypatch.chdir(moved)
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setattr(time, "time", lambda: 4e9)
    old_umask = os.umask(0o077)
    time.tzset()
    try:
        what = made_input(
            moved,
            torch=dict(reversed(list(made_input(pack).torch.items()))),
            locked=list(reversed(made_input(pack).locked)),
        )
        second = export_tarball(what, Path("dist"), uv_env=uv_env)
    finally:
        os.umask(old_umask)
        monkeypatch.undo()
        time.tzset()
    assert (moved / second.path).read_bytes() == first.path.read_bytes()
    assert (moved / second.path).stat().st_mode & 0o777 == 0o644


def test_the_same_again_is_left_as_it_is(
    export: Callable[..., Exported], capsys: pytest.CaptureFixture[str]
) -> None:
    first = export()
    before = first.path.stat().st_mtime_ns
    first.path.with_name(first.path.name + ".sha256").unlink()
    capsys.readouterr()
    second = export()
    assert (second.changed, second.path.stat().st_mtime_ns) == (False, before)
    assert "replaced" not in capsys.readouterr().err
    verify_tarball(second.path)
    assert sorted(p.name for p in first.path.parent.iterdir()) == [
        first.path.name,
        f"{first.path.name}.sha256",
    ]


def test_another_content_replaces_and_is_said(
    export: Callable[..., Exported], capsys: pytest.CaptureFixture[str]
) -> None:
    first = export()
    capsys.readouterr()
    second = export(receipt={"passed": False})
    assert second.changed
    assert f"replaced {first.path}, whose content was another" in capsys.readouterr().err
    assert (
        verify_tarball(second.path).receipt
        == hashlib.sha256(b'{\n  "passed": false\n}\n').hexdigest()
    )


def test_a_kept_lock_needs_no_index(
    export: Callable[..., Exported],
    cache: Path,
    pack: Path,
    tmp_path: Path,
    index: Index,
) -> None:
    export()
    asked = len(index.requests)
    start = time.perf_counter()
    done = export_tarball(
        made_input(pack, workflows={"other.json": b"[]"}, models=()),
        tmp_path,
        cache=cache,
        uv_env={"UV_OFFLINE": "1"},
    )
    assert time.perf_counter() - start < 1
    assert len(index.requests) == asked
    assert verify_tarball(done.path).workflows == ("other.json",)
