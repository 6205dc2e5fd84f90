#!/bin/sh
# PyAV stores 32-bit samples in a FLAC file as 16-bit ones.
#
# Version:  av 18.1.0
# Expected: FLAC holds up to 32 bits a sample, so a frame of format s32 comes back as it was, or is
#           refused.
# Seen:     the stream is s16 as soon as it is added; the lower 16 bits of each sample are gone,
#           without a word. With `stream.format = "s32"` before the first frame nothing is lost.
# Matters:  a node that writes audio through PyAV writes a "lossless" file that is none, and a test
#           that compares lengths or listens does not notice.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet av==18.1.0

cat > "$work/write.py" <<'PYTHON'
import io
import sys
from array import array

import av

SAMPLES = [0x12345600, 0x01020300, 0x7FABCD00, 0x00FFFF00]


def written(sample_format):
    """Write the samples as mono FLAC and return the decoder's format and samples."""
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as output:
        stream = output.add_stream("flac", rate=48000, layout="mono")
        if sample_format:
            stream.format = sample_format
        frame = av.AudioFrame(format="s32", layout="mono", samples=len(SAMPLES))
        frame.sample_rate, frame.pts = 48000, 0
        padding = bytes(frame.planes[0].buffer_size - 4 * len(SAMPLES))
        frame.planes[0].update(array("i", SAMPLES).tobytes() + padding)
        output.mux(stream.encode(frame) + stream.encode(None))
    file.seek(0)
    with av.open(file) as source:
        frame = next(source.decode(audio=0))
    code = {"s16": "h", "s32": "i"}[frame.format.name]
    return frame.format.name, list(array(code, bytes(frame.planes[0])))[: len(SAMPLES)]


plain, told = written(None), written("s32")
print("given:            s32", SAMPLES)
print("as it is added:  ", *plain)
print("with format s32: ", *told)
lost = plain == ("s16", [sample >> 16 for sample in SAMPLES])
sys.exit(not (lost and told == ("s32", SAMPLES)))
PYTHON
"$work/venv/bin/python" "$work/write.py"
