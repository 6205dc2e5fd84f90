"""The one file that knows ComfyUI's inside and how its releases differ.

Everything the pack takes from ComfyUI beside the node API comes from here.
Made for ComfyUI 0.18 and later, where `folder_paths.get_system_user_directory` keeps our profiles
from the HTTP interface; older ones get one clear error instead of an unprotected file.
"""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
from comfy.cli_args import args
from comfy_api.latest import io
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context

MINIMUM = "0.18"
SYSTEM_USER = "cloud_storage"
# Folders that hold no single model files.
NO_MODELS = ("custom_nodes", "configs", "datasets", "diffusers", "classifiers")
# Nodes of ComfyUI that hand on the constant in the named input.
CONSTANTS = {
    "PrimitiveString": "value",
    "PrimitiveStringMultiline": "value",
    "PrimitiveInt": "value",
    "PrimitiveBoolean": "value",
}


class TooOldError(RuntimeError):
    """This ComfyUI lacks what the pack needs."""


def check_release() -> None:
    """Raise `TooOldError` where profiles could not be kept private."""
    if not hasattr(folder_paths, "get_system_user_directory"):
        raise TooOldError(f"The cloud storage nodes need ComfyUI {MINIMUM} or later; update it.")


def schema(**arguments: Any) -> io.Schema:
    """Return a node's schema without the arguments that this release of ComfyUI does not know."""
    known = io.Schema.__dataclass_fields__
    return io.Schema(**{name: value for name, value in arguments.items() if name in known})


def system_directory() -> Path:
    """Return the pack's folder below `user`, which ComfyUI keeps from its HTTP interface."""
    return Path(folder_paths.get_system_user_directory(SYSTEM_USER))


def temp_directory() -> Path:
    """Return the folder whose files the UI may show and ComfyUI removes at its next start."""
    return Path(folder_paths.get_temp_directory())


def model_types() -> list[str]:
    """Return the kinds of models that ComfyUI has a folder for, the usual ones first."""
    usual = ["checkpoints", "loras", "vae", "text_encoders", "controlnet", "diffusion_models"]
    usual += ["upscale_models", "embeddings", "clip_vision"]
    known = folder_paths.folder_names_and_paths
    others = sorted(
        name
        for name, entry in known.items()
        if name not in NO_MODELS and set(entry[1]) - {"folder"}
    )
    return [name for name in usual if name in known] + [n for n in others if n not in usual]


def model_folders(kind: str) -> tuple[list[Path], frozenset[str]]:
    """Return the folders of a kind of model in ComfyUI's order, and the suffixes it loads."""
    folders, suffixes = folder_paths.folder_names_and_paths.get(kind, ([], set()))
    return [Path(folder) for folder in folders], frozenset(suffixes)


def wants_metadata() -> bool:
    """Say whether files may carry the workflow (`--disable-metadata` forbids it)."""
    return not args.disable_metadata


def tensor_place() -> dict[str, Any]:
    """Return the device and type that loaded images have in this release."""
    management = comfy.model_management
    place = {"device": management.intermediate_device()}
    if hasattr(management, "intermediate_dtype"):
        place["dtype"] = management.intermediate_dtype()
    return place


def interrupted() -> bool:
    """Say whether the person asked to stop."""
    return bool(comfy.model_management.processing_interrupted())


def stop_if_interrupted() -> None:
    """Raise ComfyUI's own exception for a stop that was asked for."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def current_node() -> str:
    """Return the id of the node that runs, "" outside of a prompt."""
    context = get_executing_context()
    return context.node_id if context is not None else ""


def current_prompt() -> str:
    """Return the id of the prompt that runs, "" outside of one."""
    context = get_executing_context()
    return context.prompt_id if context is not None else ""


def show_progress(node: str, value: float, total: float, text: str) -> None:
    """Move the node's bar and write below it; does nothing outside of a prompt."""
    if not node:
        return
    get_progress_state().update_progress(node, value, total)
    # Imported by whoever runs the server; where the API is used alone there is none.
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is not None and text and hasattr(server, "send_progress_text"):
        server.send_progress_text(text, node, server.client_id)


def constant(node: str, name: str) -> tuple[bool, Any]:
    """Follow the wire at input `name` of `node` to its begin, as a fingerprint cannot by itself.

    Returns (True, (class, inputs)) for a node of ours, (True, value) for a constant,
    and (False, None) where the value is known only once other nodes have run.
    """
    prompt = get_progress_state().dynprompt
    if not prompt.has_node(node):
        return False, None
    link = prompt.get_node(node)["inputs"].get(name)
    if not isinstance(link, list) or not prompt.has_node(link[0]):
        return False, None
    source = prompt.get_node(link[0])
    if source["class_type"] not in CONSTANTS:
        return True, (source["class_type"], dict(source["inputs"]))
    value = source["inputs"].get(CONSTANTS[source["class_type"]])
    return (False, None) if isinstance(value, list) else (True, value)


def always() -> str:
    """Return a fingerprint that equals no other, unlike NaN also as JSON."""
    return uuid.uuid4().hex
