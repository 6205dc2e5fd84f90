"""Run a command beside two S3 servers: `python tests/support/with_s3.py COMMAND…`.

The command finds them in PACK_TEST_S3, a JSON object of their addresses and keys.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support import s3  # found by the line above


def described(**servers: s3.Server) -> str:
    """Return what PACK_TEST_S3 holds for these servers."""
    urls = {name: server.url for name, server in servers.items()}
    return json.dumps({"urls": urls, "access_key": s3.ACCESS_KEY, "secret_key": s3.SECRET_KEY})


def main() -> int:
    """Start the servers, run the command and return its status."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "buckets"
        folder.mkdir()
        with s3.moto() as moto, s3.rclone(folder) as rclone:
            env = os.environ | {"PACK_TEST_S3": described(moto=moto, rclone=rclone)}
            return subprocess.run(sys.argv[1:], env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
