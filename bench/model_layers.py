"""Models as layers beside `docker build`, `docker push` and `cp`, each pair in one run.

    .venv/bin/python bench/model_layers.py [--gib 1] [--rounds 1] [--base IMAGE]

Needs an engine with the containerd image store, Debian's docker-registry and oras, and about eight
times the size free. The base is any image of the engine, the smallest that it has unless named.
Prints one line per figure; the smallest of the rounds counts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support import dockerregistry  # noqa: E402  # the project's folder is no package
from tests.support.models import sha256_of  # noqa: E402  # as above

from comfykiln.engine import engine  # noqa: E402  # as above
from comfykiln.network.indexes import IndexSettings  # noqa: E402  # as above
from comfykiln.oci import archiving, contents, images, layers, local, references, registry  # noqa: E402  # as above
from comfykiln.oci.layers import ModelFile  # noqa: E402  # as above
from comfykiln.oci.pushing import Push  # noqa: E402  # as above

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from comfykiln.oci.images import Image
    from comfykiln.oci.pushing import Sent

NAME = "comfykiln-bench/models"
TEN = 10
SMALLEST = 64_000_000
COPY = "FROM software\nCOPY model.safetensors /app/models/checkpoints/model.safetensors\n"
LINK = COPY.replace("COPY", "COPY --link --from=models")


class Models:
    """Model files in a folder, and their layers."""

    def __init__(self, paths: Sequence[Path]) -> None:
        by_digest = {sha256_of(path): path for path in paths}
        self.source = contents.Stored(path_of=lambda sha256: by_digest[sha256])
        self.layers = [
            contents.with_digest(layer, self.source, paths[0].parent / "cache")
            for layer in layers.arrange(
                ModelFile(path=f"checkpoints/{path.name}", sha256=entry, size=path.stat().st_size)
                for entry, path in by_digest.items()
            )
        ]


class Bench:
    """One engine, one base image, one folder."""

    def __init__(self, folder: Path, base: str) -> None:
        self.client, self.engine = engine.client(), engine.connect()
        self.folder, self.base = folder, base
        self.image: Image = local.read(self.client, self.engine, base)

    def append(self, models: Models) -> None:
        """Put the models on the base, in the engine."""
        image = images.with_models(self.image, models.layers)
        local.append(self.client, image, models.layers, models.source, f"{NAME}:ours")

    def push(self, models: Models, address: str) -> Sent:
        """Push the base with the models."""
        reference = references.parse(f"{address}/bench/models:ours")
        target = registry.repository(reference, IndexSettings())
        image = images.with_models(self.image, models.layers)
        push = Push(repository=target, seen=self.folder / "seen")
        return push.image(self.client, self.engine, self.base, image, models.layers, models.source)

    def build(self, text: str, output: str, tag: str) -> None:
        """Build an image with the model by the engine's own builder."""
        file = self.folder / "Dockerfile"
        file.write_text(text, "utf-8")
        argv = ["docker", "buildx", "build", "--quiet", "--no-cache", "--provenance=false"]
        argv += [f"--build-context=software=docker-image://{self.base}"]
        argv += [f"--build-context=models={self.folder / 'context'}", f"--file={file}"]
        run([*argv, f"--output=type=image,name={NAME}:{tag}{output}", str(self.folder / "context")])


def run(argv: Sequence[str]) -> str:
    """Run a program quietly; its failure ends the measurement."""
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def seconds(action: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def random_file(path: Path, size: int) -> Path:
    """Write random bytes, which no compression shrinks."""
    with path.open("wb") as file:
        while size > 0:
            size -= file.write(os.urandom(min(size, 1 << 24)))
    return path


def forget(*tags: str) -> None:
    """Take images and what the builder keeps of them away."""
    run(["docker", "rmi", "-f", *(f"{NAME}:{tag}" for tag in tags)])
    for line in run(["docker", "buildx", "du", "--verbose"]).split("\n\n"):
        if "model.safetensors" in line or "local source for models" in line:
            number = line.split("\n", 1)[0].split()[-1]
            run(["docker", "buildx", "prune", "-f", f"--filter=id={number}"])


def smallest() -> str:
    """Return the smallest image of the engine."""
    listed = engine.client().images.list()
    return min((image for image in listed if image.tags), key=lambda i: i.attrs["Size"]).tags[0]


def into_engine(bench: Bench, models: Models, rounds: int) -> None:
    """Measure the ways into the local engine."""
    plain, link = ",compression=uncompressed", ",compression=uncompressed"
    ways: dict[str, Callable[[], None]] = {
        "ours": lambda: bench.append(models),
        "docker build, COPY, as it is by default": lambda: bench.build(COPY, "", "copy"),
        "docker build, COPY, uncompressed": lambda: bench.build(COPY, plain, "plain"),
        "named context, COPY --link, uncompressed": lambda: bench.build(LINK, link, "link"),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(seconds(way))
            run(["docker", "rmi", "-f", f"{NAME}:{'ours' if name == 'ours' else tag_of(name)}"])
    ours = min(taken.pop("ours"))
    for name, times in taken.items():
        print(f"engine: ours {ours:.1f} s; {name} {min(times):.1f} s; {min(times) / ours:.1f} x")


def tag_of(name: str) -> str:
    """Return the tag that a way of `into_engine` gives its image."""
    return "link" if "--link" in name else "plain" if "uncompressed" in name else "copy"


def into_registry(bench: Bench, models: Models, rounds: int) -> None:
    """Measure the ways into a registry on loopback, each time an empty one."""
    bench.build(COPY, "", "copy")
    bench.append(models)
    ours, packed, plain = [], [], []
    for number in range(rounds):
        with dockerregistry.serve(bench.folder / f"registry-{number}") as found:
            ours.append(seconds(lambda to=found.address: bench.push(models, to)))
        shutil.rmtree(bench.folder / f"registry-{number}")
        for tag, times in (("copy", packed), ("ours", plain)):
            with dockerregistry.serve(bench.folder / f"registry-{number}") as found:
                name = f"{found.address}/bench/models:{tag}"
                run(["docker", "tag", f"{NAME}:{tag}", name])
                times.append(seconds(lambda to=name: run(["docker", "push", "--quiet", to])))
                run(["docker", "rmi", "-f", name])
            shutil.rmtree(bench.folder / f"registry-{number}")
    mine = min(ours)
    for what, times in (("as docker built it", packed), ("with our layers", plain)):
        print(f"registry: ours {mine:.1f} s; docker push {what} {min(times):.1f} s; "
              f"{min(times) / mine:.1f} x")  # fmt: skip
    forget("copy", "ours")


def into_archive(bench: Bench, models: Models, rounds: int) -> None:
    """Measure the archive beside `cp` of the model."""
    image = images.with_models(bench.image, models.layers)
    path, copy = bench.folder / "archive.tar", bench.folder / "copy"
    model = next(bench.folder.glob("context/*.safetensors"))
    ours, cp = [], []
    for _ in range(rounds):
        cp.append(seconds(lambda: run(["cp", "--reflink=never", str(model), str(copy)])))
        copy.unlink()
        ours.append(
            seconds(
                lambda: archiving.write(
                    bench.client,
                    bench.engine,
                    bench.base,
                    image,
                    models.layers,
                    models.source,
                    path,
                    ref=f"{NAME}:archive",
                )
            )
        )
    base = sum(layer.size for layer in bench.image.layers)
    ratio = (path.stat().st_size - base) / model.stat().st_size
    print(f"archive: ours {min(ours):.1f} s with a base of {base / 1e6:.0f} MB")
    print(f"archive: cp of the model {min(cp):.1f} s; bytes beyond the base / model {ratio:.6f}")
    path.unlink()


def one_of_ten(bench: Bench) -> None:
    """Change one of ten models, and count what a registry is sent."""
    folder = bench.folder / "ten"
    folder.mkdir()
    paths = [random_file(folder / f"{number}.safetensors", SMALLEST) for number in range(TEN)]
    with dockerregistry.serve(bench.folder / "registry-ten") as found:
        first = bench.push(Models(paths), found.address)
        written = found.written
        random_file(paths[TEN // 2], SMALLEST)
        second = bench.push(Models(paths), found.address)
        grown = found.written - written
        third = seconds(lambda: bench.push(Models(paths), found.address))
    print(f"one of ten changed: {len(second.sent)} layer sent of {len(first.sent)} before, "
          f"{grown} bytes more in the registry for {SMALLEST} of the model; "
          f"nothing changed: {third:.2f} s")  # fmt: skip


def main() -> None:
    """Measure everything in a folder of its own beside the checkout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--base", default="")
    given = parser.parse_args()
    (ROOT / ".kiln").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / ".kiln", prefix="bench-") as name:
        bench = Bench(Path(name), given.base or smallest())
        (bench.folder / "context").mkdir()
        path = bench.folder / "context" / "model.safetensors"
        models = Models([random_file(path, int(given.gib * (1 << 30)))])
        into_archive(bench, models, given.rounds)
        into_engine(bench, models, given.rounds)
        into_registry(bench, models, given.rounds)
        one_of_ten(bench)


if __name__ == "__main__":
    main()
