from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from comfykiln import locking
from comfykiln.errors import DocumentError, DriftError
from comfykiln.plan.services import load_service
from comfykiln.plan.targets import load_targets

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = """\
numpy==2.5.5 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via torchvision
nvidia-cublas==13.1.1.3 \\
    --hash=sha256:cc
torch==2.13.0 \\
    --hash=sha256:dd
torchsde==0.2.6 \\
    --hash=sha256:ee
"""


def tree(folder: Path, requirements: str) -> Path:
    folder.mkdir()
    (folder / "requirements.txt").write_text(requirements, "utf-8")
    (folder / "manager_requirements.txt").write_text("comfyui_manager==4.2.2\n", "utf-8")
    return folder


def test_a_lock_is_split_into_shared_packages_and_the_torch_row(repository: Path) -> None:
    targets = load_targets(repository / "images" / "targets.yaml")
    shared, torch = locking.split(WHOLE, targets)
    assert [line.split("==")[0] for line in shared.splitlines() if "==" in line] == [
        "numpy",
        "torchsde",
    ]
    assert torch == (
        "nvidia-cublas==13.1.1.3 \\\n    --hash=sha256:cc\ntorch==2.13.0 \\\n    --hash=sha256:dd\n"
    )


def test_comments_do_not_make_a_lock_stale_but_requirements_do(
    repository: Path, tmp_path: Path
) -> None:
    targets = load_targets(repository / "images" / "targets.yaml")
    service = load_service(repository, "core")
    pyproject = repository / "pyproject.toml"
    plain = tree(tmp_path / "a", "torch\nnumpy>=1.25\n")
    commented = tree(tmp_path / "b", "torch\n\n#non essential:\nnumpy>=1.25  # why\n")
    changed = tree(tmp_path / "c", "torch\nnumpy>=2\n")
    digests = [
        locking.lock_inputs(service, targets, folder, pyproject).digest
        for folder in (plain, commented, changed)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_lock_from_other_inputs_is_drift_and_a_fresh_one_is_not(
    repository: Path, tmp_path: Path
) -> None:
    targets = load_targets(repository / "images" / "targets.yaml")
    service = load_service(repository, "core")
    folder = tree(tmp_path / "a", "numpy\n")
    inputs = locking.lock_inputs(service, targets, folder, repository / "pyproject.toml")
    with pytest.raises(DriftError, match="was made from other inputs"):
        locking.check_locks(service, inputs, "cu130")
    locking.write_locks(service, targets, inputs, locking.Solved(text=WHOLE), "cu130")
    locking.check_locks(service, inputs, "cu130")
    assert locking.is_locked(service, inputs, "cu130")
    assert locking.locked(service.package_lock) == {"numpy": "2.5.5", "torchsde": "0.2.6"}
    assert locking.locked(service.torch_lock("cu130")) == {
        "nvidia-cublas": "13.1.1.3",
        "torch": "2.13.0",
    }


def test_drift_names_every_input_that_is_not_as_it_was(repository: Path, tmp_path: Path) -> None:
    targets = load_targets(repository / "images" / "targets.yaml")
    service = load_service(repository, "core")
    pyproject = repository / "pyproject.toml"
    inputs = locking.lock_inputs(service, targets, tree(tmp_path / "a", "numpy\n"), pyproject)
    inputs = replace(inputs, requirements={**inputs.requirements, "nodes/left.txt": "toml\n"})
    locking.write_locks(service, targets, inputs, locking.Solved(text=WHOLE), "cu130")
    other = tree(tmp_path / "b", "numpy>=2\n")
    now = locking.lock_inputs(service, targets, other, pyproject)
    now = replace(
        now,
        requirements={**now.requirements, "nodes/one.txt": "scipy\n"},
        family=("torch==2.14.0",),
        python="3.11",
        drop=("scipy",),
    )
    with pytest.raises(DriftError) as error:
        locking.check_locks(service, now, "cu130")
    assert error.value.message.splitlines()[1:] == [
        "  changed: lines of ComfyUI",
        "  gone: lines of the node left",
        "  new: lines of the node one",
        "  changed: the Python",
        "  changed: the torch family",
        "  new: what is dropped (`drop:`)",
    ]


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("packages.txt", ("numpy==2.5.5", "numpy==2.5.4"), "is not as it was made"),
        ("packages.txt", ("torchsde==0.2.6 \\\n", ""), "is not as it was made"),
        ("torch-cu130.txt", ("sha256:cc", "sha256:cd"), "is not as it was made"),
        ("torch-cu130.txt", ("# inputs: sha256:", "# inputs: sha256:0"), "from other inputs"),
        ("torch-cu130.txt", None, "does not exist"),
    ],
)
def test_a_lock_that_nobody_made_is_drift(
    repository: Path, tmp_path: Path, file: str, change: tuple[str, str] | None, said: str
) -> None:
    """An entry changed by hand, one lost in a merge, a lock of another image, one forgotten."""
    targets = load_targets(repository / "images" / "targets.yaml")
    service = load_service(repository, "core")
    inputs = locking.lock_inputs(
        service, targets, tree(tmp_path / "a", "numpy\n"), repository / "pyproject.toml"
    )
    locking.write_locks(service, targets, inputs, locking.Solved(text=WHOLE), "cu130")
    path = service.package_lock.with_name(file)
    if change is None:
        path.unlink()
    else:
        text = path.read_text("utf-8")
        assert change[0] in text
        path.write_text(text.replace(*change), "utf-8")
    assert not locking.is_locked(service, inputs, "cu130")
    with pytest.raises(DriftError, match=said):
        locking.check_locks(service, inputs, "cu130")


def test_targets_with_different_torch_families_cannot_share_a_lock(
    repository: Path, tmp_path: Path
) -> None:
    path = repository / "images" / "targets.yaml"
    text = path.read_text("utf-8").replace("torch: 2.13.0", "torch: 2.12.0", 1)
    path.write_text(text, "utf-8")
    service = load_service(repository, "core")
    with pytest.raises(DocumentError, match="one package lock serves all of them"):
        locking.lock_inputs(
            service, load_targets(path), tree(tmp_path / "a", ""), repository / "pyproject.toml"
        )


def test_the_committed_locks_hold_hashes_and_no_address(repository: Path) -> None:
    service = load_service(repository, "core")
    for path in (service.package_lock, service.torch_lock("cu130")):
        text = path.read_text("utf-8")
        entries = list(locking.ENTRY.finditer(text))
        assert entries
        assert "://" not in text
        for block in text.split("\n\n")[-1].split("==")[1:]:
            assert "--hash=sha256:" in block
