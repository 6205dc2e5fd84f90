"""How much a document may hold, of whatever format, before it is refused."""

from __future__ import annotations

MAX_BYTES = 10 * 1024 * 1024
MAX_DEPTH = 64
MAX_TOKENS = 300_000
"""Commas and opening brackets in a whole document: what bounds the memory that parsing takes."""
MAX_KEY = 65_536
"""Characters of a key: a requirement's line with the hashes of all its files has some thousands."""
MAX_ITEMS = 10_000
"""Members of one list or map; real documents stay below a thousand."""
