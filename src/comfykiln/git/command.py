"""The only way to run git: one environment, no hooks, no prompts, no templates, a bounded time.

No variable of the caller's that begins with `GIT_` reaches git, so that neither a hook nor a shell
that set one makes it work on another repository than the one that is named here. Git reads the
person's own settings (credential helpers, proxies, a CA) only where it talks to a host.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.network.pip import system_bundle
from comfykiln.system import process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comfykiln.network.indexes import IndexSettings

SECONDS = 300
"""How long a command that asks no host may take."""
_ALWAYS = ("PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "XDG_CONFIG_HOME")
_HELPERS = (
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "GNUPGHOME",
    "PASSWORD_STORE_DIR",
    "GCM_CREDENTIAL_STORE",
    "GCM_PLAINTEXT_STORE_PATH",
    "GH_CONFIG_DIR",
    "GH_HOST",
    "GH_TOKEN",
    "GH_ENTERPRISE_TOKEN",
    "GITHUB_TOKEN",
    "GITLAB_TOKEN",
    "CI_JOB_TOKEN",
)
"""What the person's credential helpers need: keyrings, stores, tokens."""
_FIXED = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "SSH_ASKPASS": "/bin/false",
    "GCM_INTERACTIVE": "never",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "LC_ALL": "C",
}
_NO_SETTINGS = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.attributesFile=/dev/null",
    "core.autocrlf=false",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "fetch.recurseSubmodules=false",
    "gc.auto=0",
    "log.showSignature=false",
    "maintenance.auto=false",
)
# The folder was named by the person, so it is read whoever owns it. Git hands no `-c` on to the
# program that reads the other repository; the option is a shell line, and holds no value of ours.
_ANY_OWNER = "--upload-pack=git -c 'safe.directory=*' -c core.hooksPath=/dev/null upload-pack"


def git(
    *words: str, repository: Path, options: Sequence[str] = (), timeout: float = SECONDS
) -> str:
    """Return what a command prints that works on `repository`, a `.git` or bare folder, alone.

    `options` are git's own, before the command's name. Nothing is looked up in folders above, no
    host is asked, and whoever owns the repository is no matter. Raises `ProgramError`.
    """
    return process.capture(_argv(repository, options, words), env=_local(), timeout=timeout)


def git_bytes(*words: str, repository: Path, stdin: bytes, timeout: float = SECONDS) -> bytes:
    """Do as `git` does, from bytes to bytes."""
    return process.capture_bytes(
        _argv(repository, (), words), env=_local(), stdin=stdin, timeout=timeout
    )


def ask(
    command: str,
    options: Sequence[str],
    words: Sequence[str],
    *,
    protocol: str,
    repository: Path | None = None,
    settings: IndexSettings | None = None,
    stall: float = 60,
    timeout: float = SECONDS,
) -> str:
    """Return what a command prints that talks to another repository, by this one protocol.

    `words` stand behind the end of options. By `file` nothing but the folder is read; by others
    the person's settings and the host's count, `settings` or else `host_indexes`. A host that
    sends next to nothing for `stall` seconds is given up. Raises `ProgramError`.
    """
    own = [_ANY_OWNER] if protocol == "file" else []
    slow = max(1, int(stall))
    speed = ("-c", "http.lowSpeedLimit=1000", "-c", f"http.lowSpeedTime={slow}")
    argv = _argv(repository, speed, (command, *own, *options, "--", *words))
    env = _local() if protocol == "file" else _remote(settings)
    return process.capture(argv, env=env | {"GIT_ALLOW_PROTOCOL": protocol}, timeout=timeout)


def init(folder: Path, *, bare: bool = True) -> None:
    """Make the new empty repository `folder`, without hooks or other templates."""
    kind = ["--bare"] if bare else []
    argv = _argv(None, (), ("init", "--quiet", *kind, "--template=", "--", str(folder)))
    process.capture(argv, env=_local(), timeout=SECONDS)


def git_dir(folder: Path) -> Path:
    """Return the repository of a folder: its `.git` (in linked worktrees a file), else itself."""
    return folder / ".git" if (folder / ".git").exists() else folder


def version() -> str:
    """Return what `git --version` prints."""
    return process.capture(["git", "--version"], env=_local(), timeout=20).strip()


def without_git(environ: dict[str, str]) -> dict[str, str]:
    """Return the environment for another program that may run git itself, on its own folders."""
    return {name: value for name, value in environ.items() if not name.startswith("GIT_")}


def _argv(repository: Path | None, options: Sequence[str], words: Sequence[str]) -> list[str]:
    place = [f"--git-dir={repository}"] if repository else []
    set_here = [word for setting in _SETTINGS for word in ("-c", setting)]
    return ["git", *place, *set_here, *options, *words]


def _local() -> dict[str, str]:
    """Return the environment of a command that no host is asked by: nobody's settings count."""
    return {**_named(_ALWAYS), **_FIXED, **_NO_SETTINGS, "GIT_ALLOW_PROTOCOL": "none"}


def _remote(settings: IndexSettings | None) -> dict[str, str]:
    """Return the environment of a command that asks a host, with its proxies, CA and logins."""
    if settings is None:
        from comfykiln.network.indexes import host_indexes  # noqa: PLC0415  # addresses only

        settings = host_indexes(os.environ, Path.home())
    return {**_named((*_ALWAYS, *_HELPERS)), **settings.proxies, **_ca(settings), **_FIXED}


def _ca(settings: IndexSettings) -> dict[str, str]:
    """Return the CA that was named; the machine's own is git's default, or as its settings say."""
    if settings.ca_bundle and settings.ca_bundle != system_bundle():
        return {"GIT_SSL_CAINFO": str(settings.ca_bundle)}
    return _named(("GIT_SSL_CAINFO",))


def _named(names: Sequence[str]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if os.environ.get(name)}
