from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from comfykiln.bake.line import BuildOptions, Built, build
from comfykiln.engine import engine, unfinished
from comfykiln.errors import DocumentError, DriftError, KilnError, NotPossibleError
from comfykiln.locking import headers
from comfykiln.plan.project import Project
from comfykiln.verify import again as reverify
from comfykiln.verify import receipt

if TYPE_CHECKING:
    from tests.support.images import Line

pytestmark = pytest.mark.engine

REPOSITORY = "comfykiln/kilntest"
PACK = "services/comfy/test-pack/__init__.py"


def build_line(line: Line, target: str = "cpu", **options: Any) -> Built:
    project = Project(root=line.root)
    plan = project.plan(target, "kilntest")
    return build(project, plan, BuildOptions(git_mirror=line.mirror, **options))


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def inspected(ref: str) -> dict[str, Any]:
    image: dict[str, Any] = json.loads(docker("image", "inspect", ref))[0]
    return image


def leftovers() -> list[str]:
    """Names of unverified images and of containers that verification started."""
    images = docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    containers = docker("ps", "-a", "--filter", "label=io.comfykiln.verifying", "-q").splitlines()
    return [
        name for name in images if name.startswith("comfykiln-unfinished/kilntest")
    ] + containers


def temporary() -> set[str]:
    """Names in the temporary folder that a build and buildx use there."""
    folder = Path(tempfile.gettempdir())
    return {path.name for path in folder.iterdir() if path.name.startswith(("dockerfile", "kiln-"))}


@pytest.mark.parametrize("ref", ["UPPER:x", "-x", "a b", "core:cpu:cpu"])
def test_what_cannot_be_a_name_is_wrong_usage(ref: str) -> None:
    with pytest.raises(DocumentError) as error:
        reverify.verify_ref(ref)
    assert error.value.message.startswith(f"{ref!r} cannot be the name of an image: invalid ref")


def test_the_whole_line(line: Line) -> None:
    before = temporary()
    built = build_line(line)
    # buildx 0.13.1 leaves a folder behind for each Dockerfile that is written into a bake file.
    assert temporary() <= before
    project = Project(root=line.root)
    plan = project.plan("cpu", "kilntest")
    assert built.ref == f"{REPOSITORY}:cpu-v9.9.9-{plan.lock_digest[:12]}"
    image = inspected(built.ref)
    assert image["Id"] == inspected(f"{REPOSITORY}:cpu")["Id"]
    assert image["Config"]["User"] == "1000:1000"
    labels = image["Config"]["Labels"]
    assert labels["io.comfykiln.torch"] == "2.13.0+cpu"
    assert labels["io.comfykiln.comfyui.commit"] == plan.comfyui.commit
    assert labels["io.comfykiln.lock"] == f"sha256:{plan.lock_digest}"
    assert labels["io.comfykiln.origin.torch"].startswith("index torch==2.13.0+cpu")
    record = receipt.read(engine.client(), built.ref)
    assert labels["io.comfykiln.receipt"] == receipt.digest(record)
    assert record["found"]["torch"] == "2.13.0+cpu"
    assert record["found"]["packs"] == {"test-pack": ["KilnTestNode"]}
    used = {use["thing"]: (use["origin"], use["fallback"]) for use in record["origins"]}
    assert (used["comfyui"], used["torch"]) == (("git-mirror", True), ("index", False))
    assert leftovers() == []
    # Whoever receives the image can verify it again.
    assert reverify.verify_ref(built.ref) == record


@pytest.mark.parametrize(
    ("instruction", "told"),
    [
        ("ENV PYTHONPATH=/app/input", "Env: "),
        ('ENV CLI_ARGS="--enable-cors-header *"', "Env: "),
        ('ENTRYPOINT ["/bin/sh", "-c", "exec /app/.kiln/startup.py serve"]', "Entrypoint: "),
        ("USER 0", "User: 1000:1000 → 0"),
        ("LABEL io.comfykiln.comfyui.version=9.9.8", "label io.comfykiln.comfyui.version: "),
        ("HEALTHCHECK NONE", "Healthcheck: "),
    ],
)
def test_an_image_that_starts_otherwise_is_not_what_its_receipt_says(
    line: Line, tmp_path: Path, instruction: str, told: str
) -> None:
    """The same layers with another configuration: verify looked at the layers alone."""
    built = build_line(line)
    changed = f"{REPOSITORY}:changed"
    folder = tmp_path / "changed"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM {built.ref}\n{instruction}\n", "utf-8")
    argv = ["buildx", "build", "--quiet", "--provenance=false", "--sbom=false", f"--tag={changed}"]
    docker(*argv, "--output=type=image,compression=uncompressed", str(folder))
    try:
        with pytest.raises(KilnError) as error:
            reverify.verify_ref(changed)
    finally:
        docker("rmi", changed)
    assert f"the configuration of {changed} is not the one that was verified:\n" in str(error.value)
    assert f"\n    {told}" in str(error.value)


def test_nothing_changed_means_nothing_done(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    built = build_line(line)
    assert built.export is not None
    before = built.export.read_bytes()
    capsys.readouterr()
    again = build_line(line)
    assert (again.digest, again.ref) == (built.digest, built.ref)
    assert "is unchanged: verified when its software was new" in capsys.readouterr().err
    assert built.export.read_bytes() == before


def test_export_and_other_targets_of_the_same_lock(line: Line) -> None:
    built = build_line(line)
    assert built.export is not None
    with tarfile.open(built.export) as tar:
        names = tar.getnames()
        manifest = json.load(tar.extractfile("manifest.json") or sys.exit("no manifest"))
    assert {"pyproject.toml", "uv.lock", ".python-version", "manifest.json"} <= set(names)
    assert "dev_nodes/test-pack/__init__.py" in names
    assert built.digest in json.dumps(manifest)

    # Another target shares every layer but its torch, and the receipt's.
    other = build_line(line, "gpu")
    layers, others = (
        inspected(built.ref)["RootFS"]["Layers"],
        inspected(other.ref)["RootFS"]["Layers"],
    )
    different = [
        number for number, pair in enumerate(zip(layers, others, strict=True)) if len(set(pair)) > 1
    ]
    assert len(different) == 2, (layers, others)
    assert different[1] == len(layers) - 1
    assert inspected(other.ref)["Config"]["Labels"]["io.comfykiln.torch"] == "2.13.0+gpu"


def test_every_step_run_anew_gives_the_same_layers_and_the_same_image(line: Line) -> None:
    first = build_line(line, export=False)
    layers = inspected(first.ref)["RootFS"]["Layers"]
    second = build_line(line, export=False, cache=False)
    assert inspected(second.ref)["RootFS"]["Layers"] == layers
    assert second.digest == first.digest


def test_a_changed_pack_file_replaces_one_layer(line: Line) -> None:
    before = inspected(build_line(line).ref)["RootFS"]["Layers"]
    path = line.root / PACK
    path.write_text(path.read_text("utf-8") + "# changed\n", "utf-8")
    after = inspected(build_line(line).ref)["RootFS"]["Layers"]
    different = [old != new for old, new in zip(before, after, strict=True)]
    assert different.count(True) == 2  # the nodes' layer and the receipt's
    assert different[-1]


def test_the_image_keeps_the_contract_under_any_user(line: Line) -> None:
    ref = build_line(line, export=False).ref
    for user in ("4711:4711", "0:0"):
        name = docker(
            "run", "-d", "--user", user, "--network=none", "--read-only", "--tmpfs=/tmp", ref
        )
        try:
            deadline = time.monotonic() + 30
            while docker("inspect", "-f", "{{.State.Health.Status}}", name) != "healthy":
                assert time.monotonic() < deadline, docker("logs", name)
                time.sleep(0.2)
            assert docker("exec", name, "cat", "/app/user/state") == "kept"
        finally:
            docker("rm", "-f", "-v", name)


def test_a_pack_that_does_not_import_fails_the_build_and_keeps_no_tag(line: Line) -> None:
    (line.root / PACK).write_text("import module_that_is_nowhere\n", "utf-8")
    with pytest.raises(KilnError) as error:
        build_line(line)
    assert "(IMPORT FAILED): /app/custom_nodes/test-pack" in str(error.value)
    assert "the node KilnTestNode of the pack test-pack is not in /object_info" in str(error.value)
    assert docker("images", "-q", REPOSITORY) == ""
    assert leftovers() == []
    assert not (line.root / "dist").exists()


def test_a_failing_step_is_one_message_with_its_reason(line: Line) -> None:
    lock = line.root / "services/comfy/kilntest/locks/packages.txt"
    text = lock.read_text("utf-8")
    line_of = next(row for row in text.splitlines() if row.startswith("packaging=="))
    gone = text.replace(line_of, "packaging==1999.1 \\")
    lock.write_text(gone.replace(headers.content(text), headers.content(gone)), "utf-8")
    with pytest.raises(KilnError) as error:
        build_line(line)
    assert "the build step 'packages 1/1 RUN' failed" in str(error.value)
    assert "packaging" in str(error.value)
    assert docker("images", "-q", REPOSITORY) == ""


def test_a_lock_that_was_edited_is_drift(line: Line) -> None:
    lock = line.root / "services/comfy/kilntest/locks/packages.txt"
    lock.write_text(lock.read_text("utf-8").replace("packaging==", "packaging==1999."), "utf-8")
    with pytest.raises(DriftError, match="is not as it was made"):
        build_line(line)


def test_a_lock_of_other_inputs_is_drift(line: Line) -> None:
    pack = line.root / "services/comfy/test-pack/requirements.txt"
    pack.write_text("boto3\n", "utf-8")
    with pytest.raises(DriftError, match="was made from other inputs"):
        build_line(line)


def test_a_drifted_dockerfile_is_not_built_from(line: Line) -> None:
    path = line.root / "images/cpu/kilntest/Dockerfile"
    path.write_text(path.read_text("utf-8") + "RUN true\n", "utf-8")
    with pytest.raises(DriftError, match=r"\n-RUN true"):
        build_line(line)


def test_an_index_out_of_reach_is_not_possible_in_strict_mode(line: Line) -> None:
    path = line.root / "images/targets.yaml"
    path.write_text(path.read_text("utf-8").replace("/cpu", "/none"), "utf-8")
    started = time.monotonic()
    with pytest.raises(NotPossibleError, match="torch"):
        build_line(line, strict=True)
    assert time.monotonic() - started < 60  # seconds, not minutes


def test_no_secret_reaches_a_layer(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "kiln-canary-0f1e2d3c"
    monkeypatch.setenv("UV_INDEX_KILN_PASSWORD", canary)
    (line.root / PACK).write_text("NODE_CLASS_MAPPINGS = {'KilnTestNode': 1}\n", "utf-8")
    ref = build_line(line).ref
    assert canary not in docker("history", "--no-trunc", ref) + docker("image", "inspect", ref)
    with subprocess.Popen(["docker", "save", ref], stdout=subprocess.PIPE) as saved:
        found = subprocess.run(["grep", "-c", "-a", canary], stdin=saved.stdout, check=False)
    assert saved.returncode == 0
    assert found.returncode == 1
    leaks = [path for path in (line.root / ".kiln").rglob("*") if path.is_file()]
    assert not [path for path in leaks if canary.encode() in path.read_bytes()]


def test_the_name_of_a_killed_build_is_taken_away_by_the_next(line: Line) -> None:
    ref = build_line(line, export=False).ref
    machine = unfinished.name("kilntest", "cpu").split("-")[-3]
    dead = subprocess.Popen(["true"])
    dead.wait()
    gone = f"{unfinished.REPOSITORY}/kilntest:cpu-{machine}-{dead.pid}-01234567"
    mine = unfinished.name("kilntest", "cpu")
    docker("tag", ref, gone)
    docker("tag", ref, mine)
    unfinished.sweep(engine.client())
    try:
        assert leftovers() == [mine]
    finally:
        docker("rmi", mine)


def test_ctrl_c_leaves_no_tag_and_no_container(line: Line) -> None:
    (line.root / PACK).write_text("NODE_CLASS_MAPPINGS = {'KilnTestNode': 2}\n", "utf-8")
    tasks = Path(__file__).parents[2] / "tasks.py"
    (line.root / "tasks.py").write_text(
        tasks.read_text("utf-8").replace(
            "Path(__file__).parent.resolve()", f"Path({str(line.root)!r})"
        ),
        "utf-8",
    )
    source = Path(__file__).parents[2] / "src"
    mirror = f"--git-mirror={line.mirror}"
    kiln = [sys.executable, "-P", "-m", "comfykiln", f"--search-root={line.root}"]
    # Whoever runs the tests in the background has them ignore Ctrl-C, and a child would, too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    child = subprocess.Popen(
        [*kiln, "build", "--target=cpu", "--image=kilntest", mirror],
        cwd=line.root,
        env=os.environ | {"PYTHONPATH": str(source)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    assert child.stderr is not None
    said = []
    for text in child.stderr:
        said.append(text)
        if text == "▸ bake\n":
            child.send_signal(signal.SIGINT)
    child.communicate(timeout=120)
    assert child.returncode == 130, "".join(said)
    assert said[-1] == "! stopped; nothing half-made is in place, and what was finished is kept\n"
    assert docker("images", "-q", REPOSITORY) == ""
    assert leftovers() == []
