#!/bin/sh
# The same tensors saved twice by safetensors are two different files.
#
# Version:  safetensors 0.8.0, numpy 2.4.6
# Expected: the format is a header and the tensors' bytes, without a time or a name: equal input, equal
#           file.
# Seen:     with more than one entry in `metadata`, the entries' order changes from call to call, and
#           with it the file's sha256. The tensors are sorted, and `metadata` of one entry is stable.
# Matters:  a model that is converted, merged or quantised while an image is built, with its notes kept,
#           is a new layer each time, and no lock by sha256 ever holds for it.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6

cat > "$work/save.py" <<'PYTHON'
import hashlib
import json
import sys

import numpy
from safetensors.numpy import save

TENSORS = {name: numpy.ones(2, dtype=numpy.float32) for name in "wxyz"}


def files(metadata):
    """Save the same content ten times; return the distinct files."""
    return {save(TENSORS, metadata=metadata) for _ in range(10)}


def header(file):
    length = int.from_bytes(file[:8], "little")
    return json.loads(file[8 : 8 + length])


one, many = files({"format": "pt"}), files({f"note{n}": "x" for n in range(8)})
for file in sorted(many)[:3]:
    print(hashlib.sha256(file).hexdigest()[:16], *header(file)["__metadata__"])
print("saved ten times:", len(one), "file with one entry,", len(many), "files with eight")
equal = all(header(file) == header(min(many)) for file in many)  # but for the order
sys.exit(not (len(one) == 1 and len(many) > 1 and equal))
PYTHON
"$work/venv/bin/python" "$work/save.py"
