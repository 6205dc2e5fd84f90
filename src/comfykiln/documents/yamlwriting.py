"""YAML for people to read and every YAML 1.1 reader to understand: block style, no anchors."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Writes each value out, even where the same one occurs twice."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def dump(value: Any) -> str:
    """Return `value` as a YAML document with the keys in their order."""
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=2**20,
    )
    return text
