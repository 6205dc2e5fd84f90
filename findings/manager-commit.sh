#!/bin/sh
# ComfyUI-Manager misreads the commit of a checkout that is pinned or packed.
#
# Version:  comfyui-manager 4.3; needs git
# Expected: the commit that a snapshot records for a node is what `git rev-parse HEAD` prints.
# Seen:     with a detached HEAD it ends in a line break, and `git checkout` of that text fails; with
#           packed refs, as `git gc` leaves them, it is "unknown". Only a loose branch is read right.
# Matters:  images pin their nodes, so every node has a detached HEAD: the snapshot taken inside such an
#           image cannot be restored as it stands. Strip the hashes, and refuse "unknown".
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# The module needs the standard library alone; its package cannot be imported outside ComfyUI.
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-deps comfyui-manager==4.3

cd "$work"
git init --quiet --initial-branch main branch
git -C branch -c user.name=n -c user.email=n@example.org commit --quiet --allow-empty -m first
cp -R branch detached && git -C detached checkout --quiet --detach
cp -R branch packed && git -C packed pack-refs --all

cat > read.py <<'PYTHON'
import importlib.util
import subprocess
import sys
from pathlib import Path

package = Path(importlib.util.find_spec("comfyui_manager").origin).parent
spec = importlib.util.spec_from_file_location("git_utils", package / "common/git_utils.py")
git_utils = importlib.util.module_from_spec(spec)
spec.loader.exec_module(git_utils)

said = {name: git_utils.get_commit_hash(name) for name in ("branch", "detached", "packed")}
for name, text in said.items():
    print(f"{name:9}{text!r}")
git = ["git", "-C", "branch"]
head = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
checkout = subprocess.run([*git, "checkout", said["detached"]], capture_output=True, text=True)
print("checkout of the second:", checkout.stderr.strip())
described = {"branch": head, "detached": f"{head}\n", "packed": "unknown"}
sys.exit(not (said == described and checkout.returncode))
PYTHON
venv/bin/python read.py
