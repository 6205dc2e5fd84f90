"""A failed solve, told for people: which packs, which lines, what each asks for, the ways out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from comfykiln.errors import DocumentError, KilnError, NotPossibleError
from comfykiln.parsing.values import normal_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from comfykiln.locking.inputs import LockInputs
    from comfykiln.system.process import ProgramError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# What uv 0.11 says when it is not the requirements that are at fault.
NETWORK = re.compile(r"(?i)failed to fetch|error sending request|connection|dns error|timed out")
UNSOLVABLE = re.compile(r"No solution found")
ABSENT = re.compile(r"was not found in the package registry|there is no version of")
NO_WHEEL = re.compile(r"no wheels? |no usable wheels|building from source is disabled|only-binary")


def conflict(inputs: LockInputs, error: ProgramError) -> KilnError:
    """Return the error of a solve that failed, from what uv said and what each pack asks for."""
    said = "\n".join(f"    {line}" for line in error.output.strip().splitlines()[-25:])
    if not UNSOLVABLE.search(error.output):
        if NETWORK.search(error.output):
            return NotPossibleError(
                f"the package index cannot be asked:\n{said}",
                remedy="fix the way to it (network, proxy, --ca-bundle, index settings)",
            )
        return DocumentError(
            f"the packages cannot be solved; uv says:\n{said}", remedy="fix the line it names"
        )
    told = list(_claims(inputs, error.output))
    wheel = (
        ", or allow a package without wheels to be built (`sdists:`)"
        if NO_WHEEL.search(error.output)
        else ""
    )
    return DocumentError(
        f"{_headline(error.output, told)}; uv says:\n{said}\n  who asks for what:",
        faults=told or ["no pack asks for these packages itself: they come through others"],
        remedy="drop one of the packs from the snapshot, pin a commit of it that asks for less, "
        f"or decide in service.yaml with a reason (`overrides:`, `drop:`){wheel}; "
        "of a document: --leave-out, or these keys in a file for --rules",
    )


def _headline(output: str, told: Sequence[str]) -> str:
    """Return what is wrong: a package that is not available contradicts nobody."""
    if ABSENT.search(output):
        return "a package or version that is asked for is not on the package index"
    if NO_WHEEL.search(output) and len(told) == 1:
        return "a package that is asked for has no wheel for this Python and platform"
    return "the packages contradict each other"


def _claims(inputs: LockInputs, output: str) -> Iterator[str]:
    """Yield one line for each pack's requirement of a package that uv's message names."""
    named = {normal_name(word.rstrip(".-_")) for word in NAME.findall(output)}
    claims = [
        (normal_name(match[0].rstrip(".-_")), f"{asker(name)} asks for `{line}`")
        for name, text in inputs.requirements.items()
        for line in text.splitlines()
        if (match := NAME.match(line))
    ]
    claims += [
        (normal_name(line.partition("==")[0]), f"the snapshot pins `{line}`")
        for line in inputs.constraints
    ]
    claims += [
        (normal_name(line.partition("==")[0]), f"the torch family is fixed at `{line}`")
        for line in inputs.family
    ]
    for package, claim in sorted(claims):
        if package in named:
            yield claim


def asker(name: str) -> str:
    """Return how people call a file of requirements: the pack's name, ComfyUI, the tools."""
    known = {
        "comfyui/requirements.txt": "ComfyUI",
        "comfyui/manager_requirements.txt": "ComfyUI's Manager",
        "tools.txt": "the toolkit (comfy-cli, service.yaml)",
        "nodes/.document.txt": "the document",
    }
    if name.startswith("nodes/") and name not in known:
        return f"the node {name.removeprefix('nodes/').removesuffix('.txt')}"
    return known.get(name, f"the local pack {name.partition('/')[0]}")
