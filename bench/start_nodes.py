"""What baked nodes cost at start (NF1): `complete` beside `core` with the same nodes by hand.

    .venv/bin/python bench/start_nodes.py [--rounds 3] [--target cpu]

Needs the images `complete` and `core` of the target, built before. By hand means what a person
does in a container of `core`: the nodes' folders into `custom_nodes`, then one `uv pip install` of
every node's requirements.txt, with the torch family held. Prints the seconds from `docker run` to
the first answer of `/system_stats`, each way's smallest, and the ratio; `core` alone beside them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.build import run, start  # noqa: E402  # found by the line above

from comfykiln.network.host import settings_of_host, step_secrets  # noqa: E402  # as above
from comfykiln.network.indexes import uv_program  # noqa: E402  # as above

BY_HAND = "comfykiln-bench/by-hand"
ENTRY = ["/app/.venv/bin/python", "/app/.kiln/startup.py", "serve"]
INSTALL = """\
set -eu
cd /app
uv pip list --format freeze | grep -E '^(torch|torchvision|torchaudio)==' >/tmp/family.txt
cat custom_nodes/*/requirements.txt | grep -v onnxruntime-gpu >/tmp/wanted.txt
exec uv pip install --override /tmp/family.txt -r /tmp/wanted.txt
"""


def output(*argv: str) -> str:
    """Run a program and return what it prints."""
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def by_hand(core: str, complete: str) -> None:
    """Make the image of a person who installs the nodes of `complete` into `core`."""
    source = output("docker", "create", complete)
    with step_secrets(settings_of_host(None), "") as secrets:
        mounts = [f"--volume={path}:/run/secrets/{name}:ro" for name, path in secrets.items()]
        mounts.append(f"--volume={uv_program()}:/usr/local/bin/uv:ro")
        network = json.loads(secrets["network.json"].read_text("utf-8"))
        network |= {"VIRTUAL_ENV": "/app/.venv", "SSL_CERT_FILE": "/run/secrets/ca.crt"}
        given = [f"--env={name}={value}" for name, value in network.items()]
        work = output(
            *["docker", "run", "-d", "--user=0", "--entrypoint=sleep", *mounts, *given],
            *[core, "infinity"],
        )
        try:
            nodes = subprocess.Popen(
                ["docker", "cp", f"{source}:/app/custom_nodes", "-"], stdout=subprocess.PIPE
            )
            subprocess.run(["docker", "cp", "-", f"{work}:/app"], stdin=nodes.stdout, check=True)
            if nodes.wait():
                raise SystemExit("docker cp could not read the nodes of complete")
            run(["docker", "exec", work, "sh", "-c", INSTALL])
            run(["docker", "commit", work, BY_HAND])
        finally:
            run(["docker", "rm", "-f", "-v", work, source])


def main() -> None:
    """Measure, the ways taking turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--target", default="cpu")
    options = parser.parse_args()
    core, complete = (f"comfykiln/{name}:{options.target}" for name in ("core", "complete"))
    by_hand(core, complete)
    try:
        taken = [
            [start(image, ENTRY) for image in (complete, BY_HAND, core)]
            for _ in range(options.rounds)
        ]
    finally:
        run(["docker", "rmi", "-f", BY_HAND])
    ours, hand, alone = (min(way) for way in zip(*taken, strict=True))
    print(f"complete {ours:.1f} s; by hand {hand:.1f} s; ratio {ours / hand:.2f}")
    print(f"core alone {alone:.1f} s")


if __name__ == "__main__":
    main()
