"""Run inside a machine: its set-up, with a judgement of apt's plan instead of the installation.

`judged.py judge|install SECONDS`: whether apt's plan is only judged and printed, and the patience
with another apt.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING
from unittest.mock import patch

from comfykiln.setup import apt, apt_lock
from comfykiln.setup.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Sequence


def only_judge(
    packages: Sequence[str], *, anywhere: Sequence[str] = (), untouched: Sequence[str] = ()
) -> None:
    plan = apt.judged(packages, anywhere=anywhere, untouched=untouched)
    changes = {change.name: [change.old, *change.releases] for change in plan.changes}
    print(json.dumps({"packages": list(packages), "changes": changes}))
    raise SystemExit


if __name__ == "__main__":
    install = only_judge if sys.argv[1] == "judge" else apt.install
    with (
        patch.object(apt, "install", install),
        patch.object(apt_lock, "PATIENCE", int(sys.argv[2])),
    ):
        sys.exit(main(["engine"]))
