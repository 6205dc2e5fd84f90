from __future__ import annotations

import os
from typing import TYPE_CHECKING

from comfykiln.models.surroundings import handed_over
from comfykiln.transfer.connections import tls_context

if TYPE_CHECKING:
    import pytest


def test_the_process_has_the_ca_and_the_proxies_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/before.pem")
    monkeypatch.setenv("https_proxy", "http://before.test")
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    before = dict(os.environ)
    given = {"AWS_CA_BUNDLE": "/given.pem", "HTTPS_PROXY": "http://given.test", "OTHER": "not ours"}

    def seen() -> list[str | None]:
        names = ("AWS_CA_BUNDLE", "HTTPS_PROXY", "https_proxy", "OTHER")
        return [os.environ.get(name) for name in names]

    first, second = handed_over(given), handed_over(given)
    with first:
        tls_context()
        assert seen() == ["/given.pem", "http://given.test", None, None]
        second.__enter__()  # another thread's, which outlives the first
        assert tls_context.cache_info().currsize == 0
    assert seen() == ["/given.pem", "http://given.test", None, None]
    second.__exit__(None, None, None)
    assert dict(os.environ) == before
