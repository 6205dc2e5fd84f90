from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.gathering import CHOICE

from comfykiln.errors import KilnError
from comfykiln.gather.archives import GatheredArchive
from comfykiln.gather.node_files import NodeFile
from comfykiln.gather.nodes import NodeSet
from comfykiln.gather.pins import ArchivePin
from comfykiln.plan.project import Project
from comfykiln.plan.services import NodeRule
from comfykiln.verify.expected import expectation, pack_nodes
from comfykiln.verify.question import Expectation

if TYPE_CHECKING:
    from comfykiln.plan.plan import BuildPlan

PACKAGES = "# in place of onnxruntime-gpu: onnxruntime\nnumpy==2.2.6 \\\n  --hash=x\n"
TORCH = "torch==2.13.0 \\\n  --hash=x\n"


@pytest.fixture
def plan(repository: Path) -> BuildPlan:
    """The plan of `core` for cpu, with small locks, one of its packs, and one rule for a node."""
    found = Project(root=repository).plan("cpu", "core")
    rules = {"front": NodeRule(frontend_only=True), "shop": NodeRule()}
    service = replace(
        found.service,
        local_nodes=found.service.local_nodes[:1],
        nodes=rules,
        accepted={"odd": "known"},
        python_patch="3.13.5",
    )
    service.package_lock.write_text(PACKAGES, "utf-8")
    service.torch_lock("cu130").write_text(TORCH, "utf-8")
    return replace(found, service=service)


def node(name: str, *, disabled: bool = False) -> GatheredArchive:
    return GatheredArchive(
        pin=ArchivePin(directory=name, registry_id=name, version="1", disabled=disabled),
        path=Path("nowhere"),
        sha256="0" * 64,
        size=1,
        url="",
        requirements=None,
        pyproject=None,
        install_script=False,
        lfs=(),
    )


def test_what_an_image_without_nodes_must_answer(plan: BuildPlan) -> None:
    pack = plan.service.local_nodes[0]
    assert expectation(plan, CHOICE, NodeSet()) == Expectation(
        comfyui="0.30.0",
        torch=plan.target.torch.versions,
        local_tag="c",
        packages={"numpy": "2.2.6"},
        packs={pack.name: pack_nodes(pack)},
        without_classes=frozenset({"front"}),
        accepted=frozenset({"odd"}),
        stand_ins=frozenset({"onnxruntime-gpu"}),
        python="3.13.5",
    )


def test_nodes_are_imported_unless_disabled_and_libraries_are_loaded(plan: BuildPlan) -> None:
    own = NodeFile(name="own.py", path=Path("own.py"), sha256="1" * 64, own=True, disabled=False)
    nodes = NodeSet(archives=(node("shop"), node("off", disabled=True)), files=(own,))
    found = expectation(plan, CHOICE, nodes)
    assert (found.nodes, found.libraries) == (("shop",), ("numpy",))


def test_the_package_indexes_torch_is_locked_too(plan: BuildPlan) -> None:
    choice = replace(CHOICE, index=None, local_tag="cu130")
    found = expectation(plan, choice, NodeSet())
    assert found.packages == {"numpy": "2.2.6", "torch": "2.13.0"}
    # What an index of its own serves has no lock.
    assert "torch" not in expectation(plan, replace(choice, index="x"), NodeSet()).packages


def test_a_pack_that_promises_nothing(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\n", "utf-8")
    with pytest.raises(KilnError) as caught:
        pack_nodes(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'pyproject.toml'} names no nodes\n"
        '  → add `[tool.comfykiln]` with `nodes = ["ClassName", …]`'
    )
