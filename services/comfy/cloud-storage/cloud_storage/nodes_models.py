"""The node that brings a model from the bucket to ComfyUI's loaders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from . import compat, models
from .fingerprints import NotWired, of_object
from .models import Model, Wanted
from .runtime import Task, in_thread, open_store, profile_input
from .shared.errors import ProfileError

if TYPE_CHECKING:
    from .shared.store import Store

SHA256_LENGTH = 64
# How often a file was found missing or changed, and in which prompt last: part of the fingerprint.
_rounds: dict[tuple[Any, ...], tuple[int, str]] = {}


class LoadModelFromCloud(io.ComfyNode):
    """Download a model where it is missing or out of date."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return compat.schema(
            node_id="LoadModelFromCloud",
            display_name="Download Model from Cloud",
            category="cloud_storage/models",
            description="Brings a model file from the bucket into ComfyUI's models folder. "
            "Connect model_filename to any loader.",
            search_aliases=["s3 model", "download checkpoint", "download lora", "model cache"],
            inputs=[
                io.Combo.Input("model_type", options=compat.model_types()),
                io.String.Input(
                    "key",
                    default="",
                    tooltip="The object's key; it is also the path below the models folder.",
                ),
                io.Boolean.Input(
                    "force_redownload",
                    default=False,
                    tooltip="Download even if the file is here, and replace one that is not ours.",
                ),
                io.String.Input(
                    "sha256",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="What the file must have; any other content is refused.",
                ),
                io.String.Input(
                    "save_as",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="Another path below the models folder than the key.",
                ),
                profile_input(),
            ],
            outputs=[
                # Loaders take a choice of their own list; only the wildcard connects to all.
                io.AnyType.Output("model_filename", display_name="model_filename"),
                io.String.Output("sha256_found", display_name="sha256"),
                io.String.Output("path", display_name="path"),
            ],
        )

    @classmethod
    async def fingerprint_inputs(
        cls,
        model_type: str | None,
        key: str | None,
        force_redownload: bool | None = False,
        sha256: str | None = "",
        save_as: str | None = "",
        profile: Any = NotWired,
    ) -> str:
        """Change with the object, and whenever the local file is missing or was changed."""
        if force_redownload is not False or None in (model_type, sha256, save_as):
            return compat.always()

        def state(store: Store, whole: str, etag: str) -> object:
            wanted = Wanted(
                kind=str(model_type), key="/" + whole, sha256=str(sha256), save_as=str(save_as)
            )
            intact = models.intact_copy(store, wanted, etag)
            return etag, _round((store.profile, wanted), intact=intact)

        return await of_object(key, profile, state=state)

    @classmethod
    async def execute(
        cls,
        model_type: str,
        key: str,
        force_redownload: bool = False,
        sha256: str = "",
        save_as: str = "",
        profile: object = None,
    ) -> io.NodeOutput:
        """Return the name that loaders know the model by, its sha256 and its path."""
        wanted = Wanted(
            kind=model_type,
            key=key,
            sha256=_checked(sha256),
            save_as=save_as,
            force=force_redownload,
        )

        def work(task: Task) -> Model:
            return models.bring(open_store(profile), wanted, task)

        model = await in_thread(work)
        text = f"{model.name}: {model.how}\nsha256 {model.sha256}"
        return io.NodeOutput(model.name, model.sha256, str(model.path), ui={"text": [text]})


def _checked(sha256: str) -> str:
    told = sha256.strip().lower().removeprefix("sha256:")
    if told and (len(told) != SHA256_LENGTH or set(told) - set("0123456789abcdef")):
        raise ProfileError("sha256 is not 64 hex digits.", remedy="correct it, or leave it empty")
    return told


def _round(place: tuple[Any, ...], *, intact: bool) -> int:
    """Return a number that changes each time a prompt finds the file missing or changed.

    It stays while the file is as it should be, so what depends on the model is not run again.
    """
    number, prompt = _rounds.get(place, (0, ""))
    if not intact and prompt != compat.current_prompt():
        number += 1
        _rounds[place] = (number, compat.current_prompt())
    return number
