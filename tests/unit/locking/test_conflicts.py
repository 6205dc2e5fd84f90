"""A failed solve, told for people: what is wrong, who asks for what, the ways out."""

from __future__ import annotations

import pytest

from comfykiln.errors import DocumentError, NotPossibleError
from comfykiln.locking import LockInputs, conflict
from comfykiln.system.process import ProgramError

INPUTS = LockInputs(
    requirements={
        "comfyui/requirements.txt": "numpy>=2\n",
        "nodes/a.txt": "Ruamel.YAML<0.17\nmediapipe==0.10.9\nsix==99\nnowhere>=1\n",
        "nodes/b.txt": "ruamel_yaml>=0.18 ; sys_platform == 'linux'\n",
    },
    family=("torch==2.13.0",),
    python="3.13",
)
NO_SOLUTION = "error: No solution found when resolving dependencies\n  cause: Because "
END = ", we can conclude that your requirements are unsatisfiable.\n"


# What uv 0.11 says, what is wrong then, who asks for it.
@pytest.mark.parametrize(
    ("said", "title", "asking"),
    [
        (
            "you require ruamel-yaml<0.17 and ruamel-yaml{sys_platform == 'linux'}>=0.18",
            "the packages contradict each other",
            [
                "the node a asks for `Ruamel.YAML<0.17`",
                "the node b asks for `ruamel_yaml>=0.18 ; sys_platform == 'linux'`",
            ],
        ),
        (
            "nowhere was not found in the package registry and you require nowhere>=1",
            "a package or version that is asked for is not on the package index",
            ["the node a asks for `nowhere>=1`"],
        ),
        (
            "there is no version of six==99 and you require six==99",
            "a package or version that is asked for is not on the package index",
            ["the node a asks for `six==99`"],
        ),
        (
            (
                "mediapipe==0.10.9 has no wheels with a matching Python ABI tag (e.g., `cp313`) "
                "and you require mediapipe==0.10.9"
            ),
            "a package that is asked for has no wheel for this Python and platform",
            ["the node a asks for `mediapipe==0.10.9`"],
        ),
    ],
)
def test_what_is_wrong_and_who_asks(said: str, title: str, asking: list[str]) -> None:
    error = conflict(INPUTS, ProgramError(["uv"], 1, NO_SOLUTION + said + END))
    assert isinstance(error, DocumentError)
    assert error.message.splitlines()[0] == f"{title}; uv says:"
    assert list(error.faults) == asking
    assert "--leave-out" in (error.remedy or "")


def test_an_index_out_of_reach_is_not_the_fault_of_a_pack() -> None:
    said = "error: Failed to fetch: `https://kiln.invalid/simple/six/`\n"
    error = conflict(INPUTS, ProgramError(["uv"], 2, said))
    assert isinstance(error, NotPossibleError)
    assert error.message.splitlines()[0] == "the package index cannot be asked:"
