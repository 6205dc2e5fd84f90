"""The file's sha256 and the digest of its layer, in one pass over the bytes."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

from comfykiln.oci.layers import LAYER_FORMAT, OWN_LAYER_BYTES, framing


class FileAndLayer:
    """A sha256 of a file, and beside it that of the layer that holds the file alone.

    The second runs in a thread of its own: hashing gives way to other threads, so that both
    together take as long as one where a core is free. `path` is below /app/models.
    """

    def __init__(self, path: str, size: int) -> None:
        before, self._after = framing(path, size)
        self._file = hashlib.sha256()
        self._layer = hashlib.sha256(before)
        self._beside = ThreadPoolExecutor(1, "layer-hash")

    def update(self, data: bytes | memoryview, /) -> None:
        """Take the next bytes of the file."""
        done = self._beside.submit(self._layer.update, data)
        self._file.update(data)
        done.result()

    def hexdigest(self) -> str:
        """Return the sha256 of the file's bytes so far."""
        return self._file.hexdigest()

    def layer(self) -> str:
        """Return the layer's digest, `sha256:…`, once all bytes of the file were taken."""
        self._beside.shutdown()
        whole = self._layer.copy()
        whole.update(self._after)
        return f"sha256:{whole.hexdigest()}"


def layer_key(destination: str) -> str:
    """Return under which key the layer digest of a file at this destination is noted."""
    return f"{LAYER_FORMAT} {destination}"


def has_own_layer(size: int) -> bool:
    """Tell whether a file of `size` bytes is large enough for a layer of its own."""
    return size >= OWN_LAYER_BYTES
