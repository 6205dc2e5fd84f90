"""Where a model file lies below the ComfyUI folder, from the spellings that documents use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfykiln.environment import Model
from comfykiln.parsing.schemes import is_local
from comfykiln.parsing.values import check_name, is_windows_path, shown

if TYPE_CHECKING:
    from comfykiln.environment import ModelSource
    from comfykiln.parsing.faults import Faults

MAX_PATH = 1024
_ROOTS = frozenset({"models", "custom_nodes", "input", "output", "user"})


def model_path(text: str, path: str, faults: Faults) -> str | None:
    """Return a document's path as one below the ComfyUI folder; None after a fault.

    `checkpoints/x.safetensors` and `models/checkpoints/x.safetensors` mean the same file.
    """
    clean = text.strip().removeprefix("./").replace("\\", "/").rstrip("/")
    absolute = clean.startswith(("/", "~/")) or is_windows_path(clean)
    if absolute or len(clean) > MAX_PATH or not clean:
        faults.add(
            path,
            "path.absolute" if absolute else "path.length",
            f"{shown(text)} lies outside the ComfyUI folder" if absolute else shown(text),
            expected="a path such as models/checkpoints/x.safetensors",
            remedy="write it relative to the ComfyUI folder",
        )
        return None
    parts = clean.split("/")
    if not all(check_name(part, path, faults) for part in parts):
        return None
    return clean if parts[0] in _ROOTS and len(parts) > 1 else f"models/{clean}"


def category_of(path: str) -> str | None:
    """Return the folder kind of a model path: `checkpoints` of `models/checkpoints/a/x.pt`."""
    parts = path.split("/")
    return parts[1] if parts[0] == "models" and len(parts) > 2 else None  # noqa: PLR2004  # models/<kind>/<file>


def below_models(path: str) -> str:
    """Return a model path relative to `models/` where it lies there, else unchanged."""
    inner = path.removeprefix("models/")
    return path if inner.partition("/")[0] in _ROOTS else inner


def model_at(path: str, **fields: object) -> Model:
    """Return a model record for a file at `path`, with its name and category."""
    return Model(
        filename=path.rpartition("/")[2],
        paths=(path,),
        category=category_of(path),
        **fields,  # type: ignore[arg-type]  # the caller names fields of Model
    )


def first_source(model: Model) -> ModelSource | None:
    """Return the first source that means the same on another machine, None where none does.

    It is what a document with room for one source holds; an account of losses names the others.
    """
    return next((source for source in model.sources if not is_local(source.url)), None)
