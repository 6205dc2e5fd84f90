"""Each rule of advice on what it is for and on what it must leave alone."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from comfykiln.documents import read
from comfykiln.documents.advice import advise, rules
from comfykiln.environment import (
    ComfyUISpec,
    Digest,
    Environment,
    Index,
    Metadata,
    Model,
    ModelSource,
    Node,
    Package,
    SystemSpec,
    TorchSpec,
)
from comfykiln.parsing.values import repository_key

DATA = Path(__file__).parent / "data"
PAGES = Path(__file__).parents[3] / "docs" / "advice"
PIN = "0" * 40
PINNED = ComfyUISpec(commit=PIN)


def git(name: str, **fields: Any) -> Node:
    known: dict[str, Any] = {"url": f"https://github.com/o/{name}", "commit": PIN, "place": name}
    return Node(name=name, source="git", **{**known, **fields})


def pip(name: str, version: str | None = "1", **fields: Any) -> Package:
    return Package(name=name, version=version, place=name, **fields)


def told(rule: str, **fields: Any) -> list[tuple[str, str]]:
    environment = Environment(comfyui=PINNED, **fields)
    notes = advise(environment)
    return [(note.path, note.message) for note in notes if note.rule == f"advice.{rule}"]


def test_a_good_environment_gets_none() -> None:
    environment = Environment(
        comfyui=PINNED,
        nodes=(
            git("a"),
            Node(name="b", source="registry", registry_id="b", version="1.0"),
            Node(name="websocket_image_save.py", source="file"),
        ),
        packages=(pip("numpy", "1.26.4"), pip("x", None, source="git", url="https://h/r", ref=PIN)),
        models=(
            Model(
                filename="m",
                digests=(Digest(algorithm="sha256", value="a" * 64),),
                sources=(ModelSource(url="https://huggingface.co/o/r/resolve/main/m"),),
            ),
        ),
    )
    assert advise(environment) == ()


def test_floating_ref() -> None:
    nodes = (
        git("branch", commit=None, ref="main"),
        git("nothing", commit=None),
        git("off", commit=None, disabled=True),
        Node(name="n", source="registry", registry_id="n", ref="nightly", place="n"),
    )
    assert told("floating-ref", nodes=nodes) == [
        ("branch", "branch is not pinned (main)"),
        ("nothing", "nothing is not pinned (no commit is named)"),
        ("n", "n is not pinned (nightly)"),
    ]
    notes = advise(Environment(comfyui=ComfyUISpec(branch="master")))
    assert [str(note) for note in notes] == [
        "$: ComfyUI is not pinned (master) [advice.floating-ref]"
    ]


def test_duplicate_node() -> None:
    nodes = (
        git("a"),
        git("a", url="git@github.com:O/A.git", place="again"),
        git("comfyui-b"),
        Node(name="ComfyUI_B", source="registry", registry_id="ComfyUI_B", version="1", place="r"),
        git("c"),
        git("c", url="https://github.com/fork/c", place="fork"),
    )
    assert told("duplicate-node", nodes=nodes) == [
        ("again", "a is listed twice (also at a)"),
        ("r", "ComfyUI_B and comfyui-b (comfyui-b) share a folder or pack"),
        ("fork", "c and c (c) share a folder or pack"),
    ]


def test_manager_as_node() -> None:
    nodes = (
        git("ComfyUI-Manager"),
        git("other", url="https://github.com/fork/my-comfyui-manager-x"),
        Node(name="comfyui-manager", source="registry", registry_id="m", version="3", place="cnr"),
        git("comfy-manager"),
    )
    assert [place for place, _ in told("manager-as-node", nodes=nodes)] == [
        "ComfyUI-Manager",
        "other",
        "cnr",
    ]


def test_repositories_known_offline() -> None:
    nodes = (
        git("a", url="https://github.com/LucianoCirino/efficiency-nodes-comfyui.git"),
        git("b", url="git@github.com:rockoffire/comfyui_comfyroll_customnodes.git"),
        git("c", url="https://github.com/AppleBotzz/ComfyUI_LLMVISION"),
    )
    packages = (pip("Ultralytics", "8.3.41"), pip("ultralytics", "8.3.40"))
    assert told("repository-archived", nodes=nodes) == [
        (
            "a",
            (
                "LucianoCirino/efficiency-nodes-comfyui is unmaintained; "
                "use https://github.com/jags111/efficiency-nodes-comfyui"
            ),
        )
    ]
    assert told("repository-renamed", nodes=nodes) == [
        (
            "b",
            (
                "RockOfFire/ComfyUI_Comfyroll_CustomNodes has moved; "
                "use https://github.com/Suzie1/ComfyUI_Comfyroll_CustomNodes"
            ),
        )
    ]
    assert told("unsafe", nodes=nodes, packages=packages) == [
        (
            "c",
            (
                "AppleBotzz/ComfyUI_LLMVISION is unsafe: "
                "it installed altered wheels that stole browser data (June 2024)"
            ),
        ),
        (
            "Ultralytics",
            (
                "Ultralytics 8.3.41 is unsafe: "
                "a crypto miner was built into the releases of December 2024"
            ),
        ),
    ]


def test_open_transport() -> None:
    nodes = (
        git("a", url="http://h/r"),
        git("b", url="git://h/r"),
        git("c", url="ssh://git@h/r"),
        git("d", url="git@h:o/r"),
        git("e", url="HTTPS://h/r"),
    )
    assert [place for place, _ in told("open-transport", nodes=nodes)] == ["a", "b", "c", "d"]


def test_credentials_in_url_are_told_and_not_shown() -> None:
    secret = "https://me:canary@h/r"
    found = told(
        "credentials-in-url",
        nodes=(git("a", url=secret), git("b", fallback_url="https://h/r?token=canary")),
        packages=(pip("p", None, source="url", url=secret),),
        models=(Model(filename="m", sources=(ModelSource(url=secret),), place="m"),),
        indexes=(Index(url=secret),),
    )
    assert [place for place, _ in found] == ["a", "b", "p", "m", "$"]
    assert "canary" not in str(found)


def test_home_path() -> None:
    found = told(
        "home-path",
        nodes=(Node(name="n", source="local", url="/home/me/n", place="n"),),
        packages=(
            pip("a", None, source="local", url="file:///home/conda/feedstock_root/a/work"),
            pip("b", None, source="editable", path="c:\\src\\b"),
            pip("c", None, source="local", path="./wheels/c.whl"),
        ),
        metadata=Metadata(source_path="/Users/me/ComfyUI"),
    )
    assert [place for place, _ in found] == ["n", "a", "b", "$"]


def test_torch_in_packages() -> None:
    packages = (
        pip("torch", "2.6.0+cu126"),
        pip("TorchVision", None, source="local", url="file:///x/torchvision.whl"),
        pip("torchaudio", None),
        pip("torch", "1", group="node-1"),
        pip("torchsde"),
    )
    assert told("torch-in-packages", packages=packages) == [
        ("torch", "torch 2.6.0+cu126 is left to the target's torch build"),
        ("TorchVision", "TorchVision is left to the target's torch build"),
    ]


@pytest.mark.parametrize(
    ("fields", "is_cpu"),
    [
        ({"torch": TorchSpec(version="2.1.0+cpu")}, True),
        ({"torch": TorchSpec(backend="cpu")}, True),
        ({"system": SystemSpec(cuda_stated=True)}, True),
        ({"system": SystemSpec(cuda_stated=True), "torch": TorchSpec(version="2+rocm6")}, False),
        ({"torch": TorchSpec(version="2.1.0+cu121")}, False),
        ({}, False),
    ],
)
def test_cpu_cuda_wheels(fields: dict[str, Any], is_cpu: bool) -> None:  # noqa: FBT001  # a case
    packages = (
        pip("torch", "2.1.0"),
        pip("nvidia-cudnn-cu12"),
        pip("onnxruntime-gpu"),
        pip("cupy-cuda12x"),
        pip("thing", "1.0+cu118"),
        pip("torchvision", "0.16.0+cpu"),
        pip("numpy"),
    )
    found = [place for place, _ in told("cpu-cuda-wheels", packages=packages, **fields)]
    expected = ["torch", "nvidia-cudnn-cu12", "onnxruntime-gpu", "cupy-cuda12x", "thing"]
    assert found == (expected if is_cpu else [])


def test_packages() -> None:
    packages = (
        pip("Foo_Bar"),
        pip("foo-bar", "2", marker='sys_platform == "win32"'),
        pip("foo.bar", "2"),
        pip("bare", None),
        pip("ranged", None, specifier=">=1"),
        pip("moving", None, source="git", url="https://h/r", ref="main"),
        pip("pywin32"),
        pip("pywin32-ctypes", marker='sys_platform == "win32"'),
        pip("wheel", None, source="url", url="https://h/wheel-1-cp312-cp312-win_amd64.whl"),
    )
    assert told("duplicate-package", packages=packages) == [
        ("foo.bar", "foo.bar is listed twice (also at Foo_Bar)")
    ]
    assert told("unpinned-package", packages=packages) == [
        ("bare", "bare has no version"),
        ("moving", "moving is at main"),
    ]
    assert told("windows-package", packages=packages) == [
        ("pywin32", "pywin32 is for Windows only"),
        ("wheel", "wheel comes from a wheel for Windows only"),
    ]


def test_model_unverified() -> None:
    environment = read(DATA / "comfy-lock-basic-models.yaml").environment
    notes = [str(entry) for entry in advise(environment) if entry.rule == "advice.model-unverified"]
    assert notes == [
        (
            "$.models[0]: 26 of 26 models have no sha256, 23 of them at a branch "
            "[advice.model-unverified]"
        )
    ]


@pytest.mark.parametrize(("size", "said"), [(4607, False), (4608, True), (5120, True)])
def test_manifest_size(size: int, said: bool) -> None:  # noqa: FBT001  # a case
    notes = advise(Environment(comfyui=PINNED), manifest_bytes=size)
    expected = [f"$: {size:,} of 5,120 bytes are used [advice.manifest-size]"] if said else []
    assert [str(note) for note in notes] == expected


def test_each_rule_has_a_page_and_each_page_a_rule() -> None:
    names = {*rules(), "manifest-size"}
    pages = {page.stem for page in PAGES.glob("*.md")} - {"README"}
    assert pages == names
    listed = (PAGES / "README.md").read_text()
    for name in names:
        page = (PAGES / f"{name}.md").read_text()
        assert page.startswith(f"# `advice.{name}`\n")
        assert re.search(r"^## Why$", page, re.MULTILINE)
        assert re.search(r"^## What to do$", page, re.MULTILINE)
        assert f"({name}.md)" in listed


def test_what_is_known_of_repositories_says_where_it_was_learnt() -> None:
    file = resources.files("comfykiln.documents.advice") / "repositories.json"
    known = json.loads(file.read_text(encoding="utf-8"))
    keys = [repository_key(entry["repository"]).lower() for entry in known["repositories"]]
    assert len(keys) == len(set(keys))
    for entry in [*known["repositories"], *known["packages"]]:
        assert entry["source"] in known["sources"]
    for entry in known["repositories"]:
        assert entry["state"] != "renamed" or "instead" in entry
        assert entry["state"] != "unsafe" or "why" in entry
