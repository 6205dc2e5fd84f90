"""No text that is no address, wherever it stands in a document, is more than a fault."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support.noaddresses import NO_ADDRESSES

from comfykiln.documents import read, write
from comfykiln.documents.formats import formats
from comfykiln.documents.pinnedcopy import copy_name
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import FaultyDocumentError
from comfykiln.parsing.values import AddressError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from comfykiln.environment import Environment

DATA = Path(__file__).parent / "data"
DOCUMENTS = sorted(
    path.name for path in DATA.iterdir() if path.suffix in (".json", ".yaml", ".yml")
)
KINDS = [found.kind for found in formats() if found.write]


def texts_of(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every text, of the members of a list those of the first alone."""
    if isinstance(value, str):
        yield place
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from texts_of(member, (*place, key))
    elif isinstance(value, list):
        for index, member in enumerate(value[:1]):
            yield from texts_of(member, (*place, index))


def put(document: Any, place: tuple[Any, ...], text: str) -> Any:
    changed = copy.deepcopy(document)
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = text
    return changed


def is_taken_apart(environment: Environment, kind: str) -> bool:
    """Say whether a writer asks for the parts of what is no address."""
    try:
        write(environment, kind)
    except AddressError:
        return True
    except DocumentError:  # what this kind cannot hold
        return False
    return False


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_place_of_a_document_makes_a_traceback(name: str, tmp_path: Path) -> None:
    document = yaml.safe_load((DATA / name).read_bytes())
    path = tmp_path / name
    told = []
    for place in texts_of(document):
        for text in NO_ADDRESSES:
            path.write_text(json.dumps(put(document, place, text)), "utf-8")
            try:
                environment = read(path).environment
            except FaultyDocumentError as error:
                told.append(str(error))
            else:
                assert [kind for kind in KINDS if is_taken_apart(environment, kind)] == [], place
    assert told
    assert not any("user:canary@" in text for text in told)


@pytest.mark.parametrize("text", NO_ADDRESSES)
@pytest.mark.parametrize("ref", [None, "main"])
def test_an_argument_that_is_no_address_is_a_fault(text: str, ref: str | None) -> None:
    with pytest.raises(DocumentError) as caught:
        read(text, ref=ref)
    assert caught.value.exit_code == 2
    assert "user:canary@" not in str(caught.value)
    with pytest.raises(AddressError):
        copy_name(text, "snapshot")
