"""One tarball per image tag: the recipe of the image, deterministic, with digests, verifiable.

The layout is the one that comfydock exports and imports, plus `manifest.json` and `receipt.json`;
docs/export-format.md describes it.
"""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import TYPE_CHECKING

from comfykiln.documents.export import dev_nodes
from comfykiln.documents.export.layout import LOCK
from comfykiln.documents.export.write import plain_members
from comfykiln.environment import Attachment, Environment
from comfykiln.errors import DocumentError, DriftError, KilnError
from comfykiln.export import checks, manifest, uvlock
from comfykiln.export.environment import PREFIX, environment_of
from comfykiln.export.manifest import FileRecord, Manifest
from comfykiln.export.records import Exported, ExportInput, ExportModel, ExportNode
from comfykiln.parsing.tarballs import plain_tar, read_members, write_members
from comfykiln.system import console, files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "ExportInput",
    "ExportModel",
    "ExportNode",
    "Exported",
    "FileRecord",
    "Manifest",
    "export_tarball",
    "verify_tarball",
]


def export_tarball(
    what: ExportInput,
    folder: Path,
    *,
    cache: Path | None = None,
    uv_env: Mapping[str, str] | None = None,
) -> Exported:
    """Write `<image>-<target>-<tag>.tar.gz` and its `.sha256` into `folder`.

    `cache` is a folder that keeps locks by the digest of their input; `uv_env` is added to the
    environment of uv (index settings, CA bundle).
    A tarball that is there already is replaced when it differs, and that is said; the same bytes
    are left as they are.
    Raises `DocumentError` with every fault of the input, `NotPossibleError` where uv cannot reach
    the package indexes, `KilnError` where the lock does not fit the image. Nothing is written then.
    """
    what, collected = _collect(what)
    lock = uvlock.make(what, cache=cache, env=uv_env or {})
    members = {
        **plain_members(_environment(what, lock, collected), PREFIX),
        manifest.RECEIPT: files.canonical_json(what.receipt),
    }
    described = manifest.describe(what, lock, members, collected.executable)
    members[manifest.NAME] = manifest.write(described)
    _refuse_credentials(members)
    data = write_members(members, what.epoch, executable=collected.executable)
    changed = _save(folder / what.file_name, data)
    return Exported(
        path=folder / what.file_name,
        sha256=files.sha256(data),
        size=len(data),
        members=tuple(sorted(members)),
        changed=changed,
    )


def verify_tarball(path: Path) -> Manifest:
    """Return the manifest of the tarball at `path` after checking every byte against it.

    The file must hold what the manifest lists and nothing else, in the order, with the modes and
    times that the writer gives, and agree with `<path>.sha256` where that exists.
    Raises `DocumentError` for what is no safe tarball or no export of comfykiln, `DriftError`
    where content and manifest differ.
    """
    members = read_members(path)
    if manifest.NAME not in members:
        raise DocumentError(
            f"{path}: there is no {manifest.NAME} in it, so nothing says what it should hold",
            remedy="export it again with comfykiln; other tools' exports can be built from, "
            "not verified",
        )
    described = manifest.read(members[manifest.NAME], f"{path}: {manifest.NAME}")
    faults = [*_content_faults(described, members), *_sidecar_faults(path)]
    if not faults and not _is_canonical(path, described, members):
        faults = ["order, modes or times of the members are not those that the manifest gives"]
    if faults:
        raise DriftError(
            f"{path}: not what its manifest says\n  " + "\n  ".join(faults),
            remedy="fetch the tarball again, or export it again",
        )
    return described


def _collect(what: ExportInput) -> tuple[ExportInput, dev_nodes.Collected]:
    """Read the development nodes, and check them together with everything else."""
    collected = dev_nodes.Collected()
    for name in sorted(what.dev_nodes):
        dev_nodes.collect(name, what.dev_nodes[name], collected)
    if collected.faults:
        raise DocumentError(
            "the development nodes cannot be exported",
            faults=sorted(collected.faults),
            remedy="fix each of these; nothing was written",
        )
    for member in collected.left_out:
        console.note(f"left out of the export, it may hold a secret: {member}")
    nodes = tuple(_with_requirements(node, collected) for node in what.nodes)
    what = replace(what, nodes=nodes)
    checks.check(what)
    return what, collected


def _with_requirements(node: ExportNode, collected: dev_nodes.Collected) -> ExportNode:
    data = collected.files.get(f"dev_nodes/{node.name}/requirements.txt", b"")
    lines = [line.split(" #")[0].strip() for line in data.decode(errors="replace").splitlines()]
    own = [line for line in lines if line and not line.startswith("#")]
    return replace(node, requirements=(*node.requirements, *own))


def _environment(
    what: ExportInput, lock: uvlock.Lock, collected: dev_nodes.Collected
) -> Environment:
    """Return the environment with what travels along as it is: uv's lock, development nodes."""
    attachments = [
        Attachment(path=name, data=data, executable=name in collected.executable)
        for name, data in sorted({LOCK: lock.text.encode(), **collected.files}.items())
    ]
    environment = environment_of(what, extra=lock.extra)
    return replace(environment, attachments=tuple(attachments))


def _refuse_credentials(members: Mapping[str, bytes]) -> None:
    texts = ("pyproject.toml", "uv.lock", manifest.RECEIPT, manifest.NAME)
    wrong = [name for name in texts if checks.CREDENTIALS.search(members[name].decode())]
    if wrong:
        raise KilnError(
            f"a password stands in an address in {', '.join(wrong)}; nothing was written",
            remedy="name addresses without user and password; uv takes those from its settings",
        )


def _save(path: Path, data: bytes) -> bool:
    """Write tarball and checksum; return whether the tarball's bytes are new.

    A checksum that would be another goes first, for good, and the new one comes last: whoever is
    killed in between leaves a tarball without a checksum, never one beside another's.
    """
    sidecar = path.with_name(f"{path.name}.sha256")
    line = f"{files.sha256(data)}  {path.name}\n".encode()
    try:
        before = path.read_bytes() if path.is_file() else None
        if sidecar.is_file() and sidecar.read_bytes() != line:
            files.remove(sidecar)
        if before != data:
            files.write_bytes(path, data)
        if not sidecar.is_file():
            files.write_bytes(sidecar, line)
    except OSError as error:
        raise KilnError(
            f"{path}: cannot be written: {error.strerror}",
            remedy="make room on the disk, or see to the folder's owner and mode",
        ) from error
    if before not in {None, data}:
        console.note(f"replaced {path}, whose content was another")
    return before != data


def _content_faults(described: Manifest, members: Mapping[str, bytes]) -> list[str]:
    listed = described.files
    found = manifest.records(members, [n for n, record in listed.items() if record.executable])
    return [
        *(f"{name}: listed, but not there" for name in sorted(listed.keys() - found.keys())),
        *(f"{name}: there, but not listed" for name in sorted(found.keys() - listed.keys())),
        *(
            f"{name}: has sha256 {found[name].sha256}, listed is {listed[name].sha256}"
            for name in sorted(listed.keys() & found.keys())
            if found[name] != listed[name]
        ),
        *(
            [f"{manifest.RECEIPT}: is not the receipt that the manifest names"]
            if listed.get(manifest.RECEIPT, FileRecord(sha256="", size=0, executable=False)).sha256
            != described.receipt
            else []
        ),
    ]


def _sidecar_faults(path: Path) -> list[str]:
    sidecar = path.with_name(f"{path.name}.sha256")
    if not sidecar.is_file():
        return []
    digest = files.sha256_file(path)
    said = sidecar.read_text(encoding="utf-8", errors="replace").split(" ")[0]
    return [] if said == digest else [f"{sidecar.name} says {said}, the file has {digest}"]


def _is_canonical(path: Path, described: Manifest, members: Mapping[str, bytes]) -> bool:
    """Say whether the file is, but for how it is compressed, what the writer makes of `members`."""
    executable = [name for name, record in described.files.items() if record.executable]
    plain = plain_tar(members, described.epoch, executable=executable)
    return gzip.decompress(path.read_bytes()) == plain
