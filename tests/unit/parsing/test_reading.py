"""Hostile JSON and YAML: each trick is refused by its rule, quickly and in little memory."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import Fault, Faults, FaultyDocumentError, child
from comfykiln.parsing.limits import MAX_BYTES, MAX_ITEMS
from comfykiln.parsing.reading import json_value, load, value, yaml_value

if TYPE_CHECKING:
    from pathlib import Path


def refusals(data: bytes, source: str) -> list[tuple[str, str]]:
    with pytest.raises(FaultyDocumentError) as caught:
        value(data, source)
    assert caught.value.exit_code == 2
    return [(fault.path, fault.rule) for fault in caught.value.records]


@pytest.mark.parametrize(
    ("data", "path", "rule"),
    [
        (b'{"a": 1,}', "line 1 column 9", "reading.syntax"),
        (b'{"a": 1,\n  "b": [1,\n  ]}', "line 3 column 3", "reading.syntax"),
        (b"", "line 1 column 1", "reading.syntax"),
        (b'{"a": 1} x', "line 1 column 10", "reading.syntax"),
        (b'{"a": 1, "a": 2}', "$.a", "reading.duplicate-key"),
        (b'{"x": [{"k k": 1, "k k": 1}]}', '$.x[0]["k k"]', "reading.duplicate-key"),
        (b'{"a": NaN}', "$", "reading.number"),
        (b'{"a": -Infinity}', "$", "reading.number"),
        (b'{"a": 1e999}', "$", "reading.number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "$", "reading.number"),
        (b"\xef\xbb\xbf{}", "line 1 column 1", "reading.bom"),
        ("{}".encode("utf-16"), "line 1 column 1", "reading.bom"),
        (b'{"a":\n "\xff"}', "line 2 column 3", "reading.utf8"),
        (b'{"a": "\\u0000"}', "$.a", "reading.nul"),
        (b'{"a\\u0000": 1}', "$", "reading.nul"),
        (b'{"a": ["\\ud800"]}', "$.a[0]", "reading.surrogate"),
        (b"[" * 100_000, "$", "reading.depth"),
        (b"[" * 65 + b"]" * 65, "$" + "[0]" * 26 + "[…", "reading.depth"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "$" + ".a" * 39 + ".…", "reading.depth"),
        (b"[" + b"0," * 10_000 + b"0]", "$", "reading.length"),
        (b"[" + b"[]," * 200_000 + b"0]", "$", "reading.length"),
    ],
)
def test_json_is_refused(data: bytes, path: str, rule: str) -> None:
    assert refusals(data, "x.json") == [(path, rule)]


def test_all_faults_are_told_at_once_and_sorted_by_place() -> None:
    data = b'{"b": ["\\u0000", {"k": 1, "k": 2}], "a": {"x": 1, "x": 2}}'
    assert refusals(data, "x.json") == [
        ("$.a.x", "reading.duplicate-key"),
        ("$.b[0]", "reading.nul"),
        ("$.b[1].k", "reading.duplicate-key"),
    ]


@pytest.mark.parametrize(
    ("text", "path", "rule"),
    [
        ("a: &x 1", "line 1 column 4", "reading.alias"),
        ("a: 1\nb: *a", "line 2 column 4", "reading.alias"),
        ("<<: {a: 1}", "line 1 column 1", "reading.alias"),
        ("a: !!python/object/apply:os.system ['id']", "line 1 column 4", "reading.tag"),
        ("a: !!str 1", "line 1 column 4", "reading.tag"),
        ("a: 1\nb:\n  c: 1\n  c: 2", "line 4 column 3", "reading.duplicate-key"),
        ("a: .nan", "line 1 column 4", "reading.number"),
        ("a: .inf", "line 1 column 4", "reading.number"),
        ("1: a", "line 1 column 1", "reading.key"),
        ("? [a]\n: b", "line 1 column 3", "reading.key"),
        ("a: 1\n---\nb: 1", "line 2 column 1", "reading.syntax"),
        ("a: [1", "line 2 column 1", "reading.syntax"),
        ("a: b: c", "line 1 column 5", "reading.syntax"),
        ("a: \x07", "$", "reading.syntax"),
        ('a: "\\0"', "$.a", "reading.nul"),
        ("[" * 1_000 + "]" * 1_000, "line 1 column 65", "reading.depth"),
        ("\ufeffa: 1", "line 1 column 1", "reading.bom"),
        ("\n".join(f"- {n}" for n in range(200_000)), "line 149999 column 3", "reading.length"),
    ],
)
def test_yaml_is_refused(text: str, path: str, rule: str) -> None:
    assert refusals(text.encode(), "x.yaml") == [(path, rule)]


def test_yaml_reads_as_other_readers_do() -> None:
    text = "a: no\nb: ~\nc: '1'\nd: 1.50\ne: 2025-01-01\nf: 0x1f\ng: []\n# end\nh: {i: é}\n"
    assert yaml_value(text.encode(), "x.yaml") == {
        "a": False,
        "b": None,
        "c": "1",
        "d": 1.5,
        "e": "2025-01-01",
        "f": 31,
        "g": [],
        "h": {"i": "é"},
    }


def test_json_keeps_order_types_and_text() -> None:
    found = json_value(b'{"b": [1, 1.5, true, null, "\\u00e9\\n"], "a": {}}', "x.json")
    assert list(found) == ["b", "a"]
    assert found == {"b": [1, 1.5, True, None, "é\n"], "a": {}}


def test_the_name_decides_and_else_the_first_character() -> None:
    assert value(b'{"a": 1}', "x.yaml") == value(b' {"a": 1}', "x") == {"a": 1}
    assert value(b"a: 1", "comfy-lock") == {"a": 1}
    with pytest.raises(FaultyDocumentError):
        value(b"a: 1", "x.json")


def test_a_long_list_passes_up_to_the_limit() -> None:
    data = b"[" + b"0," * (MAX_ITEMS - 1) + b"0]"
    assert len(json_value(data, "x.json")) == MAX_ITEMS
    assert len(json_value(data[:-1] + b",0]", "x.json", max_items=None)) == MAX_ITEMS + 1


def test_ten_megabytes_pass_and_one_byte_more_does_not(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"{}".ljust(MAX_BYTES))
    assert json_value(load(path), "a.json") == {}
    path.write_bytes(b"{}".ljust(MAX_BYTES + 1))
    with pytest.raises(FaultyDocumentError) as caught:
        load(path)
    assert [(record.path, record.rule) for record in caught.value.records] == [
        ("$", "reading.size")
    ]


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"")
    for name, problem in (
        ("none.json", "no such file"),
        ("file/inner", "no such file"),
        (".", "not a file"),
        ("pipe", "not a file"),
    ):
        with pytest.raises(DocumentError, match=problem):
            load(tmp_path / name)


BOMBS = {
    "flat": 'b"[" + b"{}," * 3_400_000 + b"0]"',
    "keys": 'b"{" + b",".join(b\'"%d":0\' % n for n in range(290_000)) + b"}"',
    "deep": 'b"[" * 10_000_000',
    "twice": 'b\'{"a":0\' + b\',"a":0\' * 290_000 + b"}"',
    "long-key": 'b\'{"a":{"\' + b"x" * 9_000_000 + b\'":{"b":"\\\\u0000"}}}\'',
    "digits": 'b"[" + b"9" * 10_000_000 + b"]"',
    "yaml-flat": 'b"- a\\n" * 2_500_000',
    "yaml-deep": 'b"[" * 10_000_000',
    "yaml-laughs": 'b"a: &a [x,x]\\nb: [" + b"*a," * 3_000_000 + b"*a]"',
    "yaml-text": "b'\"' + b'x' * 10_000_000",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_less_than_a_second_and_128_megabytes(name: str) -> None:
    """Measured in a process of its own: the peak of its memory, its CPU time beyond start-up."""
    suffix = "yaml" if name.startswith("yaml") else "json"
    program = f"""
import time
from comfykiln.parsing.faults import FaultyDocumentError
from comfykiln.parsing.reading import value
data = {BOMBS[name]}
begin = time.process_time()
try:
    value(data, "x.{suffix}")
except FaultyDocumentError as error:
    rule = error.records[0].rule
peak = next(line.split()[1] for line in open("/proc/self/status") if line[:5] == "VmHWM")
print(rule, time.process_time() - begin, peak)
"""
    # Not ru_maxrss: that of a child begins at its parent's.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    rule, seconds, peak = done.stdout.split()
    assert rule.startswith(b"reading.")
    assert float(seconds) < 1
    assert int(peak) < 128 * 1024


def test_a_fault_reads_as_one_line_and_as_data() -> None:
    faults = Faults("a.json")
    faults.add("$.b[10]", "x.y", "this", expected="that", remedy="fix it")
    faults.add("$.b[2]", "x.y", "this")
    faults.add("$.b[2]", "x.y", "this")
    with pytest.raises(FaultyDocumentError) as caught:
        faults.stop()
    assert str(caught.value) == (
        "a.json: 2 faults\n  $.b[2]: this [x.y]\n  $.b[10]: this; expected that; fix it [x.y]"
    )
    assert caught.value.as_data() == {
        "source": "a.json",
        "faults": [
            {"path": "$.b[2]", "rule": "x.y", "problem": "this", "expected": "", "remedy": ""},
            {
                "path": "$.b[10]",
                "rule": "x.y",
                "problem": "this",
                "expected": "that",
                "remedy": "fix it",
            },
        ],
    }
    assert str(Fault(path="$", rule="r", problem="p")) == "$: p [r]"


def test_odd_keys_are_quoted_in_paths() -> None:
    assert child("$", "a_b-1") == "$.a_b-1"
    assert child("$.a", 3) == "$.a[3]"
    assert child("$", 'a"b\n') == '$["a\\"b\\n"]'
    assert child("$", "https://x/y") == '$["https://x/y"]'


def test_thousands_of_faults_end_at_two_thousand() -> None:
    faults = Faults("x")
    for number in range(2_000):
        faults.add(f"$[{number}]", "some.rule", "wrong")
    with pytest.raises(FaultyDocumentError) as caught:
        faults.add("$[2000]", "some.rule", "wrong")
    assert len(caught.value.records) == 2_001
    assert caught.value.records[0].problem == "more than 2,000 faults, the rest is not told"
