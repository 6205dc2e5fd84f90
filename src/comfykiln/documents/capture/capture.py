"""The environment that is really on disk: in a folder, a container or an image.

What lies there is read by `capture_probe`, which runs nothing of ComfyUI or its nodes; inside an
image it runs without a network.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfykiln.documents.capture import probe, read
from comfykiln.errors import DocumentError, KilnError, NotPossibleError
from comfykiln.parsing.faults import Faults
from comfykiln.parsing.fields import Obj
from comfykiln.parsing.reading import json_value
from comfykiln.setup import engine_info
from comfykiln.system import process

if TYPE_CHECKING:
    from comfykiln.environment import Environment
    from comfykiln.parsing.faults import Note

PYTHONS = ("python3", "/app/.venv/bin/python", "/opt/venv/bin/python", "/venv/bin/python", "python")
# Enough to read every file as root, and nothing else.
_CONFINED = (
    *("--network", "none", "--user", "0:0", "--security-opt", "no-new-privileges"),
    *("--cap-drop", "ALL", "--cap-add", "DAC_READ_SEARCH"),
)
_NOT_THERE = (126, 127)
REFERENCE = re.compile(r"[a-z0-9](?:[\w./:@-]*\w)?", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Captured:
    """An environment as found.

    `direct` are the normalised names of the packages that ComfyUI, a node or nothing else at all
    requires; all others are there because a package requires them.
    """

    source: str
    environment: Environment
    direct: frozenset[str]
    notes: tuple[Note, ...]


def capture(source: str, *, folder: str = "") -> Captured:
    """Return the environment in `source`: a ComfyUI folder, else a container's or image's name.

    `folder` is where ComfyUI lies inside an image that holds more than one.
    Raises `DocumentError` for a source that holds no ComfyUI, `NotPossibleError` without an engine.
    """
    facts = _facts(source, folder)
    roots = [str(root) for root in facts.get("roots", ())]
    found = facts.get("comfyui")
    if not isinstance(found, dict) or not found.get("is_comfyui"):
        raise _no_comfyui(source, roots)
    faults = Faults(source)
    environment, direct = read.environment(Obj(facts), faults)
    faults.stop()
    return Captured(
        source=source, environment=environment, direct=direct, notes=tuple(faults.notes)
    )


def _facts(source: str, folder: str) -> dict[str, Any]:
    path = Path(source)
    if path.is_dir():
        found = probe.facts(str((path / folder).resolve()))
        # What was read is as untrusted as any document: the same limits hold for both ways.
        text = json.dumps(found)
    elif path.exists():
        raise DocumentError(
            f"{source}: a file, not a ComfyUI folder", remedy="name the folder that holds main.py"
        )
    else:
        text = _inside(source, folder)
    value = json_value(text.encode(), f"{source}: what is on disk")
    if not isinstance(value, dict):
        raise KilnError(f"{source}: the probe gave no map", remedy="report this with the image")
    return value


def _no_comfyui(source: str, roots: list[str]) -> DocumentError:
    if len(roots) > 1:
        return DocumentError(
            f"{source} holds ComfyUI in {len(roots)} folders: {', '.join(roots)}",
            remedy="name the one to capture with --folder",
        )
    return DocumentError(
        f"{source}: no ComfyUI folder found (one with main.py, nodes.py and folder_paths.py)",
        remedy="name the folder itself, or with --folder where it lies inside the image",
    )


def _inside(source: str, folder: str) -> str:
    """Return what the probe prints inside a container or an image."""
    if source.startswith("-"):
        raise DocumentError(f"{source}: no name of an image", remedy="name a folder or an image")
    engine_info.require("start the engine, or name a ComfyUI folder on disk")
    state = _inspect(["container", "inspect", "--format", "{{.State.Running}}", source])
    if state is None:
        if _inspect(["image", "inspect", "--format", "{{.Id}}", source]) is None:
            raise DocumentError(
                f"{source}: no folder, no container and no image of that name",
                remedy=f"check the name, or fetch the image with `docker pull {source}`"
                if REFERENCE.fullmatch(source)
                else "check the name: a folder, or a container or image that the engine has",
            )
        return _probe_image(source, folder)
    if state.strip() == "true":
        return _first(source, folder, lambda python: ["exec", "-i", "-u", "0", source, python])
    # A stopped container runs nothing: what it left on disk is looked at as an image.
    image = process.capture(["docker", "commit", "--pause=false", source]).strip()
    try:
        return _probe_image(image, folder)
    finally:
        process.capture(["docker", "image", "rm", image])


def _probe_image(image: str, folder: str) -> str:
    run = ["run", "--rm", "-i", "--pull", "never", *_CONFINED]
    return _first(image, folder, lambda python: [*run, "--entrypoint", python, image])


def _first(source: str, folder: str, argv: Any) -> str:
    """Run the probe by the first Python that is there."""
    script = resources.files("comfykiln.documents.capture").joinpath("probe.py").read_text("utf-8")
    arguments = ["-I", "-", *([folder] if folder else [])]
    for python in PYTHONS:
        try:
            return process.capture(["docker", *argv(python), *arguments], stdin=script, timeout=300)
        except process.ProgramError as error:
            if error.status not in _NOT_THERE:
                raise
    raise NotPossibleError(
        f"{source}: none of {', '.join(PYTHONS)} runs there",
        remedy="copy the ComfyUI folder out with `docker cp` and capture that",
    )


def _inspect(arguments: list[str]) -> str | None:
    """Return what `docker` says of a thing, None when there is no such thing."""
    try:
        return process.capture(["docker", *arguments], timeout=60)
    except process.ProgramError as error:
        # What cannot be a name at all names nothing, either.
        if "o such" in error.output or "invalid reference format" in error.output:
            return None
        raise
