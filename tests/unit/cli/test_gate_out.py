"""Canaries in every place of every kind of document, through the tasks: none is ever printed."""

from __future__ import annotations

import copy
import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from comfykiln.bake.progress import BuildProgress
from comfykiln.cli import build, documents, manifest, options
from comfykiln.network.http import Patience
from comfykiln.network.indexes import host_indexes
from comfykiln.origins.simple import places_of
from comfykiln.system import console, ending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = Path(__file__).parents[1] / "documents" / "data"
FILES = sorted(path for path in DATA.glob("*.*") if path.suffix in {".json", ".yaml"})
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
BAD = "https://me:CANARY@h.example/o/r?never-heard-of=CANARY"
DRIVING = "\x1b[2J\r\x85\u202e\u2028\nerror: forged"
PLACES = 24
"""Places of one document that are tried, spread over all it has."""


def places(data: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each text and each key."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield (*way, key, None)
            yield from places(value, (*way, key))
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from places(value, (*way, number))
    elif isinstance(data, str):
        yield way


def with_canary(data: Any, way: tuple[Any, ...], more: str) -> Any:
    """Return the document with a bad address as, or in, the text or key at the end of `way`."""
    data = copy.deepcopy(data)
    *outer, last = way[:-1] if way[-1] is None else way
    inside = data
    for step in outer:
        inside = inside[step]
    if way[-1] is None:
        changed = {(canary(key, more) if key == last else key): v for key, v in inside.items()}
        inside.clear()
        inside.update(changed)
    else:
        inside[last] = canary(inside[last], more)
    return data


def canary(text: str, more: str) -> str:
    if "://" in text:
        scheme, _, rest = text.partition("://")
        return f"{scheme}://me:CANARY@{rest}?never-heard-of=CANARY{more}"
    return f"{BAD}{more}"


def some(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return found[:: max(1, len(found) // PLACES)]


def mutants(file: Path) -> Iterator[Any]:
    data = yaml.safe_load(file.read_text("utf-8"))
    yield data
    for way in some(list(places(data))):
        yield with_canary(data, way, "")
        yield with_canary(data, way, DRIVING)


def tasks(file: str, other: str) -> Iterator[Callable[[], None]]:
    """Yield what is done with one document."""
    for as_json in (False, True):
        yield partial(documents.snapshot_check, file, as_json=as_json)
    forms: tuple[options.DiffFormat, ...] = ("text", "json", "markdown")
    for form in forms:
        yield partial(documents.snapshot_diff, other, file, form)
    for kind in ("snapshot", "comfylock"):
        given = options.SnapshotConvert(file=file, to=kind)
        yield partial(documents.snapshot_convert, given)
    if Path(other).name.startswith("manifest"):
        yield partial(manifest.manifest_check, file)
        yield partial(manifest.manifest_commands, file)
        yield partial(manifest.manifest_commands, file, as_json=True)
        yield partial(manifest.manifest_minimize, file)


def require_fit(shown: str) -> None:
    assert "CANARY" not in shown
    assert not CONTROL.search(shown)
    assert not re.search(r"(?m)^error: forged", shown)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_no_canary_of_a_document_is_printed(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / file.name
    codes = set()
    for mutant in mutants(file):
        path.write_text(json.dumps(mutant, indent=1), "utf-8")
        for task in tasks(str(path), str(file)):
            codes.add(ending.exit_code(task))
            printed = capsys.readouterr()
            require_fit(printed.out)
            require_fit(printed.err)
    assert 0 in codes
    assert codes <= {0, 2}


def test_names_of_files_refs_and_addresses_of_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFYKILN_NETWORK_TIMEOUT", "1")
    odd = tmp_path / "a\x1b[2J\u202e\nerror: forged"
    odd.write_text("{}")
    for source, code in (
        (str(odd), 2),
        ("https://me:CANARY@127.0.0.1:1/s.json?token=CANARY", 3),
        ("http://me:CANARY@127.0.0.1:1/s.json", 2),
        ("no-such-file?token=CANARY\x1b", 2),
    ):
        for as_json in (False, True):
            found = ending.exit_code(partial(documents.snapshot_check, source, as_json=as_json))
            printed = capsys.readouterr()
            assert found == code, printed.err
            require_fit(printed.out + printed.err)
    pinning = ending.exit_code(
        lambda: documents.snapshot_pin("https://me:CANARY@127.0.0.1:1/r.git", ref="x\x1bCANARY@y")
    )
    printed = capsys.readouterr()
    assert pinning in {2, 3}
    assert "me:CANARY" not in printed.out + printed.err
    assert not CONTROL.search(printed.out + printed.err)


def test_json_keeps_what_is_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.json"
    odd = 'https://h.example/"\x1b\u202e'
    path.write_text(json.dumps({"comfyui": "a" * 40, "git_custom_nodes": {odd: {"hash": "x"}}}))
    assert ending.exit_code(lambda: documents.snapshot_check(str(path), as_json=True)) == 2
    printed = capsys.readouterr().out
    require_fit(printed)
    assert list(json.loads(printed)) == ["valid", "source", "faults"]


def test_a_printed_document_says_that_it_is_masked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.json"
    address = "https://me:CANARY@h.example/o/r"
    path.write_text(
        json.dumps(
            {
                "comfyui": "a" * 40,
                "git_custom_nodes": {address: {"hash": "b" * 40, "disabled": False}},
            }
        )
    )
    given = options.SnapshotConvert(file=str(path), to="snapshot")
    assert ending.exit_code(lambda: documents.snapshot_convert(given)) == 0
    printed = capsys.readouterr()
    assert list(json.loads(printed.out)["git_custom_nodes"]) == ["https://***@h.example/o/r"]
    assert printed.err.splitlines()[0] == (
        "! what may be a secret is shown as ***: --out FILE writes the document whole"
    )


def test_variables_of_this_process_are_masked_in_every_channel(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary_0123")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:proxy-canary@p.example:3128")
    said = "hf_canary_0123 and proxy-canary\n! forged"
    for say in (console.step, console.note, console.warn, console.error, console.out):
        say(said)
    console.out_json({said: [said]})
    with pytest.raises(ValueError, match="canary"), console.timed(said):
        raise ValueError(said)
    fault = ValueError(said)
    console.traceback(ValueError, fault, None)
    printed = capsys.readouterr()
    assert "canary" not in printed.out + printed.err
    assert printed.err.splitlines()[:4] == [
        "▸ *** and ***",
        "  ! forged",
        "  *** and ***",
        "  ! forged",
    ]


def test_a_plan_of_a_document_shows_no_canary(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.json"
    codes = set()
    for mutant in mutants(DATA / "snapshot-manager.json"):
        path.write_text(json.dumps(mutant), "utf-8")
        for as_json in (False, True):
            given = options.Plan(target="cpu", image="case", from_=str(path), json=as_json)
            codes.add(ending.exit_code(partial(build.show_plan, repository, given)))
            printed = capsys.readouterr()
            require_fit(printed.out + printed.err)
    assert codes <= {0, 2, 3}


def test_an_index_whose_password_fails_is_told_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = host_indexes({}, tmp_path, pip_files=[_pip_conf(tmp_path)], uv_files=[])

    def ask() -> None:
        list(places_of("thing", "thing.whl", settings, Patience(probe=2)))

    assert ending.exit_code(ask) == 3
    printed = capsys.readouterr()
    assert printed.err.startswith("error: http://127.0.0.1:1/simple")
    require_fit(printed.out + printed.err)


def test_a_proxy_that_is_no_address_is_told_without_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"HTTP_PROXY": "http://me:proxyCANARY@[::1]:1", "http_proxy": "http://[CANARY@"}

    def ask() -> None:
        host_indexes(environ, tmp_path, pip_files=[_pip_conf(tmp_path)], uv_files=[])

    assert ending.exit_code(ask) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: http_proxy (or pip's setting proxy) is no address")
    require_fit(printed.out + printed.err)


def _pip_conf(folder: Path) -> Path:
    conf = folder / "pip.conf"
    conf.write_text("[global]\nindex-url = http://me:indexCANARY@127.0.0.1:1/simple?k=CANARY\n")
    return conf


def test_lines_of_a_build_pass_the_gate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_INDEX_CORP_PASSWORD", "index-CANARY")
    progress = BuildProgress(verbose=True)
    for line in (
        "#7 [torch 1/1] RUN uv",
        "#7 0.1 Looking at https://me:CANARY@h.example/simple with index-CANARY",
        "#7 0.2 \x1b[31mred\x1b[0m\r\u202e",
        "#7 0.3 authorization: Basic CANARY",
    ):
        progress(line)
    printed = capsys.readouterr().err
    require_fit(printed)
    assert printed.splitlines() == [
        "  torch 1/1 RUN: Looking at https://***@h.example/simple with ***",
        "  torch 1/1 RUN: \\u001b[31mred\\u001b[0m\\u000d\\u202e",
        "  torch 1/1 RUN: authorization: ***",
    ]
