"""An environment as plain JSON and back, without any loss: what an export carries inside.

Only what was stated is written; bytes are base64; `place` is left out, since it means nothing
outside the document that was read.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import functools
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from comfykiln import environment as records
from comfykiln.environment import Environment
from comfykiln.parsing.faults import Faults, child
from comfykiln.parsing.values import shown


def dump(environment: Environment) -> dict[str, Any]:
    """Return `environment` as JSON's types, with the fields in the order of the records."""
    result = _dump(environment)
    assert isinstance(result, dict)  # noqa: S101  # a record always gives a dict
    return result


def load(value: Any, source: str) -> Environment:
    """Return the environment that `dump` wrote. Raises `FaultyDocumentError` with every fault."""
    faults = Faults(source)
    result = _load(value, Environment, "$", faults)
    faults.stop()
    assert isinstance(result, Environment)  # noqa: S101  # no fault means that it was built
    return result


def _dump(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _dump(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.compare and getattr(value, field.name) != _default(field)
        }
    if isinstance(value, tuple):
        return [_dump(member) for member in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default


@functools.cache
def _hints(record: type) -> dict[str, Any]:
    return get_type_hints(record, vars(records))


def _load(value: Any, hint: Any, path: str, faults: Faults) -> Any:
    """Return `value` as `hint` says, None after a fault."""
    origin = get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _load_record(value, hint, path, faults)
    if origin is tuple:
        return _load_tuple(value, get_args(hint), path, faults)
    if origin is Literal:
        return _expect(value in get_args(hint), value, path, faults, f"one of {get_args(hint)}")
    if origin in (Union, types.UnionType):
        inner = [entry for entry in get_args(hint) if entry is not type(None)]
        return None if value is None else _load(value, inner[0], path, faults)
    return _load_scalar(value, hint, path, faults)


def _load_scalar(value: Any, hint: Any, path: str, faults: Faults) -> Any:
    if hint is bytes:
        return _load_bytes(value, path, faults)
    accepted = (int, float) if hint is float else (hint,)
    return _expect(type(value) in accepted, value, path, faults, hint.__name__)


def _load_record(value: Any, record: type, path: str, faults: Faults) -> Any:
    if not isinstance(value, dict):
        return _expect(False, value, path, faults, "a map")  # noqa: FBT003  # the test has failed
    fields = {field.name: field for field in dataclasses.fields(record) if field.compare}
    for key in value.keys() - fields.keys():
        faults.add(child(path, key), "record.unknown-key", "an unknown key", remedy="remove it")
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in value:
            faults.add(path, "record.required", f"the key `{name}` is missing")
    before = len(faults.records)
    members = {
        name: _load(value[name], _hints(record)[name], child(path, name), faults)
        for name in fields
        if name in value
    }
    complete = all(
        name in members for name, field in fields.items() if field.default is dataclasses.MISSING
    )
    return record(**members) if complete and len(faults.records) == before else None


def _load_tuple(value: Any, args: tuple[Any, ...], path: str, faults: Faults) -> Any:
    if not isinstance(value, list):
        return _expect(False, value, path, faults, "a list")  # noqa: FBT003  # the test has failed
    hints = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
    if len(hints) != len(value):
        return _expect(False, value, path, faults, f"{len(hints)} members")  # noqa: FBT003  # the test has failed
    pairs = zip(value, hints, strict=True)
    return tuple(
        _load(entry, hint, child(path, i), faults) for i, (entry, hint) in enumerate(pairs)
    )


def _load_bytes(value: Any, path: str, faults: Faults) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        _expect(False, value, path, faults, "base64")  # noqa: FBT003  # the test has failed
        return None


def _expect(fine: bool, value: Any, path: str, faults: Faults, expected: str) -> Any:  # noqa: FBT001  # one test, one word
    if not fine:
        faults.add(path, "record.type", shown(value), expected=expected)
    return value
