"""Wrong usage: what was typed, and what the one line of the answer must name; exit code 2."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from comfykiln.cli.program import Kiln
from comfykiln.errors import DocumentError

ROOT = Path(__file__).parents[3]
FOREIGN = ("invoke", "int()", "literal", "No idea", "needed value", "Traceback", "Argument", "core")

# The words, then the message without its remedy, then what the remedy says.
WRONG = [
    ("bld", "there is no task 'bld'; did you mean build?", "`./kiln --list`"),
    ("modls.lock", "there is no task 'modls.lock'; did you mean models.lock?", "`./kiln --list`"),
    ("pin x.json", "there is no task 'pin'; did you mean snapshot.pin?", "`./kiln --list`"),
    (
        "check",
        "there is no task 'check'; did you mean lock.check or snapshot.check or manifest.check?",
        "`./kiln --list`",
    ),
    ("xyzzy", "there is no task 'xyzzy'", "`./kiln --list`"),
    (
        "snapshot",
        (
            "there is no task 'snapshot'; it is a group: snapshot.check, snapshot.convert, "
            "snapshot.diff, snapshot.pin, snapshot.save"
        ),
        "`./kiln --list`",
    ),
    ("", "there is no task ''", "`./kiln --list`"),
    ("--help bld", "there is no task 'bld'; did you mean build?", "`./kiln --list`"),
    ("bld --help", "there is no task 'bld'; did you mean build?", "`./kiln --list`"),
    (
        "--list snapshots",
        "there is no group of tasks 'snapshots'; did you mean snapshot?",
        "use one of: lock, manifest, models, snapshot",
    ),
    ("--nonsense", "./kiln has no option --nonsense", "`./kiln --help`"),
    ("--verson", "./kiln has no option --verson; did you mean --version?", "`./kiln --help`"),
    ("--dry build", "./kiln has no option --dry", "`./kiln --help`"),
    ("--list-depth two --list", "./kiln --list-depth is 'two', which is no whole number", "0"),
    ("--list-depth -3 --list", "./kiln --list-depth is -3", "0 or more"),
    ("--list-format flt --list", "./kiln --list-format is 'flt'; did you mean flat?", "flat"),
    ("-F xml --list", "./kiln -F is 'xml'", "use one of: flat, nested, json"),
    (
        "--print-completion-script ksh",
        "./kiln --print-completion-script is 'ksh'; did you mean zsh?",
        "bash",
    ),
    ("build --nonsense", "build has no option --nonsense", "`./kiln build --help`"),
    ("plan --version", "plan has no option --version", "`./kiln plan --help`"),
    ("build --dry", "build has no option --dry", "`./kiln build --help`"),
    ("build --traget cpu", "build has no option --traget; did you mean --target?", "--help`"),
    ("build --no-exprot", "build has no option --no-exprot; did you mean --no-export?", "--help`"),
    ("build -t cpu", "build has no option -t", "`./kiln build --help`"),
    ("plan -x", "plan has no option -x", "`./kiln plan --help`"),
    ("plan -jx", "plan has no option -x", "`./kiln plan --help`"),
    ("lint --json", "lint has no option --json", "`./kiln lint --help`"),
    ("build --target", "build --target has no value", "write --target VALUE"),
    ("build --target --json", "build --target has no value", "write --target VALUE"),
    ("build --tag --jsno", "build --tag has no value", "write --tag VALUE"),
    ("plan -t", "plan --target has no value", "write --target VALUE"),
    ("build --target=", "build --target is empty", "write --target VALUE"),
    ("build --target ''", "build --target is empty", "write --target VALUE"),
    ("lock --image ''", "lock --image is empty", "write --image VALUE"),
    ("snapshot.check ''", "snapshot.check: FILE is empty", "`./kiln snapshot.check --help`"),
    ("run --port 80a", "run --port is '80a', which is no whole number", "--port 8188"),
    ("run --port 8.5", "run --port is '8.5', which is no whole number", "--port 8188"),
    ("run -p eight", "run -p is 'eight', which is no whole number", "-p 8188"),
    ("build --json yes", "build --json takes no value, such as 'yes'", "write --json alone"),
    ("build --json=yes", "build --json takes no value, such as 'yes'", "write --json alone"),
    ("build --no-cache 1", "build --no-cache takes no value, such as '1'", "--no-cache alone"),
    ("build --tag a --tag b", "build --tag is given twice", "give it once"),
    ("plan -t cpu --target cpu", "plan --target is given twice", "give it once"),
    ("build cpu", "'cpu' is one word too many for build, and no task", "`./kiln build --help`"),
    (
        "snapshot.check a.json b.json",
        "'b.json' is one word too many for snapshot.check, and no task",
        "`./kiln snapshot.check --help`",
    ),
    (
        "render rendr",
        "'rendr' is one word too many for render, and no task; did you mean render?",
        "`./kiln render --help`",
    ),
    ("snapshot.check", "snapshot.check lacks FILE", "`./kiln snapshot.check --help`"),
    ("snapshot.diff a.json", "snapshot.diff lacks B", "`./kiln snapshot.diff --help`"),
    ("snapshot.pin --json", "snapshot.pin lacks FILE", "`./kiln snapshot.pin --help`"),
    (
        "build --origins strickt",
        "build --origins is 'strickt'; did you mean strict?",
        "use one of: any, strict",
    ),
    ("build --models some", "build --models is 'some'", "use one of: all, required, skip"),
    ("plan --packages all", "plan --packages is 'all'", "use one of: prefer, exact"),
    ("plan -p same", "plan -p is 'same'", "use one of: exact, minor, any"),
    ("plan --post-install no", "plan --post-install is 'no'", "use one of: run, skip"),
    (
        "snapshot.convert x --to docker",
        "snapshot.convert --to is 'docker'",
        "use one of: snapshot, manifest, export, comfylock, comfypack",
    ),
    (
        "snapshot.convert x --packages some",
        "snapshot.convert --packages is 'some'",
        "use one of: all, none",
    ),
    (
        "snapshot.diff a b --format html",
        "snapshot.diff --format is 'html'",
        "use one of: text, markdown, json",
    ),
    (
        "manifest.capture x --packages some",
        "manifest.capture --packages is 'some'",
        "use one of: direct, all, none",
    ),
    ("manifest.commands x --platform beos", "manifest.commands --platform is 'beos'", "linux"),
    (
        "models.fetch --models skip",
        "models.fetch --models is 'skip'",
        "use one of: all, required",
    ),
    ("models.push --models some", "models.push --models is 'some'", "all, required, skip"),
    ("test --tier quick", "test --tier is 'quick'", "use one of: unit, engine, real"),
    ("render --check build --nope", "build has no option --nope", "`./kiln build --help`"),
]


def words_of(line: str) -> list[str]:
    return [word.replace("''", "") for word in line.split(" ")]


@pytest.mark.parametrize(("line", "message", "remedy"), WRONG)
def test_wrong_usage(line: str, message: str, remedy: str) -> None:
    with pytest.raises(DocumentError) as caught:
        Kiln().run(["./kiln", "--search-root", str(ROOT), *words_of(line)])
    assert caught.value.message == message
    assert remedy in caught.value.remedy
    assert [word for word in FOREIGN if word in str(caught.value)] == []


def test_what_passes_the_check_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any line of these words is either refused by the check or understood by the parser."""
    monkeypatch.setattr(Kiln, "execute", lambda _: None)
    known = ["--target", "--json", "-j", "--tag=x", "-t", "--port", "8", "-tcpu", "--no-cache", "-"]
    tasks = ["build", "plan", "run", "snapshot.check", "lock", "snapshot.diff", "models.fetch"]
    more = ["cpu", "x.json", "--origins", "any", "--models", "all", "--from", "--check", "--list"]
    choose = random.Random(7)  # noqa: S311  # lines to try, no secret
    passed = 0
    for _ in range(400):
        words = [choose.choice(tasks), *choose.choices([*known, *more, *tasks], k=4)]
        try:
            Kiln().run(["./kiln", "--search-root", str(ROOT), *words[: choose.randint(1, 5)]])
        except DocumentError:
            continue
        passed += 1
    assert passed > 50
