"""Models that documents name, as entries of the list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfykiln.documents.workflow import format as workflow
from comfykiln.environment import Digest, Environment, Model, ModelSource, ModelUse
from comfykiln.models import records
from comfykiln.models.document import digest_of
from comfykiln.models.fromdocuments import combined, from_environment
from comfykiln.models.records import ModelEntry
from comfykiln.models.sources.addresses import normal_address
from comfykiln.parsing.faults import FaultyDocumentError

SHA = "ab" * 32


def entry(**fields: object) -> ModelEntry:
    values = {
        "name": "x.safetensors",
        "destination": "vae/x.safetensors",
        "criticality": "flexible",
    }
    return ModelEntry(**(values | fields))  # type: ignore[arg-type]  # as the callers give them


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        (
            "https://huggingface.co/o/r/resolve/main/sub/x%20y.safetensors?download=true",
            "hf://o/r@main/sub/x y.safetensors",
        ),
        ("https://huggingface.co/o/r/blob/abc/x.safetensors", "hf://o/r@abc/x.safetensors"),
        (
            "https://huggingface.co/o/r/resolve/refs%2Fpr%2F3/x.safetensors",
            "hf://o/r@refs%2Fpr%2F3/x.safetensors",
        ),
        (
            "https://huggingface.co/o/r/resolve/refs/pr/3/x.safetensors",
            "hf://o/r@refs/pr/3/x.safetensors",
        ),
        ("https://civitai.com/api/download/models/128078?type=Model", "civitai:128078"),
        ("https://civitai.com/models/1/name?modelVersionId=22", "civitai:22"),
        # What the short form cannot say stays as it is.
        *(
            (url, url)
            for url in (
                "https://civitai.com/api/download/models/128078?type=VAE",
                "https://civitai.com/api/download/models/128078?type=Model&size=full&fp=fp32",
                "https://huggingface.co/o/r/resolve/main/../x.safetensors",
            )
        ),
        ("https://civitai.com/models/1/name", "https://civitai.com/models/1/name"),
        ("https://huggingface.co/o/r", "https://huggingface.co/o/r"),
        ("https://host.example/x", "https://host.example/x"),
        ("s3://b/k", "s3://b/k"),
    ],
)
def test_addresses_of_hubs_get_their_short_form(url: str, normal: str) -> None:
    assert normal_address(url) == normal


def test_a_workflow_names_models() -> None:
    graph = {
        "nodes": [
            {
                "id": 1,
                "type": "CheckpointLoaderSimple",
                "widgets_values": ["x.safetensors"],
                "properties": {
                    "models": [
                        {
                            "name": "x.safetensors",
                            "url": "https://huggingface.co/o/r/resolve/main/x.safetensors",
                            "hash": SHA,
                            "hash_type": "SHA256",
                            "directory": "checkpoints",
                        }
                    ]
                },
            }
        ],
        "links": [],
        "version": 0.4,
    }
    environment = workflow.parse(json.dumps(graph).encode(), "w.json").environment
    named = from_environment(environment)
    assert named.notes == ()
    assert named.entries == (
        entry(
            destination="checkpoints/x.safetensors",
            sources=(records.ModelSource(url="hf://o/r@main/x.safetensors"),),
            sha256=SHA,
        ),
    )


def test_what_cannot_be_placed_or_fetched_is_told() -> None:
    models = (
        Model(filename="nowhere.safetensors"),
        Model(filename="off.safetensors", paths=("models/vae/off.safetensors",), disabled=True),
        Model(filename="by-kind.safetensors", category="loras", size=3),
        Model(
            filename="x.safetensors",
            paths=("models/vae/x.safetensors", "models/vae/twin.safetensors"),
            sources=(ModelSource(url="http://open.example/x"), ModelSource(url="s3://b/k")),
            criticality="optional",
            uses=(ModelUse(workflow="w", criticality="required"),),
        ),
    )
    named = from_environment(Environment(models=models))
    s3 = (records.ModelSource(url="s3://b/k"),)
    assert named.entries == (
        ModelEntry(
            name="by-kind.safetensors",
            destination="loras/by-kind.safetensors",
            criticality="flexible",
            size=3,
        ),
        entry(criticality="required", sources=s3),
        entry(
            name="vae/twin.safetensors",
            destination="vae/twin.safetensors",
            criticality="required",
            sources=s3,
        ),
    )
    assert [note.partition(":")[0] for note in named.notes] == [
        "nowhere.safetensors",
        "off.safetensors",
        "vae/x.safetensors",
        "vae/twin.safetensors",
    ]


def test_one_file_named_twice_is_one_entry() -> None:
    one = Model(
        filename="x.safetensors",
        paths=("models/vae/x.safetensors",),
        sources=(ModelSource(url="s3://b/one"),),
    )
    two = Model(
        filename="x.safetensors",
        paths=("models/vae/x.safetensors",),
        digests=(Digest(algorithm="sha256", value=SHA),),
        sources=(ModelSource(url="s3://b/one"), ModelSource(url="s3://b/two")),
    )
    named = from_environment(Environment(models=(one, two)))
    both = tuple(records.ModelSource(url=url) for url in ("s3://b/one", "s3://b/two"))
    assert named.entries == (entry(sources=both, sha256=SHA),)


def test_models_yaml_decides_and_gains_sources() -> None:
    own = entry(
        name="mine", criticality="required", sources=(records.ModelSource(url="s3://b/own"),)
    )
    theirs = entry(sources=(records.ModelSource(url="s3://b/theirs"),), sha256=SHA, size=5)
    other = entry(name="mine", destination="loras/y.safetensors")
    listed = records.ModelList(path=Path("models.yaml"), entries=(own,), digest=digest_of([own]))
    whole = combined(listed, [theirs, other])
    assert whole.entries == (
        entry(
            name="mine",
            criticality="required",
            sources=tuple(records.ModelSource(url=url) for url in ("s3://b/own", "s3://b/theirs")),
            sha256=SHA,
            size=5,
        ),
        entry(name="loras/y.safetensors", destination="loras/y.safetensors"),
    )
    with pytest.raises(FaultyDocumentError, match="by case only"):
        combined(whole, [entry(destination="VAE/x.safetensors")])
