"""Seal a tree: compiled, owned by root, modes reduced to two, times clamped.

A clamped mtime makes default `.pyc` files stale and triples the import time of torch, so bytecode
is compiled with unchecked hashes. The bytes that CPython's marshal writes depend on what the same
process compiled before, so the files are split into a fixed number of sorted shards, each compiled
by a process of its own: the result does not depend on the number of processors.
"""

from __future__ import annotations

import multiprocessing
import os
import py_compile
import shutil
import stat
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

SHARDS = 8
FOLDER_MODE = 0o755
# Folders that anyone may write to, as /tmp is: the state of a server that runs under any uid.
STATE_MODE = 0o1777


def seal(
    tree: Path, epoch: int, *, state: frozenset[Path] = frozenset(), compiled: bool = True
) -> None:
    """Make `tree` (a folder) depend on nothing but its content; `epoch` is in seconds.

    Paths in `state` become folders that any user may write to.
    """
    if compiled:
        compile_tree(tree)
    for folder, _, names in os.walk(tree, topdown=False):
        for name in names:
            _settle(Path(folder) / name, epoch, state)
        for entry in os.scandir(folder):
            if entry.is_symlink() and entry.is_dir():
                _settle(Path(entry.path), epoch, state)
        _settle(Path(folder), epoch, state)


def compile_tree(tree: Path) -> None:
    """Compile every `.py` file below `tree`; files that are no valid Python stay uncompiled."""
    for stale in sorted(tree.rglob("__pycache__")):
        shutil.rmtree(stale)
    sources = sorted(str(path) for path in tree.rglob("*.py") if path.is_file())
    shards = [sources[start::SHARDS] for start in range(SHARDS)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        os.cpu_count() or 1, mp_context=context, max_tasks_per_child=1
    ) as pool:
        for done in pool.map(_compile_shard, shards):
            if done:
                print(f"  {done} file(s) are no valid Python and stay uncompiled", flush=True)


def _compile_shard(sources: list[str]) -> int:
    failed = 0
    for source in sources:
        try:
            py_compile.compile(
                source,
                doraise=True,
                quiet=2,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except (py_compile.PyCompileError, ValueError, RecursionError):
            failed += 1
    return failed


def _settle(path: Path, epoch: int, state: frozenset[Path]) -> None:
    """Give one entry its owner, mode and time, without following links."""
    mode = path.lstat().st_mode
    os.lchown(path, 0, 0)
    if stat.S_ISDIR(mode):
        path.chmod(STATE_MODE if path in state else FOLDER_MODE)
    elif stat.S_ISREG(mode):
        path.chmod(0o755 if mode & 0o100 else 0o644)
    os.utime(path, (epoch, epoch), follow_symlinks=False)
