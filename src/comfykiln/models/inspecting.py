"""Look into a model file before anything loads it: headers that lie, pickles in disguise."""

from __future__ import annotations

import json
import zipfile
from math import prod
from typing import TYPE_CHECKING, Any

from comfykiln.models.records import PICKLES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAFETENSORS = (".safetensors", ".sft")
# Real headers have some hundred kilobytes; the format allows 100 MB, which would take 1 GB to read.
HEADER_LIMIT = 32 << 20
GGUF_VERSIONS = range(1, 4)
GGUF_HEADER, GGUF_COUNT_LIMIT = 24, 1 << 24
_PICKLE_PROTOCOLS = range(2, 6)
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


def problem_of(path: Path, destination: str, *, pickle_allowed: bool) -> str:
    """Return why the file at `path` must not be used as `destination`, "" when it may.

    Reads the header alone, however large the file is.
    """
    pickled = is_pickle(path) or destination.lower().endswith(PICKLES)
    if destination.lower().endswith(SAFETENSORS):
        if pickled:
            return "it is a pickle, not what its name says"
        return _safetensors_problem(path)
    if destination.lower().endswith(".gguf"):
        return _gguf_problem(path)
    if pickled and not pickle_allowed:
        return "it is a pickle, which can run code when it is loaded, and nothing allows it"
    return ""


def is_pickle(path: Path) -> bool:
    """Tell whether the content is a pickle, or an archive with one inside as torch writes it."""
    with path.open("rb") as file:
        start = file.read(4)
    if start[:1] == b"\x80" and len(start) > 1 and start[1] in _PICKLE_PROTOCOLS:
        return True
    if start != b"PK\x03\x04":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _safetensors_problem(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= size - 8:  # noqa: PLR2004  # the length itself; `{}`
            return f"its header would have {length:,} of {size:,} bytes"
        if length > HEADER_LIMIT:
            return f"its header has {length:,} bytes, more than {HEADER_LIMIT:,}"
        header = file.read(length)
    try:
        tensors = json.loads(header, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        return f"its header is no JSON object with each key once ({type(error).__name__})"
    if not isinstance(tensors, dict):
        return "its header is no JSON object"
    return next(_header_problems(tensors, size - 8 - length), "")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _header_problems(header: dict[str, Any], size: int) -> Iterator[str]:
    """Yield what is wrong with a safetensors header over `size` bytes of tensors."""
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        yield "its __metadata__ is no map of texts"
    spans = []
    for name, tensor in header.items():
        problem = _tensor_problem(tensor)
        if problem:
            yield f"its tensor {name[:80]!a} {problem}"
            return
        begin, end = tensor["data_offsets"]
        spans.append((begin, end, name))
    place = 0
    for begin, end, name in sorted(spans):
        if begin != place:
            word = "overlaps the one before" if begin < place else "leaves a gap before it"
            yield f"its tensor {name[:80]!a} {word} (byte {begin:,} instead of {place:,})"
            return
        place = end
    if place != size:
        yield f"its tensors have {place:,} bytes, the file has {size:,} for them"


def _tensor_problem(tensor: Any) -> str:
    if not isinstance(tensor, dict):
        return "is no map"
    shape: Any = tensor.get("shape")
    offsets: Any = tensor.get("data_offsets")
    if not _counts(shape):
        return "has no shape"
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:  # noqa: PLR2004  # begin, end
        return "has no valid data_offsets"
    bits = _BITS.get(str(tensor.get("dtype")))
    if bits is not None and prod(shape) * bits != (offsets[1] - offsets[0]) * 8:
        return f"has {offsets[1] - offsets[0]:,} bytes, which is not what its shape takes"
    return ""


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(entry) is int and entry >= 0 for entry in value)


def _gguf_problem(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(GGUF_HEADER)
    if header[:4] != b"GGUF":
        return "it does not begin with GGUF"
    if len(header) < GGUF_HEADER:
        return f"it ends after {size} bytes, within its header"
    version = int.from_bytes(header[4:8], "little")
    if version not in GGUF_VERSIONS:
        return f"its GGUF version is {version}"
    tensors, pairs = (int.from_bytes(header[at : at + 8], "little") for at in (8, 16))
    if version > 1 and max(tensors, pairs) > min(size, GGUF_COUNT_LIMIT):
        return f"it announces {tensors:,} tensors and {pairs:,} values in {size:,} bytes"
    return ""
