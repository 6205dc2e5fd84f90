"""What a person reads, whatever their terminal can show."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SAYING = (
    "from comfykiln.system import console\n"
    "console.accept_any_text()\n"
    "console.out('a \u2192 \u00e9')\n"
    "console.out_json({'name': '\u2192 \u00e9'})\n"
)


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("utf-8", 'a → é\n{\n  "name": "→ é"\n}\n'),
        ("iso-8859-1", 'a \\u2192 é\n{\n  "name": "\\u2192 \\u00e9"\n}\n'),
        ("ascii", 'a \\u2192 \\xe9\n{\n  "name": "\\u2192 \\u00e9"\n}\n'),
    ],
)
def test_a_terminal_that_lacks_a_character_gets_its_escape(encoding: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAYING],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode(encoding) == printed
