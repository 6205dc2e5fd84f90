"""Images: tensors to files with the workflow in them, and files to tensors."""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageOps, ImageSequence
from PIL.PngImagePlugin import PngInfo

from .shared.errors import DamagedError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

CONTENT_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
# Where ComfyUI's interface looks for the workflow in EXIF: Model, then Make and downwards.
EXIF_PROMPT, EXIF_FIRST = 0x0110, 0x010F
EXIF_LIMIT = 65533 - 64  # of a JPEG, whose segments have two bytes for their length
SIDE_LIMIT = {"jpg": 65500, "webp": 16383}  # pixels
CHANNELS = (1, 2, 3, 4)
ONE_PICTURE = "MPO"  # a camera's JPEG: what follows is a preview or the other eye's view


def encode(tensor: Any, kind: str, quality: int, metadata: dict[str, Any]) -> bytes:
    """Return one image as a `png`, `jpg` or `webp` file.

    `tensor` is height by width by channels (1 to 4) with values from 0 to 1; `metadata` maps
    names such as prompt and workflow to what the file is to carry.
    Raises `StorageError` for a shape that no file, or none of this kind, can have.
    """
    _check_shape(tuple(tensor.shape), kind)
    image = _picture(tensor)
    buffer = BytesIO()
    if kind == "png":
        image.save(buffer, "PNG", pnginfo=_png_info(metadata), compress_level=4)
    elif kind == "jpg":
        exif = _exif_of_jpeg(metadata)
        image.convert("RGB").save(buffer, "JPEG", quality=quality, exif=exif)
    elif kind == "webp":
        image.save(buffer, "WEBP", quality=quality, exif=_exif(metadata))
    else:
        raise StorageError(f"Unknown image format {kind!r}.", remedy="use png, jpg or webp")
    return buffer.getvalue()


def decode(path: Path, label: str) -> tuple[Any, Any]:
    """Return the images (frames by height by width by 3) and masks (1 where transparent) of a file.

    Raises `DamagedError` for a file that is no image; `label` names it.
    """
    images: list[Any] = []
    masks: list[Any] = []
    try:
        with Image.open(path) as file:
            for frame in ImageSequence.Iterator(file):
                image, mask = _frame(ImageOps.exif_transpose(frame))
                if images and image.shape != images[0].shape:
                    continue
                images.append(image)
                masks.append(mask)
                if file.format == ONE_PICTURE:
                    break
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DamagedError(
            f"{label} cannot be read as an image ({type(error).__name__}).",
            remedy="check the object; PNG, JPEG, WebP, GIF, BMP and TIFF are read",
        ) from None
    return torch.stack(images), torch.stack(masks)


def _check_shape(shape: tuple[int, ...], kind: str) -> None:
    if not all(shape):
        raise StorageError("The image has no pixels.", remedy="check what is connected")
    if shape[-1] not in CHANNELS:
        raise StorageError(
            f"An image with {shape[-1]} channels cannot be saved.",
            remedy="connect an image: 3 channels, 4 with transparency, or 1",
        )
    most = SIDE_LIMIT.get(kind, 0)
    if most and max(shape[:2]) > most:
        raise StorageError(
            f"The image is {shape[1]}x{shape[0]}, and a {kind} has at most {most} pixels a side.",
            remedy="save it as png",
        )


def _picture(tensor: Any) -> Image.Image:
    # The same arithmetic as ComfyUI's own Save Image, so that both files have the same pixels.
    array = np.clip(255.0 * tensor.float().cpu().numpy(), 0, 255).astype(np.uint8)
    if array.shape[-1] == 1:
        array = array[..., 0]
    return Image.fromarray(array)


def _png_info(metadata: dict[str, Any]) -> PngInfo | None:
    if not metadata:
        return None
    info = PngInfo()
    for name, value in metadata.items():
        info.add_text(name, json.dumps(value))
    return info


def _exif(metadata: dict[str, Any]) -> bytes:
    if not metadata:
        return b""
    exif = Image.Exif()
    tag = EXIF_FIRST
    for name, value in metadata.items():
        if name == "prompt":
            exif[EXIF_PROMPT] = f"prompt:{json.dumps(value)}"
        else:
            exif[tag] = f"{name}:{json.dumps(value)}"
            tag -= 1
    made: bytes = exif.tobytes()
    return made


def _exif_of_jpeg(metadata: dict[str, Any]) -> bytes:
    """Return what a JPEG has room for: all, else without the prompt, which the workflow tells too.

    Where that is too much still, nothing.
    """
    without = {name: value for name, value in metadata.items() if name != "prompt"}
    fitting = (exif for exif in map(_exif, (metadata, without)) if len(exif) <= EXIF_LIMIT)
    return next(fitting, b"")


def _frame(frame: Image.Image) -> tuple[Any, Any]:
    if frame.mode.startswith("I"):  # 16 bits a pixel, which convert() would cut off
        grey = np.asarray(frame).astype(np.float32) / 65535.0
        image = torch.from_numpy(np.stack([grey] * 3, axis=-1))
        return image, torch.zeros(image.shape[:2])
    if frame.mode == "P" and "transparency" in frame.info:
        frame = frame.convert("RGBA")
    image = torch.from_numpy(np.array(frame.convert("RGB")).astype(np.float32) / 255.0)
    if "A" not in frame.getbands():
        return image, torch.zeros(image.shape[:2])
    alpha = np.array(frame.getchannel("A")).astype(np.float32) / 255.0
    return image, 1.0 - torch.from_numpy(alpha)
