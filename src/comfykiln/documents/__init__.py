"""Every document in, every document out: formats that describe a ComfyUI environment.

A format is a folder with a `format.py`, which declares it as a record of `formats.Format`.
"""

from __future__ import annotations

from comfykiln.documents.formats import Parsed, Written, write
from comfykiln.documents.reading import read

__all__ = ["Parsed", "Written", "read", "write"]
