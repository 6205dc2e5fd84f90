"""Build one image: plan → gather → bake → verify → seal → tag → export."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfykiln.bake.context import staged
from comfykiln.bake.delivery import Delivery
from comfykiln.bake.progress import BuildProgress
from comfykiln.engine import disk, engine, unfinished
from comfykiln.errors import KilnError
from comfykiln.export.from_build import export_build
from comfykiln.locking.relock import access_of
from comfykiln.models.selection import obtain
from comfykiln.network.host import step_secrets
from comfykiln.oci import references, registry
from comfykiln.oci.images import MODELS_LABEL
from comfykiln.plan import render
from comfykiln.plan.project import RESTORE, Project
from comfykiln.system import console, files, process
from comfykiln.verify import nodes, question, receipt
from comfykiln.verify.configuration import RECEIPT_LABEL, SOFTWARE_LABEL, configuration_of
from comfykiln.verify.gathered import gather_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import docker

    from comfykiln.gather.gather import Parts
    from comfykiln.network.indexes import IndexSettings
    from comfykiln.oci.registry import Repository
    from comfykiln.plan.plan import BuildPlan
    from comfykiln.verify.gathered import Gathered

SEAL_DOCKERFILE = """\
FROM software
COPY --link .kiln-receipt.json /app/.kiln-receipt.json
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """What a person may choose about a build."""

    tag: str | None = None
    strict: bool = False
    git_mirror: Path | None = None
    ca_bundle: Path | None = None
    export: bool = True
    cache: bool = True
    models: str = "all"
    keep: bool = True
    archive: Path | None = None
    push: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """A verified image: its name, its digest in the engine, and its export tarball.

    `pushed` is `registry/repository:tag@digest`, where it was pushed.
    """

    ref: str
    digest: str
    export: Path | None
    pushed: str | None = None


def build(
    project: Project, plan: BuildPlan, options: BuildOptions, parts: Parts | None = None
) -> Built:
    """Do the whole line for one plan; a failure on the way keeps no tag and no container.

    `parts` are what was gathered of the image's already, to lock it.
    """
    tag = options.tag or plan.tag
    the_engine = engine.connect()
    client = engine.client()
    access = access_of(project, options.git_mirror, options.ca_bundle, strict=options.strict)
    settings = access.settings
    ref = plan.ref(tag)
    target = _registry(options.push, f"{plan.target.name}-{tag}", settings)
    with console.timed("gather"):
        gathered = gather_all(project, plan, access, parts)
    models = obtain(plan.service, options.models, access, keep=options.keep)
    _require_space(the_engine, client, project, plan, gathered)
    with (
        _unfinished(client, plan) as software,
        step_secrets(settings, gathered.base.apt_sources) as secrets,
    ):
        with console.timed("bake"):
            digest = _bake(project.root, plan, gathered, software, secrets, cache=options.cache)
        record = _verified_before(client, ref, digest)
        if record is None:
            record = _verify_and_seal(client, project.root, plan, gathered, software, digest, ref)
        else:
            console.step(f"{ref} is unchanged: verified when its software was new")
            if not models.layers and _holds_models(client, ref):
                _seal(project.root, software, record, {SOFTWARE_LABEL: digest}, ref)
    delivery = Delivery(client=client, engine=the_engine, ref=ref, models=models)
    pushed = _deliver(delivery, project, options, target)
    engine.tag(client, ref, plan.latest)
    image = engine.require_image(client, ref)
    export = None
    if options.export:
        with console.timed("export"):
            export = export_build(
                project.root,
                plan,
                gathered,
                record,
                tag=tag,
                digest=str(image.id),
                settings=settings,
                models=models,
            )
    return Built(ref=ref, digest=str(image.id), export=export, pushed=pushed)


def _require_space(
    the_engine: engine.Engine,
    client: docker.DockerClient,
    project: Project,
    plan: BuildPlan,
    gathered: Gathered,
) -> None:
    known = engine.find_image(client, plan.latest) is not None
    torch = project.targets.torch_gigabytes(gathered.torch.local_tag)
    needed = disk.bytes_needed(
        torch,
        rebuild=known,
        containerd_store=the_engine.containerd_store,
        further=plan.service.gigabytes,
    )
    disk.require_space(the_engine, needed)


def _registry(push: str | None, tag: str, settings: IndexSettings) -> Repository | None:
    """Return where to push to, having seen before all work that it may be pushed to."""
    if push is None:
        return None
    found = registry.repository(references.parse(push, tag=tag), settings)
    found.require_push()
    return found


def _holds_models(client: docker.DockerClient, ref: str) -> bool:
    return MODELS_LABEL in engine.labels(engine.require_image(client, ref))


def _deliver(
    delivery: Delivery,
    project: Project,
    options: BuildOptions,
    target: Repository | None,
) -> str | None:
    """Put the models where they are wanted; returns the name in the registry, if it was pushed.

    Models that are not kept go into the archive or the registry, and not into the engine.
    """
    if options.keep:
        delivery.to_engine()
    if options.archive is not None:
        with console.timed("image archive"):
            delivery.to_archive(options.archive)
    if target is None:
        return None
    with console.timed(f"push {target.reference}"):
        sent = delivery.to_registry(target, project.store.root / "pushed")
    return f"{target.reference}@{sent.digest}"


@contextmanager
def _unfinished(client: docker.DockerClient, plan: BuildPlan) -> Iterator[str]:
    """Yield a name for the image before it is verified; the name never outlives the build.

    A build that was killed could not take its name away: the next one does.
    """
    unfinished.sweep(client)
    name = unfinished.name(plan.service.name, plan.target.name)
    try:
        yield name
    finally:
        engine.untag(client, name)


def _bake(
    root: Path,
    plan: BuildPlan,
    gathered: Gathered,
    name: str,
    secrets: Mapping[str, Path],
    *,
    cache: bool,
) -> str:
    """Build the software image and return its digest (containerd store) or id (overlay2)."""
    own: dict[str, Any] = {
        "contexts": {},
        "labels": receipt.labels(plan, gathered),
        "secret": [f"id={key},src={path}" for key, path in secrets.items()],
        **_output([name]),
    }
    if gathered.base.override:
        own["contexts"][plan.base_ref] = gathered.base.override
    _expect_rendered(root, plan)
    with staged(plan, gathered, root, RESTORE) as context:
        own["contexts"]["comfyui-source"] = str(context.comfyui)
        override = context.context.with_name(f"{plan.name}-override.json")
        files.write_bytes(override, files.canonical_json({"target": {plan.name: own}}))
        bake_files = [_bake_file(root, plan), override]
        reads = [context.comfyui, *secrets.values()]
        return _run_bake(bake_files, plan.name, root, reads=reads, cache=cache)


def _run_bake(
    bake_files: list[Path],
    target: str,
    root: Path,
    *,
    reads: Sequence[Path],
    cache: bool = True,
) -> str:
    progress = BuildProgress(verbose=bool(os.environ.get("KILN_VERBOSE")))
    metadata = root / ".kiln" / f"{target}-metadata.json"
    try:
        digest = engine.bake(
            bake_files,
            target,
            cwd=root,
            metadata=metadata,
            on_line=progress,
            reads=reads,
            cache=cache,
        )
    except process.ProgramError as error:
        raise _explained(error, progress) from error
    console.note(f"{progress.cached} step(s) reused, {progress.run} run")
    return digest


def _explained(error: process.ProgramError, progress: BuildProgress) -> KilnError:
    """Turn a failed bake into one message: the step, its last lines, what to do."""
    lines = progress.failure()
    if not lines:
        return error
    told = "\n".join(f"    {line}" for line in lines[-25:])
    return KilnError(
        f"the build step {progress.failed_name()!r} failed:\n{told}",
        remedy="fix the cause and build again: finished steps are reused "
        "(KILN_VERBOSE=1 shows every line)",
    )


def _output(tags: list[str]) -> dict[str, Any]:
    """Return how a target leaves BuildKit: named in the engine's store, as it is.

    Uncompressed, because nothing is saved by packing what the same disk unpacks again; without
    BuildKit's own attestations, because those change the digest of every build.
    """
    return {
        "tags": tags,
        "output": ["type=image,compression=uncompressed"],
        "attest": ["type=provenance,disabled=true", "type=sbom,disabled=true"],
    }


def _expect_rendered(root: Path, plan: BuildPlan) -> None:
    """Refuse to build from a Dockerfile that has drifted; one for a document is written here."""
    path = root / plan.dockerfile
    text = render.dockerfile(plan, root / "templates").encode()
    if plan.service.document:
        render.write({path: text, _bake_file(root, plan): render.bake_file([plan])})
    else:
        render.check({path: text}, root, whole=False)


def _bake_file(root: Path, plan: BuildPlan) -> Path:
    if plan.service.document:
        return (root / plan.dockerfile).with_name(render.BAKE_FILE)
    return root / "images" / render.BAKE_FILE


def _verified_before(client: docker.DockerClient, ref: str, digest: str) -> dict[str, Any] | None:
    """Return the receipt of `ref` when it was sealed over the very software `digest`.

    A receipt of an older form says less than one of today: it is made anew.
    """
    image = engine.find_image(client, ref)
    if image is None or engine.labels(image).get(SOFTWARE_LABEL) != digest:
        return None
    record = receipt.read(client, ref)
    return record if record.get("format") == receipt.FORMAT else None


def _verify_and_seal(
    client: docker.DockerClient,
    root: Path,
    plan: BuildPlan,
    gathered: Gathered,
    software: str,
    digest: str,
    ref: str,
) -> dict[str, Any]:
    with console.timed("verify: no network, read-only root"):
        expected = gathered.expectation
        answers = question.question(client, software, expected.libraries)
        faults = question.judge(answers, expected)
        if faults:
            raise question.rejected(software, faults, answers)
        console.note(
            f"answered after {answers.start_seconds:.1f} s, "
            f"ended {answers.stop_seconds:.1f} s after SIGTERM"
        )
    for line in nodes.report(gathered.nodes, answers):
        console.note(line)
    image = engine.require_image(client, software)
    made = receipt.Software(
        digest=digest,
        layers=tuple(engine.layer_digests(image)),
        configuration=configuration_of(image.attrs["Config"]),
    )
    record = receipt.write(plan, gathered, answers, made)
    with console.timed(f"seal and tag {ref}"):
        _seal(root, software, record, {SOFTWARE_LABEL: digest}, ref)
    return record


def _seal(
    root: Path, software: str, record: Mapping[str, Any], labels: dict[str, str], ref: str
) -> None:
    """Add the receipt as one more layer; only this gives the image its name."""
    with tempfile.TemporaryDirectory(prefix="kiln-seal-") as name:
        folder = Path(name)
        # A name of its own: BuildKit keeps what it got from a context of the same last name, and
        # takes a file of the same size and time for the same.
        path = folder / folder.name / receipt.PATH.rpartition("/")[2]
        files.write_bytes(path, files.canonical_json(record))
        os.utime(path, (record["plan"]["epoch"], record["plan"]["epoch"]))
        # A file, as buildx 0.13 leaves a folder behind for each `dockerfile-inline`.
        files.write_text(folder / "Dockerfile", SEAL_DOCKERFILE)
        target = {
            "context": str(path.parent),
            "dockerfile": str(folder / "Dockerfile"),
            "contexts": {"software": f"docker-image://{software}"},
            "args": {"SOURCE_DATE_EPOCH": str(record["plan"]["epoch"])},
            "labels": labels | {RECEIPT_LABEL: receipt.digest(record)},
            **_output([ref]),
        }
        bake_file = folder / "bake.json"
        files.write_bytes(bake_file, files.canonical_json({"target": {"sealed": target}}))
        _run_bake([bake_file], "sealed", root, reads=[folder])
