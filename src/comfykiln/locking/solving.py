"""One solve by uv over everything that an image holds."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import DocumentError
from comfykiln.locking.conflicts import conflict
from comfykiln.locking.inputs import PLATFORM
from comfykiln.network.indexes import uv_program
from comfykiln.parsing.values import normal_name
from comfykiln.system import files, process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comfykiln.locking.inputs import LockInputs

# What packages that bring no wheel are built with; pinned, so that the wheel comes out the same.
BUILD_TOOLS = ("setuptools", "wheel")
EVERYTHING = "all"
STAND_INS = "stand-ins.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Solved:
    """A solve's hashed lines, and the exact build tools for what is built from source.

    `replaced` maps packages that were asked for to what stands in for them.
    """

    text: str
    build: tuple[str, ...] = ()
    replaced: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """A package's source on disk: the normalised name of the package, and where it lies."""

    name: str
    path: Path


def solve(
    inputs: LockInputs,
    environment: Mapping[str, str],
    *,
    previous: str = "",
    upgrade: Sequence[str] = (),
    trees: Mapping[str, Tree] | None = None,
) -> Solved:
    """Run `uv pip compile` over the inputs and return the hashed lock of everything.

    Versions of the lock `previous`, else those that the inputs prefer, are kept where they still
    fit, but for the packages in `upgrade` (`all` for every one). `trees` maps `git+` addresses to
    the source on disk. Raises `DocumentError` that names packs and lines where the inputs
    contradict each other.

    A package with a stand-in may come through others: then the solve is done again, with the
    stand-in asked for and that package left out.
    """
    _require_known(upgrade, previous)
    solved = _solve(inputs, environment, previous, upgrade, trees or {})
    came = inputs.stand_ins.keys() & _names(solved.text)
    if came:
        wanted = {inputs.stand_ins[name] for name in came}
        again = replace(
            inputs,
            requirements={**inputs.requirements, STAND_INS: _lines(sorted(wanted))},
            drop=tuple(sorted({*inputs.drop, *inputs.stand_ins})),
        )
        solved = _solve(again, environment, previous, upgrade, trees or {})
    asked = {name: inputs.stand_ins[name] for name in came | inputs.replaced}
    return replace(solved, replaced=asked)


def _names(text: str) -> set[str]:
    return set(re.findall(r"(?m)^([a-z0-9][a-z0-9.-]*)==", text))


def _solve(
    inputs: LockInputs,
    environment: Mapping[str, str],
    previous: str,
    upgrade: Sequence[str],
    trees: Mapping[str, Tree],
) -> Solved:
    with tempfile.TemporaryDirectory(prefix="kiln-lock-") as folder:
        work = Path(folder)
        for name, text in inputs.requirements.items():
            files.write_text(work / name, _with_trees(text, trees))
        files.write_text(work / "overrides.txt", _overrides(inputs))
        files.write_text(work / "constraints.txt", _lines(inputs.constraints))
        earlier = _lines(inputs.preferred) if EVERYTHING in upgrade or not previous else previous
        if earlier:
            files.write_text(work / "lock.txt", earlier)
        argv = _argv(inputs, upgrade, [tree.name for tree in trees.values()])
        try:
            process.capture(argv, cwd=work, env=environment)
        except process.ProgramError as error:
            raise conflict(inputs, error) from error
        text = _without_trees((work / "lock.txt").read_text("utf-8"), trees)
        return Solved(text=text, build=_build_tools(inputs, environment))


def package_name(tree: Path, environment: Mapping[str, str]) -> str:
    """Return the normalised name of the package in a source tree, as uv reads it."""
    argv = [uv_program(), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-deps"]
    try:
        text = process.capture([*argv, "-"], env=environment, stdin=f"{tree.as_uri()}\n")
    except process.ProgramError as error:
        raise DocumentError(
            f"a repository that a node wants a package from holds none:\n{error.output.strip()}",
            remedy="override it by a released version, or drop the line, in service.yaml",
        ) from error
    return normal_name(text.partition(" @ ")[0].strip())


def _with_trees(text: str, trees: Mapping[str, Tree]) -> str:
    """Put the source on disk in place of each `git+` address, behind its package's name."""
    for address, tree in sorted(trees.items(), reverse=True):
        text = re.sub(rf"(?m)^{re.escape(address)}", f"{tree.name} @ {address}", text)
        text = text.replace(address, tree.path.as_uri())
    return text


def _without_trees(text: str, trees: Mapping[str, Tree]) -> str:
    """Take the packages that are built from trees out of a lock: no index has a hash of them."""
    places = {tree.path.as_uri() for tree in trees.values()}
    entries = re.split(r"(?m)^(?=[A-Za-z0-9])", text)
    return "".join(entry for entry in entries if not places & set(entry.split()))


def _argv(inputs: LockInputs, upgrade: Sequence[str], built: Sequence[str]) -> list[str]:
    argv = [uv_program(), "pip", "compile", "--quiet", "--generate-hashes", "--no-emit-index-url"]
    argv += ["--no-header", "--python-version", inputs.python, "--python-platform", PLATFORM]
    argv += ["--override", "overrides.txt", "--output-file", "lock.txt"]
    if inputs.constraints:
        argv += ["--constraint", "constraints.txt"]
    if inputs.sdists or any(name.startswith("nodes/") for name in inputs.requirements):
        # `--no-binary NAME` exempts a package from `--only-binary :all:`.
        argv += ["--only-binary", ":all:"]
        argv += [word for name in (*inputs.sdists, *built) for word in ("--no-binary", name)]
    argv += [word for name in upgrade if name != EVERYTHING for word in ("-P", name)]
    return [*argv, *inputs.requirements]


def _overrides(inputs: LockInputs) -> str:
    """Return the torch family, the recorded overrides, and what is left out, as uv reads them.

    A requirement whose marker is never true is how uv leaves a package out.
    """
    dropped = [f"{name}; python_version < '0'" for name in inputs.drop if _is_name(name)]
    return _lines([*inputs.family, *inputs.overrides, *dropped])


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text) is not None


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _build_tools(inputs: LockInputs, environment: Mapping[str, str]) -> tuple[str, ...]:
    if not inputs.sdists and not inputs.node_lock.sources:
        return ()
    argv = [uv_program(), "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    argv += ["--only-binary", ":all:", "--python-version", inputs.python, "-"]
    text = process.capture(argv, env=environment, stdin=_lines(BUILD_TOOLS))
    return tuple(line for line in text.splitlines() if "==" in line)


def _require_known(upgrade: Sequence[str], previous: str) -> None:
    unknown = [
        name
        for name in upgrade
        if name != EVERYTHING and not re.search(rf"(?m)^{re.escape(name)}==", previous)
    ]
    if unknown:
        raise DocumentError(
            f"--upgrade: the lock holds no {', '.join(unknown)}",
            remedy="name a package of locks/packages.txt, or `all`",
        )
