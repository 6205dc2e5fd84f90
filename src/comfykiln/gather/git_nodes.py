"""The custom nodes' repositories at their pins: from mirrors or their hosts, eight at a time.

What is kept and handed to builds is a pack whose bytes follow from the commit alone. Git runs with
the person's own credential helpers; nothing of them reaches the store.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from comfykiln.errors import DocumentError, NotPossibleError
from comfykiln.git import commits
from comfykiln.git.repository import GitTree, read_repository
from comfykiln.network.client import StatusError, UnavailableError
from comfykiln.network.http import page
from comfykiln.origins.attempts import Attempt, first_available
from comfykiln.parsing.values import split_url
from comfykiln.system import console, files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from comfykiln.gather.pins import NodePin
    from comfykiln.network.access import Access
    from comfykiln.plan.services import NodeRule

AT_A_TIME = 8
FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class GatheredNode:
    """A node at its pin; `repositories` are its own and those of its submodules, by their mount."""

    pin: NodePin
    repositories: Mapping[str, GitTree]

    @property
    def directory(self) -> str:
        """The node's folder below custom_nodes."""
        return self.pin.directory

    @property
    def requirements(self) -> str | None:
        """The text of its requirements.txt."""
        return self.own.requirements

    @property
    def pyproject(self) -> str | None:
        """The text of its pyproject.toml."""
        return self.own.pyproject

    @property
    def own(self) -> GitTree:
        """The node's own repository."""
        return self.repositories[""]

    @property
    def lacking(self) -> tuple[str, ...]:
        """The files that the mirror was without, below the node's folder."""
        return tuple(
            f"{mount}/{path}" if mount else path
            for mount, repository in self.repositories.items()
            for path in repository.lacking
        )


def obtain_nodes(
    pins: Sequence[NodePin], rules: Callable[[str], NodeRule], access: Access
) -> tuple[GatheredNode, ...]:
    """Return every pinned node with its submodules, in the order of `pins`.

    Raises `NotPossibleError` that names all nodes that no origin yields; `DocumentError` for nodes
    that may not be built as they are (an install.py or Git LFS pointers that no rule speaks of).
    """
    _require_hosts(pins, access)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        results = list(pool.map(partial(tried, access), pins))
    _refuse_missing(pins, [result for result in results if isinstance(result, str)])
    nodes = tuple(result for result in results if isinstance(result, GatheredNode))
    _refuse_unruled(nodes, rules)
    return nodes


def tried(access: Access, pin: NodePin) -> GatheredNode | str:
    """Return the repository at its pin with its submodules, or why no origin yields it."""
    try:
        return GatheredNode(pin=pin, repositories=dict(_with_submodules(access, pin)))
    except NotPossibleError as error:
        return f"{pin.directory}: {error.message}"


def _with_submodules(
    access: Access, pin: NodePin, mount: str = ""
) -> Iterable[tuple[str, GitTree]]:
    """Yield (mount, repository) of the node and, below it, of every submodule."""
    repository = _tree_in_store(access, pin) or _obtained(access, pin)
    yield mount, repository
    for module in repository.submodules:
        below = f"{mount}/{module.path}" if mount else module.path
        inner = type(pin)(directory=below, url=module.url, commit=module.commit)
        yield from _with_submodules(access, inner, below)


def _folder(access: Access, pin: NodePin) -> Path:
    parts = split_url(pin.url)
    return access.store.root / "nodes" / (parts.hostname or "") / parts.path.strip("/") / pin.commit


def _tree_in_store(access: Access, pin: NodePin) -> GitTree | None:
    """Return what the store has, unless it is damaged or was made from an incomplete mirror."""
    note = _folder(access, pin) / "repository.json"
    if not note.is_file():
        return None
    repository = GitTree.from_json(json.loads(note.read_bytes()), note.parent)
    whole = repository.pack.is_file() and files.sha256_file(repository.pack) == repository.sha256
    return repository if whole and not repository.lacking else None


def _obtained(access: Access, pin: NodePin) -> GitTree:
    final = _folder(access, pin)
    name = f"node-{files.sha256(str(final).encode())[:16]}"
    with access.store.lock(name), access.store.scratch(name) as work:
        attempts = list(_attempts(access, pin, work))
        source, _ = first_available(pin.directory, attempts, strict=access.strict)
        with access.store.new_folder(final) as folder:
            made = read_repository(source, pin.url, pin.commit, folder)
            files.write_bytes(folder / "repository.json", files.canonical_json(made.as_json()))
    return GitTree.from_json(made.as_json(), final)


def _attempts(access: Access, pin: NodePin, work: Path) -> Iterable[Attempt[Path]]:
    if access.mirror:
        yield Attempt(
            origin="git-mirror",
            detail=f"mirror of {pin.url}",
            fallback=True,
            get=partial(_from_mirror, access.mirror, pin),
        )
    yield Attempt(
        origin="git", detail=pin.url, fallback=False, get=partial(_fetched, access, pin, work)
    )
    if pin.fallback:
        other = replace(pin, url=pin.fallback, fallback="")
        if access.mirror:
            get = partial(_from_mirror, access.mirror, other)
            detail = f"mirror of {other.url}"
            yield Attempt(origin="git-mirror", detail=detail, fallback=True, get=get)
        get = partial(_fetched, access, other, work / "fallback")
        yield Attempt(origin="git-fallback", detail=other.url, fallback=True, get=get)


def _from_mirror(mirror: Path, pin: NodePin) -> Path:
    repository = commits.mirrored(mirror, pin.url)
    if not repository.is_dir() and repository.with_suffix("").is_dir():
        repository = repository.with_suffix("")
    commits.require_commit(repository, pin.commit)
    return repository.resolve()


def _fetched(access: Access, pin: NodePin, work: Path) -> Path:
    host = split_url(pin.url).netloc
    if reason := _unreachable(host, access):
        raise UnavailableError(f"{host}: {reason}")
    return commits.fetch_commit(
        pin.url,
        pin.commit,
        work / "repository.git",
        settings=access.settings,
        patience=access.patience,
        probe=False,
    )


def _unreachable(host: str, access: Access) -> str:
    """Return why the host gives no answer at all; a refusal is an answer."""
    try:
        page(f"https://{host}/", access.settings, patience=access.patience)
    except StatusError:
        return ""
    except UnavailableError as error:
        return error.message
    return ""


def _require_hosts(pins: Sequence[NodePin], access: Access) -> None:
    """Say within seconds which nodes are not available, where a whole host is out of reach."""
    alone = [pin for pin in pins if not pin.fallback]
    wanted = [
        pin for pin in alone if not _tree_in_store(access, pin) and not _in_mirror(access, pin)
    ]
    hosts = sorted({split_url(pin.url).netloc for pin in wanted})
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        reasons = dict(
            zip(hosts, pool.map(partial(_unreachable, access=access), hosts), strict=True)
        )
    missing = [
        f"{pin.directory}: {pin.url} at {pin.commit}"
        for pin in wanted
        if reasons[split_url(pin.url).netloc]
    ]
    if missing:
        why = "; ".join(reason for reason in reasons.values() if reason)
        _refuse_missing(pins, missing, why)


def _in_mirror(access: Access, pin: NodePin) -> bool:
    if access.mirror is None or access.strict:
        return False
    try:
        _from_mirror(access.mirror, pin)
    except UnavailableError:
        return False
    return True


def _refuse_missing(pins: Sequence[NodePin], missing: Sequence[str], why: str = "") -> None:
    if not missing:
        return
    lines = "".join(f"\n  {line}" for line in missing)
    told = f" ({why})" if why else ""
    raise NotPossibleError(
        f"{len(missing)} of {len(pins)} custom node(s) cannot be fetched{told}:{lines}",
        remedy="name a folder of mirrors (--git-mirror DIR, laid out host/owner/repo.git), "
        "or a proxy that reaches the host (https_proxy, --ca-bundle), "
        "or build the image that has none of them (--image core)",
    )


def _refuse_unruled(nodes: Sequence[GatheredNode], rules: Callable[[str], NodeRule]) -> None:
    """Refuse what no rule of service.yaml speaks of: scripts, LFS pointers, missing files."""
    faults: list[str] = []
    for node in nodes:
        name, rule = node.pin.directory, rules(node.pin.directory)
        if node.own.install_script and rule.install is None:
            faults.append(f"{name}: has an install.py; say `install: run` or `install: skip`")
        pointers = [path for repository in node.repositories.values() for path in repository.lfs]
        if pointers and not rule.lfs_pointers:
            faults.append(
                f"{name}: {len(pointers)} file(s) are Git LFS pointers ({pointers[0]}), "
                f"whose content is not fetched; say `lfs_pointers: true` to keep them as they are"
            )
        surplus = [path for path in node.lacking if path not in rule.may_lack]
        if surplus:
            faults.append(
                f"{name}: the mirror lacks {len(surplus)} file(s): {', '.join(surplus[:5])}"
            )
        elif node.lacking:
            console.warn(f"{name}: made without {', '.join(node.lacking)}, which the mirror lacks")
    if faults:
        raise DocumentError(
            f"{len(faults)} custom node(s) may not be built as they are",
            faults=faults,
            remedy="write the rule below `nodes:` of the image's service.yaml "
            "(with --from: in a file for --rules, or say --post-install run or skip), "
            "or fix the mirror",
        )
