"""The receipt: what a verified image was found to be, without a clock, so that equals are equal."""

from __future__ import annotations

import json
import tarfile
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import comfykiln
from comfykiln.engine import engine as engines
from comfykiln.errors import KilnError
from comfykiln.locking.lockfiles import stand_ins_in
from comfykiln.system import files
from comfykiln.verify.configuration import PREFIX
from comfykiln.verify.nodes import found_nodes

if TYPE_CHECKING:
    from collections.abc import Mapping

    import docker

    from comfykiln.plan.plan import BuildPlan
    from comfykiln.verify.gathered import Gathered
    from comfykiln.verify.question import Answers

PATH = "/app/.kiln-receipt.json"
FORMAT = 2


def labels(plan: BuildPlan, gathered: Gathered) -> dict[str, str]:
    """Return the labels of the software image: versions, digests, origins, target."""
    base_name, _, base_digest = plan.base_ref.partition("@")
    return {
        "org.opencontainers.image.title": f"{plan.service.title} ({plan.target.name})",
        "org.opencontainers.image.version": plan.comfyui.version,
        "org.opencontainers.image.base.name": base_name,
        "org.opencontainers.image.base.digest": base_digest,
        f"{PREFIX}.version": comfykiln.__version__,
        f"{PREFIX}.image": plan.service.name,
        f"{PREFIX}.target": plan.target.name,
        f"{PREFIX}.comfyui.version": plan.comfyui.version,
        f"{PREFIX}.comfyui.commit": plan.comfyui.commit,
        f"{PREFIX}.torch": f"{plan.target.torch.versions['torch']}+{gathered.torch.local_tag}",
        f"{PREFIX}.lock": f"sha256:{plan.lock_digest}",
        **{f"{PREFIX}.origin.{use.thing}": f"{use.origin} {use.identity}" for use in gathered.uses},
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Software:
    """The image that was verified: its digest, its layers' digests, what it does at its start."""

    digest: str
    layers: tuple[str, ...]
    configuration: Mapping[str, Any]


def write(
    plan: BuildPlan, gathered: Gathered, answers: Answers, software: Software
) -> dict[str, Any]:
    """Return the receipt of a verified image."""
    stats = answers.probe["system_stats"]["system"]
    classes: Mapping[str, str] = answers.probe["node_classes"]
    return {
        "format": FORMAT,
        "made_by": f"comfykiln {comfykiln.__version__}",
        "image": plan.service.name,
        "target": plan.target.name,
        "plan": plan.as_json(),
        **_document(plan),
        "software": asdict(software) | {"layers": list(software.layers)},
        "origins": [
            {
                "thing": use.thing,
                "origin": use.origin,
                "identity": use.identity,
                "fallback": use.fallback,
            }
            for use in gathered.uses
        ],
        "found": {
            "comfyui": stats["comfyui_version"],
            "python": stats["python_version"],
            "torch": stats["pytorch_version"],
            "packages": dict(
                sorted(answers.probe["packages"].items(), key=lambda item: item[0].lower())
            ),
            "node_classes": len(classes),
            "packs": {
                pack: [name for name in names if name in classes]
                for pack, names in gathered.expectation.packs.items()
            },
            "failed_imports": [],
            "uid": answers.probe["process"]["uid"],
            "read_only_root": not answers.probe["process"]["root_writable"],
            "network": "none",
            "health": answers.health,
            **({} if gathered.nodes.empty else {"nodes": found_nodes(gathered.nodes, answers)}),
        },
        **({} if gathered.nodes.empty else _further(plan, gathered, answers)),
    }


def _further(plan: BuildPlan, gathered: Gathered, answers: Answers) -> dict[str, Any]:
    """Return what only images with custom nodes record beside what was found."""
    return {
        "resolution": _resolution(plan, gathered, answers),
        "libraries": list(gathered.expectation.libraries),
    }


def _document(plan: BuildPlan) -> dict[str, Any]:
    """Return what document the image was made from, and in what it differs from that."""
    if not plan.service.document:
        return {}
    return {"document": json.loads((plan.service.folder / "document.json").read_bytes())}


def _resolution(plan: BuildPlan, gathered: Gathered, answers: Answers) -> dict[str, Any]:
    """Return every decision of people that bent the solve or the judgement, with its reason."""
    service = plan.service
    stood_in = stand_ins_in(service.package_lock, plan.target.stand_ins)
    return {
        "overrides": {entry.requirement: entry.reason for entry in service.overrides},
        "dropped": dict(service.drop),
        "set_aside": list(gathered.lines.set_aside),
        "stand_ins": {
            name: {"by": entry.by, "reason": entry.reason} for name, entry in stood_in.items()
        },
        "from_git": {
            source.name: {"url": source.url, "ref": source.ref, "commit": source.commit}
            for source in gathered.nodes.lock.sources
        },
        "built_from_source": list(service.sdists),
        "accepted": dict(service.accepted),
        "complaints": sorted(answers.complaints + answers.unloadable),
    }


def read(client: docker.DockerClient, ref: str) -> dict[str, Any]:
    """Return the receipt inside the image `ref`; raises `KilnError` when there is none."""
    from docker.errors import NotFound  # noqa: PLC0415  # with docker-py

    engines.require_image(client, ref)
    container = client.containers.create(ref)
    try:
        stream, _ = container.get_archive(PATH)
        archive = BytesIO(b"".join(stream))
    except NotFound as error:
        raise KilnError(
            f"{ref} holds no receipt: it was not verified by comfykiln",
            remedy="build it with `./kiln build`",
        ) from error
    finally:
        container.remove(v=True)
    with tarfile.open(fileobj=archive) as tar:
        member = tar.extractfile(PATH.rpartition("/")[2])
        if member is None:
            raise KilnError(f"{ref}: the receipt is no file", remedy="build the image again")
        receipt: dict[str, Any] = json.loads(member.read())
    return receipt


def digest(receipt: Mapping[str, Any]) -> str:
    """Return the sha256 of the receipt's canonical form, as labels carry it."""
    return f"sha256:{files.sha256(files.canonical_json(receipt))}"
