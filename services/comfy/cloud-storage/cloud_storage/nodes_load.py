"""Nodes that bring images, sounds and videos from the bucket into the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import InputImpl, io

from . import compat, loading
from .fingerprints import NotWired, of_object
from .runtime import address, in_thread, open_store, profile_input

if TYPE_CHECKING:
    from .runtime import Task


def _key_input() -> io.Input:
    return io.String.Input(
        "key",
        default="",
        tooltip="The object's key; the profile's prefix comes first. A slash at the begin means "
        "the bucket's root.",
    )


class _Load(io.ComfyNode):
    """What the nodes that load have in common."""

    @classmethod
    async def fingerprint_inputs(cls, key: str | None, profile: Any = NotWired) -> str:
        """Change whenever the object does."""
        return await of_object(key, profile)


class LoadImageFromCloud(_Load):
    """Load an image and its transparency."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return compat.schema(
            node_id="LoadImageFromCloud",
            display_name="Load Image from Cloud",
            category="cloud_storage/load",
            description="Loads an image from the bucket; runs again when the object changes.",
            search_aliases=["s3 image", "download image", "load from bucket"],
            inputs=[_key_input(), profile_input()],
            outputs=[io.Image.Output(display_name="IMAGE"), io.Mask.Output(display_name="MASK")],
        )

    @classmethod
    async def execute(cls, key: str, profile: object = None) -> io.NodeOutput:
        """Download the object and decode it; an animation becomes a batch."""
        from .media_image import decode  # noqa: PLC0415  # PIL is loaded where it is used

        def work(task: Task) -> tuple[Any, Any]:
            store = open_store(profile)
            return decode(loading.bring(store, key, task), address(store, key))

        images, masks = await in_thread(work)
        place = compat.tensor_place()
        return io.NodeOutput(images.to(**place), masks.to(**place))


class LoadAudioFromCloud(_Load):
    """Load a sound."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return compat.schema(
            node_id="LoadAudioFromCloud",
            display_name="Load Audio from Cloud",
            category="cloud_storage/load",
            description="Loads a sound from the bucket; runs again when the object changes.",
            search_aliases=["s3 audio", "download audio", "load from bucket"],
            inputs=[_key_input(), profile_input()],
            outputs=[io.Audio.Output(display_name="AUDIO")],
        )

    @classmethod
    async def execute(cls, key: str, profile: object = None) -> io.NodeOutput:
        """Download the object and decode its first sound."""
        from .media_audio import decode  # noqa: PLC0415  # PyAV is loaded where it is used

        def work(task: Task) -> dict[str, Any]:
            store = open_store(profile)
            return decode(loading.bring(store, key, task), address(store, key))

        return io.NodeOutput(await in_thread(work))


class LoadVideoFromCloud(_Load):
    """Load a video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return compat.schema(
            node_id="LoadVideoFromCloud",
            display_name="Load Video from Cloud",
            category="cloud_storage/load",
            description="Loads a video from the bucket; runs again when the object changes.",
            search_aliases=["s3 video", "download video", "load from bucket"],
            inputs=[_key_input(), profile_input()],
            outputs=[io.Video.Output(display_name="VIDEO")],
        )

    @classmethod
    async def execute(cls, key: str, profile: object = None) -> io.NodeOutput:
        """Download the object; its frames are read where they are needed."""

        def work(task: Task) -> Any:
            store = open_store(profile)
            path = loading.bring(store, key, task)
            return _checked(InputImpl.VideoFromFile(str(path)), address(store, key))

        return io.NodeOutput(await in_thread(work))


def _checked(video: Any, label: str) -> Any:
    """Return `video` if it has frames; raise `DamagedError` now rather than in a later node."""
    import av  # noqa: PLC0415  # PyAV is loaded where it is used

    from .shared.errors import DamagedError  # noqa: PLC0415  # beside av

    try:
        width, height = video.get_dimensions()
    except (av.error.FFmpegError, ValueError):
        width = height = 0
    if not width or not height:
        raise DamagedError(f"{label} cannot be read as a video.", remedy="check the object")
    return video
