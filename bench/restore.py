"""What a restore costs: ours beside plain comfy-cli and beside the same work by hand, in one run.

    python bench/restore.py --git-mirror DIR [--counts 4,8,16] [--rounds 2] [--work DIR]

DIR holds the nodes of `services/comfy/complete` (host/owner/repo.git); the engine must be there.
Per count N, taken from the head of the snapshot, the ways take turns:

    plain      `comfy node restore-snapshot`, cold caches
    ours       gather, packages row, nodes row with its judgement; all caches cold
    ours warm  the same with nodes gathered and wheels cached
    hand       eight shallow fetches at a time, then one `uv pip install`; cold caches

All ways run in the builder stage of the image, start from the environment of `core`, fetch nodes
from the same mirrors and packages from the host's own index, and compile no package (pip is told
so; uv does not by default). Sealing the nodes' layer is shown, and not part of the ratios.
Torch's family and onnxruntime-gpu are stubs without content that are there from the start.
Prints medians of wall and CPU time, and the ratios that docs quote.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.wheelindex import wheel  # noqa: E402  # found by the line above

from comfykiln.bake.context import staged  # noqa: E402
from comfykiln.bake.context_nodes import write_nodes  # noqa: E402
from comfykiln.cli import build  # noqa: E402  # the same
from comfykiln.engine import engine  # noqa: E402  # the same
from comfykiln.gather.gather import gather  # noqa: E402
from comfykiln.gather.node_lock import read_node_lock  # noqa: E402
from comfykiln.gather.nodes import Access  # noqa: E402
from comfykiln.locking.inputs import one_family  # noqa: E402
from comfykiln.locking.relock import comfyui_tree, nodes_of  # noqa: E402
from comfykiln.network.host import settings_of_host, step_secrets  # noqa: E402
from comfykiln.plan import render  # noqa: E402  # the same
from comfykiln.plan.project import RESTORE, Project  # noqa: E402
from comfykiln.system import files  # noqa: E402  # the same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from comfykiln.gather.nodes import NodeSet
    from comfykiln.network.indexes import IndexSettings

IMAGE = "comfykiln-bench/restore:builder"
INSIDE = Path(__file__).with_name("restore_inside.py")
AUTHOR = ("-c", "user.name=Bench", "-c", "user.email=bench@kiln.invalid")
Figures = dict[str, list[float]]


def git(folder: Path, *words: str, **variables: str) -> str:
    """Run git in a repository and return what it says."""
    argv = ["git", "-C", str(folder), *AUTHOR, *words]
    env = os.environ | variables
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=env).stdout.strip()


class Bench:
    """One run: its folder, what all ways share, and the project of each count."""

    def __init__(self, work: Path, mirror: Path, secrets: Mapping[str, Path]) -> None:
        self.work = work
        self.secrets = secrets
        self.mirrors = work / "mirrors"
        self.base = work / "base"
        self.project = Project(root=ROOT)
        self.tree = comfyui_tree(self.project, self.project.service("complete"))
        shutil.copytree(mirror / "github.com", self.mirrors / "github.com")

    def prepare(self) -> None:
        """Make the mirrors whole, and the environment that every way starts from."""
        self.snapshot = json.loads(self.project.service("complete").snapshot.read_text("utf-8"))
        for node in gathered(self.project, self.tree, self.mirrors).git:
            if node.lacking:
                self._without(node.pin.url, node.lacking)
        stubs = self.work / "stubs"
        stubs.mkdir()
        family = one_family(self.project.targets)
        pins = [line.partition("==")[::2] for line in family]
        for name, version in [*pins, ("onnxruntime-gpu", "1.99.0")]:
            file, data = wheel(name, version)
            (stubs / file).write_bytes(data)
        (self.work / "family.txt").write_text("".join(f"{line}\n" for line in family), "utf-8")
        self.base.mkdir()
        lock = self.project.service("core").package_lock
        self.inside("base", self.base, lock, self.work, self.work / "uv-base")
        shutil.rmtree(self.work / "uv-base")

    def _without(self, url: str, lacking: Sequence[str]) -> None:
        """Pin a commit that differs from the pin in what the mirror does not have.

        A mirror that lacks files cannot be cloned by everyone; all ways get the same.
        """
        repository = self.mirrors / (url.removeprefix("https://") + ".git")
        index = {"GIT_INDEX_FILE": str(self.work / "index"), "GIT_DIR": str(repository)}
        index |= {"GIT_WORK_TREE": str(repository)}
        pin = self.snapshot["git_custom_nodes"][url]
        git(repository, "read-tree", pin["hash"], **index)
        git(repository, "update-index", "--force-remove", *lacking, **index)
        tree = git(repository, "write-tree", "--missing-ok", **index)
        pin["hash"] = git(repository, "commit-tree", tree, "-m", "what the mirror has")
        git(repository, "update-ref", "HEAD", pin["hash"])

    def small(self, count: int) -> Project:
        """Return a project like ours whose image `complete` has the first `count` nodes."""
        root = self.work / f"project-{count}"
        for name in ("templates", "images", "services"):
            shutil.copytree(ROOT / name, root / name)
        shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
        project = Project(root=root)
        nodes = dict(list(self.snapshot["git_custom_nodes"].items())[:count])
        service = project.service("complete")
        files.write_bytes(
            service.snapshot, files.canonical_json(self.snapshot | {"git_custom_nodes": nodes})
        )
        build.lock(root, "complete", str(self.mirrors))
        render.write(render.rendered(project.plans(), root))
        return project

    def inside(self, way: str, environment: Path, lock: Path, nodes: Path, cache: Path) -> Figures:
        """Run one way in a container of its own and return phase → [wall, CPU] in seconds."""
        mounts = {
            environment: "/app/.venv",
            self.tree.resolve(): "/tree:ro",
            self.mirrors.resolve(): "/mirrors:ro",
            nodes: "/nodes:ro",
            lock: "/bench/packages.txt:ro",
            self.work / "family.txt": "/bench/family.txt:ro",
            self.work / "stubs": "/bench/stubs:ro",
            RESTORE: "/kiln/comfykiln/restore:ro",
            RESTORE.parent / "__init__.py": "/kiln/comfykiln/__init__.py:ro",
            INSIDE: "/bench/restore_inside.py:ro",
            cache / "uv": "/var/cache/kiln-uv",
            cache / "pip": "/var/cache/bench-pip",
            **{path: f"/run/secrets/{name}:ro" for name, path in self.secrets.items()},
        }
        for name in ("uv", "pip"):
            (cache / name).mkdir(parents=True, exist_ok=True)
        volumes = [word for host, there in mounts.items() for word in ("-v", f"{host}:{there}")]
        argv = ["docker", "run", "--rm", "--env=PIP_NO_COMPILE=1", *volumes, IMAGE]
        with (self.work / "log.txt").open("a") as log:
            done = subprocess.run(
                [*argv, "python3", "/bench/restore_inside.py", way],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                check=False,
            )
        if done.returncode:
            said = (self.work / "log.txt").read_text("utf-8", errors="replace")
            raise SystemExit(f"{way} failed:\n{said[-4000:]}")
        figures: Figures = json.loads(done.stdout)
        return figures

    def measure(self, way: str, project: Project, *, warm: Path | None = None) -> Figures:
        """Run one way from the common start; `warm` names the caches of an earlier run."""
        case = Path(tempfile.mkdtemp(prefix="case-", dir=self.work))
        subprocess.run(["cp", "-al", str(self.base), str(case / "venv")], check=True)
        cache = warm or case / "cache"
        lock = project.service("complete").package_lock
        taken = self._gathered(project, cache / "store", case / "nodes")
        inside = self.inside(way, case / "venv", lock, case / "nodes", cache)
        keep = warm or self.work / f"cache-{project.root.name}-{way}"
        if not warm:
            shutil.rmtree(keep, ignore_errors=True)
            cache.rename(keep)
        shutil.rmtree(case)
        return {"gather": taken, **inside} if way == "ours" else inside

    def _gathered(self, project: Project, store: Path, context: Path) -> list[float]:
        """Gather the nodes in a process of its own; the others need the plan, not the time."""
        wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        argv = [sys.executable, __file__, "--gather", str(project.root), str(context)]
        argv += [str(self.tree), str(self.mirrors)]
        subprocess.run(argv, env=os.environ | {"COMFYKILN_STORE": str(store)}, check=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        return [time.perf_counter() - wall, cpu]


def gathered(project: Project, tree: Path, mirrors: Path) -> NodeSet:
    """Gather the nodes of `complete` from the mirrors into the project's store."""
    service = project.service("complete")
    access = Access(
        store=project.store,
        settings=settings_of_host(None),
        registry=project.origins.registry,
        mirror=mirrors,
    )
    return nodes_of(project, service, tree, access, read_node_lock(service.node_lock))


def write_context(root: Path, context: Path, tree: Path, mirrors: Path) -> None:
    """Gather a project's nodes and write what the nodes row receives."""
    from types import SimpleNamespace  # noqa: PLC0415  # with its one use

    project = Project(root=root)
    target = project.targets.get("cpu")
    what: Any = SimpleNamespace(nodes=gathered(project, tree, mirrors), torch=target.torch)
    context.mkdir()
    write_nodes(project.service("complete"), target, what, context)


def make_builder(settings: IndexSettings) -> None:
    """Build the builder stage of `core` for cpu, where the ways run."""
    project = Project(root=ROOT)
    plan = project.plan("cpu", "core")
    gathered = gather(
        plan,
        project.origins,
        store=project.store,
        settings=settings,
        strict=False,
        mirror=None,
    )
    own: dict[str, Any] = {
        "target": "builder",
        "contexts": {"comfyui-source": str(gathered.comfyui)},
        "tags": [IMAGE],
        "output": ["type=image,compression=uncompressed"],
        "attest": ["type=provenance,disabled=true", "type=sbom,disabled=true"],
    }
    if gathered.base.override:
        own["contexts"] |= {plan.base_ref: gathered.base.override}
    with (
        step_secrets(settings, gathered.base.apt_sources) as secrets,
        staged(plan, gathered, ROOT, RESTORE) as context,
    ):
        own["secret"] = [f"id={key},src={path}" for key, path in secrets.items()]
        override = context.context.with_name(f"{plan.name}-bench.json")
        files.write_bytes(override, files.canonical_json({"target": {plan.name: own}}))
        engine.bake(
            [ROOT / "images" / render.BAKE_FILE, override],
            plan.name,
            cwd=ROOT,
            metadata=override.with_suffix(".metadata"),
            on_line=lambda _: None,
        )


def total(figures: Figures) -> tuple[float, float]:
    """Return the sum of wall and of CPU seconds of the phases that all ways have."""
    common = [figure for name, figure in figures.items() if name != "seal"]
    return sum(wall for wall, _ in common), sum(cpu for _, cpu in common)


def report(count: int, runs: Mapping[str, list[Figures]]) -> None:
    """Print the median of each way, its phases, and the ratios."""
    print(f"\n{count} nodes")
    wall, cpu = {}, {}
    for way, rounds in runs.items():
        walls, cpus = zip(*map(total, rounds), strict=True)
        wall[way], cpu[way] = statistics.median(walls), statistics.median(cpus)
        phases = ", ".join(
            f"{name} {statistics.median(entry[name][0] for entry in rounds):.1f}"
            for name in rounds[0]
        )
        print(f"  {way:<10}{wall[way]:7.1f} s, CPU {cpu[way]:6.1f} s ({phases})")
    for first, second in (("plain", "ours"), ("plain", "ours warm"), ("ours", "hand")):
        ratio, work = wall[first] / wall[second], cpu[first] / cpu[second]
        print(f"  {first} / {second}: {ratio:.2f} (CPU {work:.2f})", flush=True)


def one_round(bench: Bench, project: Project, runs: dict[str, list[Figures]]) -> None:
    """Run every way once."""
    cache = bench.work / f"cache-{project.root.name}-ours"
    runs["plain"].append(bench.measure("plain", project))
    runs["ours"].append(bench.measure("ours", project))
    runs["hand"].append(bench.measure("hand", project))
    runs["ours warm"].append(bench.measure("ours", project, warm=cache))
    for folder in bench.work.glob("cache-*"):
        shutil.rmtree(folder)


def main() -> None:
    """Measure every count, the ways taking turns."""
    if sys.argv[1:2] == ["--gather"]:
        root, context, tree, mirrors = map(Path, sys.argv[2:])
        write_context(root, context, tree, mirrors)
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--git-mirror", type=Path, required=True)
    parser.add_argument("--counts", default="4,8,16")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    settings = settings_of_host(None)
    with (
        tempfile.TemporaryDirectory(prefix="kiln-bench-", dir=options.work) as work,
        step_secrets(settings, "") as secrets,
    ):
        make_builder(settings)
        bench = Bench(Path(work), options.git_mirror, secrets)
        bench.prepare()
        for count in map(int, options.counts.split(",")):
            project = bench.small(count)
            names = ("plain", "ours", "ours warm", "hand")
            runs: dict[str, list[Figures]] = {name: [] for name in names}
            for _ in range(options.rounds):
                one_round(bench, project, runs)
            report(count, runs)


if __name__ == "__main__":
    main()
