"""A target or an image more is data alone: no Python and no template is written for it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml

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


SEPARATORS = ("\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")


@pytest.mark.parametrize("rest", ["", "RUN id"])
@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("services/comfy/core/service.yaml", "title"),
        ("services/comfy/complete/service.yaml", "sdists/0"),
        ("images/targets.yaml", "targets/cpu/title"),
        ("images/targets.yaml", "targets/rocm/environment/ONE_MORE"),
        ("images/origins.yaml", "base/trixie/ref"),
    ],
)
def test_no_value_begins_a_line(
    file: str, place: str, separator: str, rest: str, repository: Path
) -> None:
    path = repository / file
    data = yaml.safe_load(path.read_text("utf-8"))
    *folders, last = place.split("/")
    holder = data
    for name in folders:
        holder = holder[name]
    key: Any = int(last) if isinstance(holder, list) else last
    before = holder[key] if isinstance(holder, list) or key in holder else "x"
    holder[key] = f"{before}{separator}{rest}"
    path.write_text(yaml.safe_dump(data), "utf-8")
    where = "$." + place.replace("/", ".").replace(".0", "[0]")
    with pytest.raises(DocumentError) as caught:
        rendered(repository)
    assert any(fault.startswith(f"{where}: ") for fault in caught.value.faults)


def test_only_a_newline_ends_a_line_of_a_template(repository: Path) -> None:
    text = "FROM a\n# b\x0b\x0c\x1c\x85\u2028\u2029RUN id"
    (repository / "templates" / "core.Dockerfile.j2").write_text(f"{text} \n\n", "utf-8")
    plan = Project(root=repository).plan("cpu", "core")
    assert render.dockerfile(plan, repository / "templates") == f"{text}\n"


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
