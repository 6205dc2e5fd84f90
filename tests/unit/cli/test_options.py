"""Names, letters and defaults of every task's options, and what their help says."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, get_args

import pytest

from comfykiln.cli import fields, options
from comfykiln.cli.program import Kiln, KilnTask
from comfykiln.documents.capture.write import Packages
from comfykiln.intake import records
from comfykiln.plan.project import DEFAULT_IMAGE

ROOT = Path(__file__).parents[3]
# Place (*), name, letter, inverse and default of each: scripts and habits rest on them.
NAMES = {
    "doctor": ["--json -j = False"],
    "plan": [
        "--comfyui -c",
        "--from -f",
        "--image -i",
        "--json -j = False",
        "--leave-out -l = ''",
        "--packages -a = 'prefer'",
        "--post-install -o",
        "--python-match -p = 'exact'",
        "--ref -r",
        "--rules -u",
        "--target -t",
    ],
    "render": ["--check -c = False"],
    "build": [
        "--archive",
        "--ca-bundle",
        "--cache --no-cache = True",
        "--comfyui",
        "--export --no-export = True",
        "--from",
        "--git-mirror",
        "--image",
        "--json = False",
        "--leave-out = ''",
        "--models = 'all'",
        "--origins = 'any'",
        "--packages = 'prefer'",
        "--post-install",
        "--push",
        "--python-match = 'exact'",
        "--ref",
        "--rules",
        "--store --no-store = True",
        "--tag",
        "--target",
    ],
    "run": ["--image -i", "--models -m", "--port -p = 8188", "--tag -a", "--target -t"],
    "verify": ["--json -j = False", "--ref -r"],
    "test": ["--tier -t"],
    "lint": [],
    "lock.make lock": ["--ca-bundle -c", "--git-mirror -g", "--image -i", "--upgrade -u = ''"],
    "lock.check": ["--ca-bundle -c", "--git-mirror -g", "--image -i"],
    "snapshot.check": ["*--file -f", "--json -j = False"],
    "snapshot.convert": [
        "*--file -f",
        "--comfyui -c",
        "--json -j = False",
        "--out -o",
        "--packages -p = 'all'",
        "--python -y",
        "--to -t = 'snapshot'",
        "--torch -r",
    ],
    "snapshot.pin": [
        "*--file -f",
        "--git-mirror -g",
        "--json -j = False",
        "--out -o",
        "--ref -r",
        "--write -w --no-write = True",
    ],
    "snapshot.diff": ["*--a", "*--b", "--format -f = 'text'", "--git-mirror -g"],
    "snapshot.save": ["*--ref -r", "--folder -f = ''", "--json -j = False", "--out -o"],
    "manifest.check": ["*--file -f", "--json -j = False"],
    "manifest.commands": [
        "*--file -f",
        "--json -j = False",
        "--platform -p = ''",
        "--torch-backend -t = ''",
    ],
    "manifest.minimize": ["*--file -f", "--out -o = ''"],
    "manifest.capture": [
        "*--source -s",
        "--folder -f = ''",
        "--json -j = False",
        "--out -o = 'comfyui_migration.json'",
        "--packages -p = 'direct'",
    ],
    "models.lock": ["--ca-bundle -a", "--check -c = False", "--image -i", "--upgrade -u = ''"],
    "models.fetch": [
        "--ca-bundle -c",
        "--image -i",
        "--json -j = False",
        "--models -m = 'all'",
        "--only -o = ''",
        "--to -t",
    ],
    "models.list": ["--image -i", "--json -j = False"],
    "models.add-source": ["--image -i", "--name -n", "--source -s"],
    "models.add-from": ["*--document -d", "--image -i", "--json -j = False"],
    "models.push": [
        "--ca-bundle -c",
        "--image -i",
        "--json -j = False",
        "--models -m = 'all'",
        "--ref -r",
        "--store -s --no-store = True",
    ],
}


@pytest.fixture(scope="module")
def program() -> Kiln:
    found = Kiln()
    found.create_config()
    found.parse_core(["./kiln", "--search-root", str(ROOT)])
    found.parse_collection()
    return found


def test_the_options_of_every_task(program: Kiln) -> None:
    found = {}
    for context in program.collection.to_contexts():
        names = []
        for entry in context.args.values():
            flag = f"--{entry.names[0]}"
            inverse = [name for name, other in context.inverse_flags.items() if other == flag]
            letters = [f"-{letter}" for letter in entry.nicknames]
            default = "" if entry.default is None else f" = {entry.default!r}"
            names.append(" ".join(["*" * entry.positional + flag, *letters, *inverse]) + default)
        found[" ".join([context.name or "", *context.aliases])] = sorted(names)
    assert found == NAMES


@pytest.mark.parametrize("name", [name for names in NAMES for name in names.split()])
def test_help_tells_of_every_option_what_it_means(program: Kiln, name: str) -> None:
    entry = program.collection[name]
    assert isinstance(entry, KilnTask)
    assert entry.__doc__
    for option, text in fields.help_texts(entry.options).items():
        assert len(text.split()) > 2, option
        usual = text.rpartition("(")[2]
        assert usual == "required)" or usual.startswith("default: "), option
        assert usual != "default: )", option
        assert usual != "default: None)", option
        for choice in fields.choices(entry.options, option):
            assert choice in text, option


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (options.PythonMatch, records.PythonMatch),
        (options.Strictness, records.Strictness),
        (options.Captured, Packages),
    ],
    ids=["python-match", "packages", "captured"],
)
def test_choices_are_those_of_the_library(ours: Any, theirs: Any) -> None:
    assert get_args(ours) == get_args(theirs)


def test_tasks_are_a_table_of_contents() -> None:
    tree = ast.parse((ROOT / "tasks.py").read_bytes())
    tasks = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list
    ]
    assert len(tasks) == len(NAMES)
    long = [node.name for node in tasks if (node.end_lineno or 0) - node.lineno >= 10]
    assert long == []


def test_the_default_image_is_that_of_the_project() -> None:
    told = fields.help_texts(options.TargetImage)["image"]
    assert told.endswith(f"(default: {DEFAULT_IMAGE})")


def test_help_of_a_task(program: Kiln, capsys: pytest.CaptureFixture[str]) -> None:
    program.run(["./kiln", "--search-root", str(ROOT), "--help", "render"])
    assert capsys.readouterr().out == (
        "Usage: ./kiln render [options]\n\n"
        "Write the Dockerfiles and the bake file under images/.\n\n"
        "Options:\n\n"
        "  -c, --check   write nothing; exit code 4 where a file is not as rendered\n"
        "                (default: no)\n\n"
    )
