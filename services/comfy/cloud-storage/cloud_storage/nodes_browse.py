"""Nodes that look into the bucket: list, share, test."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from . import compat
from .runtime import Task, full_key, human, in_thread, object_key, open_store, profile_input
from .shared.errors import AccessError
from .shared.upload import upload

if TYPE_CHECKING:
    from .shared.store import Store

MOST = 1000
LONGEST_SHARE_HOURS = 168
TEST_BYTES = b"written by the connection test of the cloud storage nodes; safe to delete\n"


class _Fresh(io.ComfyNode):
    """A node whose answer is true only now, so it runs in every prompt."""

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> str:
        """Differ from every other run."""
        return compat.always()


class ListBucket(_Fresh):
    """List objects."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return compat.schema(
            node_id="ListBucketContents",
            display_name="List Bucket Contents",
            category="cloud_storage/browse",
            description="Lists the objects below a prefix, anew in every run.",
            search_aliases=["s3 list", "browse bucket", "ls"],
            inputs=[
                io.String.Input("prefix", default="", tooltip="Comes after the profile's prefix."),
                io.Int.Input("max_results", default=100, min=1, max=MOST),
                profile_input(),
            ],
            outputs=[
                io.String.Output("file_list", display_name="file_list"),
                io.String.Output("keys", display_name="keys", tooltip="One key a line."),
            ],
            not_idempotent=True,
            is_output_node=True,
        )

    @classmethod
    async def execute(
        cls, prefix: str, max_results: int = 100, profile: object = None
    ) -> io.NodeOutput:
        """Return `key  (size)` lines, and the keys alone."""

        def work(_: Task) -> tuple[list[str], list[str]]:
            store = open_store(profile)
            found = list(store.listed(full_key(store.profile, prefix), max_results))
            return [f"{f.key}  ({f.size / (1 << 20):.1f} MB)" for f in found], [
                f.key for f in found
            ]

        lines, keys = await in_thread(work)
        shown = lines or ["(nothing there)"]
        return io.NodeOutput("\n".join(lines), "\n".join(keys), ui={"text": ["\n".join(shown)]})


class GeneratePresignedURL(_Fresh):
    """Share an object for a while."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return compat.schema(
            node_id="GeneratePresignedURL",
            display_name="Generate Sharing URL",
            category="cloud_storage/browse",
            description="Makes a URL that anyone can read the object with until it expires.",
            search_aliases=["presigned url", "share link", "s3 url"],
            inputs=[
                io.String.Input("key", default=""),
                io.Int.Input("expires_hours", default=24, min=1, max=LONGEST_SHARE_HOURS),
                profile_input(),
            ],
            outputs=[io.String.Output("url", display_name="url")],
            not_idempotent=True,
            is_output_node=True,
        )

    @classmethod
    async def execute(
        cls, key: str, expires_hours: int = 24, profile: object = None
    ) -> io.NodeOutput:
        """Return the URL; raise `MissingError` where there is no such object."""

        def work(_: Task) -> str:
            store = open_store(profile)
            whole = object_key(store.profile, key)
            store.head(whole)
            return store.share(whole, expires_hours)

        url = await in_thread(work)
        return io.NodeOutput(url, ui={"text": [url]})


class TestCloudConnection(_Fresh):
    """Say whether a profile works, and how fast."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return compat.schema(
            node_id="TestCloudConnection",
            display_name="Test Cloud Connection",
            category="cloud_storage/browse",
            description="Looks at the bucket and, if asked, writes and removes a small object.",
            search_aliases=["s3 test", "check credentials", "ping bucket"],
            inputs=[
                io.Boolean.Input(
                    "test_writing",
                    default=False,
                    optional=True,
                    tooltip="Also write, read and remove a small object.",
                ),
                profile_input(),
            ],
            outputs=[io.String.Output("report", display_name="report")],
            not_idempotent=True,
            is_output_node=True,
        )

    @classmethod
    async def execute(cls, test_writing: bool = False, profile: object = None) -> io.NodeOutput:
        """Return a report; raise the error that says what is wrong and how to mend it."""

        def work(_: Task) -> str:
            store = open_store(profile)
            milliseconds, keys = store.probe()
            lines = [str(store.profile), f"the bucket answers in {milliseconds:.0f} ms"]
            lines.append("first keys: " + (", ".join(keys) or "(nothing there)"))
            if test_writing:
                lines.append(_write_and_remove(store))
            return "\n".join(lines)

        report = await in_thread(work)
        return io.NodeOutput(report, ui={"text": [report]})


def _write_and_remove(store: Store) -> str:
    key = full_key(store.profile, f"connection-test-{uuid.uuid4().hex}.txt")
    start = time.monotonic()
    upload(store, key, TEST_BYTES, content_type="text/plain")
    try:
        size = store.head(key).size
    finally:
        removed = _remove(store, key)
    took = f"{human(size)} in {(time.monotonic() - start) * 1000:.0f} ms"
    if removed:
        return f"wrote, read and removed {took}"
    return f"wrote and read {took}; this key may not delete, which no node needs: {key} stays"


def _remove(store: Store, key: str) -> bool:
    try:
        store.call("delete_object", key)
    except AccessError:
        return False
    return True
