"""Small files that tests make and take apart without the libraries of ComfyUI."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any


def chunks(png: bytes) -> dict[bytes, list[bytes]]:
    """Return the chunks of a PNG by name, each checked against its CRC."""
    found: dict[bytes, list[bytes]] = {}
    place = 8
    while place < len(png):
        size, name = struct.unpack(">I4s", png[place : place + 8])
        data = png[place + 8 : place + 8 + size]
        (crc,) = struct.unpack(">I", png[place + 8 + size : place + 12 + size])
        assert crc == zlib.crc32(name + data)
        found.setdefault(name, []).append(data)
        place += size + 12
    return found


def pixels(png: bytes) -> tuple[bytes, bytes]:
    """Return size and kind of a PNG and its rows: equal for equal pixels and one encoder."""
    parts = chunks(png)
    return parts[b"IHDR"][0], zlib.decompress(b"".join(parts[b"IDAT"]))


def upscaler() -> bytes:
    """Return a whole, tiny upscaling model (ESRGAN, one block) as a safetensors file of zeros."""
    features, grow = 4, 32  # the second is what loaders take for granted
    shapes: dict[str, list[int]] = {"conv_first.weight": [features, 3, 3, 3]}
    for block in ("rdb1", "rdb2", "rdb3"):
        for number in range(1, 6):
            out = features if number == 5 else grow
            name = f"body.0.{block}.conv{number}.weight"
            shapes[name] = [out, features + (number - 1) * grow, 3, 3]
    for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        shapes[f"{name}.weight"] = [features, features, 3, 3]
    shapes["conv_last.weight"] = [3, features, 3, 3]
    shapes |= {name.replace("weight", "bias"): [shape[0]] for name, shape in list(shapes.items())}
    header: dict[str, Any] = {}
    place = 0
    for name, shape in shapes.items():
        count = 4
        for length in shape:
            count *= length
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [place, place + count]}
        place += count
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(place)
