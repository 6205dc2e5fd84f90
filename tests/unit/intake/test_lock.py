"""What a lock holds instead of what a document asks for, and how a document joins the solve."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from comfykiln.cli import from_document
from comfykiln.cli.options import FromDocument
from comfykiln.errors import DocumentError, DriftError
from comfykiln.gather.pins import NodePin, fetchable, pins_of
from comfykiln.intake import Difference, differences
from comfykiln.locking import LockInputs
from comfykiln.locking.conflicts import asker
from comfykiln.locking.nodelines import DocumentPack, packs_of
from comfykiln.plan.project import Project
from comfykiln.restore.plans import cloned_from

COMMIT = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
URL = "https://github.com/example-nodes/repository"


def prepared(repository: Path, tmp_path: Path) -> Project:
    """The project with an image `mine` from a manifest: two packages, a node with two addresses."""
    manifest = {
        "schema_version": "1.0",
        "system_info": {
            "python_version": "3.13.5",
            "cuda_version": None,
            "torch_version": "2.13.0",
            "comfyui_version": "v0.30.0",
        },
        "custom_nodes": [
            {
                "name": "other-name",
                "install_method": "git",
                "url": f"{URL}.git",
                "ref": COMMIT,
                "fallback_url": "git@codeberg.org:example/repository.git",
            }
        ],
        "dependencies": {"packages": {"numpy": "1.0.0", "onnxruntime-gpu": "1.20.0"}},
    }
    source = tmp_path / "manifest.json"
    source.write_text(json.dumps(manifest), "utf-8")
    project = Project(root=repository)
    from_document.prepare(project, FromDocument(from_=str(source), image="mine"))
    return project


def test_differences_name_who_asks_for_what(repository: Path, tmp_path: Path) -> None:
    project = prepared(repository, tmp_path)
    service = project.service("mine")
    service.package_lock.parent.mkdir()
    lock = "numpy==2.2.6\nonnxruntime==1.25.0\nsame==1.0\nnode-asks==2.0\nodd==3.0\n"
    service.package_lock.write_text(lock, "utf-8")
    inputs = LockInputs(
        requirements={
            "comfyui/requirements.txt": "numpy>=1.25.0\nsame\n",
            "nodes/a-pack.txt": "Node_Asks[x]>=2 ; python_version > '3'\n",
            "nodes/.document.txt": "numpy\n",
        },
        family=(),
        python="3.13",
        overrides=("numpy==2.2.6",),
    )
    wanted = {
        "numpy": "1.0.0",
        "same": "1.0.0",
        "node-asks": "1.0",
        "odd": "2.0",
        "onnxruntime-gpu": "1.20.0",
        "unasked": "1.0",
    }
    stand_ins = project.targets.stand_ins
    found, unused = differences.compare(service, inputs, wanted, stand_ins)
    assert found == (
        Difference(
            thing="numpy",
            asked="1.0.0",
            got="2.2.6",
            why="ComfyUI asks for `numpy>=1.25.0`; the override `numpy==2.2.6`",
        ),
        Difference(
            thing="node-asks",
            asked="1.0",
            got="2.0",
            why="the node a-pack asks for `Node_Asks[x]>=2 ; python_version > '3'`",
        ),
        Difference(
            thing="odd",
            asked="2.0",
            got="3.0",
            why="it fits neither another package nor Python 3.13 as a wheel",
        ),
        Difference(
            thing="onnxruntime-gpu",
            asked="1.20.0",
            got="onnxruntime 1.25.0",
            why=stand_ins["onnxruntime-gpu"].reason,
        ),
    )
    assert unused == ("unasked",)
    with pytest.raises(DriftError) as error:
        differences.refuse("mine", found[:1])
    assert str(error.value) == (
        "the lock of mine differs from the document:\n"
        "  numpy: 1.0.0 asked, 2.2.6 (ComfyUI asks for `numpy>=1.25.0`; "
        "the override `numpy==2.2.6`)\n"
        "  → leave --packages exact out to build all the same, or fix the document"
    )


def test_what_a_document_requires_is_solved_like_the_lines_of_a_node(
    repository: Path, tmp_path: Path
) -> None:
    project = prepared(repository, tmp_path)
    assert packs_of(project.service("mine"), ()) == (
        DocumentPack(requirements="numpy\nonnxruntime-gpu"),
    )
    assert packs_of(project.service("complete"), ()) == ()
    assert asker("nodes/.document.txt") == "the document"
    assert asker("nodes/a.txt") == "the node a"


def test_a_node_that_wants_the_folder_of_a_pack_of_the_image(repository: Path) -> None:
    path = repository / "services" / "comfy" / "core" / "production-snapshot.json"
    snapshot = json.loads(path.read_text("utf-8"))
    url = "https://kiln.invalid/o/Cloud-Storage"
    snapshot["git_custom_nodes"] = {url: {"hash": COMMIT, "disabled": False}}
    path.write_text(json.dumps(snapshot), "utf-8")
    with pytest.raises(DocumentError) as error:
        pins_of(Project(root=repository).service("core"))
    pack = repository / "services" / "comfy" / "cloud-storage"
    assert f"Cloud-Storage: {pack} has this name" in str(error.value)


def test_the_pins_of_a_generated_service(repository: Path, tmp_path: Path) -> None:
    project = prepared(repository, tmp_path)
    pins = pins_of(project.service("mine"), project.origins.comfyui("v0.30.0"))
    assert pins.git == (
        NodePin(
            directory="other-name",
            url=URL,
            commit=COMMIT,
            fallback="https://codeberg.org/example/repository",
        ),
    )
    assert pins.packages == ("numpy==1.0.0", "onnxruntime-gpu==1.20.0")


def test_a_folder_with_another_name_than_its_repository_is_cloned_from_the_mirrors_alone() -> None:
    assert cloned_from(URL, "repository") == URL
    assert cloned_from(URL, "other-name") == "https://clones.invalid/other-name"


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://example.org/a.zip", True),
        ("http://127.0.0.1:8080/a.zip", True),
        ("http://127.0.0.1.example.org/a.zip", False),
        ("http://example.org/a.zip", False),
        ("ftp://example.org/a.zip", False),
    ],
)
def test_archives_come_over_https_or_from_this_machine(url: str, allowed: bool) -> None:  # noqa: FBT001  # a table
    assert fetchable(url) is allowed


def test_a_reader_that_has_seen_enough_is_no_failure(tmp_path: Path) -> None:
    source = tmp_path / "big.json"
    pips = {f"package-{number}==1.{number}": "" for number in range(9000)}
    source.write_text(json.dumps({"git_custom_nodes": {}, "pips": pips}), "utf-8")
    for program in ("comfykiln", "invoke"):
        argv = [sys.executable, "-m", program, "snapshot.convert", str(source)]
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[3]
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            assert child.stdout.read(1) == b"{"
            child.stdout.close()
            assert b"Traceback" not in child.stderr.read()
        assert child.returncode == 0
