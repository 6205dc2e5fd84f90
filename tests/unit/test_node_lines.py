"""What becomes of the requirement lines of nodes, and of the stand-ins in a real solve."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from tests.support.wheelindex import serving, wheel

from comfykiln.errors import DocumentError
from comfykiln.locking import LockInputs, solve
from comfykiln.locking.nodelines import Rules, node_lines, wanted_sources
from comfykiln.locking.solving import Tree, package_name
from comfykiln.services import Override, load_service
from comfykiln.targets import StandIn

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REASON = "owns the same files as the other one"
STAND_INS = {"cv-gpu": StandIn(by="cv", reason=REASON), "cv-slim": StandIn(by="cv", reason=REASON)}


@dataclass(frozen=True)
class Pack:
    directory: str
    requirements: str | None = None
    pyproject: str | None = None


@pytest.fixture
def rules(repository: Path) -> Rules:
    service = replace(
        load_service(repository, "core"),
        drop={"useless": "nobody ever calls this one"},
        overrides=(Override(requirement="other==2", reason="the released one serves as well"),),
    )
    family = ("torch==2.13.0", "torchvision==0.28.0")
    return Rules(service=service, family=family, stand_ins=STAND_INS)


def test_lines_are_kept_set_aside_replaced_or_resolved(rules: Rules) -> None:
    one = Pack(
        "one",
        "numpy>=2  # why\ntorch>=2\nuseless==1\nCV_GPU>=4 ; python_version > '3.9'\n"
        "git+https://kiln.invalid/o/thing.git@main\nother @ git+https://kiln.invalid/o/other\n",
    )
    two = Pack("two", None, '[project]\ndependencies = ["numpy>=2", "cv-slim"]\n')
    commits = {("https://kiln.invalid/o/thing", "main", ""): COMMIT}
    found = node_lines([one, two], ["cv-gpu==5", "numpy==2.5"], replace(rules, commits=commits))
    assert found.requirements == {
        "nodes/one.txt": (
            'numpy>=2\ncv>=4 ; python_version > "3.9"\n'
            f"git+https://kiln.invalid/o/thing@{COMMIT}\nother\n"
        ),
        "nodes/two.txt": "numpy>=2\ncv\n",
    }
    assert found.set_aside == (
        "one: torch>=2 (the torch family belongs to the target)",
        "one: useless==1 (dropped: nobody ever calls this one)",
        f'one: CV_GPU>=4 ; python_version > "3.9" (cv: {REASON})',
        f"two: cv-slim (cv: {REASON})",
    )
    assert found.replaced == {"cv-gpu", "cv-slim"}
    assert found.constraints == ("numpy==2.5",)
    assert wanted_sources([one, two], rules) == {
        ("https://kiln.invalid/o/thing", "main", ""): ["one"]
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("git+https://kiln.invalid/o/thing@main", "is not resolved to a commit by the lock"),
        ("thing @ https://kiln.invalid/thing.whl", "is not from the package index"),
        ("./thing", "is not from the package index"),
        ("--index-url https://kiln.invalid/", "is an option"),
    ],
)
def test_lines_that_no_lock_can_hold_are_refused_with_their_place(
    rules: Rules, line: str, said: str
) -> None:
    with pytest.raises(DocumentError) as error:
        node_lines([Pack("one", f"numpy\n{line}\n")], [], rules)
    assert "one/requirements.txt line 2" in str(error.value)
    assert said in str(error.value)


def test_a_stand_in_takes_the_place_of_what_comes_through_others(tmp_path: Path) -> None:
    wheels = [
        wheel("cv", "1.0"),
        wheel("cv-slim", "1.0"),
        wheel("helper", "1.0", "cv-slim>=1"),
        wheel("torch", "2.13.0"),
        *(wheel(name, "99") for name in ("setuptools", "wheel")),
    ]
    inputs = LockInputs(
        requirements={"nodes/one.txt": "helper\n"},
        family=("torch==2.13.0",),
        python="3.13",
        stand_ins={name: one.by for name, one in STAND_INS.items()},
    )
    with serving({"/simple": wheels}) as index:
        environment = dict(os.environ) | {
            "UV_DEFAULT_INDEX": f"{index.url}/simple",
            "UV_CACHE_DIR": str(tmp_path / "cache"),
            "NO_PROXY": "127.0.0.1",
        }
        solved = solve(inputs, environment)
    names = [line.partition("==")[0] for line in solved.text.splitlines() if "==" in line]
    assert names == ["cv", "helper"]
    assert solved.replaced == {"cv-slim": "cv"}
    assert "stand-ins.txt" in solved.text


def test_a_package_from_a_tree_is_solved_and_left_out_of_the_hashes(tmp_path: Path) -> None:
    tree = tmp_path / "thing"
    tree.mkdir()
    project = '[project]\nname = "The_Thing"\nversion = "3"\ndependencies = ["helper>=1"]\n'
    (tree / "pyproject.toml").write_text(project, "utf-8")
    address = f"git+https://kiln.invalid/o/thing@{COMMIT}"
    inputs = LockInputs(requirements={"nodes/one.txt": f"{address}\n"}, family=(), python="3.13")
    with serving({"/simple": [wheel("helper", "1.0")]}) as index:
        environment = dict(os.environ) | {
            "UV_DEFAULT_INDEX": f"{index.url}/simple",
            "UV_CACHE_DIR": str(tmp_path / "cache"),
            "NO_PROXY": "127.0.0.1",
        }
        name = package_name(tree, environment)
        solved = solve(inputs, environment, trees={address: Tree(name=name, path=tree)})
    assert name == "the-thing"
    entries = [line for line in solved.text.splitlines() if line and line[0].isalnum()]
    assert entries == ["helper==1.0 \\"]
    assert str(tmp_path) not in solved.text


def test_a_tree_without_a_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="wants a package from holds none"):
        package_name(
            tmp_path,
            dict(os.environ) | {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "cache")},
        )
