"""Objects larger than the memory they may take."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.transfer.parts import MIB, Settings

if TYPE_CHECKING:
    from tests.support.s3 import Server

ROOT = Path(__file__).parents[3]
SIZE = 160 * MIB
MOVER = """
import json, resource, sys
from pathlib import Path
from comfykiln.transfer.download import download
from comfykiln.transfer.upload import upload
from tests.support.s3 import Server

store = Server(url=sys.argv[1]).store(sys.argv[2])
store.client().create_bucket(Bucket=sys.argv[2])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
peaks = [peak()]
upload(store, "film.mp4", Path(sys.argv[3]), content_type="video/mp4")
peaks.append(peak())
done = download(store.remote(store.head("film.mp4")), Path(sys.argv[4]))
peaks.append(peak())
print(json.dumps(peaks), done.size)
"""


def test_w14_memory_stays_bounded_while_a_large_file_goes_up_and_comes_down(
    rclone: Server, tmp_path: Path
) -> None:
    """Whole videos and models were held in memory."""
    film, back = tmp_path / "film.mp4", tmp_path / "back.mp4"
    with film.open("wb") as file:
        file.truncate(SIZE)
    argv = [sys.executable, "-c", MOVER, rclone.url, f"b-{uuid.uuid4().hex}", str(film), str(back)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    text, size = done.stdout.rsplit(" ", 1)
    before, uploaded, downloaded = json.loads(text)
    assert int(size) == SIZE
    assert uploaded - before < 120  # four parts of 16 MiB, each also on its way out
    assert downloaded - before < 150  # and eight buffers of 3 MiB
    film.unlink()
    back.unlink()


def test_no_object_is_cut_into_parts_that_take_more() -> None:
    for gib in (1, 8, 100):
        assert (Settings().workers + 2) * Settings().part_of(gib << 30) <= 128 * MIB
