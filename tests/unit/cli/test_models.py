"""The tasks of models on a repository with one image."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.modelfiles import locked, safetensors, sha256
from tests.support.s3 import free_port

from comfykiln.cli import build as building
from comfykiln.cli import models, push, run
from comfykiln.cli.options import ModelsPush
from comfykiln.errors import DocumentError, KilnError, NotPossibleError
from comfykiln.models import store
from comfykiln.models.adding import add
from comfykiln.models.document import load_models
from comfykiln.models.fetch import fetch
from comfykiln.models.lockfile import load_lock
from comfykiln.models.placing import mounts, place
from comfykiln.oci import transport
from comfykiln.plan.services import load_service
from comfykiln.plan.targets import load_targets

if TYPE_CHECKING:
    from tests.support.faultserver import FaultServer, Object

pytestmark = pytest.mark.usefixtures("home")

ROOT = Path(__file__).parents[3]
VAE, LORA = safetensors(40_000), safetensors(50_000, seed=1)


@pytest.fixture
def vae(faults: FaultServer) -> Object:
    return faults.add("/vae", VAE)


@pytest.fixture
def lora(faults: FaultServer) -> Object:
    return faults.add("/lora", LORA)


@pytest.fixture
def image(repository: Path, faults: FaultServer) -> Path:
    """The models.yaml of the image core."""
    path = repository / "services/comfy/core/models.yaml"
    path.write_text(
        "# The models of the team.\n"
        "models:\n"
        "  - name: the vae   # small\n"
        "    destination: vae/v, 1.safetensors\n"
        f"    sources: [{faults.url}/vae]\n"
        "  - name: the lora\n"
        "    destination: loras/l.safetensors\n"
        "    criticality: optional\n"
        "    sources:\n"
        f"      - {faults.url}/lora # here\n"
    )
    return path


@pytest.mark.usefixtures("vae", "lora")
def test_lock_check_fetch_list(
    repository: Path, image: Path, faults: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    models.lock(repository, "core", "", check=False)
    models.lock(repository, None, "", check=True)
    models.fetch(repository, None, None, "", "all", as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "written: services/comfy/core/models.lock (2 models)",
        "complete: no models",
        "services/comfy/core/models.lock fits",
        "the vae: 40.1 kB, in the store",
        "the lora: 50.1 kB, in the store",
        "2 of 2 models; 0 bytes fetched",
    ]
    models.list_models(repository, None, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        f"{'name':<8}  {'size':<7}  {'need':<8}  state   {'source':<27}  licence  used by",
        f"the lora  50.1 kB  optional  stored  {faults.url + '/lora':<27}  -        core",
        f"the vae   40.1 kB  required  stored  {faults.url + '/vae':<27}  -        core",
        "2 model(s), 90.2 kB",
    ]
    models.list_models(repository, "core", as_json=True)
    assert json.loads(capsys.readouterr().out)[1] == {
        "name": "the vae",
        "destination": "vae/v, 1.safetensors",
        "criticality": "required",
        "state": "stored",
        "size": len(VAE),
        "sha256": sha256(VAE),
        "sources": [f"{faults.url}/vae"],
        "source": f"{faults.url}/vae",
        "licence": "",
        "used_by": ["core"],
    }
    assert image.exists()


@pytest.mark.usefixtures("image")
def test_fetch_fills_a_folder_and_leaves_what_is_right(
    repository: Path, tmp_path: Path, vae: Object, lora: Object, capsys: pytest.CaptureFixture[str]
) -> None:
    models.lock(repository, "core", "", check=False)
    folder = tmp_path / "volume"
    models.fetch(repository, "core", str(folder), "", "all", as_json=False)
    found = folder / "vae/v, 1.safetensors"
    assert found.read_bytes() == VAE
    assert (folder / "loras/l.safetensors").read_bytes() == LORA
    before = found.stat()
    models.fetch(repository, "core", str(folder), "", "all", as_json=False)
    assert found.stat().st_mtime_ns == before.st_mtime_ns
    found.write_bytes(VAE[::-1])
    capsys.readouterr()
    models.fetch(repository, "core", str(folder), "the vae", "all", as_json=True)
    assert found.read_bytes() == VAE
    assert json.loads(capsys.readouterr().out)["done"][0]["path"] == str(found)
    assert vae.sent < 2 * len(VAE)
    assert lora.sent < 2 * len(LORA)


@pytest.mark.usefixtures("image", "vae", "lora")
def test_a_missing_required_model_fails_and_an_optional_one_is_told(
    repository: Path, vae: Object, lora: Object, capsys: pytest.CaptureFixture[str]
) -> None:
    models.lock(repository, "core", "", check=False)
    for data in (VAE, LORA):
        store.path_of(sha256(data)).unlink()
    lora.always = "status 404"
    models.fetch(repository, "core", None, "", "required", as_json=False)
    with pytest.raises(KilnError, match=r"1 model\(s\) are not available: the lora"):
        models.fetch(repository, "core", None, "", "all", as_json=False)
    assert "! the lora (optional) is not available" in capsys.readouterr().err
    assert vae.always == ""


@pytest.mark.usefixtures("image", "vae", "lora")
def test_wrong_usage_is_told(repository: Path) -> None:
    models.lock(repository, "core", "", check=False)
    with pytest.raises(DocumentError, match="--only: no model nobody"):
        models.fetch(repository, "core", None, "nobody", "all", as_json=False)
    with pytest.raises(DocumentError, match="--source without --name"):
        models.add_source(repository, "core", None, "s3://b/k")


def test_a_folder_that_leads_elsewhere_is_not_followed(
    repository: Path, image: Path, vae: Object, lora: Object, tmp_path: Path
) -> None:
    models.lock(repository, "core", "", check=False)
    folder, outside = tmp_path / "volume", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "vae").symlink_to(outside)
    model = load_lock(load_service(repository, "core"))[0]
    with pytest.raises(KilnError, match="leads out of"):
        place(model, folder)
    assert list(outside.iterdir()) == []
    assert image.exists()
    assert vae.sent
    assert lora.sent


@pytest.mark.usefixtures("image", "vae", "lora")
def test_run_shows_stored_models_without_copying(repository: Path) -> None:
    models.lock(repository, "core", "", check=False)
    service = load_service(repository, "core")
    store.path_of(sha256(LORA)).unlink()
    arguments, missing = mounts(load_lock(service))
    assert missing == ["the lora"]
    assert arguments == [
        (
            f"--mount=type=bind,source={store.path_of(sha256(VAE))},"
            '"target=/app/models/vae/v, 1.safetensors",readonly'
        )
    ]
    target = load_targets(repository / "images/targets.yaml").get("cpu")
    argv = run.command(target, "ref", port=8188, models=None, mounts=arguments)
    assert argv[-2:] == [*arguments, "ref"]


def sources(repository: Path) -> list[list[str]]:
    entries = load_models(load_service(repository, "core")).entries
    return [[source.url for source in entry.sources] for entry in entries]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "models:\n  - name: a # x\n    destination: vae/a.safetensors\n    size: 3\n",
            (
                "models:\n  - name: a # x\n    destination: vae/a.safetensors\n"
                "    sources:\n      - s3://b/k 1\n    size: 3\n"
            ),
        ),
        (
            (
                "models:\n- name: a\n  destination: vae/a.safetensors\n  sources:\n"
                "  - file:/x # one\n  # two\n\n# three\n"
            ),
            (
                "models:\n- name: a\n  destination: vae/a.safetensors\n  sources:\n"
                "  - file:/x # one\n  - s3://b/k 1\n  # two\n\n# three\n"
            ),
        ),
        (
            (
                "models:\n  - name: a\n    destination: vae/a.safetensors\n    sources:\n"
                "      - url: s3://b/x\n        region: eu\n    size: 3\n"
            ),
            (
                "models:\n  - name: a\n    destination: vae/a.safetensors\n    sources:\n"
                "      - url: s3://b/x\n        region: eu\n      - s3://b/k 1\n    size: 3\n"
            ),
        ),
        (
            "models:\n  - {name: a, destination: vae/a.safetensors}\n",
            "models:\n  - {name: a, destination: vae/a.safetensors, sources: [s3://b/k 1]}\n",
        ),
        (
            "models:\n  - name: a\n    destination: vae/a.safetensors\n    sources: []\n",
            "models:\n  - name: a\n    destination: vae/a.safetensors\n    sources: [s3://b/k 1]\n",
        ),
        (
            "models:\n  - name: a\n    sources: [file:/x]\n    destination: vae/a.safetensors",
            (
                "models:\n  - name: a\n    sources: [file:/x, s3://b/k 1]\n"
                "    destination: vae/a.safetensors\n"
            ),
        ),
        (
            "models:\n  - name: a\n    destination: vae/a.safetensors",
            (
                "models:\n  - name: a\n    destination: vae/a.safetensors\n"
                "    sources:\n      - s3://b/k 1\n"
            ),
        ),
    ],
)
def test_a_source_is_one_line_more(repository: Path, text: str, wanted: str) -> None:
    path = repository / "services/comfy/core/models.yaml"
    path.write_text(text)
    add([load_service(repository, "core")], "a", "s3://b/k 1")
    assert path.read_text().replace('"s3://b/k 1"', "s3://b/k 1") == wanted


@pytest.mark.parametrize("name", ["the lora", "l.safe", "loras/l", "the l"])
def test_a_model_is_named_by_any_beginning_that_is_its_own(
    repository: Path, image: Path, name: str
) -> None:
    add([load_service(repository, "core")], name, "civitai:7")
    assert sources(repository)[1][1:] == ["civitai:7"]
    assert "# small" in image.read_text()


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("the", "civitai:7", "'the' fits 2 models"),
        ("none", "civitai:7", "there is no model 'none'"),
        ("the vae", "not a url", "1 fault"),
        ("the vae", "https://host/x?token=abc", "holds a credential"),
        ("the vae", "http://host/x", "anyone on the way can change the bytes"),
    ],
)
def test_what_cannot_be_added_is_told(
    repository: Path, image: Path, name: str, source: str, said: str
) -> None:
    before = image.read_text()
    with pytest.raises(DocumentError) as caught:
        add([load_service(repository, "core")], name, source)
    assert said in str(caught.value)
    assert image.read_text() == before


def test_a_source_is_added_once(repository: Path, image: Path, faults: FaultServer) -> None:
    with pytest.raises(DocumentError, match=r"has the source .* already"):
        add([load_service(repository, "core")], "the vae", f"{faults.url}/vae")
    assert image.exists()


def test_without_a_terminal_the_needy_models_are_listed(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = repository / "services/comfy/core/models.yaml"
    path.write_text("models:\n  - name: a\n    destination: vae/a.safetensors\n")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(DocumentError) as caught:
        models.add_source(repository, "core", None, None)
    assert caught.value.faults == ("core: a",)


def test_on_a_terminal_each_needy_model_is_asked_for(repository: Path) -> None:
    path = repository / "services/comfy/core/models.yaml"
    names = "".join(
        f"  - name: {name}\n    destination: vae/{name}.safetensors\n" for name in ("a", "b", "c")
    )
    path.write_text(f"models:\n{names}")
    code = (
        "import sys; from pathlib import Path; from comfykiln.cli import models; "
        "models.add_source(Path(sys.argv[1]), 'core', None, None)"
    )
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(repository)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    os.close(theirs)
    for answer in ("nonsense", "s3://bucket/a", "", "hf://o/r@main/c.safetensors"):
        time.sleep(0.05)
        os.write(ours, f"{answer}\n".encode())
    assert child.wait(20) == 0
    assert sources(repository) == [["s3://bucket/a"], [], ["hf://o/r@main/c.safetensors"]]
    os.close(ours)


def workflow(*models: dict[str, str]) -> str:
    node = {"id": 1, "type": "Loader", "properties": {"models": list(models)}}
    return json.dumps({"nodes": [node], "links": [], "version": 0.4})


@pytest.mark.parametrize(
    ("before", "head"),
    [
        (None, "models:\n"),
        ("models: []\n", "models:\n"),
        (
            "# ours\nmodels:\n  - name: mine # stays\n    destination: vae/mine.safetensors",
            (
                "# ours\nmodels:\n  - name: mine # stays\n    destination: vae/mine.safetensors\n"
                "    sources:\n      - https://host.example/mine\n"
            ),
        ),
    ],
)
def test_a_documents_models_enter_the_list(
    repository: Path,
    tmp_path: Path,
    before: str | None,
    head: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = repository / "services/comfy/core/models.yaml"
    if before is not None:
        path.write_text(before)
    mine = {"name": "mine.safetensors", "directory": "vae", "url": "https://host.example/mine"}
    lora = {
        "name": "lora.safetensors",
        "directory": "loras",
        "url": "https://huggingface.co/o/r/resolve/main/lora.safetensors",
        "hash": "ab" * 32,
    }
    pickle = {"name": "old.ckpt", "directory": "checkpoints", "url": "https://host.example/old"}
    own = [mine] if before and "mine" in before else []
    (tmp_path / "w.json").write_text(workflow(*own, lora, pickle))
    models.add_from(repository, "core", str(tmp_path / "w.json"), as_json=False)
    said = capsys.readouterr()
    assert said.out.startswith(f"core: 1 new model(s), {len(own)} with more sources")
    assert said.err == "! checkpoints/old.ckpt: a pickle; add it by hand with allow_pickle\n"
    assert path.read_text() == head + (
        "  - name: lora.safetensors\n    destination: loras/lora.safetensors\n"
        f"    criticality: flexible\n    sha256: {'ab' * 32}\n"
        "    sources:\n    - hf://o/r@main/lora.safetensors\n"
    )
    once = path.read_text()
    models.add_from(repository, "core", str(tmp_path / "w.json"), as_json=True)
    assert path.read_text() == once


@pytest.mark.usefixtures("image")
def test_a_registry_that_is_down_is_told_before_a_model_is_fetched(
    repository: Path, vae: Object, lora: Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.lock(repository, "core", "", check=False)
    seen = len(vae.requests) + len(lora.requests)
    monkeypatch.setenv("COMFYKILN_STORE", str(repository / "another-store"))
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(transport, "TRIES", 1)
    ref = f"127.0.0.1:{free_port()}/team/models:v1"
    with pytest.raises(NotPossibleError, match="cannot be reached"):
        push.push(repository, ModelsPush(image="core", ref=ref))
    assert len(vae.requests) + len(lora.requests) == seen


def test_a_source_goes_into_a_file_with_other_line_ends_and_odd_addresses(
    repository: Path,
) -> None:
    path = repository / "services/comfy/core/models.yaml"
    path.write_bytes(
        b"models:\r\n  - {name: a, destination: vae/a.safetensors}  # one\r\n"
        b"  - name: b\r\n    destination: vae/b.safetensors\r\n"
    )
    for name, source in (
        ("a", "https://host/x?download=true"),
        ("a", "https://huggingface.co/o/r/blob/main/a.safetensors"),
        ("b", "https://civitai.com/models/1?modelVersionId=7"),
    ):
        models.add_source(repository, "core", name, source)
    assert path.read_bytes() == (
        b"models:\r\n  - {name: a, destination: vae/a.safetensors, "
        b'sources: ["https://host/x?download=true", hf://o/r@main/a.safetensors]}  # one\r\n'
        b"  - name: b\r\n    destination: vae/b.safetensors\r\n"
        b"    sources:\r\n      - civitai:7\r\n"
    )


def test_a_list_that_only_other_parsers_read_is_left_to_a_person(repository: Path) -> None:
    path = repository / "services/comfy/core/models.yaml"
    text = "models:\n  - {name: a, destination: vae/a.safetensors, sources: [https://h/x?y=1]}\n"
    path.write_text(text)
    with pytest.raises(KilnError, match="written in an unusual way") as caught:
        models.add_source(repository, "core", "a", "https://h/z")
    assert caught.value.remedy == "add this line to the sources by hand: - https://h/z"
    assert path.read_text() == text


def test_a_name_alone_asks_for_its_source(repository: Path, image: Path) -> None:
    assert image.exists()
    with pytest.raises(DocumentError, match="no source given for the vae"):
        models.add_source(repository, "core", "the vae", None)


@pytest.fixture
def two_images(repository: Path, image: Path, faults: FaultServer) -> dict[str, bytes]:
    """The images core and complete, each with another file called `the vae` at one place."""
    files = {"core": VAE, "complete": safetensors(30_000, seed=7)}
    for name, data in files.items():
        faults.add(f"/{name}", data)
        path = repository / f"services/comfy/{name}/models.yaml"
        path.write_text(
            f"models:\n  - name: the vae\n    destination: vae/v.safetensors\n"
            f"    sources: [{faults.url}/{name}]\n"
        )
    assert image.exists()
    models.lock(repository, None, "", check=False)
    return files


@pytest.mark.usefixtures("two_images")
def test_two_images_with_one_name_for_two_files_get_both(
    repository: Path,
    two_images: dict[str, bytes],
    faults: FaultServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COMFYKILN_STORE", str(repository / "another-store"))
    faults.objects["/complete"].always = "status 404"
    with pytest.raises(KilnError, match=r"1 model\(s\) are not available: the vae \(complete\)"):
        models.fetch(repository, None, None, "", "all", as_json=False)
    faults.objects["/complete"].always = ""
    capsys.readouterr()
    models.fetch(repository, None, None, "the vae", "all", as_json=False)
    out = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in out[:2]] == ["the vae (complete)", "the vae (core)"]
    assert all(store.verified(sha256(data)) for data in two_images.values())


@pytest.mark.usefixtures("two_images")
def test_two_files_for_one_place_of_a_folder_are_refused(
    repository: Path, tmp_path: Path, two_images: dict[str, bytes]
) -> None:
    folder = tmp_path / "volume"
    with pytest.raises(DocumentError) as caught:
        models.fetch(repository, None, str(folder), "", "all", as_json=False)
    assert list(caught.value.faults) == ["vae/v.safetensors: the vae (core) and the vae (complete)"]
    assert not folder.exists()
    models.fetch(repository, "core", str(folder), "", "all", as_json=False)
    assert (folder / "vae/v.safetensors").read_bytes() == two_images["core"]


@pytest.mark.usefixtures("vae", "lora", "image")
def test_a_folder_that_is_none_is_told(repository: Path, tmp_path: Path) -> None:
    models.lock(repository, "core", "", check=False)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DocumentError, match="--to is empty"):
        models.fetch(repository, "core", " ", "", "all", as_json=False)
    with pytest.raises(NotPossibleError, match=r"cannot be written: (Not a directory|File exists)"):
        models.fetch(repository, "core", str(tmp_path / "file"), "", "all", as_json=False)


def test_what_an_image_has_inside_is_not_shown_from_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMFYKILN_STORE", str(tmp_path / "store"))
    (tmp_path / "m").write_bytes(safetensors(1000))
    url = f"file:{tmp_path}/m"
    same, moved, added, lacking = (
        locked(safetensors(1000), url, name=name, destination=f"vae/{name}.safetensors")
        for name in ("same", "moved", "added", "lacking")
    )
    lacking = replace(lacking, sha256="ab" * 32)
    assert fetch([same]).failed == ()
    inside = {same.destination: same.sha256, moved.destination: "cd" * 32}
    arguments = building.model_mounts([same, moved, added, lacking], inside, "core")
    source = store.path_of(added.sha256)
    assert arguments == [
        f"--mount=type=bind,source={source},target=/app/models/vae/added.safetensors,readonly"
    ]
    assert capsys.readouterr().err == (
        "! the image has other files of moved than models.lock names, and shows its own (build it "
        "again to change that)\n"
        "! neither in the image nor in the store, so not shown to ComfyUI: lacking "
        "(./kiln models.fetch --image core)\n"
    )
