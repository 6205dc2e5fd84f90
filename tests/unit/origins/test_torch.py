from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from tests.support.sites import Answer, closed, silent, site
from tests.support.ways import access
from tests.support.wheelindex import serving, wheel

from comfykiln.errors import NotPossibleError
from comfykiln.origins.torch import TorchChoice, choose_torch
from comfykiln.plan.origins import OriginUse, TorchFamily, TorchSpec
from comfykiln.system.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VERSIONS = {"torch": "2.13.0", "torchvision": "0.28.0"}
SPEC = TorchSpec(
    families=(TorchFamily(versions=VERSIONS, local="cu130", stands_in_for={"cpu": "it is larger"}),)
)


@dataclass(frozen=True, kw_only=True)
class Row:
    target: str
    index: str
    local: str
    versions: Mapping[str, str] = field(default_factory=lambda: VERSIONS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(root=tmp_path / "store")


def test_the_targets_own_index_is_taken_when_it_has_the_build(store: Store) -> None:
    with serving({"/whl/cpu": [wheel("torch", "2.13.0+cpu")]}) as index:
        row = Row(target="cpu", index=f"{index.url}/whl/cpu", local="cpu")
        choice, use = choose_torch(row, SPEC, access(store, strict=True))

    assert choice == TorchChoice(
        index=row.index,
        requirements=("torch==2.13.0+cpu", "torchvision==0.28.0+cpu"),
        local_tag="cpu",
    )
    assert use == OriginUse(
        thing="torch",
        identity="torch==2.13.0+cpu torchvision==0.28.0+cpu",
        origin="index",
        detail=row.index,
        fallback=False,
    )


def test_the_same_build_of_the_package_index_needs_no_warning(store: Store) -> None:
    row = Row(target="cuda", index=f"{closed()}/whl/cu130", local="cu130")
    choice, use = choose_torch(row, SPEC, access(store, strict=False))

    assert choice == TorchChoice(
        index=None, requirements=("torch==2.13.0", "torchvision==0.28.0"), local_tag="cu130"
    )
    assert use == OriginUse(
        thing="torch",
        identity="torch==2.13.0+cu130 torchvision==0.28.0+cu130",
        origin="package-index",
        detail="the Python package index, which carries the cu130 build",
        fallback=True,
    )


def test_another_build_of_the_package_index_is_said(
    capsys: pytest.CaptureFixture[str], store: Store
) -> None:
    address = closed()
    row = Row(target="cpu", index=f"{address}/whl/cpu", local="cpu")
    choice, use = choose_torch(row, SPEC, access(store, strict=False))

    assert (choice.index, choice.local_tag) == (None, "cu130")
    assert use.warning == "cpu gets the cu130 build of torch: it is larger"
    assert capsys.readouterr().err == (
        f"  torch for cpu: not from index: {address}/whl/cpu/torch/: Connection refused\n"
    )


@pytest.mark.parametrize("target", ["rocm", "xpu"])
def test_a_target_that_nothing_serves_is_not_possible(target: str, store: Store) -> None:
    row = Row(target=target, index=f"{closed()}/whl/{target}", local=target)
    with pytest.raises(NotPossibleError) as caught:
        choose_torch(row, SPEC, access(store, strict=False))

    assert caught.value.exit_code == 3
    assert str(caught.value) == (
        f"torch for {target} is available from none of its origins:\n"
        f"  index: {row.index}/torch/: Connection refused\n"
        f"  → build {target} where {row.index} can be reached, or name a mirror of it as the "
        "target's index in images/targets.yaml; the package index has no such build"
    )


def test_other_versions_are_not_served_by_the_package_index(store: Store) -> None:
    row = Row(
        target="cuda", index=closed(), local="cu130", versions={**VERSIONS, "torch": "2.14.0"}
    )
    with pytest.raises(NotPossibleError):
        choose_torch(row, SPEC, access(store, strict=False))


def test_strict_forbids_the_package_index(store: Store) -> None:
    row = Row(target="cuda", index=f"{closed()}/whl/cu130", local="cu130")
    with pytest.raises(NotPossibleError) as caught:
        choose_torch(row, SPEC, access(store, strict=True))

    assert str(caught.value) == (
        "torch for cuda is not available from its first origin, "
        "and --origins strict forbids the others:\n"
        f"  index: {row.index}/torch/: Connection refused\n"
        f"  → fix the way to {row.index}, or build without --origins strict"
    )


def test_an_index_without_the_build_is_passed_over(store: Store) -> None:
    wheels = [wheel("torch", "2.13.0+cu129"), wheel("torch", "2.13.1+cpu")]
    with serving({"/whl/cpu": wheels}) as index:
        row = Row(target="cpu", index=f"{index.url}/whl/cpu", local="cpu")
        with pytest.raises(NotPossibleError) as caught:
            choose_torch(row, SPEC, access(store, strict=True))
        assert f"index: {row.index}: has no torch-2.13.0+cpu" in caught.value.message


def test_a_page_that_any_address_gets_is_no_index(store: Store) -> None:
    welcome = Answer(
        body=b"<html><a href='/login'>log in</a>", headers={"Content-Type": "text/html"}
    )
    with site({"/whl/cpu/torch/": welcome}) as portal:
        row = Row(target="cpu", index=f"{portal.url}/whl/cpu", local="cpu")
        choice, _ = choose_torch(row, SPEC, access(store, strict=False))
    assert choice.index is None


def test_credentials_of_an_index_are_never_told(store: Store) -> None:
    with serving({"/whl/cpu": [wheel("torch", "2.13.0+cpu")]}, login="me:canary") as index:
        address = index.url.replace("//", "//me:canary@") + "/whl/cpu"
        row = Row(target="cpu", index=address, local="cpu")
        choice, use = choose_torch(row, SPEC, access(store, strict=True))
    assert choice.index == address
    assert "canary" not in repr(use)


def test_a_silent_index_costs_its_time_once(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    store: Store,
) -> None:
    monkeypatch.setenv("COMFYKILN_NETWORK_TIMEOUT", "1.1")
    with silent() as address:
        row = Row(target="cpu", index=f"{address}/whl/cpu", local="cpu")
        start = time.monotonic()
        choose_torch(row, SPEC, access(store, strict=False))
        first = time.monotonic()
        choose_torch(row, SPEC, access(store, strict=False))
        second = time.monotonic()
        with pytest.raises(NotPossibleError):
            choose_torch(row, SPEC, access(store, strict=True))
        third = time.monotonic()
    assert 1 < first - start < 2
    assert second - first < 0.2
    assert 1 < third - second < 2
    assert capsys.readouterr().err.splitlines()[1].endswith("(0 min ago)")
