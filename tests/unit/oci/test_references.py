from __future__ import annotations

import pytest

from comfykiln.errors import DocumentError
from comfykiln.oci import references


@pytest.mark.parametrize(
    ("text", "shown", "host", "loopback"),
    [
        ("127.0.0.1:5000/a:t", "127.0.0.1:5000/a:t", "127.0.0.1:5000", True),
        ("localhost:5000/a/b-c_d.e:T", "localhost:5000/a/b-c_d.e:T", "localhost:5000", True),
        ("[::1]:5000/a:t", "[::1]:5000/a:t", "[::1]:5000", True),
        ("r.example.com/a/b:1.0", "r.example.com/a/b:1.0", "r.example.com", False),
        ("127.0.0.1.example.com/a:t", "127.0.0.1.example.com/a:t", "127.0.0.1.example.com", False),
        ("someone/comfy:t", "docker.io/someone/comfy:t", "registry-1.docker.io", False),
        ("comfy:t", "docker.io/library/comfy:t", "registry-1.docker.io", False),
        ("r.example.com/a", "r.example.com/a:cpu-v1", "r.example.com", False),
    ],
)
def test_references(text: str, shown: str, host: str, loopback: bool) -> None:  # noqa: FBT001  # pytest's
    found = references.parse(text, tag="cpu-v1")
    assert (str(found), found.host, found.loopback) == (shown, host, loopback)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("r.example.com/Upper:t", "'Upper' is no repository"),
        ("r.example.com/a:", "it has no tag"),
        ("r.example.com/a", "it has no tag"),
        ("r.example.com/a:t@sha256:00", "a digest cannot be pushed to"),
        ("r.example.com/a:t g", "'t g' is no tag"),
        ("https://r.example.com/a:t", "'https:' is no host"),
        ("r.example.com:port/a:t", "'r.example.com:port' is no host"),
        ("r.example.com//a:t", "'/a' is no repository"),
        ("", "'library/' is no repository"),
        ("-x/a:t", "'-x/a' is no repository"),
        ("r.example.com/a/../b:t", "'a/../b' is no repository"),
        ("r.example.com/" + "a" * 256 + ":t", "is no repository"),
    ],
)
def test_malformed_references(text: str, why: str) -> None:
    with pytest.raises(DocumentError) as caught:
        references.parse(text)
    assert why in caught.value.message
    assert caught.value.exit_code == 2
