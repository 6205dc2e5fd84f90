"""Bare repositories that stand in for git hosts, made from packs: one branch each, at the pin.

`comfy node restore-snapshot` clones the default branch and looks at no pin, so the default branch
is the pin. It also runs pip for each line of a node's requirements.txt and starts its install.py;
both are kept out of its sight by a sparse checkout, which is completed when it is done.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.restore.running import StepError, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comfykiln.restore.plans import GitNode, Mirror, RestorePlan

MIRRORS = Path("/tmp/mirrors")  # noqa: S108  # a build stage has one user
TEMPLATE = Path("/tmp/git-template")  # noqa: S108  # as above
HIDDEN = ("requirements.txt", "install.py")
BRANCH = "pinned"


def make_mirrors(mirrors: Sequence[Mirror]) -> None:
    """Make every bare repository below MIRRORS; a pack that is no sound pack fails the step."""
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(_make_mirror, mirrors):
            pass


def _make_mirror(mirror: Mirror) -> None:
    folder = MIRRORS / mirror.path
    run(["git", "init", "--quiet", "--bare", "--template=", "-b", BRANCH, str(folder)])
    for pack in mirror.packs:
        run(["git", f"--git-dir={folder}", "index-pack", "--threads=1", "--stdin"], stdin=pack)
    run(["git", f"--git-dir={folder}", "update-ref", f"refs/heads/{BRANCH}", mirror.commit])


def write_config(plan: RestorePlan, config: Path) -> None:
    """Write git's global settings: the mirrors in place of the hosts, and the sparse checkout."""
    hosts = sorted({mirror.path.partition("/")[0] for mirror in plan.mirrors})
    config.write_text(
        "".join(f'[url "{MIRRORS}/{host}/"]\n\tinsteadOf = https://{host}/\n' for host in hosts)
        + '[safe]\n\tdirectory = *\n[protocol "file"]\n\tallow = always\n'
        + "[core]\n\tsparseCheckout = true\n\thooksPath = /dev/null\n"
        + "[advice]\n\tdetachedHead = false\n",
        "utf-8",
    )
    lacking = sorted({path for node in plan.git for path in _lacking_anywhere(node)})
    (TEMPLATE / "info").mkdir(parents=True, exist_ok=True)
    (TEMPLATE / "info" / "sparse-checkout").write_text(_patterns([*HIDDEN, *lacking]), "utf-8")


def complete(node: GitNode, folder: Path, env: dict[str, str]) -> None:
    """Check out what was hidden from comfy-cli, in the node and in its submodules."""
    for below in ("", *node.submodules):
        place = folder / below
        mount = f"{below}/" if below else ""
        inner = [path.removeprefix(mount) for path in node.lacking if path.startswith(mount)]
        settings = git_folder(place) / "info" / "sparse-checkout"
        settings.parent.mkdir(exist_ok=True)
        settings.write_text(_patterns(inner), "utf-8")
        run(["git", "-C", str(place), "read-tree", "-mu", "HEAD"], env=env)


def git_folder(checkout: Path) -> Path:
    """Return the git directory of a checkout: its .git, or where its .git file points to."""
    place = checkout / ".git"
    if place.is_dir():
        return place
    if not place.is_file():
        raise StepError(f"{checkout} is no checkout: comfy-cli did not restore it")
    return (checkout / place.read_text("utf-8").removeprefix("gitdir:").strip()).resolve()


def _lacking_anywhere(node: GitNode) -> list[str]:
    """Return the missing files by their paths in the repository that holds them."""
    found = list(node.lacking)
    for mount in node.submodules:
        found += [
            path.removeprefix(f"{mount}/") for path in node.lacking if path.startswith(f"{mount}/")
        ]
    return found


def _patterns(left_out: Sequence[str]) -> str:
    return "".join(["/*\n", *(f"!/{path}\n" for path in left_out)])
