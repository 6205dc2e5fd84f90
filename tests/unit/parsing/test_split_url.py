"""One function takes addresses apart: what is no address is a fault with its place."""

from __future__ import annotations

import ast
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import hypothesis.strategies as st
import pytest
from hypothesis import given
from tests.support.noaddresses import NO_ADDRESSES

import comfykiln
from comfykiln.parsing import values
from comfykiln.parsing.faults import Faults
from comfykiln.parsing.values import AddressError, check_url, join_url, split_url

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(comfykiln.__file__).parent
LIBRARY = {"urlsplit", "urlparse", "urljoin", "urldefrag", "parse_url"}
EXEMPT = {
    "parsing/values.py": "the one function",
    "restore/asking.py": "runs inside the build, on addresses that were checked before",
    "transfer/connections.py": "copied into the node pack byte by byte; turns the error itself",
    "transfer/providers.py": "copied into the node pack byte by byte",
}
"""Files that may call the library's own functions, each with the reason."""


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_what_is_no_address_is_told_without_its_password(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        split_url(text)
    assert caught.value.exit_code == 2
    assert str(caught.value).endswith(
        ": no address: its host or port cannot be read\n  → correct the address"
    )
    if "@" in text:
        assert "canary" not in str(caught.value)
    with pytest.raises(AddressError):
        join_url("https://h/a/", text)
    with pytest.raises(AddressError):
        join_url(text, "//[/x")


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_a_value_that_is_no_address_is_a_fault_with_its_place(text: str) -> None:
    faults = Faults("m.json")
    schemes = ("https", "http", "ssh", "git")
    assert not check_url(text, "$.nodes[0].url", faults, schemes)
    (fault,) = faults.records
    assert (fault.path, fault.rule) == ("$.nodes[0].url", "url.format")
    assert fault.problem == f"{values.shown(text)}: {AddressError.problem}"


@pytest.mark.parametrize(
    "text",
    [
        "https://user:p@h.example:8443/a/b.zip?x=1#y",
        "http://[::1]:8080/x",
        "ssh://git@h/o/r.git",
        "file:///srv/x",
        "hf://o/r@main/x",
        "relative/path",
        "",
    ],
)
def test_an_address_is_taken_apart_as_the_library_does(text: str) -> None:
    assert split_url(text) == urlsplit(text)
    assert join_url("https://h/a/b", text) == urljoin("https://h/a/b", text)


@given(st.text(max_size=40), st.sampled_from(("", "https://", "http://u:p@", "//", "ssh://[")))
def test_no_text_is_anything_but_parts_or_a_fault(text: str, start: str) -> None:
    for take in (split_url, lambda address: join_url("https://h/a/", address)):
        with contextlib.suppress(AddressError):
            take(f"{start}{text}")


def calls(path: Path) -> Iterator[str]:
    """Yield the library's functions that a file names, called or handed on."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if alias.name in LIBRARY)
        elif isinstance(node, ast.Attribute) and node.attr in LIBRARY:
            yield node.attr


def test_only_one_function_asks_the_library() -> None:
    found = {
        str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if next(calls(path), None)
    }
    assert found == EXEMPT.keys()


def test_a_call_of_the_library_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        "from urllib.parse import quote, urlsplit as s\nimport urllib.parse as p\np.urljoin(a, b)\n"
    )
    assert sorted(calls(path)) == ["urljoin", "urlsplit"]
