"""What the receipt of an image says, and what is said of an image without a whole one."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from docker.errors import NotFound
from tests.support.nodesets import git_node

import comfykiln
from comfykiln.errors import KilnError
from comfykiln.gather.gather import Parts
from comfykiln.gather.nodes import NodeSet
from comfykiln.gather.pins import NodePins
from comfykiln.origins.base import BaseImage
from comfykiln.origins.torch import TorchChoice
from comfykiln.plan.origins import OriginUse
from comfykiln.plan.project import Project
from comfykiln.plan.services import Override
from comfykiln.plan.targets import StandIn
from comfykiln.verify import again, receipt
from comfykiln.verify.expected import pack_nodes
from comfykiln.verify.gathered import Gathered, gathered_of
from comfykiln.verify.question import Answers

if TYPE_CHECKING:
    import docker

    from comfykiln.plan.plan import BuildPlan

ROOT = Path(__file__).parents[3]
COMPLAINT = "The package `decord` was built for a different platform"
UNLOADABLE = "decode: libdecode.so: libcuda.so.1: cannot open shared object file"


@pytest.fixture
def plan(repository: Path) -> BuildPlan:
    return Project(root=repository).plan("cpu", "core")


def gathered(plan: BuildPlan, nodes: NodeSet | None = None) -> Gathered:
    """Everything from outside, torch from its own index."""
    use = OriginUse(
        thing="comfyui",
        identity="commit of comfyui",
        origin="sdist",
        detail="for people",
        fallback=True,
    )
    return gathered_of(
        plan,
        Parts(comfyui=Path("/comfyui"), use=use, nodes=NodeSet() if nodes is None else nodes),
        base=BaseImage(override="docker-image://base"),
        torch=TorchChoice(index="https://t.example", requirements=("torch==2",), local_tag="cpu"),
        uses=(use,),
    )


def answers(plan: BuildPlan, **changes: Any) -> Answers:
    """Return what a server said that has two of our own pack's classes and one node."""
    (pack,) = plan.service.local_nodes
    names = pack_nodes(pack)[:2]
    found = Answers(
        probe={
            "system_stats": {
                "system": {
                    "comfyui_version": "0.30.0",
                    "pytorch_version": "2.13.0+cpu",
                    "python_version": "3.13.5 (main) [GCC]",
                }
            },
            "node_classes": {**dict.fromkeys(names, "custom_nodes.x"), "Good": "custom_nodes.good"},
            "packages": {"pip": "26.0", "PyYAML": "6.0.3", "numpy": "2.2.6"},
            "process": {"uid": 1000, "root_writable": False, "state_writable": True},
        },
        log=("   0.2 seconds: /app/custom_nodes/good",),
        health="healthy",
        stopped=0,
        start_seconds=7.0,
        stop_seconds=0.4,
    )
    return replace(found, **changes)


SOFTWARE = receipt.Software(
    digest="sha256:5",
    layers=("sha256:1", "sha256:2"),
    configuration={"User": "1000:1000"},
)


def expected(plan: BuildPlan) -> dict[str, Any]:
    """Return the whole receipt of an image without custom nodes."""
    (pack,) = plan.service.local_nodes
    return {
        "format": 2,
        "made_by": f"comfykiln {comfykiln.__version__}",
        "image": "core",
        "target": "cpu",
        "plan": plan.as_json(),
        "software": {
            "digest": "sha256:5",
            "layers": ["sha256:1", "sha256:2"],
            "configuration": {"User": "1000:1000"},
        },
        "origins": [
            {
                "thing": "comfyui",
                "origin": "sdist",
                "identity": "commit of comfyui",
                "fallback": True,
            }
        ],
        "found": {
            "comfyui": "0.30.0",
            "python": "3.13.5 (main) [GCC]",
            "torch": "2.13.0+cpu",
            "packages": {"numpy": "2.2.6", "pip": "26.0", "PyYAML": "6.0.3"},
            "node_classes": 3,
            "packs": {pack.name: pack_nodes(pack)[:2]},
            "failed_imports": [],
            "uid": 1000,
            "read_only_root": True,
            "network": "none",
            "health": "healthy",
        },
    }


def test_the_receipt_of_an_image_without_custom_nodes(plan: BuildPlan) -> None:
    record = receipt.write(plan, gathered(plan), answers(plan), SOFTWARE)
    assert record == expected(plan)
    assert list(record["found"]["packages"]) == ["numpy", "pip", "PyYAML"]


def test_a_root_that_can_be_written_to_is_written_down(plan: BuildPlan) -> None:
    found = answers(plan)
    process = {"uid": 1001, "root_writable": True, "state_writable": True}
    changed = replace(found, probe={**found.probe, "process": process})
    record = receipt.write(plan, gathered(plan), changed, SOFTWARE)
    whole = expected(plan)
    assert record == whole | {"found": whole["found"] | {"uid": 1001, "read_only_root": False}}


def test_no_clock_goes_into_it(plan: BuildPlan) -> None:
    quick, slow = (
        receipt.write(
            plan, gathered(plan), answers(plan, start_seconds=at, stop_seconds=at), SOFTWARE
        )
        for at in (1.0, 4.0)
    )
    assert receipt.digest(quick) == receipt.digest(slow)


def test_an_image_from_a_document_names_it(plan: BuildPlan) -> None:
    made = replace(plan, service=replace(plan.service, document="snapshot"))
    path = made.service.folder / "document.json"
    path.write_text('{"kind": "snapshot", "differences": []}', "utf-8")
    record = receipt.write(made, gathered(made), answers(plan), SOFTWARE)
    assert record["document"] == {"kind": "snapshot", "differences": []}


def test_with_custom_nodes_it_has_them_and_what_people_decided(plan: BuildPlan) -> None:
    service = replace(
        plan.service,
        overrides=(Override(requirement="numpy==2.2.6", reason="older than its code"),),
        drop={"useless": "nobody calls it"},
        accepted={"decord": "works"},
        sdists=("fvcore",),
    )
    lock = service.package_lock
    lock.write_text(lock.read_text("utf-8") + "# in place of gpu-thing: thing\n", "utf-8")
    target = replace(plan.target, stand_ins={"gpu-thing": StandIn(by="thing", reason="same files")})
    node = git_node("good", requirements="useless==1\ntorch>=2\nscipy\n")
    made = replace(plan, service=service, target=target)
    record = receipt.write(
        made,
        gathered(made, NodeSet(pins=NodePins(git=(node.pin,)), git=(node,))),
        answers(plan, complaints=(COMPLAINT,), unloadable=(UNLOADABLE,)),
        SOFTWARE,
    )
    assert record["found"]["nodes"] == {
        "good": {
            "url": node.pin.url,
            "commit": node.pin.commit,
            "submodules": {},
            "lacking": [],
            "disabled": False,
            "imported": True,
            "classes": 1,
        }
    }
    assert record["resolution"] == {
        "overrides": {"numpy==2.2.6": "older than its code"},
        "dropped": {"useless": "nobody calls it"},
        "set_aside": [
            "good: useless==1 (dropped: nobody calls it)",
            "good: torch>=2 (the torch family belongs to the target)",
        ],
        "stand_ins": {"gpu-thing": {"by": "thing", "reason": "same files"}},
        "from_git": {},
        "built_from_source": ["fvcore"],
        "accepted": {"decord": "works"},
        "complaints": [COMPLAINT, UNLOADABLE],
    }
    assert "numpy" in record["libraries"]
    # What the receipt says is what a later question holds the image against.
    asked = again.expectation(record)
    assert (asked.comfyui, asked.torch, asked.local_tag) == ("0.30.0", {"torch": "2.13.0"}, "cpu")
    assert (asked.nodes, asked.without_classes) == (("good",), frozenset())
    assert (asked.accepted, asked.stand_ins) == (frozenset({"decord"}), frozenset({"gpu-thing"}))
    assert asked.packages == {"numpy": "2.2.6", "pip": "26.0", "pyyaml": "6.0.3"}
    assert asked.libraries == tuple(record["libraries"])


def test_a_node_that_is_disabled_is_not_asked_for_again() -> None:
    nodes = {
        "good": {"disabled": False, "classes": 2},
        "pages": {"disabled": False, "classes": 0},
        "parked": {"disabled": True, "classes": 0},
    }
    found = {"comfyui": "1", "torch": "2.13.0+cpu", "packages": {}, "packs": {}, "nodes": nodes}
    asked = again.expectation({"found": found})
    assert (asked.nodes, asked.without_classes) == (("good", "pages"), frozenset({"pages"}))


def test_an_older_receipt_without_nodes_is_asked_for_what_it_has() -> None:
    asked = again.expectation(
        {"found": {"comfyui": "1", "torch": "2.13.0+cpu", "packages": {}, "packs": {"p": ["N"]}}}
    )
    assert (asked.torch, asked.local_tag, asked.packs) == ({"torch": "2.13.0"}, "cpu", {"p": ["N"]})
    assert (asked.nodes, asked.libraries) == ((), ())


def test_the_digest_is_of_the_content_alone() -> None:
    record, turned = {"b": [1, "é"], "a": None}, {"a": None, "b": [1, "é"]}
    assert receipt.digest(record) == receipt.digest(turned)
    assert receipt.digest(record) != receipt.digest({"b": [1, "é"]})
    assert receipt.digest({}) == (
        "sha256:ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
    )


class Engine:
    """An engine of one image, whose file at the receipt's place is `member` (None: none there)."""

    def __init__(self, member: tarfile.TarInfo | None, content: bytes = b"") -> None:
        self.member, self.content = member, content
        self.removed: list[bool] = []
        self.images = self.containers = self

    def get(self, ref: str) -> str:
        return ref

    def create(self, _: str) -> Engine:
        return self

    def get_archive(self, path: str) -> tuple[list[bytes], dict[str, Any]]:
        if self.member is None:
            raise NotFound(f"no {path}")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            self.member.size = len(self.content)
            tar.addfile(self.member, io.BytesIO(self.content))
        data = buffer.getvalue()
        return [data[:700], data[700:]], {}

    def remove(self, *, v: bool) -> None:
        self.removed.append(v)


def read(engine: Engine) -> dict[str, Any]:
    return receipt.read(cast("docker.DockerClient", engine), "team:cpu")


def test_a_receipt_is_read_back_as_it_was_written() -> None:
    record = {"format": 1, "found": {"packages": {"é": "1"}}}
    engine = Engine(tarfile.TarInfo(".kiln-receipt.json"), json.dumps(record).encode())
    assert read(engine) == record
    assert engine.removed == [True]


def folder() -> tarfile.TarInfo:
    member = tarfile.TarInfo(".kiln-receipt.json")
    member.type = tarfile.DIRTYPE
    return member


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (
            None,
            (
                "team:cpu holds no receipt: it was not verified by comfykiln\n"
                "  → build it with `./kiln build`"
            ),
        ),
        (folder(), "team:cpu: the receipt is no file\n  → build the image again"),
    ],
)
def test_an_image_without_a_receipt_is_refused(
    member: tarfile.TarInfo | None, message: str
) -> None:
    engine = Engine(member)
    with pytest.raises(KilnError) as caught:
        read(engine)
    assert str(caught.value) == message
    assert engine.removed == [True]
