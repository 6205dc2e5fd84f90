from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.network.client import UnavailableError
from comfykiln.origins import attempts
from comfykiln.origins.attempts import Attempt, first_available
from comfykiln.system.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def attempt(name: str, get: Callable[[], str], *, fallback: bool) -> Attempt[str]:
    return Attempt(origin=name, detail=f"{name}.example", fallback=fallback, get=get)


def dead() -> str:
    raise UnavailableError("no such host")


def test_the_first_that_yields_is_taken() -> None:
    asked: list[str] = []

    def never() -> str:
        asked.append("c")
        return "never"

    tried = [
        attempt("a", dead, fallback=False),
        attempt("b", lambda: "thing", fallback=True),
        attempt("c", never, fallback=True),
    ]
    value, taken = first_available("it", tried, strict=False)
    assert (value, taken.origin, asked) == ("thing", "b", [])


def test_a_final_error_is_not_passed_over() -> None:
    def wrong() -> str:
        raise KilnError("other bytes than pinned")

    tried = [attempt("a", wrong, fallback=False), attempt("b", lambda: "x", fallback=True)]
    with pytest.raises(KilnError, match="other bytes than pinned"):
        first_available("it", tried, strict=False)


def test_what_is_not_possible_is_passed_on_only_when_it_is_the_network() -> None:
    def missing() -> str:
        raise NotPossibleError("the disk is full")

    tried = [attempt("a", missing, fallback=False), attempt("b", lambda: "x", fallback=True)]
    with pytest.raises(NotPossibleError, match="the disk is full"):
        first_available("it", tried, strict=False)


def test_a_silent_origin_is_asked_again_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "SILENT", 0.0)
    store = Store(root=tmp_path)
    asked: list[int] = []

    def slow() -> str:
        asked.append(1)
        raise UnavailableError("silence")

    tried = [attempt("a", slow, fallback=False), attempt("b", lambda: "x", fallback=True)]
    for _ in range(3):
        assert first_available("it", tried, strict=False, store=store)[0] == "x"
    assert len(asked) == 1
    (note,) = (tmp_path / "silent").iterdir()
    raw = json.loads(note.read_text())
    note.write_text(json.dumps({**raw, "time": raw["time"] - 601}))
    first_available("it", tried, strict=False, store=store)
    assert len(asked) == 2


def test_the_last_origin_is_always_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "SILENT", 0.0)
    for _ in range(2):
        with pytest.raises(NotPossibleError) as caught:
            first_available(
                "it", [attempt("a", dead, fallback=False)], strict=False, store=Store(root=tmp_path)
            )
        assert (
            caught.value.message == "it is available from none of its origins:\n  a: no such host"
        )
