"""Workflows in both JSON forms and inside images: packs, pins, models, what nobody provides."""

from __future__ import annotations

import json
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from comfykiln.documents import Kind, read
from comfykiln.documents.workflow import format as workflow
from comfykiln.documents.workflow.graph import core_types
from comfykiln.environment import (
    Digest,
    Environment,
    Model,
    ModelSource,
    ModelUse,
    Node,
    WidgetUse,
    Workflow,
)
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import FaultyDocumentError, Note
from comfykiln.parsing.limits import MAX_BYTES

DATA = Path(__file__).parent / "data"
COMMIT = "c661baadd9683c0033cd2a6ad90157c6d099a6c2"
OTHER = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
URL = "https://huggingface.co/example/models/resolve/main"


def node(kind: str, number: int = 1, **properties: Any) -> dict[str, Any]:
    values = properties.pop("widgets_values", [])
    return {"id": number, "type": kind, "properties": properties, "widgets_values": values}


def parsed(document: Any, name: str = "flow.json") -> Any:
    return workflow.parse(json.dumps(document).encode(), name)


def environment(*nodes: dict[str, Any], **more: Any) -> Environment:
    found: Environment = parsed({"nodes": list(nodes), "links": [], **more}).environment
    return found


def messages(*nodes: dict[str, Any]) -> list[str]:
    return [str(note) for note in parsed({"nodes": list(nodes)}).notes]


def test_packs_and_pins() -> None:
    found = environment(
        node("KSampler", cnr_id="comfy-core", ver="0.3.50"),
        node("Essential", cnr_id="comfyui_essentials", ver="1.1.0"),
        node("Kj", cnr_id="comfyui-kjnodes", ver=COMMIT),
        node("Tea", cnr_id="teacache", aux_id="welltop-cn/ComfyUI-TeaCache", ver=COMMIT),
        node("Released", cnr_id="released", aux_id="o/released", ver="2.0"),
        node("Stream", aux_id="livepeer/ComfyUI-Stream-Pack", ver=OTHER),
        node("Short", aux_id="o/short", ver=OTHER[:9]),
        node("Tagged", aux_id="o/tagged", ver="1.0.5"),
        node("Floating", cnr_id="floating", ver="nightly"),
        node("Nothing", cnr_id="nothing"),
    )
    github = "https://github.com/"
    assert found.nodes == (
        Node(
            name="comfyui_essentials",
            source="registry",
            registry_id="comfyui_essentials",
            version="1.1.0",
        ),
        Node(
            name="comfyui-kjnodes", source="registry", registry_id="comfyui-kjnodes", commit=COMMIT
        ),
        Node(
            name="teacache",
            source="git",
            url=f"{github}welltop-cn/ComfyUI-TeaCache",
            registry_id="teacache",
            commit=COMMIT,
        ),
        Node(
            name="released",
            source="registry",
            url=f"{github}o/released",
            registry_id="released",
            version="2.0",
        ),
        Node(
            name="ComfyUI-Stream-Pack",
            source="git",
            url=f"{github}livepeer/ComfyUI-Stream-Pack",
            commit=OTHER,
        ),
        Node(name="short", source="git", url=f"{github}o/short", ref=OTHER[:9]),
        Node(name="tagged", source="git", url=f"{github}o/tagged", ref="1.0.5"),
        Node(name="floating", source="registry", registry_id="floating"),
        Node(name="nothing", source="registry", registry_id="nothing"),
    )


def test_the_workflow_itself_is_kept_and_described() -> None:
    document = {
        "nodes": [
            node("KSampler"),
            node("Note"),
            node("Kj", cnr_id="kj", ver=COMMIT),
            node("Kj", 2),
            node("Unheard Of"),
        ]
    }
    data = json.dumps(document).encode()
    result = workflow.parse(data, "some/my flow.json")
    assert (result.kind, result.form) == (Kind.WORKFLOW, "ui")
    assert result.environment.workflows == (
        Workflow(
            name="my flow",
            data=data,
            format="ui",
            node_types=("Kj", "Unheard Of"),
            packs=("kj",),
            unresolved=("Unheard Of",),
            node_map=(("Kj", "kj"),),
        ),
    )
    assert result.notes[-1] == Note(
        path="$", rule="workflow.unresolved", message="no known pack provides: Unheard Of"
    )


def test_core_nodes_without_a_word_are_known_by_the_shipped_list() -> None:
    assert len(core_types()) == 827
    assert {"KSampler", "CLIPTextEncode", "EmptyHunyuanVideo15Latent", "SaveImageWebsocket"} <= (
        core_types()
    )
    found = environment(*(node(kind) for kind in ("KSampler", "VAEDecode", "FluxGuidance")))
    assert found.nodes == ()
    assert found.workflows[0].node_types == ()
    named_core = environment(node("OfTomorrow", cnr_id="comfy-core", ver="9.0"))
    assert named_core.workflows[0].unresolved == ()
    taken_over = environment(node("KSampler", cnr_id="other-pack", ver="1.0"))
    assert taken_over.workflows[0].node_types == ("KSampler",)


def test_subgraphs_and_group_nodes_are_looked_into() -> None:
    subgraph = "6b4b0518-e42a-4e8b-a377-f0da6dacfcac"
    entry = {"name": "a.safetensors", "url": f"{URL}/a.safetensors", "directory": "vae"}
    found = environment(
        node(subgraph, 7),
        node("workflow>Mine", 8),
        node("workflow/Mine", 9),
        definitions={
            "subgraphs": [
                {
                    "id": subgraph,
                    "nodes": [
                        node("Deep", 3, cnr_id="deep", ver="1.0"),
                        node("VAELoader", 4, models=[entry], widgets_values=["a.safetensors"]),
                    ],
                }
            ]
        },
        extra={
            "groupNodes": {"Mine": {"nodes": [node("Grouped", 0, cnr_id="grouped", ver="2.0")]}}
        },
    )
    assert [entry.name for entry in found.nodes] == ["deep", "grouped"]
    assert found.workflows[0].unresolved == ()
    assert [entry.node_id for use in found.models[0].uses for entry in use.widgets] == [
        f"{subgraph}:4"
    ]


def test_definitions_inside_definitions_are_looked_into() -> None:
    inner = {"id": "in", "nodes": [node("Deeper", cnr_id="deeper", ver="2.0")]}
    outer = {"id": "out", "nodes": [node("in")], "definitions": {"subgraphs": [inner]}}
    found = environment(node("out"), definitions={"subgraphs": [outer]})
    assert [(entry.name, entry.version) for entry in found.nodes] == [("deeper", "2.0")]
    assert found.workflows[0].unresolved == ()
    broken = {**outer, "definitions": {"subgraphs": [{"id": "in", "nodes": [{}]}]}}
    with pytest.raises(FaultyDocumentError) as caught:
        parsed({"nodes": [], "definitions": {"subgraphs": [broken]}})
    place = "$.definitions.subgraphs[0].definitions.subgraphs[0].nodes[0]"
    assert [(record.path, record.rule) for record in caught.value.records] == [
        (place, "workflow.required")
    ]


def test_models_that_the_graph_itself_lists() -> None:
    entry = {"name": "a.safetensors", "url": f"{URL}/a.safetensors", "directory": "vae"}
    loader = node("VAELoader", 4, models=[entry], widgets_values=["a.safetensors"])
    alone = environment(node("KSampler"), models=[entry])
    assert alone.models == (
        Model(
            filename="a.safetensors",
            paths=("models/vae/a.safetensors",),
            category="vae",
            sources=(ModelSource(url=f"{URL}/a.safetensors"),),
            uses=(ModelUse(workflow="flow"),),
        ),
    )
    both = environment(loader, models=[entry])
    assert [[use.node_id for use in model.uses[0].widgets] for model in both.models] == [["4"]]


def test_files_in_maps_of_values_are_named_too() -> None:
    values = [{}, {"on": True, "lora": "style.safetensors", "strength": 1}]
    loader = node("Power Lora Loader", cnr_id="rgthree-comfy", ver="1.0.0", widgets_values=values)
    said = "named without an address to fetch it from: style.safetensors"
    assert messages(loader) == [f"$.nodes[0]: {said} [workflow.unsourced-model]"]


def test_a_commit_in_capitals_is_a_commit() -> None:
    found = environment(node("Kj", aux_id="o/r", ver=COMMIT.upper()))
    assert found.nodes == (
        Node(name="r", source="git", url="https://github.com/o/r", commit=COMMIT),
    )


def test_the_form_that_the_server_runs() -> None:
    document = {
        "3": {"class_type": "KSampler", "inputs": {"seed": 1}},
        "4:1": {"class_type": "ADE_AnimateDiffCombine", "inputs": {"model": "mm_sd_v14.ckpt"}},
    }
    expected_notes = (
        Note(
            path="$",
            rule="workflow.unresolved",
            message="no known pack provides: ADE_AnimateDiffCombine",
        ),
        Note(
            path='$["4:1"]',
            rule="workflow.unsourced-model",
            message="named without an address to fetch it from: mm_sd_v14.ckpt",
        ),
    )
    plain = parsed(document)
    assert plain.form == "api"
    assert plain.environment.workflows[0].unresolved == ("ADE_AnimateDiffCombine",)
    assert plain.notes == expected_notes
    sent = parsed({"prompt": document, "client_id": "x"})
    assert sent.environment.workflows[0].unresolved == ("ADE_AnimateDiffCombine",)
    assert sent.form == "api"


def test_models_with_every_word_that_is_said_of_them() -> None:
    sha256 = "7B8850F1961E1CF8A77CCA4C964A358D303F490833C6C087D0CFF4B2F99DB2AF"
    first = {
        "name": "umt5.safetensors",
        "url": f"{URL}/umt5.safetensors?download=true",
        "hash": sha256,
        "hash_type": "SHA256",
        "directory": "text_encoders",
    }
    second = {**first, "url": f"{URL}/mirror.safetensors", "hash": None}
    autov2 = {"name": "sub/style.pt", "hash": "7b8850f196", "hash_type": "AutoV2"}
    found = environment(
        node("CLIPLoader", 1, models=[first], widgets_values=["umt5.safetensors", "wan"]),
        node("CLIPLoader", 2, models=[second], widgets_values=["sub\\umt5.safetensors"]),
        node("LoraLoader", 3, models=[autov2], widgets_values={"name": "style.pt"}),
    )
    assert found.models == (
        Model(
            filename="umt5.safetensors",
            paths=("models/text_encoders/umt5.safetensors",),
            category="text_encoders",
            digests=(Digest(algorithm="sha256", value=sha256.lower()),),
            sources=(
                ModelSource(url=f"{URL}/umt5.safetensors?download=true"),
                ModelSource(url=f"{URL}/mirror.safetensors"),
            ),
            uses=(
                ModelUse(
                    workflow="flow",
                    widgets=(
                        WidgetUse(
                            node_id="1", node_type="CLIPLoader", index=0, value="umt5.safetensors"
                        ),
                        WidgetUse(
                            node_id="2",
                            node_type="CLIPLoader",
                            index=0,
                            value="sub\\umt5.safetensors",
                        ),
                    ),
                ),
            ),
        ),
        Model(
            filename="style.pt",
            digests=(Digest(algorithm="autov2", value="7b8850f196"),),
            uses=(ModelUse(workflow="flow"),),
        ),
    )


def test_what_is_said_of_pins() -> None:
    unknown = "only the registry knows the repository of its commit"
    assert messages(
        node("A", cnr_id="floating", ver="nightly"),
        node("B", cnr_id="mixed", ver="1.0"),
        node("C", cnr_id="Mixed", ver="1.0"),
        node("D", cnr_id="mixed", ver=COMMIT),
        node("E", cnr_id="registered", ver=COMMIT),
        node("KSampler", cnr_id="comfy-core", ver="0.3.9"),
        node("VAEDecode", cnr_id="comfy-core", ver="0.3.50"),
    ) == [
        "$.nodes[0]: floating is pinned to nothing [workflow.floating]",
        f"$.nodes[1]: mixed is saved at 1.0, which counts, and {COMMIT} [workflow.mixed-pins]",
        f"$.nodes[4]: registered: {unknown} [workflow.no-repository]",
        "$: its newest core node was saved by ComfyUI 0.3.50 [workflow.comfyui]",
    ]


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    (node("A", cnr_id="../x"), "$.nodes[0].properties.cnr_id", "workflow.cnr-id"),
    (node("A", cnr_id="-x"), "$.nodes[0].properties.cnr_id", "workflow.cnr-id"),
    (node("A", aux_id="only"), "$.nodes[0].properties.aux_id", "workflow.aux-id"),
    (node("A", aux_id="a/../b"), "$.nodes[0].properties.aux_id", "workflow.aux-id"),
    (node("A", aux_id="a/b.."), "$.nodes[0].properties.aux_id", "workflow.aux-id"),
    (node("A", cnr_id="a", ver="--upload-pack=x"), "$.nodes[0]", "ref.dash"),
    (node("A", cnr_id=5), "$.nodes[0].properties.cnr_id", "workflow.type"),
    ({"id": 1}, "$.nodes[0]", "workflow.required"),
    (
        node("A", models=[{"url": "https://a/b"}]),
        "$.nodes[0].properties.models[0]",
        "workflow.required",
    ),
    (
        node("A", models=[{"name": "../../x.pt", "directory": "vae"}]),
        "$.nodes[0].properties.models[0].name",
        "name.reserved",
    ),
    (
        node("A", models=[{"name": "x.pt", "directory": "vae", "url": "file:///etc/passwd"}]),
        "$.nodes[0].properties.models[0].url",
        "url.transport",
    ),
    (
        node("A", models=[{"name": "x.pt", "directory": "vae", "hash": "abc"}]),
        "$.nodes[0].properties.models[0].hash",
        "workflow.hash",
    ),
]


@pytest.mark.parametrize(("broken", "path", "rule"), FAULTS)
def test_a_broken_rule_is_told_with_its_place(broken: Any, path: str, rule: str) -> None:
    with pytest.raises(FaultyDocumentError) as caught:
        parsed({"nodes": [broken]})
    assert [(fault.path, fault.rule) for fault in caught.value.records] == [(path, rule)]


def test_two_digests_of_one_file_must_agree() -> None:
    entry = {"name": "x.pt", "directory": "vae", "hash": "a" * 64}
    with pytest.raises(FaultyDocumentError) as caught:
        environment(node("A", models=[entry]), node("B", models=[{**entry, "hash": "b" * 64}]))
    assert [fault.problem for fault in caught.value.records] == [
        "x.pt has another sha256 than at $.nodes[0].properties.models[0]"
    ]


@pytest.mark.parametrize("document", [[], "x", {}, {"nodes": {}}, {"3": {"inputs": {}}}])
def test_what_is_no_workflow_is_refused(document: Any) -> None:
    with pytest.raises(FaultyDocumentError):
        parsed(document)


@pytest.mark.parametrize(
    "document",
    [
        {"nodes": [node("A")] * 10_001},
        {"nodes": [], "definitions": {"subgraphs": [{"id": "x", "nodes": [node("A")] * 10_001}]}},
        {str(number): {"class_type": "A"} for number in range(10_001)},
    ],
)
def test_a_graph_of_too_many_nodes_is_refused(document: Any) -> None:
    with pytest.raises(FaultyDocumentError) as caught:
        parsed(document)
    assert str(caught.value) == (
        "flow.json: 1 fault\n  $: 10,001 nodes; expected at most 10,000 [workflow.length]"
    )


PACK = Node(name="my-pack", source="registry", registry_id="my-pack", version="1.2.3")


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("workflow.png", "ui-in-png"),
        ("workflow-packed.png", "ui-in-png"),
        ("workflow-utf8.png", "ui-in-png"),
        ("workflow.webp", "ui-in-webp"),
    ],
)
def test_images_as_comfyui_saves_them(name: str, form: str) -> None:
    """The files were made by Pillow with the calls of ComfyUI's SaveImage and SaveAnimatedWEBP."""
    result = read(DATA / name)
    assert result.form == form
    assert result.environment.nodes == (PACK,)
    found = result.environment.workflows[0]
    assert found.name == Path(name).stem
    assert json.loads(found.data)["nodes"][0]["widgets_values"] == ["ä"]
    assert workflow.parse((DATA / name).read_bytes(), name).environment == result.environment


@pytest.mark.parametrize("name", ["plain.png", "plain.webp"])
def test_an_image_without_a_workflow_is_told(name: str) -> None:
    with pytest.raises(DocumentError, match=r"the (png|webp) file holds no workflow"):
        read(DATA / name)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of these chunks, with right checksums."""
    out = b"\x89PNG\r\n\x1a\n"
    for kind, data in (*chunks, (b"IEND", b"")):
        out += struct.pack(">I", len(data)) + kind + data
        out += struct.pack(">I", zlib.crc32(kind + data))
    return out


API = b'{"1": {"class_type": "KSampler"}}'


def test_the_editors_form_goes_before_the_servers() -> None:
    both = png((b"tEXt", b"prompt\0" + API), (b"tEXt", b'workflow\0{"nodes": []}'))
    assert workflow.parse(both, "x.png").form == "ui-in-png"
    assert workflow.parse(png((b"tEXt", b"prompt\0" + API)), "x.png").form == "api-in-png"
    animated = png((b"comf", b"prompt\0" + API))
    assert workflow.parse(animated, "x.png").form == "api-in-png"


@pytest.mark.parametrize("nothing", [b"", b"{}", b"null", b" {} "])
def test_an_empty_graph_beside_what_the_server_ran(nothing: bytes) -> None:
    prompt = b'prompt\0{"1": {"class_type": "KSampler", "inputs": {}}}'
    image = png((b"tEXt", b"workflow\0" + nothing), (b"tEXt", prompt))
    assert workflow.parse(image, "x.png").form == "api-in-png"


def test_a_keyword_that_is_packed_again_and_again() -> None:
    text = b"workflow\0\0" + zlib.compress(b" " * (MAX_BYTES - 10))
    started = time.process_time()
    with pytest.raises(DocumentError):
        workflow.parse(png(*[(b"zTXt", text)] * 800), "x.png")
    assert time.process_time() - started < 1


def exif(count: int, text: bytes) -> bytes:
    """A WebP whose directory names one text `count` times."""
    where = 10 + 12 * count
    entry = struct.pack("<HHII", 0x010F, 2, len(text), where)
    tiff = b"II*\0" + struct.pack("<IH", 8, count) + entry * count + text
    return b"RIFF\0\0\0\0WEBPEXIF" + struct.pack("<I", len(tiff)) + tiff


@pytest.mark.parametrize("key", [b"", b"workflow:"])
def test_a_directory_that_names_megabytes_again_and_again(key: bytes) -> None:
    started = time.process_time()
    with pytest.raises(DocumentError):
        workflow.parse(exif(65_535, key + b"x" * 9_000_000), "x.webp")
    assert time.process_time() - started < 1


def test_latin_letters_in_a_text_chunk_are_read_as_the_format_says() -> None:
    data = png((b"tEXt", b'workflow\0{"nodes": [{"type": "caf\xe9"}]}'))
    assert workflow.parse(data, "x.png").environment.workflows[0].unresolved == ("café",)


BOMB = zlib.compress(b" " * (MAX_BYTES + 1))


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (png((b"zTXt", b"workflow\0\0" + BOMB)), "reading.size"),
        (png((b"iTXt", b"workflow\0\1\0\0\0" + BOMB)), "reading.size"),
        (png((b"zTXt", b"workflow\0\0garbage")), "workflow.image"),
        (png((b"tEXt", b"workflow\0{}"))[:-30], "workflow.image"),
        (png((b"tEXt", b"workflow\0{}")).replace(b"{}", b"[]"), "workflow.image"),
        (b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 2**31, b"tEXt"), "reading.size"),
        (b"\x89PNG\r\n\x1a\n" + png((b"a", b""))[8:], "workflow.image"),
        (png(*[(b"IDAT", b"")] * 100_001), "workflow.image"),
        (b"RIFF\0\0\0\0WEBPEXIF" + struct.pack("<I", 4) + b"XXXX", "workflow.image"),
        (b"RIFF\0\0\0\0WEBPEXIF" + struct.pack("<I", 8) + b"II*\0\xff\xff\0\0", "workflow.image"),
        (b"RIFF\0\0\0\0WEBPEXIF" + struct.pack("<I", 2**31), "reading.size"),
        (png((b"tEXt", b"workflow\0{")), "reading.syntax"),
    ],
)
def test_broken_and_hostile_images_are_refused_by_rule(data: bytes, rule: str) -> None:
    with pytest.raises(FaultyDocumentError) as caught:
        workflow.parse(data, "x.png")
    assert [fault.rule for fault in caught.value.records] == [rule]


def test_the_size_of_a_picture_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    head, tail = png((b"IDAT", b"")), png((b"tEXt", b'workflow\0{"nodes": []}'))
    with path.open("wb") as file:
        file.write(head[:8] + struct.pack(">I", 50_000_000) + b"IDAT")
        file.seek(50_000_004, 1)
        file.write(tail[8:])
    assert read(path).form == "ui-in-png"


def test_one_workflow_is_written_as_it_was() -> None:
    result = parsed({"nodes": [node("A", cnr_id="a", ver="1.0")]})
    written = workflow.write(result.environment)
    assert written.filename == "flow.json"
    assert workflow.parse(written.data, written.filename).environment == result.environment
    with pytest.raises(DocumentError, match="holds 0 workflows"):
        workflow.write(Environment())


words = st.text("abcdefghij0123456789-", min_size=1, max_size=8).map(lambda text: f"a{text}")
properties = st.fixed_dictionaries(
    {},
    optional={
        "cnr_id": words,
        "aux_id": st.builds("{}/{}".format, words.map(lambda text: text.rstrip("-")), words),
        "ver": st.one_of(
            st.just("1.2.3"),
            st.just("nightly"),
            st.text("0123456789abcdef", min_size=40, max_size=40),
        ),
    },
)
graphs = st.lists(
    st.builds(lambda kind, said: {"id": 1, "type": kind, "properties": said}, words, properties),
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(graphs)
def test_every_type_is_either_somebodys_or_listed(nodes: list[Any]) -> None:
    found = parsed({"nodes": nodes}).environment
    described = found.workflows[0]
    named = {kind for kind, _ in described.node_map}
    assert named | set(described.unresolved) == set(described.node_types)
    assert not named & set(described.unresolved)
    assert set(described.packs) <= {entry.name for entry in found.nodes}
    assert parsed({"nodes": nodes}).environment == found
