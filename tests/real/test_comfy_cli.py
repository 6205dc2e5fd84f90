"""What the real comfy-cli does with a snapshot today, so that we notice when it is fixed.

Each test is a row of the table in docs/restore.md. One that fails after an update of comfy-cli or
of the Manager is good news: fix the table, and see whether our own step can be simpler.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.support.comfycli import REGISTRY, Lab, laboratory
from tests.support.nodes import HOST, git, good
from tests.support.wheelindex import wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.real

WHEELS = [
    wheel("torch", "2.13.0"),
    wheel("torch", "2.15.0"),
    wheel("numpy", "1.26.4"),
    wheel("needs-torch", "1.0", "torch>=2.15"),
    wheel("shared", "1.0"),
    wheel("shared", "2.0"),
    wheel("needs-shared", "1.0", "shared>=2"),
]
SUCCESS = "[ INSTALLED ] one"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with laboratory(tmp_path, WHEELS, "torch==2.13.0", "needs-shared") as made:
        yield made


def newest(lab: Lab, name: str) -> str:
    """Return the commit at the head of the node's repository, which no snapshot here names."""
    return git(lab.nodes.mirrors / HOST / "nodes" / f"{name}.git", "rev-parse", "HEAD")


def test_pins_branches_disabled_and_the_comfyui_commit_are_ignored(lab: Lab) -> None:
    for folder in (lab.workspace,):
        git(folder, "init", "-q", "-b", "master")
        git(folder, "commit", "-q", "--allow-empty", "-m", "older")
        git(folder, "commit", "-q", "--allow-empty", "-m", "newer")
    for name in ("one", "nowhere", "branch", "off"):
        lab.nodes.repository(name, good(name), disabled=name == "off")
    lab.nodes.pins[lab.nodes.url("nowhere")]["hash"] = "deadbeef" * 5
    lab.nodes.pins[lab.nodes.url("branch")]["hash"] = "main"
    core = git(lab.workspace, "rev-parse", "HEAD")
    ran = lab.restore(comfyui=git(lab.workspace, "rev-parse", "HEAD~1"))
    assert ran.status == 0
    assert lab.installed() == ["branch", "nowhere", "off", "one"]
    for name in lab.installed():
        assert f"[ INSTALLED ] {name}" in ran.text
        assert lab.head(name) == newest(lab, name)
    assert git(lab.workspace, "rev-parse", "HEAD") == core
    for sign in ("Execution error", "FAILED", "Traceback"):
        assert sign not in ran.text


def test_a_second_run_checks_out_the_pins_only_from_within_custom_nodes(lab: Lab) -> None:
    pin = lab.nodes.repository("one", good("One"))
    lab.restore()
    again = lab.restore()
    assert (again.status, lab.head("one")) == (0, newest(lab, "one"))
    assert "[ SKIPPED ] one" in " ".join(again.text.split())
    within = lab.restore(cwd=lab.workspace / "custom_nodes")
    assert (within.status, lab.head("one")) == (0, pin)


def test_a_vanished_repository_is_called_installed(lab: Lab) -> None:
    lab.nodes.repository("one", good("One"))
    shutil.rmtree(lab.nodes.mirrors / HOST / "nodes" / "one.git")
    ran = lab.restore()
    assert (ran.status, lab.installed()) == (0, [])
    assert "GitCommandError" in ran.text
    assert SUCCESS in ran.text


def test_a_requirement_that_does_not_exist_ends_its_node_s_list(lab: Lab) -> None:
    files = {"requirements.txt": "kiln-nowhere\nshared==1.0\n"}
    lab.nodes.repository("one", good("One") | files)
    ran = lab.restore()
    assert (ran.status, lab.installed()) == (0, ["one"])
    assert "CalledProcessError" in ran.text
    assert SUCCESS in ran.text
    assert lab.versions()["shared"] == "2.0"


def test_a_failing_install_script_is_called_installed(lab: Lab) -> None:
    lab.nodes.repository("one", good("One"))
    script = lab.nodes.work / "one" / "install.py"
    script.write_text("raise SystemExit(3)\n", "utf-8")
    git(script.parent, "add", "-A")
    git(script.parent, "commit", "-q", "-m", "a script")
    git(script.parent, "push", "-q", str(lab.nodes.mirrors / HOST / "nodes" / "one.git"), "trunk")
    ran = lab.restore()
    assert (ran.status, lab.installed()) == (0, ["one"])
    assert "returned non-zero exit status 3" in ran.text
    assert SUCCESS in ran.text


def test_each_line_is_one_pip_that_may_downgrade_numpy_and_replace_torch(lab: Lab) -> None:
    before = lab.versions()
    lines = "numpy<2\ntorch==2.15.0\nneeds-torch\nshared\n"
    lab.nodes.repository("one", good("One") | {"requirements.txt": lines})
    ran = lab.restore()
    after = lab.versions()
    assert ran.status == 0
    assert ran.text.count("ComfyUI-Manager: EXECUTE => ") == 3
    # A line that names torch is set aside; what another package asks of torch is not.
    assert "skip black listed pip installation: 'torch==2.15.0'" in ran.text
    assert (before["torch"], after["torch"]) == ("2.13.0", "2.15.0")
    assert int(before["numpy"].split(".")[0]) > 1
    assert after["numpy"] == "1.26.4"


def test_of_packs_that_conflict_the_last_one_wins(lab: Lab) -> None:
    for name, line in (("one", "shared==2.0\n"), ("two", "shared==1.0\n")):
        lab.nodes.repository(name, good(name) | {"requirements.txt": line})
    ran = lab.restore()
    assert (ran.status, lab.versions()["shared"]) == (0, "1.0")
    # `pip check` does not know nodes; `comfy node deps` does, and exits 0 all the same.
    said = lab.comfy("--json", "node", "deps", cwd=lab.workspace)
    report = json.loads(next(line for line in said.text.splitlines() if line.startswith("{")))
    found = {
        (pack["pack"], line["raw"]): line["status"]
        for pack in report["data"]["packs"]
        for line in pack["requirements"]
    }
    assert said.status == 0
    assert found == {("one", "shared==2.0"): "mismatch", ("two", "shared==1.0"): "satisfied"}


def test_packages_are_restored_only_when_asked_and_then_called_failed(lab: Lab) -> None:
    pips = {"shared==1.0": "", "kiln-nowhere==9.9": ""}
    ran = lab.restore(pips=pips)
    assert (ran.status, lab.versions()["shared"]) == (0, "2.0")
    assert "PIPs restore mode: []" in ran.text
    ran = lab.restore("--pip-non-url", pips=pips)
    failed = "Installation failed for pip packages: ['shared==1.0', 'kiln-nowhere==9.9']"
    assert (ran.status, failed in ran.text) == (0, True)
    # It was installed, and needs-shared, which asks for 2, is broken without a word.
    assert lab.versions()["shared"] == "1.0"
    assert "needs-shared" not in ran.text


DOCUMENTS = {
    "malformed": ("{", "JSONDecodeError"),
    "missing": (None, "is not exists"),
    "the map of the snapshot specification": (
        '{"custom_nodes": {"https://kiln.invalid/nodes/one": {"hash": "main"}}}',
        "'NoneType' object has no attribute 'items'",
    ),
    "empty": ("{}", "'NoneType' object has no attribute 'items'"),
    "a list": ("[]", "'list' object has no attribute 'get'"),
}


@pytest.mark.parametrize(("text", "said"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_that_cannot_be_read_is_status_0(lab: Lab, text: str | None, said: str) -> None:
    path = lab.workspace.parent / "document.json"
    if text is not None:
        path.write_text(text, "utf-8")
    for ran, status in (
        (lab.comfy("node", "restore-snapshot", str(path)), 0),
        (lab.manager("restore-snapshot", str(path)), 1),
    ):
        assert ran.status == status
        assert said in ran.text
    assert lab.installed() == []


def test_a_registry_out_of_reach_is_status_0_and_no_git_node_is_tried(lab: Lab) -> None:
    lab.nodes.repository("one", good("One"))
    ran = lab.restore(cnr_custom_nodes={"some-node": "1.0.0"})
    assert (ran.status, lab.installed()) == (0, [])
    assert "ERROR: Failed to restore snapshot." in ran.text
    assert set(lab.refused) == {REGISTRY}


def test_what_other_commands_do_without_a_network(lab: Lab) -> None:
    assert lab.comfy("node", "update-cache").status == 0
    assert lab.manager("update-cache").status == 1
    ran = lab.comfy("node", "install", "--exit-on-fail", "kiln-nowhere")
    assert (ran.status, "ERROR: An error occurred while installing" in ran.text) == (0, True)


def test_the_faults_that_it_does_report(lab: Lab) -> None:
    other = lab.workspace.parent
    argv = (str(lab.python), "-m", "comfy_cli", "--skip-prompt", "--workspace", str(other))
    ran = lab.run(*argv, "node", "restore-snapshot", "snapshot.json")
    assert (ran.status, "is not a valid ComfyUI workspace" in ran.text) == (1, True)
    homeless = lab.run("env", "-u", "COMFYUI_PATH", str(lab.python), "-m", "cm_cli", "show", "all")
    assert homeless.status == 255
    lab.run(str(lab.python), "-m", "pip", "uninstall", "-y", "aiohttp")
    assert lab.restore().status == 0  # the Manager cannot be imported
    lab.run(str(lab.python), "-m", "pip", "uninstall", "-y", "comfyui-manager")
    ran = lab.restore()
    assert (ran.status, "'cm-cli' command is not available" in ran.text) == (1, True)
