"""Model files to fetch: small, random, and valid where a header is looked at."""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING, Any

from comfykiln.models.records import LockedModel, ModelSource
from comfykiln.oci.layers import framing

if TYPE_CHECKING:
    from collections.abc import Mapping


def sha256(data: bytes) -> str:
    """Return the sha256 as hex digits."""
    return hashlib.sha256(data).hexdigest()


def layer_of(destination: str, data: bytes) -> str:
    """Return the digest of the layer that holds the file alone, computed the plain way."""
    before, after = framing(destination, len(data))
    return f"sha256:{sha256(before + data + after)}"


def safetensors(size: int, seed: int = 0) -> bytes:
    """Return a valid file with one tensor of `size` random bytes."""
    return raw_safetensors(
        {"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}},
        random.Random(seed).randbytes(size),  # noqa: S311  # test data
    )


def raw_safetensors(header: Mapping[str, Any] | bytes, data: bytes) -> bytes:
    """Return a file with any header before `data`."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def locked(data: bytes, *urls: str, **changes: Any) -> LockedModel:
    """Return the lock's entry for `data` at these addresses."""
    values: dict[str, Any] = {
        "name": "model",
        "destination": "vae/model.safetensors",
        "criticality": "required",
        "sources": tuple(ModelSource(url=url) for url in urls),
        "sha256": sha256(data),
        "size": len(data),
    }
    return LockedModel(**(values | changes))
