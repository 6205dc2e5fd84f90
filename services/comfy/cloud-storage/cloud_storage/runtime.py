"""What the nodes share: profiles, stores, and work in a thread that shows progress and can stop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import hashlib
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from comfy_api.latest import io

from . import compat
from .shared.errors import Cancelled, ProfileError, StorageError
from .shared.profiles import Profile, Profiles, as_folder
from .shared.ranged import Watch
from .shared.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

FROM_ENV = "(env vars)"
FROM_PROFILE = "(from profile)"
POLL = 0.2
GRACE = 5.0
STORES = 16
S3Profile = io.Custom("S3_PROFILE")

T = TypeVar("T")
_stores: OrderedDict[Any, Store] = OrderedDict()
_lock = threading.Lock()


def profiles() -> Profiles:
    """Return the sources of profiles of this ComfyUI."""
    return Profiles(path=compat.system_directory() / "profiles.json")


def profile_input() -> io.Input:
    """Return the socket for a profile that every node has; unconnected it means the environment."""
    return S3Profile.Input(
        "profile",
        optional=True,
        tooltip="Connect a Cloud Storage Profile; without one the environment variables count.",
    )


def open_store(profile: object) -> Store:
    """Return the store behind what came over the wire; None means the environment variables.

    Raises `ProfileError` for an incomplete profile, or for a value that is none of ours.
    """
    if profile is not None and not isinstance(profile, Profile):
        raise ProfileError(
            "What is connected to profile comes from another node pack.",
            remedy="connect the Cloud Storage Profile node of this pack",
        )
    source = profiles()
    current, credentials = source.credentials(profile or source.resolve())
    key = (current, credentials.kind, credentials.aws_profile, credentials.secrets)
    with _lock:
        store = _stores.pop(key, None) or Store(current, credentials)
        _stores[key] = store
        while len(_stores) > STORES:
            _stores.popitem(last=False)
    return store


def full_key(profile: Profile, key: str) -> str:
    """Return the object's whole key: the profile's prefix comes first unless it is there already.

    A slash at the begin means the bucket's root, and so does `s3://` with the profile's bucket;
    what follows it is the key as it is, even if that begins with a slash, too.
    Raises `StorageError` for another bucket's address.
    """
    key = key.strip()
    if key.startswith("s3://"):
        bucket, _, key = key.removeprefix("s3://").partition("/")
        if bucket != profile.bucket:
            raise StorageError(
                f"s3://{bucket}/{key} is not in {profile.bucket}, the bucket of "
                f"{profile.shown_name}.",
                remedy="wire a profile of that bucket, or set bucket on the profile node",
            )
        key = "/" + key
    if key.startswith("/"):
        return key[1:]
    prefix = profile.root
    return key if prefix and key.startswith(prefix) else prefix + key


def object_key(profile: Profile, key: str) -> str:
    """Return the whole key of one object; raise `StorageError` where none is named."""
    whole = full_key(profile, key)
    if not whole.strip(" /") or whole.endswith("/"):
        raise StorageError(
            f"{key!r} names no object.", remedy="type a key; List Bucket Contents shows them"
        )
    return whole


def save_prefix(profile: Profile, key_prefix: str) -> str:
    """Return the folder to write into: the profile's prefix and the node's, or the node's alone."""
    own = key_prefix.strip()
    if own.startswith("s3://"):
        own = "/" + full_key(profile, own)
    return as_folder(own) if own.startswith("/") else profile.root + as_folder(own)


def address(store: Store, key: str) -> str:
    """Return the whole address of one object, for people."""
    return store.url(object_key(store.profile, key))


@dataclass(slots=True)
class Task:
    """What a thread and the node that waits for it share."""

    node: str = field(default_factory=compat.current_node)
    value: float = 0.0
    total: float = 1.0
    text: str = ""
    stopped: bool = False
    _since: float = field(default_factory=time.monotonic)

    def expect(self, total: float) -> None:
        """Say how much there is to do, in whatever unit `reach` uses."""
        self.value, self.total = 0.0, max(total, 1.0)
        self._since = time.monotonic()

    def reach(self, value: float, text: str = "") -> None:
        """Say how far it is."""
        self.value, self.text = value, text or self.text

    def bytes(self, done: int) -> None:
        """Say how many of the expected bytes are in place."""
        rate = done / max(time.monotonic() - self._since, 0.001)
        self.reach(done, f"{human(done)} of {human(self.total)}, {human(rate)}/s")

    def watch(self) -> Watch:
        """Return the callbacks for a transfer."""
        return Watch(progress=self.bytes, cancelled=lambda: self.stopped)


async def in_thread(work: Callable[[Task], T]) -> T:
    """Run `work` beside the server's own work and return its result.

    Its progress is shown five times a second at most, from this side alone.
    When the person stops the prompt, `work` is told and ComfyUI's own exception goes on, at the
    latest after five seconds: a request that hangs does not hold up the server.
    """
    task = Task()
    job = _begin(work, task)
    try:
        shown: tuple[float, str] = (-1.0, "")
        while not job.done():
            await asyncio.wait({job}, timeout=POLL)
            if compat.interrupted():
                task.stopped = True
                await asyncio.wait({job}, timeout=GRACE)
                compat.stop_if_interrupted()
            if (task.value, task.text) != shown:
                shown = (task.value, task.text)
                compat.show_progress(task.node, task.value, task.total, task.text)
    except BaseException:  # the prompt ends for another reason, so the thread has to end too
        if not task.stopped:
            task.stopped = True
            await asyncio.wait({job}, timeout=GRACE)
        raise
    try:
        return job.result()
    except Cancelled:
        compat.stop_if_interrupted()
        raise


def _begin(work: Callable[[Task], T], task: Task) -> asyncio.Future[T]:
    """Start `work` in a thread that no end of the loop waits for; return what it will give."""
    loop = asyncio.get_running_loop()
    job: asyncio.Future[T] = loop.create_future()
    job.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, if by nobody
    context = contextvars.copy_context()

    def deliver(put: Callable[[], None]) -> None:
        if not job.done():
            put()

    def run() -> None:
        try:
            result = context.run(work, task)
        except BaseException as error:  # noqa: BLE001  # raised where the result is awaited
            put = partial(job.set_exception, error)
        else:
            put = partial(job.set_result, result)
        with contextlib.suppress(RuntimeError):  # the prompt and its loop may have ended before
            loop.call_soon_threadsafe(deliver, put)

    threading.Thread(target=run, name="cloud-storage", daemon=True).start()
    return job


def digest(*values: object) -> str:
    """Return a short text that is equal for equal values and tells nothing about them."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:32]


def human(size: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:  # noqa: PLR2004  # what a unit is
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"
