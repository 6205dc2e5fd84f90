"""Through an export, the richest form, nothing of any other kind of document is lost."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from tests.unit.documents.test_manifest_write import documents as manifests
from tests.unit.documents.test_roundtrip import bodies, models, unknown_keys
from tests.unit.documents.test_workflow import graphs

from comfykiln.documents import Kind, write
from comfykiln.documents.comfylock import format as comfylock
from comfykiln.documents.export import format as export
from comfykiln.documents.losses import losses
from comfykiln.documents.manifest import format as manifest
from comfykiln.documents.snapshot import format as snapshot
from comfykiln.documents.workflow import format as workflow

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def assert_kept(module: Any, document: Any, name: str) -> None:
    environment = module.parse(json.dumps(document).encode(), name).environment
    again = export.reread(write(environment, Kind.EXPORT))
    assert again == environment
    assert losses(environment, again) == ()


@QUICK
@given(bodies, unknown_keys)
def test_of_a_snapshot(body: dict[str, Any], more: dict[str, Any]) -> None:
    assert_kept(snapshot, {**body, **more}, "s.json")


@QUICK
@given(bodies, models, unknown_keys)
def test_of_a_comfy_lock(body: dict[str, Any], listed: list[Any], more: dict[str, Any]) -> None:
    document = {"basic": more, "custom_nodes": body, "models": listed, **more}
    assert_kept(comfylock, document, "comfy-lock.json")


@QUICK
@given(manifests)
def test_of_a_manifest(document: dict[str, Any]) -> None:
    assert_kept(manifest, document, "m.json")


@QUICK
@given(graphs)
def test_of_a_workflow(nodes: list[Any]) -> None:
    assert_kept(workflow, {"nodes": nodes}, "w.json")
