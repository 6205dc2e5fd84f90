"""What workflows are called, and how the images that hold one begin."""

from __future__ import annotations

KIND = "workflow"
SCHEMA = "workflow"
PNG = b"\x89PNG\r\n\x1a\n"


def is_webp(head: bytes) -> bool:
    """Say whether these are the first bytes of a WebP file."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"
