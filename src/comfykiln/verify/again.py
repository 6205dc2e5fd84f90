"""`verify REF`: question a built image again and hold the answers against its own receipt."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from comfykiln.engine import engine
from comfykiln.errors import KilnError
from comfykiln.oci.images import MODELS_LABEL
from comfykiln.parsing.values import normal_name
from comfykiln.system import console
from comfykiln.verify import question, receipt
from comfykiln.verify.configuration import (
    RECEIPT_LABEL,
    SOFTWARE_LABEL,
    changes,
    configuration_of,
)
from comfykiln.verify.models import require_visible

if TYPE_CHECKING:
    from collections.abc import Mapping

CHANGED = "the image was changed after it was sealed: build or pull it again"


def verify_ref(ref: str) -> dict[str, Any]:
    """Return the receipt of `ref` when image and receipt still agree, else raise `KilnError`."""
    engine.connect()
    client = engine.client()
    image = engine.require_image(client, ref)
    record = receipt.read(client, ref)
    _require_receipt(ref, engine.labels(image), record)
    _require_configuration(ref, image.attrs["Config"], record["software"]["configuration"])
    models = json.loads(engine.labels(image).get(MODELS_LABEL, "[]"))
    _require_layers(ref, engine.layer_digests(image), record["software"]["layers"], models)
    require_visible(client, ref, {str(model["path"]): int(model["size"]) for model in models})
    with console.timed("verify: no network, read-only root"):
        expected = expectation(record)
        answers = question.question(client, ref, expected.libraries)
        faults = question.judge(answers, expected)
    if faults:
        raise question.rejected(ref, faults, answers)
    return record


def _require_receipt(ref: str, labels: Mapping[str, str], record: Mapping[str, Any]) -> None:
    """Raise `KilnError` unless the labels name this receipt, and it is of today's form."""
    named = {RECEIPT_LABEL: receipt.digest(record)}
    if record.get("format") == receipt.FORMAT:
        named[SOFTWARE_LABEL] = record["software"]["digest"]
    if any(labels.get(label) != digest for label, digest in named.items()):
        raise KilnError(
            f"the receipt inside {ref} is not the one that its label names", remedy=CHANGED
        )
    if record.get("format") != receipt.FORMAT:
        raise KilnError(
            f"the receipt inside {ref} is of form {record.get('format')}, which says nothing of "
            f"what the image does at its start (today's is {receipt.FORMAT})",
            remedy="build the image again",
        )


def _require_configuration(ref: str, config: Mapping[str, Any], sealed: Mapping[str, Any]) -> None:
    """Raise `KilnError` unless the image does at its start what the verified one does."""
    if lines := changes(configuration_of(config), sealed):
        listed = "\n".join(f"    {line}" for line in lines)
        raise KilnError(
            f"the configuration of {ref} is not the one that was verified:\n{listed}",
            remedy=CHANGED,
        )


def _require_layers(
    ref: str, layers: list[str], software: list[str], models: list[dict[str, Any]]
) -> None:
    """Raise `KilnError` unless the layers are the software, its receipt and the models, no more."""
    added = list(dict.fromkeys(str(model["layer"]) for model in models))
    rest = layers[len(software) :]
    if layers[: len(software)] != software or len(rest) != 1 + len(added) or rest[1:] != added:
        raise KilnError(
            f"the layers of {ref} are not those that were verified",
            remedy=CHANGED,
        )


def expectation(record: dict[str, Any]) -> question.Expectation:
    """Return what an image with this receipt must answer again."""
    found = record["found"]
    nodes = {name: entry for name, entry in found.get("nodes", {}).items() if not entry["disabled"]}
    stand_ins = record.get("resolution", {}).get("stand_ins", {})
    accepted = record.get("resolution", {}).get("accepted", {})
    version, _, local = found["torch"].partition("+")
    return question.Expectation(
        comfyui=found["comfyui"],
        torch={"torch": version},
        local_tag=local,
        packages={normal_name(name): version for name, version in found["packages"].items()},
        packs=found["packs"],
        nodes=tuple(nodes),
        without_classes=frozenset(name for name, node in nodes.items() if not node["classes"]),
        accepted=frozenset(accepted),
        stand_ins=frozenset(stand_ins),
        libraries=tuple(record["libraries"]) if "libraries" in record else (),
    )
