"""What a build costs beside its engine, and a start beside ComfyUI's own, each in one run.

    .venv/bin/python bench/build.py [--rounds 3]

Needs the image `core` for cpu, built before (`./kiln build --target cpu --image core`).
Prints one line per figure: ours, the other, the ratio; the smallest of the rounds counts.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parents[1]
IMAGE = "comfykiln/core:cpu"
KILN_BUILD = ["./kiln", "build", "--target", "cpu", "--image", "core"]
BAKE = ["docker", "buildx", "bake", "-f", "images/docker-bake.json"]
OVERRIDE = ROOT / ".kiln" / "context" / "core-cpu-override.json"
PACK_FILE = ROOT / "services" / "comfy" / "cloud-storage" / "README.md"
HEALTH = ["/usr/bin/python3", "-I", "/app/.kiln/startup.py", "health"]


def run(argv: Sequence[str]) -> None:
    """Run a program quietly; its failure ends the measurement."""
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)


def seconds(action: Callable[[], None]) -> float:
    """Return the wall time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def start(image: str, entry: Sequence[str]) -> float:
    """Return the seconds from `docker run` of `image` to the first answer of /system_stats."""
    started = time.perf_counter()
    argv = ["docker", "run", "-d", "--network=none", "--tmpfs=/tmp", f"--entrypoint={entry[0]}"]
    name = subprocess.run(
        [*argv, image, *entry[1:]], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        while subprocess.run(
            ["docker", "exec", name, *HEALTH], capture_output=True, check=False
        ).returncode:
            time.sleep(0.05)
        return time.perf_counter() - started
    finally:
        run(["docker", "rm", "-f", "-v", name])


def changed_pack() -> float:
    """Return the seconds of a build after one file of the node pack changed, and change it back."""
    before = PACK_FILE.read_bytes()
    try:
        PACK_FILE.write_bytes(before + f"\n<!-- {time.time_ns()} -->\n".encode())
        return seconds(lambda: run([*KILN_BUILD, "--tag", "bench"]))
    finally:
        PACK_FILE.write_bytes(before)
        run(["docker", "rmi", "-f", "comfykiln/core:cpu-bench"])
        (ROOT / "dist" / "core-cpu-bench.tar.gz").unlink(missing_ok=True)
        (ROOT / "dist" / "core-cpu-bench.tar.gz.sha256").unlink(missing_ok=True)


def bake_alone() -> None:
    """Run the very bake that the build runs, without its secrets: every step is cached."""
    run([*BAKE, "-f", str(OVERRIDE), "--set", "*.secrets=", "core-cpu"])


def row(name: str, ours: list[float], other: str, others: list[float]) -> None:
    """Print one figure."""
    mine, theirs = min(ours), min(others)
    print(f"{name}: {mine:.2f} s; {other}: {theirs:.2f} s; ratio {mine / theirs:.2f}")


def main() -> None:
    """Measure everything, alternating the two sides of each pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = range(parser.parse_args().rounds)
    run(KILN_BUILD)
    pairs = [(seconds(lambda: run(KILN_BUILD)), seconds(bake_alone)) for _ in rounds]
    row("build, nothing changed", [a for a, _ in pairs], "bake alone", [b for _, b in pairs])
    print(f"build, one file of the node pack changed: {min(changed_pack() for _ in rounds):.1f} s")
    run(KILN_BUILD)
    direct = ["/app/.venv/bin/python", "/app/main.py", "--cpu", "--listen"]
    ours = ["/app/.venv/bin/python", "/app/.kiln/startup.py", "serve"]
    starts = [(start(IMAGE, ours), start(IMAGE, direct)) for _ in rounds]
    row("start to first answer", [a for a, _ in starts], "python main.py", [b for _, b in starts])
    lists = [
        (
            seconds(lambda: run(["./kiln", "--list"])),
            seconds(lambda: run([".venv/bin/invoke", "--version"])),
        )
        for _ in range(5)
    ]
    row("./kiln --list", [a for a, _ in lists], "invoke --version", [b for _, b in lists])


if __name__ == "__main__":
    main()
