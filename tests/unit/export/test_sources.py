"""An export is read back with the sources that it was written with, whatever their scheme."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from tests.support.addresses import BY_SCHEME, addresses
from tests.support.exports import made_input

from comfykiln.documents.convert import complete, convert, reread
from comfykiln.documents.export import parse as export
from comfykiln.documents.export.write import plain_members
from comfykiln.documents.formats import writable
from comfykiln.environment import Attachment, Digest, Environment, Model, ModelSource, ModelUse
from comfykiln.export import checks
from comfykiln.export.environment import PREFIX, environment_of
from comfykiln.export.tarball import ExportModel, ExportNode
from comfykiln.intake.models import choose
from comfykiln.parsing.tarballs import write_members
from comfykiln.system.gate import masked

if TYPE_CHECKING:
    from collections.abc import Sequence

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FOLDERS = ("checkpoints", "loras/sdxl", "custom_nodes/pack", "input")

sources = st.lists(addresses, max_size=4, unique=True)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)


@st.composite
def lists(draw: st.DrawFn) -> list[ExportModel]:
    """Models, some with the same bytes at two places, or with hashes that begin alike."""
    digests = [draw(hashes)] * draw(st.integers(1, 2)) + [draw(hashes)]
    digests.append(digests[0][:40] + draw(hashes)[:24])
    return [
        ExportModel(
            filename=f"{place}.safetensors",
            category=folder.partition("/")[0],
            relative_path=f"{folder}/{place}.safetensors",
            sha256=sha256,
            size=draw(st.integers(0, 2**40)),
            sources=tuple(draw(sources)),
            criticality=draw(st.sampled_from(["required", "flexible", "optional"])),
            used_by=("txt2img.json",) if draw(st.booleans()) else (),
            in_image=draw(st.booleans()),
        )
        for place, (sha256, folder) in enumerate(
            zip(digests, draw(st.permutations(FOLDERS)), strict=False)
        )
    ]


def exported(models: Sequence[ExportModel]) -> Environment:
    """What a build exports with these models, and what is read from it."""
    what = made_input(Path(), models=models, nodes=(), dev_nodes={})
    checks.check(what)
    data = write_members(plain_members(environment_of(what), PREFIX), what.epoch)
    parsed = export.parse(data, "core.tar.gz")
    assert parsed.notes == ()
    return parsed.environment


def meant(model: ExportModel) -> Model:
    uses = [
        ModelUse(
            workflow="txt2img",
            criticality=model.criticality,
            status="resolved" if model.in_image else "unresolved",
        )
    ]
    return Model(
        filename=model.filename,
        paths=(f"models/{model.relative_path}",),
        category=model.category,
        size=model.size,
        digests=(Digest(algorithm="sha256", value=model.sha256),),
        sources=tuple(ModelSource(url=url) for url in model.sources),
        uses=tuple(uses if model.used_by else ()),
    )


@QUICK
@given(lists())
def test_a_build_s_export_is_read_back_with_its_models(models: list[ExportModel]) -> None:
    assert exported(models).models == tuple(meant(model) for model in models)


@pytest.mark.parametrize("scheme", BY_SCHEME)
def test_building_from_an_export_asks_the_same_sources(scheme: str) -> None:
    @QUICK
    @given(st.lists(BY_SCHEME[scheme], min_size=1, max_size=4, unique=True))
    def check(urls: list[str]) -> None:
        model = ExportModel(
            filename="a.safetensors",
            category="vae",
            relative_path="vae/a.safetensors",
            sha256="0a" * 32,
            size=7,
            sources=tuple(urls),
        )
        (entry,), notes = choose(exported([model]))
        assert notes == ()
        assert [source.url for source in entry.sources] == urls
        assert (entry.destination, entry.sha256, entry.size) == ("vae/a.safetensors", "0a" * 32, 7)

    check()


@QUICK
@given(lists(), st.sampled_from(writable()))
def test_what_another_document_cannot_hold_is_told(models: list[ExportModel], kind: str) -> None:
    before = complete(exported(models), python="3.13.1")
    done = convert(before, kind)
    after = {path: model for model in reread(done.written).models for path in model.paths}
    told = [note.message for note in done.losses if note.path in ("models", "models[].sources")]
    for model in before.models:
        kept = after[model.paths[0]].sources if model.paths[0] in after else ()
        for source in set(model.sources) - set(kept):
            assert told, (kind, source)
            shown = any(masked(source.url) in text for text in told)
            assert shown or any(model.paths[0] in text or " more" in text for text in told)
    if kind == "export":
        assert done.losses == ()


def test_a_file_of_the_machine_that_wrote_it_counts_only_with_its_sha256() -> None:
    model = Model(
        filename="a.safetensors",
        paths=("models/vae/a.safetensors",),
        digests=(Digest(algorithm="sampled-blake3", value="0" * 16),),
        sources=(ModelSource(url="file:/etc/a"), ModelSource(url="https://h/a")),
    )
    what = environment_of(made_input(Path(), models=(), nodes=(), dev_nodes={}))
    data = write_members(plain_members(replace(what, models=(model,))), 0)
    parsed = export.parse(data, "core.tar.gz")
    assert [source.url for source in parsed.environment.models[0].sources] == ["https://h/a"]
    assert [note.message for note in parsed.notes] == ["'file:/etc/a' is no address: left out"]
    (entry,), notes = choose(replace(what, models=(model,)))
    assert [source.url for source in entry.sources] == ["https://h/a"]
    assert [note.message for note in notes] == [
        "vae/a.safetensors: 'file:/etc/a' is a file of another machine: left out"
    ]


def test_what_a_build_exports_is_the_environment_that_is_read() -> None:
    """One writer: nothing is in the tables that the environment does not say."""
    what = made_input(
        Path(),
        nodes=[
            ExportNode(
                name="pack",
                source="git",
                repository="https://git.example/pack",
                commit="0123456789" * 4,
                requirements=["nodelib==0.1"],
            ),
            ExportNode(
                name="other",
                source="registry",
                registry_id="other",
                version="1.2.3",
                download_url="https://cdn.example/other.zip",
            ),
        ],
        dev_nodes={},
        torch={"torch": "2.13.0+cpu", "torchvision": "0.28.0+cpu"},
        overrides=["gone; python_version < '0'"],
    )
    written = environment_of(what, extra=["unasked==1.5"])
    written = replace(written, attachments=(Attachment(path="uv.lock", data=b"version = 1\n"),))
    data = write_members(plain_members(written, PREFIX), what.epoch)
    assert export.parse(data, "core.tar.gz").environment == written
