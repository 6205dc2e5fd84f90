"""Lock an image's packages: one solve by uv, split into shared packages and torch row."""

from comfykiln.locking.conflicts import conflict
from comfykiln.locking.inputs import (
    PLATFORM,
    LockInputs,
    comfy_pins,
    lock_inputs,
    requirement_lines,
)
from comfykiln.locking.lockfiles import (
    ENTRY,
    check_locks,
    is_locked,
    locked,
    previous,
    split,
    write_locks,
)
from comfykiln.locking.solving import Solved, solve

__all__ = [
    "ENTRY",
    "PLATFORM",
    "LockInputs",
    "Solved",
    "check_locks",
    "comfy_pins",
    "conflict",
    "is_locked",
    "lock_inputs",
    "locked",
    "previous",
    "requirement_lines",
    "solve",
    "split",
    "write_locks",
]
