"""Nodes that write images, videos and sounds into the bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from . import compat
from .fingerprints import NotWired, of_place
from .names import Naming, with_values_of_nodes
from .runtime import Task, in_thread, open_store, profile_input, save_prefix
from .saving import Batch, Item, Saved, outcome
from .shared.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .shared.store import Store

AUDIO_FORMATS = ["flac", "mp3", "opus", "wav"]
AUDIO_BITRATES = ["auto", "64k", "96k", "128k", "192k", "320k"]
TOKENS = (
    "Tokens: %date%, %date:yyyy-MM-dd%, %time%, %uuid%, %counter%, %batch_num%, %width%, %height%, "
    "%KSampler.seed%."
)
LONGEST_SHARE_HOURS = 168


def _name_inputs(prefix: str, filename: str) -> list[io.Input]:
    return [
        io.String.Input(
            "key_prefix", default=prefix, tooltip=f"The folder in the bucket. {TOKENS}"
        ),
        io.String.Input("filename", default=filename, tooltip=f"Without the suffix. {TOKENS}"),
    ]


def _more_inputs() -> list[io.Input]:
    return [
        io.Boolean.Input(
            "overwrite",
            default=False,
            optional=True,
            tooltip="Replace an object of that name; otherwise the name gets the next free number.",
        ),
        io.Int.Input(
            "share_url_hours",
            default=0,
            min=0,
            max=LONGEST_SHARE_HOURS,
            optional=True,
            tooltip="Also make a URL that anyone can read the object with for so long; 0: none.",
        ),
        profile_input(),
    ]


def _outputs(*, several: bool) -> list[io.Output]:
    return [
        io.String.Output("key", display_name="key", is_output_list=several),
        io.String.Output("url", display_name="url", is_output_list=several),
    ]


class _Save(io.ComfyNode):
    """What the nodes that save have in common."""

    @classmethod
    def fingerprint_inputs(
        cls, profile: Any = NotWired, share_url_hours: int | None = 0, **_: Any
    ) -> str:
        """Change with the place, and when a sharing URL has lived half its life."""
        return of_place(profile, share_url_hours)

    @classmethod
    def metadata(cls) -> dict[str, Any]:
        """Return what the file is to say about its making, nothing with `--disable-metadata`."""
        if not compat.wants_metadata():
            return {}
        told = {"prompt": cls.hidden.prompt} if cls.hidden.prompt else {}
        return {**told, **(cls.hidden.extra_pnginfo or {})}

    @classmethod
    def filled(cls, *texts: str) -> list[str]:
        """Return prefix and name with the values that they take from other nodes."""
        return [with_values_of_nodes(text, cls.hidden.prompt) for text in texts]


class SaveImageToCloud(_Save):
    """Upload every image of a batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return compat.schema(
            node_id="SaveImageToCloud",
            display_name="Save Image to Cloud",
            category="cloud_storage/save",
            description="Uploads images, with the workflow in them, several at a time.",
            search_aliases=["s3 save", "upload image", "save to bucket", "backblaze", "r2"],
            inputs=[
                io.Image.Input("images"),
                *_name_inputs("comfyui/images/", "ComfyUI_%batch_num%"),
                io.Combo.Input("format", options=["png", "jpg", "webp"], default="png"),
                io.Int.Input(
                    "quality", default=95, min=1, max=100, tooltip="Of jpg and webp; png is exact."
                ),
                *_more_inputs(),
            ],
            outputs=_outputs(several=True),
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    async def execute(
        cls,
        images: Any,
        key_prefix: str,
        filename: str,
        format: str,  # noqa: A002  # the input's name in the graph
        quality: int = 95,
        overwrite: bool = False,
        share_url_hours: int = 0,
        profile: object = None,
    ) -> io.NodeOutput:
        """Upload the images and return their keys (and URLs), one each."""
        from .media_image import CONTENT_TYPES, encode  # noqa: PLC0415  # PIL, where it is used

        if not len(images):
            raise StorageError("There are no images to save.", remedy="check what is connected")
        metadata = cls.metadata()
        key_prefix, filename = cls.filled(key_prefix, filename)

        def maker(image: Any) -> Callable[[], bytes]:
            return lambda: encode(image, format, quality, metadata)

        def work(task: Task) -> tuple[Store, list[Saved]]:
            store = open_store(profile)
            naming = Naming(
                prefix=save_prefix(store.profile, key_prefix),
                template=filename,
                suffix=f".{format}",
                count=len(images),
                width=int(images.shape[2]),
                height=int(images.shape[1]),
            )
            items = [Item(make=maker(i), content_type=CONTENT_TYPES[format]) for i in images]
            batch = Batch(store=store, naming=naming, items=items, overwrite=overwrite, task=task)
            return store, batch.save()

        return _output(*await in_thread(work), share_url_hours, "images")


class SaveVideoToCloud(_Save):
    """Encode and upload a video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        from .media_video import codecs, formats  # noqa: PLC0415  # PyAV, where it is used

        return compat.schema(
            node_id="SaveVideoToCloud",
            display_name="Save Video to Cloud",
            category="cloud_storage/save",
            description="Encodes a video into a file and uploads it in parts.",
            search_aliases=["s3 video", "upload video", "save to bucket", "mp4", "webm"],
            inputs=[
                io.Video.Input("video"),
                *_name_inputs("comfyui/videos/", "ComfyUI_video"),
                io.Combo.Input("format", options=formats(), default="auto"),
                io.Combo.Input("codec", options=codecs(), default="auto"),
                *_more_inputs(),
            ],
            outputs=_outputs(several=False),
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    async def execute(
        cls,
        video: Any,
        key_prefix: str,
        filename: str,
        format: str,  # noqa: A002  # the input's name in the graph
        codec: str,
        overwrite: bool = False,
        share_url_hours: int = 0,
        profile: object = None,
    ) -> io.NodeOutput:
        """Upload the video and return its key (and URL)."""
        from .media_video import CONTENT_TYPES, check, encode, suffix  # noqa: PLC0415  # as above

        check(format, codec)
        metadata = cls.metadata()
        key_prefix, filename = cls.filled(key_prefix, filename)

        def work(task: Task) -> tuple[Store, list[Saved]]:
            store = open_store(profile)
            width, height = video.get_dimensions()
            naming = Naming(
                prefix=save_prefix(store.profile, key_prefix),
                template=filename,
                suffix=f".{suffix(format)}",
                width=width,
                height=height,
            )
            item = Item(
                make=lambda: encode(video, format, codec, metadata, lambda: task.stopped),
                content_type=CONTENT_TYPES[suffix(format)],
            )
            batch = Batch(store=store, naming=naming, items=[item], overwrite=overwrite, task=task)
            return store, batch.save()

        return _output(*await in_thread(work), share_url_hours, "images")


class SaveAudioToCloud(_Save):
    """Encode and upload every sound of a batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return compat.schema(
            node_id="SaveAudioToCloud",
            display_name="Save Audio to Cloud",
            category="cloud_storage/save",
            description="Uploads sounds as FLAC, MP3, Opus or WAV.",
            search_aliases=["s3 audio", "upload audio", "save to bucket", "flac", "mp3"],
            inputs=[
                io.Audio.Input("audio"),
                *_name_inputs("comfyui/audio/", "ComfyUI_audio"),
                io.Combo.Input("format", options=AUDIO_FORMATS, default="flac"),
                io.Combo.Input(
                    "bitrate",
                    options=AUDIO_BITRATES,
                    default="auto",
                    optional=True,
                    tooltip="Of mp3 and opus; flac and wav keep everything.",
                ),
                *_more_inputs(),
            ],
            outputs=_outputs(several=True),
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    async def execute(
        cls,
        audio: Any,
        key_prefix: str,
        filename: str,
        format: str,  # noqa: A002  # the input's name in the graph
        bitrate: str = "auto",
        overwrite: bool = False,
        share_url_hours: int = 0,
        profile: object = None,
    ) -> io.NodeOutput:
        """Upload the sounds and return their keys (and URLs), one each."""
        from .media_audio import CONTENT_TYPES, encode  # noqa: PLC0415  # PyAV, where it is used

        if not audio or not audio["waveform"].numel():
            raise StorageError(
                "There is no sound to save.",
                remedy="check what is connected; a video may have no sound",
            )
        metadata = cls.metadata()
        key_prefix, filename = cls.filled(key_prefix, filename)
        waveforms, rate = audio["waveform"], int(audio["sample_rate"])

        def maker(waveform: Any) -> Callable[[], bytes]:
            return lambda: encode(waveform, rate, format, bitrate, metadata)

        def work(task: Task) -> tuple[Store, list[Saved]]:
            store = open_store(profile)
            naming = Naming(
                prefix=save_prefix(store.profile, key_prefix),
                template=filename,
                suffix=f".{format}",
                count=len(waveforms),
            )
            items = [Item(make=maker(w), content_type=CONTENT_TYPES[format]) for w in waveforms]
            batch = Batch(store=store, naming=naming, items=items, overwrite=overwrite, task=task)
            return store, batch.save()

        return _output(*await in_thread(work), share_url_hours, "audio")


def _output(store: Store, saved: list[Saved], hours: int, kind: str) -> io.NodeOutput:
    keys, urls, lines = outcome(store, saved, hours)
    several = kind == "audio" or saved[0].preview["filename"].endswith((".png", ".jpg", ".webp"))
    ui: dict[str, Any] = {"text": lines, kind: [entry.preview for entry in saved]}
    if not several:
        ui["animated"] = (True,)
        return io.NodeOutput(keys[0], urls[0], ui=ui)
    return io.NodeOutput(keys, urls, ui=ui)
