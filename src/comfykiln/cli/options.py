"""Every option of every task: its name, type, default and meaning, each written once.

One record a task. `@task` of `comfykiln.cli.program` makes the options of the command line from
its fields; a field without a default is given by its place, without its flag. Standard library
only, since every start reads this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from comfykiln.cli import shared
from comfykiln.cli.fields import option, place, required

PythonMatch = Literal["exact", "minor", "any"]
Strictness = Literal["prefer", "exact"]
PostInstall = Literal["run", "skip"]
Origins = Literal["any", "strict"]
Models = Literal["all", "required", "skip"]
FetchedModels = Literal["all", "required"]
Tier = Literal["unit", "engine", "real"]
AllOrNone = Literal["all", "none"]
DiffFormat = Literal["text", "markdown", "json"]
Captured = Literal["direct", "all", "none"]
EVERY = "every image of the repository"


@dataclass(frozen=True, kw_only=True, slots=True)
class NoOptions:
    """A task that takes no options."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Json:
    """A task whose result is for people, or for programs."""

    json: bool = shared.as_json()


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetImage:
    """Which image for which accelerator."""

    target: str | None = required("the accelerator: a target of images/targets.yaml")
    image: str | None = shared.image()


@dataclass(frozen=True, kw_only=True, slots=True)
class FromDocument(TargetImage):
    """An image of the repository, or with `from_` one from a document; the others need it."""

    from_: str | None = option(
        "a document of any kind to take in place of an image of the repository (docs/from.md)",
        unset="an image of the repository",
    )
    ref: str | None = shared.git_ref()
    comfyui: str | None = option(
        "a pinned release of ComfyUI, such as v0.30.0, to take whatever the document names",
        unset="the one of the document",
    )
    python_match: PythonMatch = option(
        "how close the image's Python must be to the document's", "exact", choices=PythonMatch
    )
    packages: Strictness = option(
        "whether the document's versions may give way (prefer) or not (exact: exit code 4)",
        "prefer",
        choices=Strictness,
    )
    post_install: PostInstall | None = option(
        "what to do with the install.py of a node that no rule names",
        unset="such a node is refused",
        choices=PostInstall,
    )
    leave_out: str = option("nodes and packages to leave out, with commas", "", unset="none")
    rules: str | None = option("a file with keys of service.yaml for the image", unset="none")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan(FromDocument):
    """The options of `plan`."""

    json: bool = shared.as_json()


@dataclass(frozen=True, kw_only=True, slots=True)
class Build(FromDocument):
    """The options of `build`."""

    tag: str | None = option("a tag of your own, behind TARGET-", unset="made from the inputs")
    origins: Origins = option(
        "from where things may come: any of their origins and mirrors, or the first alone",
        "any",
        choices=Origins,
    )
    git_mirror: str | None = shared.git_mirror()
    ca_bundle: str | None = shared.ca_bundle()
    models: Models = option("the locked models to put into the image", "all", choices=Models)
    archive: str | None = option("a file to write the image to, as an OCI archive", unset="none")
    push: str | None = option(
        "the HOST/REPOSITORY or HOST/REPOSITORY:TAG to push the image to", unset="nowhere"
    )
    export: bool = option("write the export tarball to dist/", default=True)
    cache: bool = option("use steps of earlier builds that are unchanged", default=True)
    store: bool = option(
        "keep the models in the store; without it --archive or --push is needed", default=True
    )
    json: bool = shared.as_json()


@dataclass(frozen=True, kw_only=True, slots=True)
class Render:
    """The options of `render`."""

    check: bool = option(
        "write nothing; exit code 4 where a file is not as rendered", default=False
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class LockCheck:
    """The options of `lock.check`."""

    image: str | None = shared.image()
    git_mirror: str | None = shared.git_mirror()
    ca_bundle: str | None = shared.ca_bundle()


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock(LockCheck):
    """The options of `lock`."""

    upgrade: str = option(
        "packages that may leave their locked version, with commas between, or all",
        "",
        unset="none",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Run(TargetImage):
    """The options of `run`."""

    tag: str | None = option("the tag that was given to the build", unset="the latest build")
    port: int = option("the port on this machine's loopback address", 8188)
    models: str | None = option(
        "a folder of models to show to ComfyUI", unset="the locked models, from the store"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Verify(Json):
    """The options of `verify`."""

    ref: str | None = required("the image, such as comfykiln/core:cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Test:
    """The options of `test`."""

    tier: Tier | None = option("one tier of tests alone", unset="lint, then all", choices=Tier)


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentCheck(Json):
    """The options of `snapshot.check` and `manifest.check`."""

    file: str = shared.document()


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotConvert(Json):
    """The options of `snapshot.convert`."""

    file: str = shared.document()
    to: str = option("the kind to write", "snapshot", choices=shared.kinds)
    out: str | None = shared.out()
    packages: AllOrNone = option("which packages to write", "all", choices=AllOrNone)
    python: str | None = shared.version("Python")
    torch: str | None = shared.version("torch")
    comfyui: str | None = shared.version("ComfyUI")


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotPin(Json):
    """The options of `snapshot.pin`."""

    file: str = shared.document()
    ref: str | None = shared.git_ref()
    out: str | None = option("a file for a pinned copy", unset="a text is changed where it lies")
    git_mirror: str | None = shared.git_mirror()
    write: bool = option("write the pins, besides showing them", default=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotDiff:
    """The options of `snapshot.diff`."""

    a: str = place("the document before: a file, a folder or an https address")
    b: str = place("the document after")
    format: DiffFormat = option("how to write what differs", "text", choices=DiffFormat)
    git_mirror: str | None = shared.git_mirror()


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotSave(Json):
    """The options of `snapshot.save`."""

    ref: str = place("a container, an image or a ComfyUI folder")
    out: str | None = shared.out()
    folder: str = shared.folder()


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestCommands(Json):
    """The options of `manifest.commands`."""

    file: str = place("the manifest, a file")
    platform: str = option(
        "the platform to write the commands for",
        "",
        unset="this machine's",
        choices=shared.platforms,
    )
    torch_backend: str = option("a torch build, such as cpu or cu130", "", unset="the manifest's")


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestMinimize:
    """The options of `manifest.minimize`."""

    file: str = place("the manifest, a file")
    out: str = option("the file to write", "", unset="standard output")


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestCapture(Json):
    """The options of `manifest.capture`."""

    source: str = place("a ComfyUI folder, a container or an image")
    out: str = option("the file to write; a lock comes beside it", "comfyui_migration.json")
    packages: Captured = option(
        "the packages to name: those that nothing else requires, all, or the torch family alone",
        "direct",
        choices=Captured,
    )
    folder: str = shared.folder()


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelsLock:
    """The options of `models.lock`."""

    image: str | None = shared.image(unset=EVERY)
    check: bool = option("write nothing; exit code 4 where a lock does not fit", default=False)
    upgrade: str = option(
        "models to ask for again, by name with commas between, or all", "", unset="none"
    )
    ca_bundle: str | None = shared.ca_bundle()


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelsList(Json):
    """The options of `models.list`."""

    image: str | None = shared.image(unset=EVERY)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelsFetch(ModelsList):
    """The options of `models.fetch`."""

    to: str | None = option(
        "a folder to copy them to, laid out as models/", unset="the store alone"
    )
    only: str = option("models by name, with commas between", "", unset="see --models")
    models: FetchedModels = option("which models, by criticality", "all", choices=FetchedModels)
    ca_bundle: str | None = shared.ca_bundle()


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelsAddFrom(Json):
    """The options of `models.add-from`."""

    document: str = shared.document()
    image: str | None = shared.image()


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelsAddSource:
    """The options of `models.add-source`."""

    image: str | None = shared.image(unset=EVERY)
    name: str | None = option("the model, by its name", unset="each model without a source")
    source: str | None = option("the source, as in docs/models.md", unset="it is asked for")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelsPush(Json):
    """The options of `models.push`."""

    image: str | None = shared.image()
    ref: str | None = required("the name to push as: HOST/REPOSITORY:TAG")
    models: Models = option("which locked models", "all", choices=Models)
    ca_bundle: str | None = shared.ca_bundle()
    store: bool = option("keep the models in the store", default=True)
