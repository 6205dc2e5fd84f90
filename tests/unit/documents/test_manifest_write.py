"""Manifests written and minimized: what goes in, what stays out, what is too much."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from tests.support.manifests import changed, encoded, whole

from comfykiln.documents.manifest import parse as manifest
from comfykiln.documents.manifest.write import write
from comfykiln.environment import (
    Attachment,
    ComfyUISpec,
    Environment,
    Index,
    Node,
    Package,
    SystemSpec,
    TorchSpec,
)
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import FaultyDocumentError

DATA = Path(__file__).parent / "data"
COMMIT = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
BARE = Environment(
    comfyui=ComfyUISpec(version="v0.30.0", commit=COMMIT),
    system=SystemSpec(python="3.13.1"),
    torch=TorchSpec(version="2.13.0+cpu", backend="cpu"),
)


@pytest.mark.parametrize("version", ["latest", "nightly"])
def test_a_moving_version_of_the_registry_is_no_pin(version: str) -> None:
    data = encoded(changed("custom_nodes/3/url", f"by-id@{version}"))
    found = manifest.parse(data, "m.json").environment
    node = found.nodes[3]
    assert (node.registry_id, node.version, node.ref) == ("by-id", None, version)
    written = write(found)
    assert manifest.parse(written.data, "m.json").environment == found


def minimized(document: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(manifest.minimize(encoded(document), "m.json"))
    return found


def test_minimizing_removes_what_says_nothing_and_keeps_what_is_required() -> None:
    document = {
        "dependencies": {
            "editable": [],
            "pytorch": None,
            "packages": {},
            "local_packages": [{"hash": None, "path": "a-1.whl", "x": ""}],
        },
        "custom_nodes": [],
        "platform_overrides": {"linux": {"environment": {"LANG": ""}}, "win32": {}},
        "future": {"a": None, "b": {"c": []}},
        "metadata": {"generated_at": None, "source_path": ""},
        "system_info": {
            "platform": None,
            "comfyui_version": "v1.0",
            "torch_version": "2.1.0",
            "cuda_version": None,
            "python_version": "3.11.7",
        },
        "schema_version": "1.0",
    }
    assert manifest.minimize(encoded(document), "m.json").decode() == (
        '{"schema_version":"1.0",'
        '"system_info":{"python_version":"3.11.7","cuda_version":null,'
        '"torch_version":"2.1.0","comfyui_version":"v1.0"},'
        '"custom_nodes":[],'
        '"dependencies":{"packages":{},"local_packages":[{"path":"a-1.whl"}]},'
        '"platform_overrides":{"linux":{"environment":{"LANG":""}}}}'
    )


def test_minimizing_keeps_the_order_of_packages_and_nodes() -> None:
    document = changed("dependencies/packages", {"zlib": "1", "abc": "2", "mno": "3"})
    found = minimized(document)
    assert list(found["dependencies"]["packages"]) == ["zlib", "abc", "mno"]
    assert [node["name"] for node in found["custom_nodes"]] == [
        node["name"] for node in whole()["custom_nodes"]
    ]


def test_a_manifest_too_large_only_for_its_white_space_can_be_minimized() -> None:
    data = json.dumps(whole(), indent=60).encode()
    assert len(data) > 5120
    with pytest.raises(FaultyDocumentError):
        manifest.parse(data, "m.json")
    smallest = manifest.minimize(data, "m.json")
    assert len(smallest) < 2200
    assert manifest.parse(smallest, "m.json").environment == (
        manifest.parse(encoded(whole()), "m.json").environment
    )


def test_a_faulty_manifest_is_not_minimized() -> None:
    with pytest.raises(FaultyDocumentError) as caught:
        minimized(changed("schema_version", "1.1"))
    assert [fault.rule for fault in caught.value.records] == ["manifest.schema-version"]


def test_too_large_names_the_largest_parts() -> None:
    document = changed("dependencies/packages", {f"package-{n}": "1.0.0" for n in range(300)})
    with pytest.raises(DocumentError) as caught:
        minimized(document)
    assert str(caught.value) == (
        "the manifest would have 8,187 bytes, 3,067 more than the 5,120 of version 1.0; "
        "its largest parts:\n"
        "  $.dependencies.packages: 6,491 bytes, 300 entries\n"
        "  $.custom_nodes: 635 bytes, 5 entries\n"
        "  $.platform_overrides: 156 bytes, 2 entries\n"
        "  $.system_info: 149 bytes, 6 entries\n"
        "  → leave packages to a lock beside it (--packages direct or none), or use an export"
    )


def test_a_manifest_that_does_not_fit_indented_is_written_on_one_line() -> None:
    packages = tuple(Package(name=f"package-{n}", version="1.0.0") for n in range(200))
    written = write(replace(BARE, packages=packages)).data
    assert b"\n" not in written
    assert len(written) <= 5120
    assert write(replace(BARE, packages=packages[:50])).data.count(b"\n") > 50


def test_what_is_written_of_another_documents_environment() -> None:
    environment = replace(
        BARE,
        torch=TorchSpec(backend="cu128", packages=(Package(name="torch", version="2.13.0+cu128"),)),
        nodes=(
            Node(name="pinned", source="git", url="https://example.org/a/pinned", commit=COMMIT),
            Node(name="branch", source="git", url="https://example.org/a/branch", ref="main"),
            Node(name="registered", source="registry", registry_id="reg", version="1.2"),
            Node(name="newest", source="registry", registry_id="newest"),
            Node(name="off", source="git", url="https://example.org/a/off", disabled=True),
            Node(name="single.py", source="file"),
            Node(name="mine", source="development"),
        ),
        packages=(
            Package(name="numpy", version="2.0.0"),
            Package(name="NumPy", version="2.0.1"),
            Package(name="ranged", specifier=">=1"),
            Package(name="marked", version="1", marker='sys_platform == "win32"'),
            Package(name="wheel", source="url", url="https://example.org/wheel-1-py3-none-any.whl"),
            Package(name="built", source="local", url="file:///srv/built-1-py3-none-any.whl"),
            Package(name="folder", source="local", path="/srv/folder"),
        ),
        indexes=(
            Index(url="https://example.org/simple"),
            Index(url="https://download.pytorch.org/whl/cu128", name="torch", explicit=True),
        ),
    )
    assert json.loads(write(environment).data) == {
        "schema_version": "1.0",
        "system_info": {
            "python_version": "3.13.1",
            "cuda_version": "12.8",
            "torch_version": "2.13.0+cu128",
            "comfyui_version": "v0.30.0",
        },
        "custom_nodes": [
            {
                "name": "pinned",
                "install_method": "git",
                "url": "https://example.org/a/pinned",
                "ref": COMMIT,
            },
            {
                "name": "branch",
                "install_method": "git",
                "url": "https://example.org/a/branch",
                "ref": "main",
            },
            {"name": "registered", "install_method": "managed", "url": "reg@1.2"},
            {"name": "newest", "install_method": "managed", "url": "newest"},
        ],
        "dependencies": {
            "packages": {"numpy": "2.0.0"},
            "pytorch": {
                "index_url": "https://download.pytorch.org/whl/cu128",
                "packages": {"torch": "2.13.0+cu128"},
            },
            "local_packages": [{"path": "/srv/built-1-py3-none-any.whl"}],
            "index_urls": ["https://example.org/simple"],
        },
    }


def test_ranges_are_pinned_by_the_lock_that_an_export_holds() -> None:
    lock = "".join(
        f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{}}\n\n'
        for name, version in (("aiohttp", "3.14.5"), ("twice", "1"), ("twice", "2"), ("torch", "9"))
    )
    environment = replace(
        BARE,
        packages=(
            Package(name="AioHTTP", specifier=">=3.11.8"),
            Package(name="twice"),
            Package(name="unlocked"),
            Package(name="torch"),
            Package(name="pinned", version="1.0"),
        ),
        attachments=(Attachment(path="uv.lock", data=lock.encode()),),
    )
    found = json.loads(write(environment).data)["dependencies"]
    assert found == {"packages": {"AioHTTP": "3.14.5", "pinned": "1.0"}}


def test_builds_of_torch_among_the_packages_move_to_their_index() -> None:
    """A snapshot lists torch among its pips; version 1.0 finds a build by its index alone."""
    environment = replace(
        BARE,
        torch=TorchSpec(),
        packages=(
            Package(name="six", version="1.16.0"),
            Package(name="torch", version="2.1.0+cpu"),
        ),
    )
    found = json.loads(write(environment).data)
    assert found["system_info"]["torch_version"] == "2.1.0+cpu"
    assert found["system_info"]["cuda_version"] is None
    assert found["dependencies"] == {
        "packages": {"six": "1.16.0"},
        "pytorch": {
            "index_url": "https://download.pytorch.org/whl/cpu",
            "packages": {"torch": "2.1.0+cpu"},
        },
    }


def test_what_a_manifest_needs_and_nobody_knows_is_told_at_once() -> None:
    with pytest.raises(FaultyDocumentError) as caught:
        write(Environment(system=SystemSpec(python="3.11")))
    remedy = "capture the running environment (manifest.capture), or name it: snapshot.convert"
    rule = "… [manifest.unknown]"
    unknown = "a manifest needs it, and it is not known here; expected"
    places = (
        ("comfyui", "a tag or commit"),
        ("python", "three numbers, such as 3.11.7"),
        ("torch", "a version such as 2.1.0+cu121"),
    )
    assert str(caught.value) == "manifest: 3 faults\n" + "\n".join(
        f"  $.system_info.{name}_version: {unknown} {expected}; {remedy} --{name} {rule}"
        for name, expected in places
    )


QUICK = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
names = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}[A-Za-z0-9]", fullmatch=True).filter(
    lambda name: name.lower() not in ("con", "prn", "aux", "nul") and name[:3].lower() != "com"
)
versions = st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,3}){1,2}", fullmatch=True)
packages = st.dictionaries(names.map(str.lower), versions, max_size=4)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(texts, inner, max_size=2)),
    max_leaves=4,
)
more = st.dictionaries(names.map(lambda name: f"x_{name}"), anything, max_size=2)
commits = st.text("0123456789abcdef", min_size=40, max_size=40)
nodes = st.builds(
    lambda name, ref, order, flag, rest: {
        "name": name,
        "install_method": "git",
        "url": f"https://example.org/a/{name}",
        "ref": ref,
        "install_order": order,
        "has_requirements": flag,
        **rest,
    },
    names,
    st.one_of(st.none(), commits, names),
    st.one_of(st.none(), st.integers(-5, 5)),
    st.one_of(st.none(), st.booleans()),
    more,
)
documents = st.builds(
    lambda listed, pins, found, system, top: {
        **top,
        "schema_version": "1.0",
        "system_info": {
            "python_version": "3.11.7",
            "cuda_version": None,
            "torch_version": "2.1.0",
            "comfyui_version": "v0.3.47",
            **system,
        },
        "custom_nodes": listed,
        "dependencies": {"packages": pins, "editable": [], **found},
    },
    st.lists(nodes, max_size=3, unique_by=lambda node: node["name"].lower()),
    packages,
    more,
    more,
    more,
)


@QUICK
@given(documents)
def test_a_manifest_survives_writing(document: dict[str, Any]) -> None:
    environment = manifest.parse(encoded(document), "m.json").environment
    assert manifest.parse(write(environment).data, "m.json").environment == environment


@QUICK
@given(documents)
def test_minimizing_twice_changes_nothing_more(document: dict[str, Any]) -> None:
    once = manifest.minimize(encoded(document), "m.json")
    assert manifest.minimize(once, "m.json") == once
    assert len(once) <= len(json.dumps(document, ensure_ascii=False).encode())
    meant = manifest.parse(encoded(document), "m.json").environment
    assert manifest.parse(once, "m.json").environment == meant
