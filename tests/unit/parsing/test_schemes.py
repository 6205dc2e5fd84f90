from __future__ import annotations

import pytest
from hypothesis import given
from tests.support.addresses import BY_SCHEME, addresses

from comfykiln.parsing.faults import Faults
from comfykiln.parsing.schemes import (
    EXPECTED,
    EXPECTED_ANYWHERE,
    SCHEMES,
    asked_of,
    check_model_url,
    problem_of,
    scheme_of,
)

COMMIT = "0123456789" * 4


def test_what_is_expected_names_every_scheme_but_the_open_line() -> None:
    assert BY_SCHEME.keys() <= {scheme.name for scheme in SCHEMES}
    forms = [scheme.form for scheme in SCHEMES if scheme.name != "http"]
    assert EXPECTED.replace(" or ", ", ").split(", ") == forms
    assert EXPECTED.endswith("https://… or file:…")
    assert EXPECTED_ANYWHERE.endswith(" or https://…")


@given(addresses)
def test_an_address_of_any_scheme_is_one_whatever_its_case(address: str) -> None:
    assert problem_of(address) == ("", "")
    scheme = scheme_of(address)
    assert scheme is not None
    assert scheme.parts(address).keys() == scheme.pattern.groupindex.keys()
    faults = Faults("x")
    assert check_model_url(address, "$", faults, local=True)
    assert check_model_url(address, "$", faults) is not scheme.is_local


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("S3://Bucket/Key/a b%20.bin", {"bucket": "Bucket", "key": "Key/a b%20.bin"}),
        (
            f"HF://Owner/Repo@{COMMIT}/sub/x.bin",
            {"repository": "Owner/Repo", "revision": COMMIT, "path": "sub/x.bin"},
        ),
        (
            "hf://datasets/o/r@refs/pr/12/sub/x.bin",
            {"repository": "datasets/o/r", "revision": "refs/pr/12", "path": "sub/x.bin"},
        ),
        (
            "hf://o/r@refs/convert/parquet/x.bin",
            {"repository": "o/r", "revision": "refs/convert/parquet", "path": "x.bin"},
        ),
        (
            "hf://o/r@feature%2Fnew/x.bin",
            {"repository": "o/r", "revision": "feature%2Fnew", "path": "x.bin"},
        ),
        (
            "hf://gpt2@main/refs/pr/x.bin",
            {"repository": "gpt2", "revision": "main", "path": "refs/pr/x.bin"},
        ),
        ("civitai:128078", {"version": "128078"}),
        ("CivitAI:101055@128078", {"version": "128078"}),
    ],
)
def test_the_parts_of_an_address(address: str, parts: dict[str, str]) -> None:
    scheme = scheme_of(address)
    assert scheme is not None
    assert scheme.parts(address) == parts


@pytest.mark.parametrize(
    ("address", "rule", "problem"),
    [
        ("s3://bucket", "url.format", "no bucket or no key"),
        ("hf://o/r/x.bin", "url.format", "no revision (write owner/repo@commit)"),
        ("hf://o/r@main", "url.format", "no repository, revision or path"),
        ("hf://o/r@refs/pr/1", "url.format", "no repository, revision or path"),
        ("hf://o/r@../x", "url.format", "no repository, revision or path"),
        ("hf://o/r@a%2F..%2Fb/x", "url.format", "no repository, revision or path"),
        ("hf://o/r@main/a/../x", "url.format", "no repository, revision or path"),
        ("civitai:", "url.format", "no number of a model version"),
        ("civitai:101055@", "url.format", "no number of a model version"),
        ("civitai:@128078", "url.format", "no number of a model version"),
        ("civitai:1@2@3", "url.format", "no number of a model version"),
        ("civitai:١٢", "url.format", "no number of a model version"),
        ("file:", "url.format", "no path"),
        ("file://localhost", "url.format", "no path"),
        ("FILE://server/share/x", "url.format", "a host (write file:///path)"),
        ("https://", "url.format", "no host"),
        ("ftp://h/x", "url.transport", "the scheme 'ftp' is not known"),
        ("x", "url.transport", "the scheme 'x' is not known"),
        ("s3://b/k\u202e", "url.control", "control characters"),
        ("s3://b/k ", "url.length", "white space around it, or too long"),
        (f"s3://b/{'k' * 2048}", "url.length", "white space around it, or too long"),
    ],
)
def test_what_is_no_address(address: str, rule: str, problem: str) -> None:
    assert problem_of(address) == (rule, problem)


def test_a_document_says_what_it_expects() -> None:
    faults = Faults("x")
    assert not check_model_url("ftp://h/x", "$.a", faults)
    assert not check_model_url("file:x", "$.b", faults)
    assert not check_model_url("file:", "$.c", faults, local=True)
    assert [(fault.problem, fault.expected) for fault in faults.records] == [
        ("'ftp://h/x': the scheme 'ftp' is not known", EXPECTED_ANYWHERE),
        ("'file:x': a file of the machine that wrote this", EXPECTED_ANYWHERE),
        ("'file:': no path", EXPECTED),
    ]


def test_a_scheme_without_a_protocol_is_asked_at_its_own_address() -> None:
    assert asked_of("https://h/x?y=%20") == "https://h/x?y=%20"
