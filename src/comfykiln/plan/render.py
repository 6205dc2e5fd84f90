"""Plans in, Dockerfiles, bake file and compose.yaml out: pure, by the templates in templates/."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from comfykiln.errors import DocumentError, DriftError
from comfykiln.system.files import canonical_json, write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from comfykiln.plan.accelerators import Accelerator
    from comfykiln.plan.plan import BuildPlan
    from comfykiln.plan.project import Project
    from comfykiln.plan.targets import Target

BAKE_FILE = "docker-bake.json"
COMPOSE_FILE = "compose.yaml"
COMPOSE_TEMPLATE = "compose.yaml.j2"
USUAL_TEMPLATE = "complete"


def dockerfile(plan: BuildPlan, templates: Path) -> str:
    """Return the Dockerfile of one plan; depends on nothing but its arguments.

    A template that cannot be used raises `DocumentError` with its place.
    """
    return _filled(template_names(plan), templates, _values(plan))


def compose_file(targets: Iterable[Target], templates: Path) -> str:
    """Return compose.yaml, a profile for each target; faults as in `dockerfile`."""
    shown = list(targets)
    values = {"targets": shown, "groups": _group_rows(target.accelerator for target in shown)}
    return _filled([COMPOSE_TEMPLATE], templates, values)


def _filled(names: list[str], templates: Path, values: Mapping[str, Any]) -> str:
    import jinja2  # noqa: PLC0415  # 47 ms

    environment = jinja2.Environment(  # noqa: S701  # no HTML; the schemas bound the values
        loader=jinja2.FileSystemLoader(templates),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["ljust"] = str.ljust
    try:
        text = environment.select_template(names).render(values)
    except jinja2.TemplateSyntaxError as error:
        place = f"{error.filename or templates}, line {error.lineno}"
        raise DocumentError(f"{place}: {error.message}", remedy="fix the template") from error
    except jinja2.TemplateError as error:
        raise DocumentError(f"{templates}: {error.message}", remedy="fix the template") from error
    return "\n".join(line.rstrip() for line in text.strip().split("\n")) + "\n"


def _group_rows(accelerators: Iterable[Accelerator]) -> list[dict[str, Any]]:
    """Return each set of variables for groups, with the devices that these groups own."""
    sharing: dict[tuple[str, ...], list[Accelerator]] = {}
    for entry in accelerators:
        if entry.groups:
            sharing.setdefault(tuple(entry.group_variables), []).append(entry)
    return [
        {
            "variables": variables,
            "devices": sorted({device for entry in entries for device in entry.devices}),
            "node": min(node for entry in entries for node in entry.nodes),
        }
        for variables, entries in sharing.items()
    ]


def _values(plan: BuildPlan) -> dict[str, Any]:
    return {
        "image": plan.service.name,
        "title": plan.service.title,
        "target": plan.target.name,
        "target_title": plan.target.title,
        "base_ref": plan.base_ref,
        "apt_target": plan.target.apt,
        "environment": sorted(plan.target.environment.items()),
        "server": plan.target.server,
        "epoch": plan.epoch,
    }


def template_names(plan: BuildPlan) -> list[str]:
    """Return the names of the plan's template, the first that exists being its own.

    An image without a template of its own, or one for a document, has that of `complete`.
    """
    own = [] if plan.service.document else [plan.service.name]
    return [f"{name}.Dockerfile.j2" for name in [*own, USUAL_TEMPLATE]]


def bake_file(plans: Sequence[BuildPlan]) -> bytes:
    """Return the bake file of all plans, as `docker buildx bake` reads it (JSON form)."""
    targets = {plan.name: _bake_target(plan) for plan in plans}
    groups = {
        target: {"targets": [plan.name for plan in plans if plan.target.name == target]}
        for target in dict.fromkeys(plan.target.name for plan in plans)
    }
    return canonical_json({"group": groups, "target": targets})


def rendered(project: Project) -> dict[Path, bytes]:
    """Return every generated file of the repository with its content, copies aside."""
    plans, root = project.plans(), project.root
    files = {
        root / plan.dockerfile: dockerfile(plan, root / "templates").encode() for plan in plans
    }
    targets = project.targets.by_name.values()
    return files | {
        root / "images" / BAKE_FILE: bake_file(plans),
        root / COMPOSE_FILE: compose_file(targets, root / "templates").encode(),
    }


def write(files: Mapping[Path, bytes]) -> list[Path]:
    """Write the files whose content differs, and return those."""
    stale = [path for path, data in files.items() if not _equals(path, data)]
    for path in stale:
        write_bytes(path, files[path])
    return stale


def check(files: Mapping[Path, bytes], root: Path, *, whole: bool = True) -> None:
    """Raise `DriftError` with a unified diff when a committed file is not what rendering gives.

    With `whole`, `files` is everything that is rendered, and a Dockerfile under images/ that is
    not among it counts as drift too.
    """
    diffs = [_diff(path, data, root) for path, data in files.items() if not _equals(path, data)]
    strays = sorted(set(root.glob("images/*/*/Dockerfile")) - set(files)) if whole else []
    diffs += [f"{path.relative_to(root)}: nothing renders this file any more" for path in strays]
    if diffs:
        raise DriftError(
            "the generated files have drifted:\n" + "\n".join(diffs),
            remedy="run `./kiln render` and commit the result (delete files that nothing renders)",
        )


def _bake_target(plan: BuildPlan) -> dict[str, object]:
    staged = f".kiln/context/{plan.name}"
    return {
        "context": staged,
        "dockerfile": f"../../../{plan.dockerfile}",
        "target": "image",
        "contexts": {"comfyui-source": f"{staged}-comfyui", "tools": f"{staged}-tools"},
        "args": {"SOURCE_DATE_EPOCH": str(plan.epoch)},
    }


def _equals(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def _diff(path: Path, data: bytes, root: Path) -> str:
    name = str(path.relative_to(root))
    old = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    new = data.decode().splitlines()
    lines = difflib.unified_diff(old, new, f"{name} (committed)", f"{name} (rendered)", lineterm="")
    return "\n".join(lines)
