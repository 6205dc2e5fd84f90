"""The node pack's figures, each beside its peers in one run.

    python bench/pack.py download [--gib 2] [--rounds 3]    against cp, s5cmd and boto3's default
    python bench/pack.py saves [--images 200] [--rounds 3]  against a sequential loop
    python bench/pack.py start [--rounds 7]                 next to a ComfyUI without the pack

`saves` and `start` run in the image (`--image`, by default the core image for cpu).
The smallest of the rounds counts; methods take turns, so that all see the same machine.
Each ends with status 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench import bare  # noqa: E402  # found by the line above
from tests.support import s3  # noqa: E402  # the same
from tests.support.latency import delayed  # noqa: E402  # the same

if TYPE_CHECKING:
    from collections.abc import Sequence

BUCKET, KEY = "bench", "model.safetensors"
MOST_OF_CP, LEAST_OF_BOTO3, MOST_MIB = 1.6, 1.5, 256
INSIDE = "/app/custom_nodes/cloud-storage"
MINE, THEIRS = "ours, with sha256", "boto3's default"
DURABLE = "cp and sync"  # what ours leaves behind is on the disk, not in the page cache alone

# Both print the seconds of the transfer alone: a running ComfyUI has its imports behind it.
OURS = """
import sys, time
from pathlib import Path
from comfykiln.transfer.download import download
from tests.support.s3 import Server
store = Server(url=sys.argv[1]).store("bench")
found = store.head("model.safetensors")
begun = time.perf_counter()
download(store.remote(found), Path(sys.argv[2]))
print(time.perf_counter() - begun)
"""
BOTO3 = """
import sys, time, boto3
from tests.support.s3 import ACCESS_KEY, SECRET_KEY
client = boto3.client("s3", endpoint_url=sys.argv[1], region_name="us-east-1",
                      aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY)
client.head_object(Bucket="bench", Key="model.safetensors")
begun = time.perf_counter()
client.download_file("bench", "model.safetensors", sys.argv[2])
print(time.perf_counter() - begun)
"""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one run took: seconds in all, of the transfer, of the processor; MiB at its peak."""

    wall: float
    transfer: float
    cpu: float
    mib: float


def measured(argv: Sequence[str], target: Path) -> Cost:
    """Run a program that writes `target` and may print the seconds of its transfer alone."""
    target.unlink(missing_ok=True)
    os.sync()  # nobody pays for what the one before left to be written
    code = "import resource, subprocess, sys, time; t = time.perf_counter(); "
    code += "s = subprocess.run(sys.argv[1:], check=True, stdout=subprocess.PIPE).stdout; "
    code += "w = time.perf_counter() - t; u = resource.getrusage(resource.RUSAGE_CHILDREN); "
    code += "print(w, float(s) if s[:1].isdigit() else w, u.ru_utime + u.ru_stime, u.ru_maxrss)"
    env = os.environ | {
        "AWS_ACCESS_KEY_ID": s3.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": s3.SECRET_KEY,
        "AWS_REGION": "us-east-1",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
    }
    said = subprocess.run(
        [sys.executable, "-c", code, *argv], check=True, capture_output=True, text=True, env=env
    ).stdout.split()
    wall, transfer, cpu, kib = map(float, said)
    return Cost(wall=wall, transfer=transfer, cpu=cpu, mib=kib / 1024)


def download(size: int, rounds: int) -> bool:
    """Download one model with every method; print a table and say whether the limits hold."""
    with tempfile.TemporaryDirectory(dir=ROOT) as made:
        buckets, target = Path(made) / "buckets", Path(made) / "out"
        source = buckets / BUCKET / KEY
        source.parent.mkdir(parents=True)
        with source.open("wb") as file:
            for _ in range(size >> 20):
                file.write(os.urandom(1 << 20))
        with s3.rclone(buckets) as server, bare.bare(source) as alone:
            methods = _methods(server, alone, source, target)
            runs = [
                {n: measured(argv, target) for n, argv in methods.items()} for _ in range(rounds)
            ]
    best = {
        name: Cost(**{f: min(getattr(run[name], f) for run in runs) for f in Cost.__annotations__})
        for name in methods
    }
    print(f"{size / (1 << 30):g} GiB, {rounds} rounds, the smallest of each")
    for name, cost in best.items():
        print(
            f"{name:30} {cost.wall:6.2f} s, transfer {cost.transfer:6.2f} s "
            f"{cost.transfer / best['cp'].wall:5.2f} x cp "
            f"{cost.transfer / best[DURABLE].wall:5.2f} x {DURABLE}, "
            f"{cost.cpu:6.2f} s CPU {cost.mib:5.0f} MiB"
        )
    mine, theirs = best[MINE], best[THEIRS]
    faster = theirs.transfer / mine.transfer
    print(f"transfer faster than {THEIRS}: {faster:.2f} x")
    return (
        mine.transfer <= MOST_OF_CP * best["cp"].wall
        and faster >= LEAST_OF_BOTO3
        and mine.mib <= MOST_MIB
    )


def _methods(
    server: s3.Server, alone: s3.Server, source: Path, target: Path
) -> dict[str, list[str]]:
    python = [sys.executable, "-c"]
    copy = ["cp", "--reflink=never", str(source), str(target)]
    return {
        "cp": copy,
        DURABLE: ["sh", "-c", f"{shlex.join(copy)} && sync {shlex.quote(str(target))}"],
        MINE: [*python, OURS, server.url, str(target)],
        f"{MINE}, bare server": [*python, OURS, alone.url, str(target)],
        "s5cmd": _s5cmd(server, target),
        THEIRS: [*python, BOTO3, server.url, str(target)],
    }


def _s5cmd(server: s3.Server, target: Path) -> list[str]:
    program = str(Path(sys.executable).parent / "s5cmd")
    return [program, "--endpoint-url", server.url, "cp", f"s3://{BUCKET}/{KEY}", str(target)]


def in_image(image: str, program: str, env: dict[str, str], *argv: str) -> str:
    """Run a program of bench/ with the image's Python and ComfyUI; return what it prints."""
    words = ["docker", "run", "--rm", "--network=host", "--read-only", "--tmpfs=/tmp"]
    words += [f"--env={name}={value}" for name, value in env.items()]
    words += [f"--volume={ROOT / 'bench'}:/bench:ro", "--env=PYTHONPATH=/app", "--workdir=/tmp"]
    words += ["--entrypoint=/app/.venv/bin/python", image, f"/bench/{program}", INSIDE, *argv]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def saves(image: str, images: int, rounds: int) -> bool:
    """Save a batch of small images by the node and by a loop, on loopback and over a slow line."""
    fine = True
    with tempfile.TemporaryDirectory() as made:
        (Path(made) / "buckets" / BUCKET).mkdir(parents=True)
        with s3.rclone(Path(made) / "buckets") as server:
            for milliseconds in (0, 20):
                with delayed(server.url, milliseconds / 1000) as url:
                    env = s3.Server(url=url).environment(BUCKET)
                    said = in_image(image, "pack_saves.py", env, str(images), str(rounds))
                node, loop = (min(times) for times in json.loads(said.splitlines()[-1]))
                print(
                    f"{images} images, {milliseconds} ms there and back: node {node:.2f} s, "
                    f"loop {loop:.2f} s, {loop / node:.1f} x"
                )
                fine = fine and (milliseconds == 0 or loop >= LEAST_OF_BOTO3 * node)
    return fine


def start(image: str, rounds: int) -> bool:
    """Load the pack as ComfyUI does at its start, in fresh processes."""
    runs = [
        json.loads(in_image(image, "pack_start.py", {}).splitlines()[-1]) for _ in range(rounds)
    ]
    without = min(run["comfyui"] for run in runs)
    pack = min(run["pack"] for run in runs)
    print(
        f"ComfyUI's own imports {without * 1000:.0f} ms, the pack {pack * 1000:.1f} ms more "
        f"({pack / without:.2%}); imported with it: {runs[0]['heavy'] or 'nothing heavy'}"
    )
    return not runs[0]["heavy"]


def main() -> int:
    """Run one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("download", "saves", "start"))
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image", default="comfykiln/core:cpu")
    given = parser.parse_args()
    if given.what == "download":
        fine = download(int(given.gib * (1 << 30)), given.rounds)
    elif given.what == "saves":
        fine = saves(given.image, given.images, given.rounds)
    else:
        fine = start(given.image, given.rounds)
    print("limits hold" if fine else "limits are missed")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
