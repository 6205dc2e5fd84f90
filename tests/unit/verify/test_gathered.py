from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.gathering import BASE, CHOICE, stand_in, use

from comfykiln.errors import DriftError
from comfykiln.gather.nodes import NodeSet
from comfykiln.locking.nodelines import node_lines, rules_of
from comfykiln.locking.relock import access_of, relock
from comfykiln.plan.project import Project
from comfykiln.verify.expected import expectation
from comfykiln.verify.gathered import Gathered, gather_all

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("home")
def test_all_of_a_build_with_what_comes_of_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = stand_in(tmp_path / "far", monkeypatch)
    project = Project(root=repository)
    plan, access = project.plan("cpu", "core"), access_of(project, None)
    with pytest.raises(DriftError, match="was made from other inputs"):
        gather_all(project, plan, access)
    relock(project, plan.service, access)
    plan = project.plan("cpu", "core")
    far.asked.clear()
    found = gather_all(project, plan, access)
    rules = rules_of(plan.service, plan.target, plan.target.torch.requirements, found.nodes.lock)
    assert found == Gathered(
        base=BASE,
        comfyui=far.tree,
        torch=CHOICE,
        uses=(use("base"), use("comfyui"), use("torch")),
        nodes=NodeSet(files=found.nodes.files, pins=found.nodes.pins),
        rules=rules,
        lines=node_lines((), (), rules),
        expectation=expectation(plan, CHOICE, found.nodes),
    )
    assert far.asked == {"torch": 1, "comfyui": 1, "base": 1}
