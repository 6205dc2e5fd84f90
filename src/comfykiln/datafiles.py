"""Read the project's own YAML data (targets, origins, services), every fault at once.

Documents handed in by others go through `comfykiln.documents`, which trusts nothing.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from comfykiln.errors import DocumentError

if TYPE_CHECKING:
    from pathlib import Path


def load_yaml(path: Path, schema: str) -> dict[str, Any]:
    """Return the mapping in the YAML file `path` after checking it against `<schema>.schema.json`.

    Raises `DocumentError` that lists every fault with its place (`$.targets.cpu.torch: …`).
    """
    import yaml  # noqa: PLC0415  # keeps `invoke --list` fast

    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except FileNotFoundError as error:
        raise DocumentError(
            f"{path} does not exist", remedy="restore the file, or start in the repository's folder"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())
        raise DocumentError(f"{path} is not YAML: {detail}", remedy="mend that line") from error
    faults = schema_faults(value, schema)
    if faults:
        raise DocumentError(f"{path} has {len(faults)} fault(s)", faults=faults, remedy=_HELP)
    checked: dict[str, Any] = value
    return checked


def schema_faults(value: Any, schema: str) -> list[str]:
    """Return one line per fault of `value` against the packaged schema, sorted by place."""
    import jsonschema  # noqa: PLC0415  # 84 ms

    validator = jsonschema.Draft202012Validator(_schema(schema))
    errors = sorted(validator.iter_errors(value), key=lambda error: error.json_path)
    return [f"{error.json_path}: {error.message}" for error in errors]


@cache
def _schema(name: str) -> dict[str, Any]:
    text = resources.files("comfykiln").joinpath(f"schemas/{name}.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


_HELP = "mend each place; the schemas are in src/comfykiln/schemas"
