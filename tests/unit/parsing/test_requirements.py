"""Requirement lines: what is understood, what is refused, and that each is written back."""

from __future__ import annotations

import time

import pytest
from packaging.requirements import Requirement

from comfykiln.environment import Extra, Package
from comfykiln.parsing.faults import Faults
from comfykiln.parsing.requirements import line_of, parse_file, parse_line

SHA = "b" * 64


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("a==1.0", Package(name="a", version="1.0")),
        ("  A_b==1.0+cu121 ", Package(name="A_b", version="1.0+cu121")),
        ("a", Package(name="a")),
        ("a>=1,<2", Package(name="a", specifier="<2,>=1")),
        ("a==1.*", Package(name="a", specifier="==1.*")),
        (
            'a[y,z]==1.0; python_version < "3.9"',
            Package(name="a", version="1.0", extras=("y", "z"), marker='python_version < "3.9"'),
        ),
        (f"a==1 --hash=sha256:{SHA}", Package(name="a", version="1", sha256=SHA)),
        (
            f"a==1 --hash=sha256:{SHA} --hash=sha256:{'c' * 64}",
            Package(
                name="a",
                version="1",
                unknown=(Extra(kind="requirement", path="hashes", json=f'["{SHA}","{"c" * 64}"]'),),
            ),
        ),
        (
            "git+https://h/o/r@v1#egg=x&subdirectory=s/t",
            Package(name="x", source="git", url="https://h/o/r", ref="v1", subdirectory="s/t"),
        ),
        ("git+https://h/o/r", Package(name="", source="git", url="https://h/o/r")),
        (
            "x @ git+ssh://git@h/o/r.git@feature/y",
            Package(name="x", source="git", url="ssh://git@h/o/r.git", ref="feature/y"),
        ),
        ("x@https://h/x.whl", Package(name="x", source="url", url="https://h/x.whl")),
        (
            f"x @ https://h/x.whl#sha256={SHA}",
            Package(name="x", source="url", url="https://h/x.whl", sha256=SHA),
        ),
        (
            "x @ https://h/x.whl#md5=1",
            Package(
                name="x",
                source="url",
                url="https://h/x.whl",
                unknown=(Extra(kind="requirement", path="md5", json='"1"'),),
            ),
        ),
        ("x @ file:///w/x.whl", Package(name="x", source="local", url="file:///w/x.whl")),
        ("./x.whl", Package(name="", source="local", path="./x.whl")),
        ("C:\\w\\x.whl", Package(name="", source="local", path="C:\\w\\x.whl")),
        ("-e ./src", Package(name="", source="editable", path="./src")),
        ("-e /src#egg=x", Package(name="x", source="editable", path="/src")),
        (
            "--editable=git+https://h/o/r@abc#egg=x",
            Package(name="x", source="editable", url="https://h/o/r", ref="abc"),
        ),
    ],
)
def test_a_line_is_understood_and_written_back(line: str, package: Package) -> None:
    faults = Faults("x")
    assert parse_line(line, "$", faults) == package
    assert parse_line(line_of(package), "$", faults) == package
    assert not faults.records


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("--index-url http://evil", "requirement.option"),
        ("-i http://evil", "requirement.option"),
        ("--extra-index-url=http://evil", "requirement.option"),
        ("-r other.txt", "requirement.option"),
        ("-c other.txt", "requirement.option"),
        ("--config-settings=x", "requirement.option"),
        ("-e --index-url=x", "requirement.format"),
        ("a==1 --index-url=http://evil", "requirement.format"),
        ("a==1;touch pwned", "requirement.format"),
        ("a==1 && touch pwned", "requirement.format"),
        ("a==$(id)", "requirement.format"),
        ("a==1\n--index-url=x", "requirement.format"),
        ("a\0==1", "requirement.format"),
        ("==1", "requirement.format"),
        ("a==", "requirement.format"),
        ("a @ git+ext::sh", "url.transport"),
        ("a @ git+file:///etc", "url.transport"),
        ("a @ git+https://h/r@-x", "ref.dash"),
        ("a @ git+ssh://-oProxyCommand=x/r", "url.dash"),
        ("a @ ftp://h/x.whl", "url.transport"),
        ("svn+https://h/r", "requirement.format"),
        ("git+https://h/r#egg=--pre", "requirement.format"),
        ("x" * 3000, "requirement.format"),
        ("x[--pre] @ https://h/x.whl", "requirement.format"),
        ("x @ https://h/x.whl ; --pre", "requirement.format"),
    ],
)
def test_a_line_that_could_do_more_is_refused(line: str, rule: str) -> None:
    faults = Faults("x")
    assert parse_line(line, "$", faults) is None
    assert [fault.rule for fault in faults.records] == [rule]


@pytest.mark.parametrize("line", ["wheels/six-1.16.0-py3-none-any.whl", "six-1.16.0.tar.gz"])
def test_a_file_of_this_folder_is_a_local_package(line: str) -> None:
    faults = Faults("x")
    package = parse_line(line, "$", faults)
    assert package == Package(name="", source="local", path=line)
    assert line_of(package) == line
    assert not faults.records


def test_a_line_with_the_hashes_of_all_its_files() -> None:
    hashes = [f"{number:064x}" for number in range(60)]
    text = "numpy==2.2.6 \\\n" + " \\\n".join(f"    --hash=sha256:{entry}" for entry in hashes)
    faults = Faults("x")
    (package,) = parse_file(text.encode(), "requirements.txt", faults)
    assert (package.name, package.version) == ("numpy", "2.2.6")
    assert line_of(package).count("--hash=sha256:") == len(hashes)
    assert not faults.records


@pytest.mark.parametrize("text", ["a\\\n" * 2_000_000, "--x\n" * 1_000_000, "a>=1\n" * 10_001])
def test_a_file_of_too_many_lines_is_refused_at_once(text: str) -> None:
    faults = Faults("x")
    started = time.process_time()
    assert parse_file(text.encode(), "requirements.txt", faults) == []
    assert time.process_time() - started < 1
    assert [record.rule for record in faults.records] == ["reading.length"]


@pytest.mark.parametrize("text", ["", "\n", " \n\r\n", "# nothing\n"])
def test_an_empty_file_holds_no_packages(text: str) -> None:
    faults = Faults("x")
    assert parse_file(text.encode(), "requirements.txt", faults) == []
    assert not faults.records


def test_a_file_with_a_byte_order_mark_is_told() -> None:
    faults = Faults("x")
    assert parse_file(b"\xef\xbb\xbfa==1\n", "requirements.txt", faults) == []
    assert [(record.path, record.rule) for record in faults.records] == [
        ("requirements.txt line 1 column 1", "reading.bom")
    ]


def test_a_file_with_comments_and_continuations() -> None:
    faults = Faults("x")
    text = (
        "# made by a tool\r\n"
        "a==1  # the first\n"
        f"b==2 \\\n    --hash=sha256:{SHA}\n"
        "\n"
        "c @ https://h/c.whl#sha256=" + SHA + "\n"
        "--pre\n"
    )
    assert parse_file(text.encode(), "requirements.txt", faults) == [
        Package(name="a", version="1"),
        Package(name="b", version="2", sha256=SHA),
        Package(name="c", source="url", url="https://h/c.whl", sha256=SHA),
    ]
    assert [(fault.path, fault.rule) for fault in faults.records] == [
        ("requirements.txt line 7", "requirement.option")
    ]
    assert parse_file(b"\xff", "requirements.txt", Faults("x")) == []


def test_what_is_written_is_a_requirement_by_the_standard() -> None:
    package = Package(
        name="x",
        source="git",
        url="https://h/o/r",
        ref="v1",
        subdirectory="a b",
        extras=("y",),
        marker='sys_platform == "linux"',
    )
    line = line_of(package)
    assert line == 'x[y] @ git+https://h/o/r@v1#subdirectory=a+b ; sys_platform == "linux"'
    assert str(Requirement(line).marker) == 'sys_platform == "linux"'
