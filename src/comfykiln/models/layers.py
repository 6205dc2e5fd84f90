"""The digest of a model's own layer, from what is noted, else from one reading of the file."""

from __future__ import annotations

from comfykiln.errors import KilnError
from comfykiln.models import store
from comfykiln.models.hashing import FileAndLayer, has_own_layer, layer_key
from comfykiln.transfer.parts import MIB


def layer_digest(sha256: str, destination: str, size: int) -> str:
    """Return the digest of the layer that holds the stored file alone, "" for a small one.

    Raises `KilnError` when the file has other bytes than its name in the store says.
    """
    if not has_own_layer(size):
        return ""
    noted = store.known(sha256)
    key = layer_key(destination)
    if noted is not None and key in noted.layers:
        return noted.layers[key]
    path = store.path_of(sha256)
    hashes = FileAndLayer(destination, size)
    buffer = memoryview(bytearray(4 * MIB))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hashes.update(buffer[:count])
    if hashes.hexdigest() != sha256:
        raise KilnError(f"{path} is damaged", remedy="run ./kiln models.fetch, which replaces it")
    return store.note(sha256, {key: hashes.layer()}).layers[key]
