"""What becomes of the requirement lines of nodes, and of the stand-ins in a real solve."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from tests.support.wheelindex import serving, wheel

from comfykiln.errors import DocumentError
from comfykiln.locking import LockInputs, solve
from comfykiln.locking.deplines import told_lines
from comfykiln.locking.nodelines import Rules, node_lines, wanted_sources
from comfykiln.locking.solving import Tree, package_name
from comfykiln.plan.services import Override, load_service
from comfykiln.plan.targets import StandIn

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


OPTION = "--extra-index-url https://kiln.invalid/whl"


def test_a_line_that_nobody_can_lock_is_dropped_word_for_word(rules: Rules) -> None:
    """An option, a line that is no requirement, an address, each with its reason."""
    wheel = "https://me:secret@kiln.invalid/thing-1-py3-none-any.whl"
    reasons = dict.fromkeys((OPTION, "numpy = 1.2", wheel, "-r more.txt"), "the index has it")
    told = replace(rules, service=replace(rules.service, drop=reasons))
    one = Pack("one", f"{OPTION}  # torch\nnumpy = 1.2\n{wheel}\n-r more.txt\nscipy\n")
    found = node_lines([one], [], told)
    assert found.requirements == {"nodes/one.txt": "scipy\n"}
    assert found.set_aside == (
        f"one: {OPTION} (dropped: the index has it)",
        "one: numpy = 1.2 (dropped: the index has it)",
        "one: https://***@kiln.invalid/thing-1-py3-none-any.whl (dropped: the index has it)",
        "one: -r more.txt (dropped: the index has it)",
    )
    with pytest.raises(DocumentError, match="drop the line, word for word and with a reason"):
        node_lines([one], [], rules)


def test_a_dropped_package_may_be_spelt_in_any_way(rules: Rules) -> None:
    told = replace(rules, service=replace(rules.service, drop={"Some_Thing": "not needed here"}))
    found = node_lines([Pack("one", "some.thing>=1\n")], ["some-thing==1"], told)
    assert (found.requirements, found.constraints) == ({}, ())
    assert found.set_aside == ("one: some.thing>=1 (dropped: not needed here)",)


def test_torch_and_what_goes_with_it_belong_to_the_target_however_they_are_named(
    rules: Rules,
) -> None:
    address = "https://kiln.invalid/whl"
    lines = (
        *("torch", "Torch >= 2.0", "TORCH==2.1.0+cu121", "torch[opt]~=2.1", "torch;os_name=='nt'"),
        f"torch @ {address}/torch-2.1.0-cp310-cp310-linux_x86_64.whl",
        f"{address}/torchvision-0.16.0%2Bcu121-cp310-cp310-linux_x86_64.whl",
        *("xformers==0.0.23", "triton", "nvidia-cublas-cu12"),
    )
    told = replace(rules, accelerators=("torch", "xformers", "triton", "nvidia-*"))
    found = node_lines([Pack("one", "\n".join(lines))], [], told)
    assert found.requirements == {}
    assert len(found.set_aside) == len(lines)
    assert all("target" in line for line in found.set_aside)


def test_a_password_in_a_line_is_not_shown(rules: Rules) -> None:
    with pytest.raises(DocumentError) as error:
        node_lines([Pack("one", "git+https://me:secret@kiln.invalid/o/r\n")], [], rules)
    assert "secret" not in str(error.value)


def test_what_comfy_cli_cannot_judge_is_told(rules: Rules) -> None:
    """Markers, hashes, a line that goes on, repositories; a line that the lock does not meet."""
    digest = "0" * 64
    one = Pack(
        "one",
        "numpy>=2  # why\r\n"
        f"scipy==1.0 --hash=sha256:{digest}\r\n"
        "pillow\\\r\n  >=10\r\n"
        "tomli ; python_version < '3.11'\r\n"
        "pywin32==306; sys_platform == 'win32'\r\n"
        "git+ssh://git@kiln.invalid/o/thing.git@main\r\n"
        "torch>=2\r\nuseless==1\r\ncv-gpu\r\nother @ git+https://kiln.invalid/o/other\r\n"
        "old<1\r\nabsent\r\n",
        '[project]\ndependencies = ["colorama ; os_name == \'nt\'", "numpy<9"]\n',
    )
    have = {"numpy": "2.5", "scipy": "1.0", "pillow": "13.0", "cv": "5", "other": "2", "old": "3"}
    named = {("https://kiln.invalid/o/thing", "main", ""): "thing"}
    assert told_lines(one, rules, have, named) == {
        "\ufeffnumpy>=2": "numpy",
        "numpy>=2": "numpy",
        f"scipy==1.0 --hash=sha256:{digest}": "scipy",
        "pillow\\": "pillow",
        ">=10": "pillow",
        "tomli ; python_version < '3.11'": "",
        "pywin32==306; sys_platform == 'win32'": "",
        "git+ssh://git@kiln.invalid/o/thing.git@main": "thing",
        "torch>=2": "",
        "useless==1": "",
        "cv-gpu": "cv",
        "other @ git+https://kiln.invalid/o/other": "other",
        "colorama ; os_name == 'nt'": "",
        "numpy<9": "numpy",
    }


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
        stand_ins={name: entry.by for name, entry in STAND_INS.items()},
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
