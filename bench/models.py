"""Models: from S3 to a layer with its digest, each row beside `cp` of the same file in one run.

    python bench/models.py fetch [--gib 2] [--rounds 3]     against cp and what people use
    python bench/models.py unchanged [--gb 100]             nothing to do, whatever the size
    python bench/models.py kill [--times 200]               SIGKILL at random moments, then again

The smallest of the rounds counts; methods take turns, so that all see the same machine.
Each ends with status 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench import bare  # noqa: E402  # found by the line above
from tests.support import faultserver, s3  # noqa: E402  # the same

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BUCKET, KEY = "bench", "model.bench"
FIRST = "ours, first time: file and layer hashed"
DURABLE = "cp and sync"  # what ours leaves behind is on the disk, not in the page cache alone
MOST_OF_CP, MOST_MIB, MOST_SECONDS, LEAST_KEPT = 1.3, 256, 0.2, 0.9

OURS = """
import os, sys
from comfykiln.models.download import Job, download_all
from comfykiln.models.records import ModelSource
url, sha256, layer = sys.argv[1:]
job = Job(name="m", destination="vae/m.bench", criticality="required", sha256=sha256,
          sources=(ModelSource(url=url),), layer=layer)
for result in download_all([job], os.environ).values():
    assert hasattr(result, "fetched"), result.reasons
    print(result.fetched, result.kept)
"""
BOTO3 = """
import boto3, os, sys
client = boto3.client("s3", endpoint_url=sys.argv[1])
client.download_file("bench", "model.bench", sys.argv[2])
"""
UNCHANGED = """
import json, sys, time
from pathlib import Path
begin = time.perf_counter()
from comfykiln.models.fetch import fetch
from comfykiln.models.records import LockedModel
model = LockedModel(name="m", destination="vae/m.bench", criticality="required", sources=(),
                    sha256=sys.argv[1], size=int(sys.argv[2]))
result = fetch([model])
seconds = time.perf_counter() - begin
io = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
again = time.perf_counter()
fetch([model])
again = time.perf_counter() - again
print(json.dumps([seconds, again, result.done[0].fetched, int(io["read_bytes"])]))
"""


def measured(argv: Sequence[str], env: dict[str, str]) -> tuple[float, float, float]:
    """Run a program; return wall seconds, CPU seconds and peak MiB of it and its children."""
    code = "import resource, subprocess, sys, time; t = time.perf_counter(); "
    code += "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    code += "u = resource.getrusage(resource.RUSAGE_CHILDREN); "
    code += "print(time.perf_counter() - t, u.ru_utime + u.ru_stime, u.ru_maxrss / 1024)"
    said = subprocess.run(
        [sys.executable, "-c", code, *argv],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | env,
    ).stdout.split()
    return float(said[0]), float(said[1]), float(said[2])


def tool(name: str) -> str:
    """Return a program of this environment, else of the system."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else name


def methods(
    server: s3.Server, alone: s3.Server, source: Path, folder: Path, sha256: str
) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Return each method's argument list and variables; all end in `folder`."""
    out = folder / "out"
    chain = f"tar -C {folder} -cf {folder}/layer.tar out && sha256sum {folder}/layer.tar"
    env = {
        "AWS_ACCESS_KEY_ID": s3.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": s3.SECRET_KEY,
        "AWS_REGION": "us-east-1",
        "PYTHONPATH": str(ROOT / "src"),
    }
    store = {"COMFYKILN_STORE": str(folder / "store")}
    ours = env | store | server.environment(BUCKET)
    beside = env | store | alone.environment(BUCKET)
    at = f"s3://{BUCKET}/{KEY}"
    rclone = f":s3,provider=Other,env_auth=true,endpoint='{server.url}':{BUCKET}/{KEY}"
    python = [sys.executable, "-c"]
    first, locked = [*python, OURS, at, "", ""], [*python, OURS, at, sha256, f"sha256:{'0' * 64}"]
    s5cmd = [tool("s5cmd"), "--endpoint-url", server.url, "cp", at, str(out)]
    found: dict[str, tuple[list[str], dict[str, str]]] = {
        "cp": (["cp", "--reflink=never", str(source), str(out)], {}),
        DURABLE: (["sh", "-c", f"cp --reflink=never {source} {out} && sync {out}"], {}),
        FIRST: (first, ours),
        "ours, locked: file hashed": (locked, ours),
        "ours, first time, bare server": (first, beside),
        "ours, locked, bare server": (locked, beside),
        "s5cmd (no digest)": (s5cmd, env),
        "s5cmd, tar, sha256sum": (["sh", "-c", f"{' '.join(s5cmd)} && {chain}"], env),
        "rclone (no digest)": ([tool("rclone"), "copyto", rclone, str(out)], env),
        "boto3's default (no digest)": ([*python, BOTO3, server.url, str(out)], env),
    }
    aws = shutil.which("aws") or tool("aws")
    if Path(aws).exists():
        copy = f"{aws} --endpoint-url {server.url} s3 cp --quiet {at} {out}"
        found["aws s3 cp, tar, sha256sum"] = (["sh", "-c", f"{copy} && {chain}"], env)
    return found


def fetch(size: int, rounds: int) -> bool:
    """Bring one model with every method; print a table and say whether the limits hold."""
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as made:
        source, folder = Path(made) / "buckets" / BUCKET / KEY, Path(made) / "out"
        sha256 = written(source, size)
        best: dict[str, tuple[float, float, float]] = {}
        with s3.rclone(Path(made) / "buckets") as server, bare.bare(source) as alone:
            for _ in range(rounds):
                for name, (argv, env) in methods(server, alone, source, folder, sha256).items():
                    folder.mkdir()
                    os.sync()  # nobody pays for what the one before left to be written
                    run = measured(argv, env)
                    shutil.rmtree(folder)
                    before = best.get(name, run)
                    best[name] = (
                        min(run[0], before[0]),
                        min(run[1], before[1]),
                        min(run[2], before[2]),
                    )
    print(f"{size / (1 << 30):g} GiB, {rounds} rounds, the smallest of each")
    for name, (seconds, cpu, mib) in best.items():
        ratio, durable = seconds / best["cp"][0], seconds / best[DURABLE][0]
        print(
            f"{name:40} {seconds:6.2f} s {ratio:5.2f} x cp {durable:5.2f} x {DURABLE} "
            f"{cpu:6.2f} s CPU {mib:5.0f} MiB"
        )
    ours = best[FIRST]
    return ours[0] <= MOST_OF_CP * best["cp"][0] and ours[2] <= MOST_MIB


def written(path: Path, size: int) -> str:
    """Write a file of random bytes and return its sha256."""
    path.parent.mkdir(parents=True)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size >> 20):
            block = os.urandom(1 << 20)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def unchanged(size: int) -> bool:
    """Fetch a model that is in the store already, a sparse file of `size` bytes."""
    from comfykiln.models import store  # noqa: PLC0415  # with the variable set below

    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as made:
        os.environ["COMFYKILN_STORE"] = made
        path = store.path_of("ab" * 32)
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            file.truncate(size)
        store.note("ab" * 32)
        env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        argv = [sys.executable, "-c", UNCHANGED, "ab" * 32, str(size)]
        runs = [
            json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, env=env).stdout)
            for _ in range(5)
        ]
    seconds, again, fetched, read = min(runs)
    print(
        f"{size / 1e9:g} GB unchanged: {seconds:.3f} s with its imports, {again * 1000:.2f} ms "
        f"without; {fetched} bytes fetched, {read} read from disk"
    )
    return bool(seconds <= MOST_SECONDS and fetched == 0)


def kill(times: int) -> bool:
    """Kill a fetch at random moments; every next one goes on, and no wrong byte gets a name."""
    chance = random.Random(6)  # noqa: S311  # moments, no secrets
    data = chance.randbytes(64 << 20)
    sha256 = hashlib.sha256(data).hexdigest()
    worst, finished = 1.0, 0
    with (
        tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as made,
        faultserver.fault_server() as server,
    ):
        served = server.add("/m", data, rate=6_000_000)
        env = {"COMFYKILN_STORE": made, "PYTHONPATH": str(ROOT / "src")}
        argv = [sys.executable, "-c", OURS, f"{server.url}/m", sha256, ""]
        path = Path(made) / "sha256" / sha256[:2] / sha256
        for _ in range(times):
            shutil.rmtree(made, ignore_errors=True)
            served.sent, served.rate = 0, 6_000_000
            child = start(argv, env)
            threading.Event().wait(chance.uniform(0.1, 2.6))
            child.kill()
            child.communicate()
            arrived, served.rate = served.sent, 0
            if path.exists():
                finished += 1
                if path.read_bytes() != data:
                    raise SystemExit("a wrong byte under a final name")
            if not path.exists():
                said = subprocess.run(
                    argv, check=True, stdout=subprocess.PIPE, env=os.environ | env
                ).stdout.split()
                kept = int(said[1])
                if arrived > len(data) // 2:
                    worst = min(worst, kept / arrived)
            if path.read_bytes() != data:
                raise SystemExit("a wrong byte under a final name")
    print(
        f"{times} kills, {finished} after the end; all converged at the next run; of the bytes "
        f"that had come, when that was more than half of the file, at least {worst:.1%} were kept"
    )
    return worst >= LEAST_KEPT


def start(argv: Sequence[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a program whose words nobody reads."""
    return subprocess.Popen(
        argv, env=os.environ | env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def main() -> int:
    """Run one measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("fetch", "unchanged", "kill"))
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--gb", type=float, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, default=200)
    given = parser.parse_args()
    runs: dict[str, Callable[[], bool]] = {
        "fetch": lambda: fetch(int(given.gib * (1 << 30)), given.rounds),
        "unchanged": lambda: unchanged(int(given.gb * 10**9)),
        "kill": lambda: kill(given.times),
    }
    begin = time.monotonic()
    fine = runs[given.what]()
    print(f"limits {'hold' if fine else 'are missed'} ({time.monotonic() - begin:.0f} s)")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
