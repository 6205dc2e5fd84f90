"""Measures what survives each conversion, on an environment that uses every field.

`python bench/conversions.py docs/conversions.md` renews the page; a test holds it against this.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from comfykiln.documents import write
from comfykiln.documents.convert import complete, convert, reread
from comfykiln.documents.formats import format_of, writable
from comfykiln.documents.losses import losses
from comfykiln.environment import (
    Attachment,
    ComfyUISpec,
    Credential,
    Digest,
    Environment,
    Extra,
    Index,
    Metadata,
    Model,
    ModelSource,
    ModelUse,
    Node,
    Package,
    PlatformOverride,
    Resolution,
    Submodule,
    SystemSpec,
    TorchSpec,
    WidgetUse,
    Workflow,
)

BEGIN, END = "<!-- made by bench/conversions.py -->", "<!-- end -->"
PIN, OTHER, SHA = "1" * 40, "2" * 40, "a" * 64
TARGETS = writable()
SOURCES = (*TARGETS, "workflow")
SHOWN_ANYWAY = {"nodes", "nodes[].commit", "packages", "packages[].version", "comfyui.commit"}
GRAPH = {
    "nodes": [
        {
            "id": 1,
            "type": "CheckpointLoaderSimple",
            "properties": {
                "cnr_id": "comfy-core",
                "ver": "0.3.64",
                "models": [
                    {
                        "name": "a.safetensors",
                        "url": "https://example.org/a.safetensors",
                        "directory": "checkpoints",
                    }
                ],
            },
            "widgets_values": ["a.safetensors"],
        },
        {
            "id": 2,
            "type": "SampleNode",
            "properties": {"aux_id": "example/comfyui-sample", "ver": PIN},
        },
    ],
    "links": [],
}

NODES = (
    Node(
        name="comfyui-sample",
        source="git",
        url="https://github.com/example/comfyui-sample",
        commit=PIN,
        ref="main",
        fallback_url="https://codeberg.org/example/comfyui-sample",
        has_requirements=True,
        has_post_install=True,
        install_order=1,
        criticality="required",
        submodules=(Submodule(path="sub", url="https://github.com/example/sub", commit=OTHER),),
    ),
    Node(name="comfyui-off", source="git", url="https://github.com/o/comfyui-off", disabled=True),
    Node(
        name="comfyui-registered",
        source="registry",
        registry_id="comfyui-registered",
        version="1.2.3",
        url="https://github.com/example/comfyui-registered",
        download_url="https://cdn.example.org/node.zip",
        dependency_sources=("comfyui-registered-1a2b3c4d",),
        identifier="registered",
    ),
    Node(
        name="comfyui-archive",
        source="archive",
        url="https://example.org/comfyui-archive.tar.gz",
        sha256=SHA,
    ),
    Node(name="comfyui-local", source="local", url="/srv/comfyui-local"),
    Node(name="single_file.py", source="file"),
    Node(name="comfyui-own", source="development"),
)
PACKAGES = (
    Package(name="numpy", version="1.26.4"),
    Package(name="aiohttp", specifier=">=3.11.8", extras=("speedups",)),
    Package(name="sample-win", version="1.0", marker='sys_platform == "win32"'),
    Package(
        name="tool",
        source="git",
        url="https://github.com/example/tool.git",
        ref=PIN,
        subdirectory="python",
    ),
    Package(
        name="wheel-tool", source="url", url="https://example.org/w-1-py3-none-any.whl", sha256=SHA
    ),
    Package(name="here", source="editable", path="/srv/here"),
    Package(name="colorama", version="0.4.6", group="comfyui-own-1a2b3c4d"),
)
MODELS = (
    Model(
        filename="a.safetensors",
        paths=("models/checkpoints/a.safetensors", "models/checkpoints/b.safetensors"),
        category="checkpoints",
        kind="checkpoint",
        label="A model",
        size=7,
        digests=(
            Digest(algorithm="sha256", value=SHA),
            Digest(algorithm="crc32", value="0a0b0c0d"),
        ),
        sources=(
            ModelSource(
                url="https://example.org/a.safetensors",
                page="https://example.org/a",
                hub="example",
                repository="example/a",
                revision="main",
                path="a.safetensors",
            ),
            ModelSource(url="https://mirror.example.org/a.safetensors"),
        ),
        criticality="required",
        disabled=True,
        uses=(
            ModelUse(
                workflow="sample",
                criticality="required",
                status="resolved",
                widgets=(
                    WidgetUse(
                        node_id="1",
                        node_type="CheckpointLoaderSimple",
                        index=0,
                        value="a.safetensors",
                    ),
                ),
            ),
        ),
    ),
)
FULL = Environment(
    name="sample",
    comfyui=ComfyUISpec(
        version="v0.3.64", commit=OTHER, repository="https://github.com/Comfy-Org/ComfyUI.git"
    ),
    system=SystemSpec(
        python="3.11.7",
        requires_python=">=3.11",
        platform="linux",
        architecture="x86_64",
        cuda="12.1",
        cuda_stated=True,
    ),
    torch=TorchSpec(
        version="2.1.0+cu121",
        backend="cu121",
        index_url="https://download.pytorch.org/whl/cu121",
        packages=(Package(name="torch", version="2.1.0+cu121"),),
    ),
    nodes=NODES,
    packages=PACKAGES,
    models=MODELS,
    workflows=(
        Workflow(
            name="sample",
            data=json.dumps(GRAPH).encode(),
            path="workflows/sample.json",
            node_types=("SampleNode",),
            packs=("comfyui-sample",),
            node_map=(("SampleNode", "comfyui-sample"),),
        ),
    ),
    indexes=(Index(url="https://packages.example.org/simple", name="own", explicit=True),),
    resolution=Resolution(
        constraints=("numpy<2",),
        overrides=("pillow>=11",),
        excludes=("opencv-python",),
        substitutions=(("opencv-python", "opencv-python-headless"),),
    ),
    platform_overrides=(
        PlatformOverride(
            platform="win32",
            packages=(Package(name="windows-curses", version="2.3.1"),),
            excludes=("uvloop",),
            environment=(("OMP_NUM_THREADS", "1"),),
        ),
    ),
    credentials=(Credential(host="example.org", variable="EXAMPLE_TOKEN"),),
    attachments=(Attachment(path="dev_nodes/comfyui-own/__init__.py", data=b"", executable=True),),
    metadata=Metadata(
        generated_at="2026-01-02T03:04:05Z",
        generator_version="1.0",
        source_path="/srv/ComfyUI",
        capture_duration_ms=12,
        state="exportable",
    ),
    extras=(Extra(kind="snapshot", path="timestamp", json='"2026-01-02"'),),
)


def main() -> None:
    """Print the tables, or renew them in the page that is named."""
    if len(sys.argv) == 1:
        sys.stdout.write(tables())
        return
    page = Path(sys.argv[1])
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{tables()}{END}{after}", encoding="utf-8")


def tables() -> str:
    """Return both tables as Markdown."""
    return f"{_holdings()}\n{_pairs()}"


def _lost(environment: Environment, kind: str) -> tuple[str, ...]:
    """Return the places that a conversion to `kind` loses, or why there is none."""
    known = environment
    if kind == "manifest":
        system, torch, spec = environment.system, environment.torch, environment.comfyui
        known = complete(
            environment,
            python=None if system.python else "3.11.7",
            torch=None if torch.version else "2.1.0+cu121",
            comfyui=None if spec.wanted else "v0.3.64",
        )
    found = convert(known, kind).losses
    return tuple(dict.fromkeys(note.path for note in found))


def _as_read(kind: str) -> Environment:
    """Return what a document of `kind` can say of the full environment."""
    if kind == "workflow":
        return format_of(kind).parse(FULL.workflows[0].data, "sample.json").environment
    return reread(write(FULL, kind))


def _holdings() -> str:
    after = {kind: _as_read(kind) for kind in TARGETS}
    lost = {kind: {note.path for note in losses(FULL, after[kind])} for kind in TARGETS}
    paths = sorted({path for found in lost.values() for path in found} | SHOWN_ANYWAY)
    rows = [f"| | {' | '.join(TARGETS)} |", "|---" * (len(TARGETS) + 1) + "|"]
    for path in paths:
        cells = [_cell(path, after[kind], path in lost[kind]) for kind in TARGETS]
        rows.append(f"| `{path}` | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _cell(path: str, after: Environment, is_lost: bool) -> str:  # noqa: FBT001  # one cell
    """Say how much of what the sample states at `path` is read back."""
    before_count, after_count = _count(FULL, path), _count(after, path)
    if not after_count:
        return "no"
    return "part" if is_lost or after_count < before_count else "yes"


def _count(record: Any, path: str) -> int:
    """Count the values at a path such as `models[].digests`; lists count their members."""
    if not path:
        return len(record) if isinstance(record, tuple) else 1
    name, _, rest = path.partition(".")
    value = getattr(record, name.removesuffix("[]"))
    if value in (None, (), False, ""):
        return 0
    if name.endswith("[]"):
        return sum(_count(entry, rest) for entry in value)
    return _count(value, rest)


def _pairs() -> str:
    rows = ["## Each pair", "", "| from | to | lost |", "|---|---|---|"]
    for source in SOURCES:
        environment = _as_read(source)
        rows += [
            f"| {source} | {target} | {_listed(_lost(environment, target))} |" for target in TARGETS
        ]
    return "\n".join(rows) + "\n"


def _listed(paths: tuple[str, ...]) -> str:
    return ", ".join(f"`{path}`" for path in paths) or "nothing"


if __name__ == "__main__":
    main()
