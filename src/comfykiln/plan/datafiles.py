"""Read the project's own YAML data (targets, origins, services), every fault at once.

Documents handed in by others go through `comfykiln.documents`, which trusts nothing.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from comfykiln.errors import DocumentError
from comfykiln.parsing.shape import is_like

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jsonschema import ValidationError


def load_yaml(path: Path, schema: str) -> dict[str, Any]:
    """Return the mapping in the YAML file `path` after checking it against `<schema>.schema.json`.

    Raises `DocumentError` that lists every fault with its place (`$.targets.cpu.torch: …`).
    """
    value, faults = _read(path)
    faults += schema_faults(value, schema)
    if faults:
        raise DocumentError(f"{path} has {len(faults)} fault(s)", faults=faults, remedy=_HELP)
    checked: dict[str, Any] = value
    return checked


def _read(path: Path) -> tuple[Any, list[str]]:
    """Return the value of a YAML file and what YAML allows in it but no data file may hold."""
    import yaml  # noqa: PLC0415  # keeps `invoke --list` fast

    from comfykiln.plan.yaml_nodes import node_faults  # noqa: PLC0415  # with yaml

    try:
        loader = yaml.CSafeLoader(path.read_bytes().decode())
        node = loader.get_single_node()
        faults = node_faults(node)
        return loader.construct_document(node) if node else None, faults
    except FileNotFoundError as error:
        raise DocumentError(
            f"{path} does not exist", remedy="restore the file, or start in the repository's folder"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _no_yaml(path, f"line {line}: not UTF-8", "save it as UTF-8") from error
    except RecursionError as error:
        raise _no_yaml(path, "nested too deeply", "flatten it") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _no_yaml(path, f"{place}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise _no_yaml(path, " ".join(str(error).split())) from error


def _no_yaml(path: Path, problem: str, remedy: str = "fix that line") -> DocumentError:
    return DocumentError(f"{path} is not YAML: {problem}", remedy=remedy)


def schema_faults(value: Any, schema: str) -> list[str]:
    """Return one line per fault of `value` against the packaged schema, sorted by place."""
    import jsonschema  # noqa: PLC0415  # 84 ms

    kind = jsonschema.validators.extend(  # type: ignore[no-untyped-call]  # not in the stubs
        jsonschema.Draft202012Validator, {"pattern": _pattern}
    )
    validator = kind(_schema(schema))
    errors = sorted(validator.iter_errors(value), key=lambda error: error.json_path)
    # A credential that stands where none may is not repeated into a log.
    return [re.sub(r"://[^/@\s]+@", "://***@", f"{e.json_path}: {e.message}") for e in errors]


def _pattern(_: Any, pattern: str, text: Any, __: Any) -> Iterator[ValidationError]:
    """Judge a pattern over the whole text, as documents are; jsonschema's own takes a newline."""
    import jsonschema  # noqa: PLC0415  # 84 ms

    if isinstance(text, str) and not is_like(text, pattern):
        yield jsonschema.ValidationError(f"{text!r} does not match {pattern!r}")


@cache
def _schema(name: str) -> dict[str, Any]:
    text = resources.files("comfykiln").joinpath(f"schemas/{name}.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


_HELP = "fix each place; the schemas are in src/comfykiln/schemas"
