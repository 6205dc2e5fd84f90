"""Documents of every kind as images: what is built of them, what is said, what is refused."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.manifests import whole
from tests.support.peers import comfydock, comfygit, packed

from comfykiln.cli import build, from_document
from comfykiln.cli.options import FromDocument, Plan
from comfykiln.documents import write
from comfykiln.environment import Attachment, ComfyUISpec, Environment, Node
from comfykiln.errors import DocumentError
from comfykiln.intake import Difference, FromOptions, Intake, folder, take
from comfykiln.models.document import load_models
from comfykiln.plan.project import Project
from comfykiln.plan.services import load_service
from comfykiln.system import files

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = Path(__file__).parents[1] / "documents" / "data"
PINNED = "b1693ecba9f5b65f8c80ab36b195ab963ec92413"
COMMIT = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
OTHER = "1a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
GITHUB = "https://github.com/example-nodes"


def snapshot(path: Path, nodes: dict[str, Any], **more: Any) -> Path:
    document = {"comfyui": PINNED, "git_custom_nodes": nodes, "cnr_custom_nodes": {}}
    path.write_text(json.dumps(document | {"file_custom_nodes": [], "pips": {}} | more), "utf-8")
    return path


def manifest(path: Path, **sections: Any) -> Path:
    document = whole() | {"platform_overrides": {}, "custom_nodes": []}
    document["system_info"] = document["system_info"] | {
        "python_version": "3.13.5",
        "comfyui_version": "v0.30.0",
    }
    document["dependencies"] = {"packages": {}}
    path.write_text(json.dumps(document | sections), "utf-8")
    return path


def taken(repository: Path, source: Path, **choices: Any) -> Intake:
    return take(Project(root=repository), FromOptions(source=str(source), **choices))


def refused(repository: Path, source: Path, **choices: Any) -> str:
    with pytest.raises(DocumentError) as error:
        taken(repository, source, **choices)
    assert not (repository / ".kiln").exists()
    return str(error.value)


def nodes_of(found: Intake) -> list[tuple[str, str, str | None, str | None]]:
    return [(entry.name, entry.source, entry.url, entry.wanted) for entry in found.nodes]


def messages(found: Intake) -> list[str]:
    return [str(note) for note in found.notes]


def test_versions_that_move_and_folders_that_are_taken(repository: Path, tmp_path: Path) -> None:
    """All that stands in the way is told before anything is written."""
    nodes = [
        {"name": "Cloud-Storage", "install_method": "git", "url": f"{GITHUB}/a", "ref": COMMIT},
        *(
            {"name": name, "install_method": "managed", "url": f"{name}@{version}"}
            for name, version in (("one", "latest"), ("two", "nightly"), ("three", "1.0.0"))
        ),
    ]
    said = refused(repository, manifest(tmp_path / "m.json", custom_nodes=nodes))
    assert said.splitlines()[1:-1] == [
        (
            "  $.custom_nodes[0]: Cloud-Storage: the image has its own pack in this folder; "
            "leave it out"
        ),
        "  $.custom_nodes[1]: one: latest: no exact version; write one",
        "  $.custom_nodes[2]: two: nightly: no exact version; write one",
    ]


def test_a_snapshot_becomes_a_service(repository: Path, tmp_path: Path) -> None:
    source = snapshot(
        tmp_path / "My Snapshot.json",
        {
            "git@github.com:example-nodes/one.git": {"hash": COMMIT, "disabled": False},
            f"{GITHUB}/two": {"hash": OTHER, "disabled": True},
            "https://github.com/ltdrdata/ComfyUI-Manager": {"hash": None, "disabled": False},
        },
        file_custom_nodes=[{"filename": "websocket_image_save.py", "disabled": False}],
        pips={
            "numpy==2.0.0": "",
            "torch==2.1.0+cu121": "",
            "nvidia-cublas-cu12==12.1.3.1": "",
            "tool": "git+https://github.com/example-nodes/tool@main",
        },
    )
    found = taken(repository, source)
    assert found.name == "my-snapshot"
    assert nodes_of(found) == [
        ("one", "git", f"{GITHUB}/one", COMMIT),
        ("two", "git", f"{GITHUB}/two", OTHER),
        ("websocket_image_save.py", "file", None, None),
    ]
    assert [entry.disabled for entry in found.nodes] == [False, True, False]
    assert found.packages.required == ()
    assert found.packages.preferred == {"numpy": "2.0.0"}
    assert found.differences == (
        Difference(
            thing="torch",
            asked="2.1.0+cu121",
            got="2.13.0",
            why="the torch family belongs to the target",
        ),
    )
    assert messages(found) == [
        (
            '$.git_custom_nodes["https://github.com/ltdrdata/ComfyUI-Manager"]: ComfyUI-Manager: '
            "left out: the image has ComfyUI-Manager as a package [from.node]"
        ),
        "packages: left to the target's torch: nvidia-cublas-cu12 12.1.3.1 [from.package]",
        (
            "$.pips.tool: tool @ git+https://github.com/example-nodes/tool@main: from a "
            "repository, not taken; where a node asks for it, the index's release is [from.package]"
        ),
    ]


def test_the_service_of_a_document_is_planned_like_the_repositorys_own(
    repository: Path, tmp_path: Path
) -> None:
    source = snapshot(
        tmp_path / "mine.json", {f"{GITHUB}/one": {"hash": COMMIT, "disabled": False}}
    )
    project = Project(root=repository)
    found = from_document.prepare(project, FromDocument(from_=str(source)))
    written = {path.name: path.read_bytes() for path in (repository / ".kiln/from/mine").iterdir()}
    service = load_service(repository, "mine")
    plan = project.plan("cpu", "mine")
    assert plan.ref("x") == "comfykiln/mine:cpu-x"
    assert plan.dockerfile == ".kiln/from/mine/cpu/Dockerfile"
    assert (service.document, service.comfyui, service.suite, service.python) == (
        "snapshot",
        "v0.30.0",
        "trixie",
        "3.13",
    )
    assert service.local_nodes == (repository / "services/comfy/cloud-storage",)
    from_document.prepare(project, FromDocument(from_=str(source)))
    again = {path.name: path.read_bytes() for path in (repository / ".kiln/from/mine").iterdir()}
    assert written == again == dict(found.files)


def test_everything_that_stands_in_the_way_is_told_at_once(
    repository: Path, tmp_path: Path
) -> None:
    source = snapshot(
        tmp_path / "bad.json",
        {
            f"{GITHUB}/branch": {"hash": "main", "disabled": False},
            f"{GITHUB}/nothing": {"hash": None, "disabled": True},
            f"{GITHUB}/same": {"hash": COMMIT, "disabled": False},
            "https://codeberg.org/other/same": {"hash": COMMIT, "disabled": False},
            "http://example.org/open": {"hash": COMMIT, "disabled": False},
        },
        comfyui="4ac401af2b3962f7a669a6757a804f7773833c47",
        cnr_custom_nodes={"moving": "nightly"},
        file_custom_nodes=[{"filename": "mine.py", "disabled": False}],
    )
    assert refused(repository, source).replace(str(source), "FILE") == (
        "FILE: 7 thing(s) cannot be built as they stand\n"
        "  the document is for ComfyUI 4ac401af2b3962f7a669a6757a804f7773833c47; "
        "images/origins.yaml pins v0.30.0 (b1693ecba9f5); build on a pinned one all the same: "
        "--comfyui v0.30.0; or pin the document's release as docs/origins.md says\n"
        '  $.git_custom_nodes["https://github.com/example-nodes/branch"]: branch: '
        "main is no commit; pin it\n"
        '  $.git_custom_nodes["https://github.com/example-nodes/nothing"]: nothing: '
        "its default branch is no commit; pin it\n"
        '  $.git_custom_nodes["https://codeberg.org/other/same"]: same: '
        "https://codeberg.org/other/same and https://github.com/example-nodes/same "
        "want this folder; leave one out, by its owner/repository\n"
        '  $.git_custom_nodes["http://example.org/open"]: open: '
        "http://example.org/open is not reached over https; use https\n"
        "  $.cnr_custom_nodes.moving: moving: nightly: no exact version; write one\n"
        "  $.file_custom_nodes[0]: mine.py: a single file that ComfyUI does not bring, and no "
        "document holds its code; make it a node of its own, or leave it out\n"
        "  → pin branches and tags with `./kiln snapshot.pin FILE`, or fix these places, "
        "or leave them out with --leave-out NAME,NAME"
    )
    left = ("branch", "nothing", "other/same", "open", "moving", "mine.py", "never")
    found = taken(repository, source, comfyui="v0.30.0", leave_out=left)
    assert nodes_of(found) == [("same", "git", f"{GITHUB}/same", COMMIT)]
    assert messages(found)[-1] == (
        "--leave-out: never: the document names nothing of that name [from.leave-out]"
    )


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("v0.30.0", ""),
        (PINNED, ""),
        (PINNED[:9], ""),
        (None, "ComfyUI: names none: v0.30.0, the newest that is pinned, is taken [from.comfyui]"),
        ("master", "ComfyUI the branch master, which moves; images/origins.yaml pins"),
        ("v0.3.47", "ComfyUI v0.3.47; images/origins.yaml pins v0.30.0"),
    ],
)
def test_the_comfyui_must_be_a_pinned_one(
    repository: Path, tmp_path: Path, wanted: str | None, told: str
) -> None:
    source = snapshot(tmp_path / "s.json", {}, comfyui=wanted)
    if told and wanted:
        assert told in refused(repository, source)
        found = taken(repository, source, comfyui="v0.30.0")
        assert found.differences == (
            Difference(thing="ComfyUI", asked=wanted, got="v0.30.0", why="chosen with --comfyui"),
        )
    else:
        assert "".join(messages(taken(repository, source))) == told
    with pytest.raises(DocumentError, match=r"is not pinned in origins\.yaml"):
        taken(repository, source, comfyui="v9.9.9")


@pytest.mark.parametrize(
    ("asked", "match", "suite", "told"),
    [
        ("3.13.5", "exact", "trixie", ""),
        ("3.11.2", "exact", "bookworm", ""),
        ("3.11.7", "minor", "bookworm", "3.11.2"),
        ("3.12.1", "any", "trixie", "3.13.5"),
        ("3.11.7", "exact", "", "--python-match minor to take 3.11.2"),
        ("3.12.1", "minor", "", "--python-match any to take 3.13.5"),
    ],
)
def test_python_is_the_documents_or_said(
    repository: Path, tmp_path: Path, asked: str, match: str, suite: str, told: str
) -> None:
    system = {**whole()["system_info"], "python_version": asked, "comfyui_version": "v0.30.0"}
    source = manifest(tmp_path / "m.json", system_info=system)
    if not suite:
        assert told in refused(repository, source, python_match=match)
        return
    found = taken(repository, source, python_match=match)
    python = [difference for difference in found.differences if difference.thing == "Python"]
    assert found.service["suite"] == suite
    assert found.service.get("python_patch", "") == ("" if told else asked)
    assert [(entry.asked, entry.got) for entry in python] == ([(asked, told)] if told else [])
    t64 = "libglib2.0-0t64" in found.service["apt"]
    assert t64 is (suite == "trixie")


def test_a_manifests_packages_are_required_and_its_versions_preferred(
    repository: Path, tmp_path: Path
) -> None:
    source = manifest(
        tmp_path / "m.json",
        dependencies={
            "packages": {
                "numpy": "2.0.0",
                "pillow[xmp]": "11.0.0",
                "onnxruntime-gpu": "1.20.0",
                "xformers": "1.0",
            },
            "pytorch": {
                "index_url": "https://download.pytorch.org/whl/cu121",
                "packages": {"torch": "2.1.0"},
            },
            "index_urls": ["https://packages.example.org/simple"],
        },
        platform_overrides={
            "win32": {"packages": {"windows-curses": "2.3.1"}},
            "linux": {"packages": {"scipy": "1.14.0"}, "environment": {"LANG": "a $value"}},
            "linux-x86_64": {"packages": {"scipy": "1.14.1"}, "exclude_packages": ["Wheel_x"]},
        },
    )
    found = taken(repository, source)
    assert found.packages.required == ("numpy", "pillow[xmp]", "onnxruntime-gpu", "scipy")
    assert found.packages.preferred == {
        "numpy": "2.0.0",
        "onnxruntime-gpu": "1.20.0",
        "pillow": "11.0.0",
        "scipy": "1.14.1",
    }
    assert found.service["requirements"] == list(found.packages.required)
    assert found.service["environment"] == {"LANG": "a $value"}
    assert found.service["drop"]["wheel-x"] == "the document excludes it on this platform"
    assert [
        (difference.thing, difference.asked, difference.got) for difference in found.differences
    ] == [("torch", "2.1.0", "2.13.0")]
    assert messages(found)[-2:] == [
        "packages: left to the target's torch: xformers 1.0 [from.package]",
        (
            "indexes: https://packages.example.org/simple is not asked: only this machine's "
            "indexes are [from.package]"
        ),
    ]


def test_what_no_lock_can_hold_is_refused_where_it_is_wanted(
    repository: Path, tmp_path: Path
) -> None:
    wanted = {
        "packages": {},
        "git_packages": [
            {"url": f"{GITHUB}/tool.git", "ref": "main", "egg_name": "tool"},
            {"url": "http://example.org/own/closed.git"},
        ],
        "editable": [{"path": "/home/someone/own-code"}],
        "local_packages": [{"path": "dist/thing-1.0-py3-none-any.whl"}],
    }
    source = manifest(tmp_path / "m.json", dependencies=wanted)
    text = refused(repository, source)
    for place, name in (
        ("git_packages[1]", "closed"),
        ("editable[0]", "own-code"),
        ("local_packages[0]", "thing-1.0-py3-none-any.whl"),
    ):
        assert f"$.dependencies.{place}: " in text
        assert f"(--leave-out {name})" in text
    left = ("closed", "own-code", "thing-1.0-py3-none-any.whl")
    found = taken(repository, source, leave_out=left)
    assert found.packages.required == (f"tool @ git+{GITHUB}/tool.git@main",)
    assert (
        f"$.dependencies.git_packages[0]: tool @ git+{GITHUB}/tool.git@main: "
        "built from the commit that the lock resolves it to [from.package]"
    ) in messages(found)


def node(name: str, method: str, url: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "install_method": method, "url": url, **more}


def test_a_manifests_nodes_of_every_method(repository: Path, tmp_path: Path) -> None:
    code = tmp_path / "by-copy"
    code.mkdir()
    (code / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n", "utf-8")
    (code / "run.sh").write_text("true\n", "utf-8")
    (code / "run.sh").chmod(0o755)
    (code / ".env").write_text("SECRET=1\n", "utf-8")
    address = f"{GITHUB}/arc/archive/{COMMIT}.tar.gz"
    source = manifest(
        tmp_path / "m.json",
        custom_nodes=[
            node("last", "git", f"{GITHUB}/late.git", ref=COMMIT, install_order=1000),
            node("by-archive", "archive", address, fallback_url="https://example.org/a.tar.gz"),
            node("by-copy", "local", "/srv/nodes/by-copy", has_post_install=False),
            node("by-id", "managed", "by-id@1.0.5"),
            node("first", "git", f"{GITHUB}/first.git", ref=OTHER, install_order=1),
        ],
    )
    found = taken(repository, source, post_install="run")
    (digest,) = found.code
    assert nodes_of(found) == [
        ("first", "git", f"{GITHUB}/first", OTHER),
        ("by-archive", "archive", address, None),
        ("by-copy", "archive", f"https://local.invalid/{digest[:16]}/by-copy.zip", None),
        ("by-id", "registry", None, "1.0.5"),
        ("last", "git", f"{GITHUB}/late", COMMIT),
    ]
    assert found.nodes[1].fallback_url == "https://example.org/a.tar.gz"
    assert found.nodes[2].sha256 == digest == files.sha256(found.code[digest])
    with zipfile.ZipFile(io.BytesIO(found.code[digest])) as archive:
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    assert modes == {"__init__.py": 0o100644, "run.sh": 0o100755}
    assert {name: rule["install"] for name, rule in found.service["nodes"].items()} == {
        "first": "run",
        "by-archive": "run",
        "by-copy": "skip",
        "by-id": "run",
        "last": "run",
    }
    assert any(
        "without files that may hold a secret: dev_nodes/by-copy/.env" in message
        for message in messages(found)
    )


@pytest.mark.parametrize("where", ["/etc", "..", "link"])
def test_a_document_names_no_other_folder_of_this_machine(
    repository: Path, tmp_path: Path, where: str
) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "link").symlink_to("/etc")
    url = {"/etc": "/etc", "..": f"{tmp_path}/inside/..", "link": f"{tmp_path}/link"}[where]
    source = manifest(tmp_path / "m.json", custom_nodes=[node("taken", "local", url)])
    assert f"put a copy in {tmp_path} as taken/" in refused(repository, source)


def test_moving_archives_are_refused(repository: Path, tmp_path: Path) -> None:
    url = f"{GITHUB}/arc/archive/refs/heads/main.zip"
    source = manifest(tmp_path / "m.json", custom_nodes=[node("arc", "archive", url)])
    assert f"arc: {url} moves; name the archive of a commit" in refused(repository, source)


def test_an_export_brings_its_nodes_code_and_its_lock(repository: Path, tmp_path: Path) -> None:
    source = tmp_path / "e.tar.gz"
    source.write_bytes(packed(comfydock()))
    found = taken(repository, source, comfyui="v0.30.0", python_match="any")
    assert found.name == "my-env"
    assert [(entry.name, entry.source) for entry in found.nodes] == [("my-custom-node", "archive")]
    assert list(found.code) == [found.nodes[0].sha256]
    assert "aiohttp" in " ".join(found.packages.required)
    assert "checkpoints/sd_xl_base_1.0.safetensors" in [model.destination for model in found.models]
    assert any(message.startswith("workflows: ") for message in messages(found))


def test_an_export_of_an_image_with_the_own_pack_brings_no_second_one(
    repository: Path, tmp_path: Path
) -> None:
    names = ("cloud-storage", "mine")
    environment = Environment(
        name="again",
        comfyui=ComfyUISpec(version="v0.30.0"),
        nodes=tuple(Node(name=name, source="development") for name in names),
        attachments=tuple(
            Attachment(path=f"dev_nodes/{name}/__init__.py", data=b"") for name in names
        ),
    )
    source = tmp_path / "e.tar.gz"
    source.write_bytes(write(environment, "export").data)
    found = taken(repository, source)
    assert [entry.name for entry in found.nodes] == ["mine"]
    assert [message for message in messages(found) if "own pack" in message] == [
        (
            "cloud-storage: cloud-storage: left out: the image has its own pack in this folder "
            "[from.node]"
        )
    ]


def test_a_development_node_without_code_is_refused(repository: Path, tmp_path: Path) -> None:
    source = tmp_path / "e.tar.gz"
    source.write_bytes(packed(comfygit()))
    text = refused(repository, source, comfyui="v0.30.0", python_match="any")
    assert "neither its code nor its repository is in the document" in text


@pytest.mark.parametrize(
    "name",
    [
        "comfy-lock-auth.yaml",
        "comfy-lock-basic.yaml",
        "comfy-pack-snapshot.json",
        "manifest-cpu.json",
        "manifest-gpu.json",
        "workflow.png",
        "workflow.webp",
    ],
)
def test_documents_of_all_kinds_are_planned(repository: Path, name: str) -> None:
    source = DATA / name
    given = FromDocument(from_=str(source), image="mine", comfyui="v0.30.0", python_match="any")
    project = Project(root=repository)
    found = from_document.prepare(project, given)
    plan = project.plan("cpu", "mine")
    assert plan.service.document == str(found.parsed.kind)
    assert [row.name for row in plan.rows] == [
        "base",
        "torch",
        "packages",
        "comfyui",
        "nodes",
        "services",
    ]


def workflow(path: Path, nodes: Sequence[dict[str, str]]) -> Path:
    listed = [
        {"id": at, "type": f"Type{at}", "properties": properties}
        for at, properties in enumerate(nodes)
    ]
    path.write_text(json.dumps({"nodes": listed, "links": [], "version": 0.4}), "utf-8")
    return path


def test_a_workflows_packs(repository: Path, tmp_path: Path) -> None:
    source = workflow(
        tmp_path / "w.json",
        [
            {"cnr_id": "versioned", "ver": "1.2.3"},
            {"aux_id": "example-nodes/repo", "ver": COMMIT},
            {"cnr_id": "only-id", "ver": COMMIT},
            {},
        ],
    )
    assert "only the registry knows the repository of 0a1b2c3d4e5f" in refused(repository, source)
    rules = tmp_path / "rules.yaml"
    rules.write_text(f"repositories: {{only-id: '{GITHUB}/only'}}\n", "utf-8")
    found = taken(repository, source, rules=rules)
    assert nodes_of(found) == [
        ("versioned", "registry", None, "1.2.3"),
        ("repo", "git", f"{GITHUB}/repo", COMMIT),
        ("only-id", "git", f"{GITHUB}/only", COMMIT),
    ]
    assert "workflows: w: no known pack provides Type3 [from.unresolved]" in messages(found)


def test_rules_join_those_of_complete(repository: Path, tmp_path: Path) -> None:
    source = snapshot(tmp_path / "s.json", {f"{GITHUB}/one": {"hash": COMMIT, "disabled": False}})
    rules = tmp_path / "rules.yaml"
    rules.write_text("apt: [libfoo1]\nnodes: {one: {install: run}}\nsdists: [odd]\n", "utf-8")
    found = taken(repository, source, rules=rules, post_install="skip")
    assert found.service["nodes"] == {"one": {"install": "run"}}
    assert {"libfoo1", "libgl1"} <= set(found.service["apt"])
    assert "odd" in found.service["sdists"]
    rules.write_text("apt: ['lib foo']\n", "utf-8")
    assert "$.apt[0]: 'lib foo' does not match" in refused(repository, source, rules=rules)
    rules.write_text("title: mine\n", "utf-8")
    assert "rules.yaml: is no file of rules\n  title" in refused(repository, source, rules=rules)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("Mine", "'Mine' cannot be the name of an image"),
        ("../up", "'../up' cannot be the name of an image"),
        ("core", "the image 'core' is described by services/comfy/core"),
    ],
)
def test_names_of_images(repository: Path, tmp_path: Path, given: str, told: str) -> None:
    source = snapshot(tmp_path / "---.json", {})
    assert told in refused(repository, source, name=given)
    assert "its name makes no name of an image" in refused(repository, source)


def test_options_of_from_alone_are_wrong_usage(repository: Path) -> None:
    given = Plan(target="cpu", image="core", python_match="minor")
    with pytest.raises(DocumentError) as error:
        build.show_plan(repository, given)
    assert str(error.value) == "--python-match: without --from\n  → name the document with --from"


def test_models_are_listed_and_skipped_without_asking_for_them(repository: Path) -> None:
    source = DATA / "comfy-lock-auth.yaml"
    given = FromDocument(from_=str(source), image="mine", comfyui="v0.30.0")
    project = Project(root=repository)
    found = from_document.prepare(project, given)
    listed = load_models(project.service("mine"))
    assert listed.entries == found.models
    assert [entry.destination.partition("/")[0] for entry in listed.entries] == [
        "diffusion_models",
        "loras",
        "text_encoders",
        "vae",
    ]
    assert messages(found)[0] == (
        "models: upscale_models/RealESRGAN_x4plus.pth: left out: "
        "'upscale_models/RealESRGAN_x4plus.pth' is a pickle format, "
        "which can run code when it is loaded [models.pickle]"
    )
    from_document.lock_models(project, found, "skip", {})
    assert load_models(project.service("mine")).entries == ()


def test_hostile_documents_are_refused_before_anything_is_written(
    repository: Path, tmp_path: Path
) -> None:
    source = snapshot(
        tmp_path / "s.json",
        {"ext::run": {"hash": COMMIT}, f"{GITHUB}/one": {"hash": "--upload-pack=x"}},
        pips={"--index-url=http://evil": ""},
    )
    text = refused(repository, source)
    assert all(rule in text for rule in ("url.transport", "ref.dash", "requirement.option"))


def test_the_record_of_an_export_is_a_document_by_itself(repository: Path, tmp_path: Path) -> None:
    source = snapshot(tmp_path / "s.json", {f"{GITHUB}/one": {"hash": COMMIT, "disabled": False}})
    record = tmp_path / "environment.json"
    record.write_bytes(taken(repository, source).files[folder.SNAPSHOT])
    found = taken(repository, record, name="again")
    assert (str(found.parsed.kind), found.parsed.form) == ("export", "record")
    assert nodes_of(found) == [("one", "git", f"{GITHUB}/one", COMMIT)]
    record.write_text('{"format": 2, "environment": {}}', "utf-8")
    assert "[record.value]" in refused(repository, record, name="again")
