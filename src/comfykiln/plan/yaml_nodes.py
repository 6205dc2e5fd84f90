"""What YAML allows and a data file must not hold, found before values hide it, with its line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 64
_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"
_FLOAT = "tag:yaml.org,2002:float"
_constructor = yaml.constructor.SafeConstructor()


def node_faults(root: yaml.Node | None) -> list[str]:
    """Return one line for each key that comes twice or is no text, and each number without end.

    Of two equal keys YAML keeps the last without a word, so half a description would be lost.
    Raises `RecursionError` for what is nested too deeply to be meant.
    """
    return [] if root is None else list(_faults(root, "$", (), set()))


def _faults(node: yaml.Node, path: str, above: tuple[int, ...], seen: set[int]) -> Iterator[str]:
    if len(above) > MAX_DEPTH:
        raise RecursionError
    if id(node) in seen:  # an alias: told where its anchor is
        return
    seen.add(id(node))
    within = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        yield from _mapping_faults(node, path, within, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _faults(item, f"{path}[{index}]", within, seen)
    elif isinstance(node, yaml.ScalarNode) and node.tag == _FLOAT and not _is_finite(node):
        yield f"{path}: {node.value} in line {_line(node)} is no finite number"


def _mapping_faults(
    node: yaml.MappingNode, path: str, within: tuple[int, ...], seen: set[int]
) -> Iterator[str]:
    lines: dict[str, int] = {}
    for key, value in node.value:
        place = f"{path}.{key.value}"
        if key.tag not in {_TEXT, _MERGE}:
            yield f"{path}: the key {key.value} in line {_line(key)} is no text: put it in quotes"
        elif key.value in lines:
            yield f"{place}: in line {lines[key.value]} and again in line {_line(key)}: keep one"
        lines.setdefault(str(key.value), _line(key))
        yield from _faults(value, place, within, seen)


def _is_finite(node: yaml.ScalarNode) -> bool:
    value: Any = _constructor.construct_yaml_float(node)
    return math.isfinite(value)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
