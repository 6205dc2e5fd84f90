"""The remarks at the head of a lock: what it was made from, and what was written then."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from comfykiln.locking.conflicts import asker
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from comfykiln.locking.inputs import LockInputs

INPUTS = re.compile(r"^# inputs: sha256:([0-9a-f]{64})$", re.MULTILINE)
CONTENT = re.compile(r"^# content: sha256:([0-9a-f]{64})$", re.MULTILINE)
PART = re.compile(r"^# input ([0-9a-f]{16}) (.+)$", re.MULTILINE)
FURTHER = {
    "constraints": "versions that the snapshot pins (`pips`)",
    "overrides": "what is overridden (`overrides:`)",
    "drop": "what is dropped (`drop:`)",
    "sdists": "what may be built (`sdists:`)",
    "preferred": "versions that the document lists",
    "stand_ins": "`stand_ins` of images/targets.yaml",
    "nodes": "archives, files and packages from git (locks/nodes.json)",
}
# Remarks that a build reads, too.
READ = ("# sdists: ", "# build: ")


def bare(text: str) -> str:
    """Return a lock without its remarks: what is installed is then all that a step depends on."""
    wanted = [
        line for line in text.splitlines() if line.startswith(READ) or line.lstrip()[:1] != "#"
    ]
    return "".join(f"{line}\n" for line in wanted)


def content(text: str) -> str:
    """Return the sha256 of what counts in a lock."""
    return files.sha256(bare(text).encode())


def header(image: str, inputs: LockInputs, body: str, *, parts: bool) -> str:
    """Return the head of a lock of the image; with `parts`, it names every input, to be compared.

    The digest of the content tells a lock that was changed by hand or by a merge.
    """
    named = "".join(f"# input {digest} {name}\n" for name, digest in _parts(inputs).items())
    return (
        f"# Made by `./kiln lock --image {image}`: hashed, without addresses.\n"
        f"# inputs: sha256:{inputs.digest}\n"
        f"# content: sha256:{content(body)}\n"
        f"{named if parts else ''}"
    )


def is_as_written(text: str) -> bool:
    """Say whether what counts in a lock is what was written."""
    match = CONTENT.search(text)
    return match is not None and match[1] == content(text)


def is_made_from(text: str, inputs: LockInputs) -> bool:
    """Say whether a lock was made from these very inputs."""
    match = INPUTS.search(text)
    return match is not None and match[1] == inputs.digest


def differences(text: str, inputs: LockInputs) -> Iterator[str]:
    """Yield which inputs are new, gone or other since the lock was made."""
    then = {name: digest for digest, name in PART.findall(text)}
    now = _parts(inputs)
    for name in sorted(then.keys() | now.keys()):
        if name not in then:
            yield f"new: {name}"
        elif name not in now:
            yield f"gone: {name}"
        elif then[name] != now[name]:
            yield f"changed: {name}"


def _parts(inputs: LockInputs) -> dict[str, str]:
    """Return what people call each input → the beginning of its sha256."""
    asked = {f"lines of {asker(name)}": text for name, text in inputs.requirements.items()}
    digests: Mapping[str, object] = {
        **asked,
        "the torch family": list(inputs.family),
        "the Python": inputs.python,
        **{FURTHER[name]: value for name, value in inputs.further.items() if value},
    }
    return {name: files.sha256(files.canonical_json(value))[:16] for name, value in digests.items()}
