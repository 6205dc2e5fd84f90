"""An environment as the uv and git commands that make it, in the order of the manifest's section 6.

The commands run one after the other in an empty folder, which becomes the ComfyUI folder.
Nothing is run here: the result is data, and text that a shell reads as the same argument lists.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from comfykiln.documents.manifest import nodes
from comfykiln.documents.manifest.nodes import Command
from comfykiln.documents.manifest.torch import is_torch_family
from comfykiln.errors import DocumentError
from comfykiln.parsing.values import is_scp_address, normal_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comfykiln.environment import Environment, Package, PlatformOverride

CONSTRAINTS = "migration-constraints.txt"
EXCLUDES = "migration-excludes.txt"
LOCK = "migration-lock.txt"
GO_BEFORE = ("UV_DEFAULT_INDEX", "UV_INDEX")
"""Variables that uv 0.13.8 follows before `--index-url`, the option that the specification has."""
_ALIASES = {"x86_64": "amd64", "amd64": "x86_64", "arm64": "aarch64", "aarch64": "arm64"}


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandPlan:
    """What makes an environment on one platform.

    `variables` and `files` (name, text) must exist before the first command: the constraints keep
    what a later command requires from moving a version that the document pins.
    """

    platform: str
    commands: tuple[Command, ...]
    variables: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    """The packages for one platform, after its overrides."""

    pins: tuple[Package, ...]
    torch: tuple[Package, ...]
    excludes: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]


def plan(environment: Environment, platform: str, *, torch_backend: str = "") -> CommandPlan:
    """Return the commands for `platform`, such as `linux-x86_64`.

    `torch_backend` (a name that uv knows, such as `cpu`) takes the torch family from that backend's
    index instead of what the document says.
    """
    if environment.system.python is None:
        raise DocumentError("the document names no version of Python", remedy="use a manifest")
    wanted = _wanted(environment, platform, routed=bool(torch_backend))
    variables = dict(wanted.variables)
    pins = [_pin(entry, bare=True) for entry in (*wanted.torch, *wanted.pins)]
    files = {}
    if pins:
        files[CONSTRAINTS] = "".join(f"{pin}\n" for pin in pins)
        variables["UV_CONSTRAINT"] = CONSTRAINTS
    if wanted.excludes:
        files[EXCLUDES] = "".join(f"{name}\n" for name in wanted.excludes)
        variables["UV_EXCLUDE"] = EXCLUDES
    return CommandPlan(
        platform=platform,
        commands=tuple(_commands(environment, wanted, torch_backend)),
        variables=tuple(variables.items()),
        files=tuple(files.items()),
    )


def _commands(environment: Environment, wanted: _Wanted, torch_backend: str) -> Iterator[Command]:
    """Yield the commands of sections 6.1 and 8.1, each kind in the document's order."""
    indexes = [
        argument
        for index in environment.indexes
        if not index.explicit
        for argument in ("--index", nodes.without_credentials(index.url))
    ]
    install = ("uv", "pip", "install", *indexes)
    python = environment.system.python or ""
    yield Command(stage="venv", argv=("uv", "venv", "--python", python), why="the exact Python")
    if wanted.torch:
        source = _torch_source(environment, torch_backend)
        argv = ("uv", "pip", "install", *source, *(_pin(entry) for entry in wanted.torch))
        why = "the torch family, from its own index"
        yield Command(stage="torch", argv=argv, why=why, unset=GO_BEFORE)
    if wanted.pins:
        argv = (*install, *(_pin(pin) for pin in wanted.pins))
        yield Command(stage="packages", argv=argv, why="the pinned packages")
    yield from _sourced(environment, install)
    yield from nodes.comfyui(environment.comfyui, install)
    yield from nodes.nodes(environment.nodes, install)
    yield Command(
        stage="lock",
        argv=("uv", "pip", "freeze"),
        output=LOCK,
        why="what was installed in the end",
    )


def _torch_source(environment: Environment, torch_backend: str) -> tuple[str, ...]:
    """Return the options that say where the torch family comes from."""
    if torch_backend:
        return ("--torch-backend", torch_backend)
    index = environment.torch.index_url
    return ("--index-url", nodes.without_credentials(index)) if index else ()


def _sourced(environment: Environment, install: tuple[str, ...]) -> Iterator[Command]:
    """Yield the commands for packages that come from repositories, folders and files."""
    kinds: tuple[tuple[Literal["git", "editable", "local"], str], ...] = (
        ("git", "a package built from its repository"),
        ("editable", "a package that stays in its folder"),
        ("local", "a package file of this machine"),
    )
    for kind, why in kinds:
        for package in environment.packages:
            if package.source == kind:
                yield Command(stage=kind, argv=(*install, *_source(package)), why=why)


def _source(package: Package) -> tuple[str, ...]:
    if package.source == "git":
        return (_git_requirement(package),)
    if package.source == "editable":
        return ("-e", package.path or "")
    path = package.path or ""
    if package.sha256 is None:
        return (path,)
    # uv checks the sha256 of a file only where a requirement names it.
    where = path if path.startswith("/") else f"./{path.removeprefix('./')}"
    return (f"{_file_name(path)} @ {where}#sha256={package.sha256}",)


def _git_requirement(package: Package) -> str:
    """Return the requirement; a name makes uv check the package's own, which `#egg=` does not."""
    url = nodes.without_credentials(package.url or "")
    if is_scp_address(url):
        url = "ssh://" + url.replace(":", "/", 1)
    text = f"git+{url}"
    if package.ref:
        text += f"@{package.ref}"
    if package.subdirectory:
        text += f"#subdirectory={package.subdirectory}"
    return f"{package.name} @ {text}" if package.name else text


def _file_name(path: str) -> str:
    """Return the distribution's name that a wheel's or source archive's file name begins with."""
    from packaging.utils import (  # noqa: PLC0415  # local packages only
        InvalidSdistFilename,
        InvalidWheelFilename,
        parse_sdist_filename,
        parse_wheel_filename,
    )

    file = path.replace("\\", "/").rpartition("/")[2]
    try:
        parse = parse_wheel_filename if file.endswith(".whl") else parse_sdist_filename
        return parse(file)[0]
    except (InvalidWheelFilename, InvalidSdistFilename) as error:
        raise DocumentError(
            f"{path}: the file's name does not tell its package: {error}",
            remedy="give it the name that the build gave it, such as six-1.16.0-py3-none-any.whl",
        ) from error


def _wanted(environment: Environment, platform: str, *, routed: bool) -> _Wanted:
    """Return the packages after the overrides that apply: general before specific, excludes last.

    Where the family has an index of its own, its members among the packages go with it.
    """
    overrides = overrides_for(environment, platform)
    pins = merged(
        [package for package in environment.packages if package.source == "index"],
        *(override.packages for override in overrides),
    )
    excludes = {normal_name(name): name for entry in overrides for name in entry.excludes}
    split = routed or environment.torch.index_url is not None
    family = [pin for pin in pins if split and is_torch_family(pin.name)]
    torch = merged(
        environment.torch.packages, [entry for entry in family if not _in(entry, environment)]
    )
    moved = {normal_name(entry.name) for entry in torch}
    variables = {name: value for entry in overrides for name, value in entry.environment}
    if routed:
        torch = tuple(_without_build(entry) for entry in torch)
    return _Wanted(
        pins=tuple(pin for pin in pins if normal_name(pin.name) not in excludes.keys() | moved),
        torch=tuple(entry for entry in torch if normal_name(entry.name) not in excludes),
        excludes=tuple(excludes.values()),
        variables=tuple(variables.items()),
    )


def _without_build(package: Package) -> Package:
    """Return the pin without a build such as `+cu121`, which another backend does not have."""
    return replace(package, version=(package.version or "").partition("+")[0] or None)


def _in(package: Package, environment: Environment) -> bool:
    """Say whether the torch family's own pins name the package: then they decide."""
    return normal_name(package.name) in {
        normal_name(package.name) for package in environment.torch.packages
    }


def merged(*lists: Sequence[Package]) -> tuple[Package, ...]:
    """Return the packages of all lists; a later one takes the place of the same name."""
    found: dict[str, Package] = {}
    for package in (package for packages in lists for package in packages):
        found[normal_name(package.name)] = package
    return tuple(found.values())


def overrides_for(environment: Environment, platform: str) -> list[PlatformOverride]:
    """Return the overrides for `platform`: those of the system, then of system and processor."""
    system, _, processor = platform.partition("-")
    keys = [system]
    if processor:
        keys += [platform, f"{system}-{_ALIASES.get(processor, processor)}"]
    by_platform = {override.platform: override for override in environment.platform_overrides}
    return [by_platform[key] for key in keys if key in by_platform]


def _pin(package: Package, *, bare: bool = False) -> str:
    """Return the requirement for a package; `bare` leaves out extras, as constraints must."""
    extras = f"[{','.join(package.extras)}]" if package.extras and not bare else ""
    wanted = f"=={package.version}" if package.version else package.specifier or ""
    return f"{package.name}{extras}{wanted}" + (f" ; {package.marker}" if package.marker else "")


def text(made: CommandPlan) -> str:
    """Return the plan for people: a shell script whose words are quoted, with a comment each."""
    lines = [
        f"# for {made.platform}; run in an empty folder, which becomes the ComfyUI folder",
        "set -e  # the first command that fails ends it",
        *_preparation(made),
    ]
    for command in made.commands:
        unset = f" (unset {', '.join(command.unset)} for it)" if command.unset else ""
        lines += [f"# {command.stage}: {command.why}{unset}", _line(command)]
    return "\n".join(lines)


def _preparation(made: CommandPlan) -> Iterator[str]:
    for name, content in made.files:
        words = shlex.join(content.splitlines())
        yield f"printf '%s\\n' {words} > {shlex.quote(name)}"
    for name, value in made.variables:
        yield f"export {name}={shlex.quote(value)}"


def _line(command: Command) -> str:
    line = shlex.join(command.argv)
    if command.fallback:
        line += f" || {shlex.join(command.fallback)}"
    return f"{line} > {shlex.quote(command.output)}" if command.output else line


def as_data(made: CommandPlan) -> dict[str, object]:
    """Return the plan for programs: argument lists, to be run without a shell."""
    return {
        "platform": made.platform,
        "files": dict(made.files),
        "environment": dict(made.variables),
        "commands": [_command_data(command) for command in made.commands],
    }


def _command_data(command: Command) -> dict[str, object]:
    found: dict[str, object] = {
        "stage": command.stage,
        "argv": list(command.argv),
        "why": command.why,
    }
    if command.fallback:
        found["fallback"] = list(command.fallback)
    if command.output:
        found["output"] = command.output
    if command.unset:
        found["unset"] = list(command.unset)
    return found
