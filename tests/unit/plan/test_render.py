"""A target or an image more is data alone: no Python and no template is written for it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from comfykiln.errors import DocumentError, DriftError
from comfykiln.plan import render
from comfykiln.plan.project import Project

if TYPE_CHECKING:
    from pathlib import Path


def rendered(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): data.decode()
        for path, data in render.rendered(Project(root=root)).items()
    }


def test_an_image_more_is_a_folder_more(repository: Path) -> None:
    before = rendered(repository)
    services = repository / "services" / "comfy"
    shutil.copytree(services / "core", services / "studio")
    after = rendered(repository)
    targets = Project(root=repository).targets.by_name
    new = sorted(f"images/{target}/studio/Dockerfile" for target in targets)
    assert sorted(set(after) - set(before)) == new
    for name in new:
        assert after[name] == after[name.replace("studio", "core")].replace("`core`", "`studio`")
    assert {name: after[name] for name in before if name.endswith("Dockerfile")} == {
        name: text for name, text in before.items() if name.endswith("Dockerfile")
    }


def test_an_image_with_a_template_of_its_own_has_that(repository: Path) -> None:
    (repository / "templates" / "core.Dockerfile.j2").write_text("FROM {{ base_ref }}\n")
    plan = Project(root=repository).plan("cpu", "core")
    assert render.dockerfile(plan, repository / "templates") == f"FROM {plan.base_ref}\n"


def test_a_compose_file_that_was_changed_is_drift(repository: Path) -> None:
    files = render.rendered(Project(root=repository))
    render.write(files)
    render.check(files, repository)
    path = repository / render.COMPOSE_FILE
    path.write_text(path.read_text("utf-8").replace("ipc: host", "ipc: private", 1), "utf-8")
    with pytest.raises(DriftError, match=r"the generated files have drifted:\n--- compose\.yaml"):
        render.check(files, repository)
    assert render.write(files) == [path]


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("a\n{% if %}\n", "/core.Dockerfile.j2, line 2: Expected an expression, got 'end of "),
        ("{{ colour }}\n", ": 'colour' is undefined"),
    ],
)
def test_a_template_with_a_fault_is_named(repository: Path, template: str, fault: str) -> None:
    templates = repository / "templates"
    (templates / "core.Dockerfile.j2").write_text(template)
    with pytest.raises(DocumentError) as error:
        render.dockerfile(Project(root=repository).plan("cpu", "core"), templates)
    assert error.value.message.startswith(f"{templates}{fault}")


def test_a_folder_that_no_image_can_be_named_after_is_refused(repository: Path) -> None:
    services = repository / "services" / "comfy"
    shutil.copytree(services / "core", services / "My_Studio")
    with pytest.raises(DocumentError) as error:
        Project(root=repository).plans()
    assert str(error.value) == (
        f"{services / 'My_Studio'}: 'My_Studio' cannot be the name of an image\n"
        "  → name the folder with lower-case letters, digits and single dashes"
    )
