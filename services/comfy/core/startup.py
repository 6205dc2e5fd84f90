"""Start the ComfyUI server of this image, or ask it whether it is well; standard library only.

    startup.py serve [ARGUMENT ...]   run the server in this very process
    startup.py health                 exit 0 when /system_stats answers on the port in use

The contract: COMFY_PORT (8188) is the port, CLI_ARGS are further arguments of the server as a shell
would split them, arguments of `docker run IMAGE …` come last. SIGTERM ends the server within five
seconds. Nothing is installed, cloned or fetched here, ever.
"""

from __future__ import annotations

import json
import logging
import os
import runpy
import shlex
import signal
import ssl
import sys
import threading
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

SERVER = Path("/app/main.py")
VARIABLES = Path("/app/.kiln/environment.json")
GRACE_SECONDS = 4.0
LAST_PORT = 65535
STOPPING = threading.Event()


class UsageError(Exception):
    """The environment or the arguments do not make a server; the message says why."""


def arguments(environ: Mapping[str, str], extra: Sequence[str]) -> list[str]:
    """Return the server's arguments: address and port, the target's own, CLI_ARGS, then `extra`."""
    port = environ.get("COMFY_PORT") or "8188"
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= LAST_PORT):
        raise UsageError(f"COMFY_PORT is {port!r}: give a number from 1 to {LAST_PORT}")
    try:
        given = shlex.split(environ.get("CLI_ARGS", ""))
    except ValueError as error:
        raise UsageError(f"CLI_ARGS cannot be split ({error}): close every quote") from error
    own = shlex.split(environ.get("KILN_SERVER_ARGS", ""))
    return ["--listen", listen_addresses(), "--port", port, *own, *given, *extra]


def listen_addresses() -> str:
    """Return all addresses of both families, or of IPv4 alone where the kernel has no IPv6."""
    return "0.0.0.0,::" if Path("/proc/net/if_inet6").exists() else "0.0.0.0"  # noqa: S104  # a container's own


def value_of(option: str, given: Sequence[str]) -> str | None:
    """Return what the server takes for `option` from its arguments: the last one named wins."""
    value = None
    for index, word in enumerate(given):
        if word == option and index + 1 < len(given):
            value = given[index + 1]
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
    return value


def set_variables(environ: MutableMapping[str, str]) -> None:
    """Set what the image's description asks for, unless the container's own settings do."""
    if VARIABLES.is_file():
        for name, value in json.loads(VARIABLES.read_bytes()).items():
            environ.setdefault(name, value)


def serve(extra: Sequence[str]) -> None:
    """Run the server in this process, which as PID 1 must handle its signals itself."""
    set_variables(os.environ)
    given = arguments(os.environ, extra)
    prepare_user(os.environ)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    sys.argv = [str(SERVER), *given]
    sys.path[0] = str(SERVER.parent)
    print("kiln: main.py " + shlex.join(given), flush=True)
    try:
        runpy.run_path(str(SERVER), run_name="__main__")
    except KeyboardInterrupt:
        end_at_once(0)
    if STOPPING.is_set():
        end_at_once(0)


def stop(number: int, _frame: object) -> None:
    """End as ComfyUI ends on Ctrl-C; when that takes too long (a running prompt), end at once."""
    STOPPING.set()
    timer = threading.Timer(GRACE_SECONDS, os._exit, [128 + number])
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt


def end_at_once(status: int) -> NoReturn:
    """End without taking the interpreter apart, which costs seconds once torch is loaded."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def prepare_user(environ: MutableMapping[str, str]) -> None:
    """Give programs that ask for a user's name one, also under a uid that has none."""
    environ.setdefault("USER", "comfy")
    environ.setdefault("LOGNAME", environ["USER"])
    if not os.access(environ.get("HOME", "/"), os.W_OK):
        environ["HOME"] = "/tmp"  # noqa: S108  # inside a container


def health() -> None:
    """Exit with 1 and a message unless /system_stats answers as ComfyUI does."""
    given = arguments(os.environ, served_arguments())
    tls = value_of("--tls-keyfile", given) is not None
    address = f"{'https' if tls else 'http'}://127.0.0.1:{value_of('--port', given)}/system_stats"
    # The certificate is for the name that clients use, and this asks the loopback address.
    context = ssl._create_unverified_context() if tls else None  # noqa: S323, SLF001  # as above
    try:
        with urllib.request.urlopen(address, timeout=4, context=context) as reply:  # noqa: S310  # http(s) alone
            stats = json.load(reply)
    except (OSError, ValueError) as error:
        sys.exit(f"kiln: {address}: {error}")
    if "system" not in stats:
        sys.exit(f"kiln: {address} does not answer as ComfyUI does")


def served_arguments() -> list[str]:
    """Return the arguments that the container was started with, read from its first process."""
    words = Path("/proc/1/cmdline").read_bytes().decode(errors="surrogateescape").split("\0")[:-1]
    return words[words.index("serve") + 1 :] if "serve" in words else []


def main(words: Sequence[str]) -> int:
    """Do what the first word says; returns the exit status."""
    if list(words) != ["health"] and list(words[:1]) != ["serve"]:
        print("kiln: say `serve` or `health`", file=sys.stderr)
        return 2
    try:
        if words[0] == "health":
            health()
        else:
            serve(words[1:])
    except UsageError as error:
        print(f"kiln: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
