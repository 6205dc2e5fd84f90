from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from tests.support.sites import Answer, Site, closed, site
from tests.support.ways import access

from comfykiln.errors import KilnError, NotPossibleError
from comfykiln.network.indexes import IndexSettings
from comfykiln.origins.comfyui import obtain_comfyui
from comfykiln.origins.filelist import list_tree
from comfykiln.plan.origins import ComfyUISpec, Correction, GitOrigin, OriginUse, SdistOrigin
from comfykiln.system.store import Store

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"main.py": b"print('ui')\n", "requirements.txt": b"torch\nfront==2\n", "nodes/a.py": b""}
SDIST = "wrapper-1.0.tar.gz"


@dataclass(frozen=True, kw_only=True)
class World:
    """A ComfyUI of three files: its spec, a mirror of its repository, an index with its sdist."""

    spec: ComfyUISpec
    store: Store
    mirror: Path
    index: Site

    @property
    def settings(self) -> IndexSettings:
        return IndexSettings(default_index=f"{self.index.url}/simple")

    def obtain(self, *, strict: bool = False, mirror: Path | None = None) -> tuple[Path, OriginUse]:
        return obtain_comfyui(
            self.spec, access(self.store, self.settings, strict=strict, mirror=mirror)
        )

    @property
    def stored(self) -> list[str]:
        """What the store has beside its locks."""
        files = (path for path in self.store.root.rglob("*") if path.is_file())
        names = sorted(str(path.relative_to(self.store.root)) for path in files)
        return [name for name in names if not name.startswith("locks/")]


def run(*argv: str, cwd: Path) -> str:
    return subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def sdist(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"wrapper-1.0/vendor/UI/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return packed.getvalue()


@pytest.fixture
def world(tmp_path: Path) -> object:
    tree = tmp_path / "work"
    for name, data in FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    (tree / "main.py").chmod(0o755)
    listed = tmp_path / "v9.files"
    listed.write_text(list_tree(tree))
    (tree / "unlisted").write_text("")
    run("git", "init", "-q", "-b", "main", cwd=tree)
    run("git", "add", "-A", cwd=tree)
    author = ("-c", "user.name=T", "-c", "user.email=t@example.invalid")
    run("git", *author, "commit", "-q", "-m", "v9", cwd=tree)
    mirror = tmp_path / "mirror"
    bare = mirror / "127.0.0.1" / "o" / "r.git"
    run("git", "clone", "-q", "--bare", str(tree), str(bare), cwd=tmp_path)
    data = sdist({**FILES, "requirements.txt": b"torch\nfront==3\n"})
    answers = {
        "/simple/wrapper/": Answer(body=f'<a href="/f/{SDIST}">x</a>'.encode()),
        f"/f/{SDIST}": Answer(body=data),
    }
    origin = SdistOrigin(
        project="wrapper",
        file=SDIST,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        folder="vendor/UI",
        corrections=(Correction(path="requirements.txt", old="front==3", new="front==2"),),
    )
    spec = ComfyUISpec(
        version="9",
        commit=run("git", "rev-parse", "HEAD", cwd=tree),
        files=listed,
        content=hashlib.sha256(listed.read_bytes()).hexdigest(),
        origins=(GitOrigin(url=f"{closed()}/o/r"), origin),
    )
    with site(answers) as index:
        yield World(spec=spec, store=Store(root=tmp_path / "store"), mirror=mirror, index=index)


def contents(folder: Path) -> dict[str, tuple[bytes, int, float]]:
    return {
        str(path.relative_to(folder)): (
            path.read_bytes(),
            path.stat().st_mode & 0o777,
            path.stat().st_mtime,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


TREE = {
    "main.py": (FILES["main.py"], 0o755, 1_760_000_000),
    "requirements.txt": (FILES["requirements.txt"], 0o644, 1_760_000_000),
    "nodes/a.py": (b"", 0o644, 1_760_000_000),
}


def test_a_dead_git_host_leaves_the_sdist_with_the_same_content(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, use = world.obtain()

    assert contents(folder) == TREE
    sha256 = world.spec.origins[1].sha256  # type: ignore[union-attr]  # the second is the sdist
    assert use == OriginUse(
        thing="comfyui",
        identity=f"{world.spec.commit} sha256:{world.spec.content}",
        origin="sdist",
        detail=f"vendor/UI of {SDIST}, sha256 {sha256}, 1 line(s) corrected",
        fallback=True,
    )
    assert "ComfyUI 9: not from git: http://127.0.0.1" in capsys.readouterr().err
    content = world.spec.content
    assert world.stored == [
        f"comfyui/{content}.json",
        *(f"comfyui/{content}/{name}" for name in sorted(FILES)),
        f"sha256/{sha256[:2]}/{sha256}",
    ]


def test_a_mirror_gives_the_same_tree(world: World) -> None:
    folder, use = world.obtain(mirror=world.mirror)

    assert contents(folder) == TREE
    assert (use.origin, use.fallback) == ("git-mirror", True)
    assert use.identity == f"{world.spec.commit} sha256:{world.spec.content}"
    assert world.index.paths == []


def test_a_second_call_asks_nobody(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    first = world.obtain()
    asked = len(world.index.asked)
    capsys.readouterr()

    assert world.obtain() == first

    assert len(world.index.asked) == asked
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", ["changed", "gone", "more", "link", "mode", "note"])
def test_a_damaged_store_is_fixed(world: World, damage: str) -> None:
    folder, use = world.obtain()
    if damage == "changed":
        (folder / "main.py").write_bytes(b"print('UI')\n")
        os.utime(folder / "main.py", (1_760_000_000, 1_760_000_000))
    elif damage == "gone":
        (folder / "nodes" / "a.py").unlink()
    elif damage == "more":
        (folder / "nodes" / "b.py").write_bytes(b"evil")
    elif damage == "link":
        (folder / "main.py").rename(folder / "other.py")
        (folder / "main.py").symlink_to("other.py")
    elif damage == "mode":
        (folder / "main.py").chmod(0o644)
    else:
        folder.with_name(f"{folder.name}.json").unlink()

    assert world.obtain() == (folder, use)
    assert contents(folder) == TREE


def test_a_damaged_sdist_in_the_store_is_fetched_again(world: World) -> None:
    world.obtain()
    origin = world.spec.origins[1]
    assert isinstance(origin, SdistOrigin)
    world.store.path(origin.sha256).write_bytes(b"damaged")
    (world.store.root / "comfyui" / world.spec.content / "main.py").unlink()

    folder, _ = world.obtain()

    assert contents(folder) == TREE
    assert world.index.paths.count(f"/f/{SDIST}") == 2


def test_strict_takes_the_first_origin_alone(world: World) -> None:
    world.obtain()
    with pytest.raises(NotPossibleError) as caught:
        world.obtain(strict=True, mirror=world.mirror)

    url = world.spec.repository
    assert caught.value.exit_code == 3
    assert str(caught.value) == (
        "ComfyUI 9 is not available from its first origin, "
        "and --origins strict forbids the others:\n"
        f"  git: {url}/info/refs: Connection refused\n"
        "  → fix the way to it (network, --ca-bundle, proxy), or build without --origins strict"
    )


def test_an_sdist_of_other_bytes_than_pinned_is_refused(world: World) -> None:
    data = sdist({**FILES, "main.py": b"evil"})
    size = world.index.answers[f"/f/{SDIST}"].body
    world.index.answers[f"/f/{SDIST}"] = Answer(body=data.ljust(len(size), b"\0")[: len(size)])

    with pytest.raises(KilnError) as caught:
        world.obtain()

    assert caught.value.exit_code == 1
    assert caught.value.message.startswith(
        f"{world.index.url}/f/{SDIST}: expected the sha256 {world.spec.origins[1].sha256}, found "  # type: ignore[union-attr]  # the second is the sdist
    )
    assert world.stored == []


def test_a_tree_that_is_not_the_pinned_one_is_refused(world: World) -> None:
    text = world.spec.files.read_text()
    wrong = text.replace(hashlib.sha256(FILES["main.py"]).hexdigest(), "0" * 64)
    world.spec.files.write_text(wrong)
    changed = replace(world, spec=replace(world.spec, content="f" * 64))

    for mirror in (None, world.mirror):
        with pytest.raises(KilnError) as caught:
            changed.obtain(mirror=mirror)
        assert not isinstance(caught.value, NotPossibleError)
        assert "is not the pinned tree:\n  main.py: other bytes than pinned" in str(caught.value)
    assert not [name for name in changed.stored if not name.startswith("sha256/")]


def test_where_no_origin_is_left_every_reason_is_told(world: World) -> None:
    world.index.answers.clear()
    with pytest.raises(NotPossibleError) as caught:
        world.obtain(mirror=world.mirror / "empty")

    empty = world.mirror / "empty" / "127.0.0.1" / "o" / "r.git"
    index = world.index.url
    assert caught.value.message == (
        "ComfyUI 9 is available from none of its origins:\n"
        f"  git-mirror: {empty} is no git repository\n"
        f"  git: {world.spec.repository}/info/refs: Connection refused\n"
        f"  sdist: {index}/simple/wrapper/: answers 404"
    )
    assert world.stored == []


def test_an_index_that_ends_early_leaves_the_next(world: World, tmp_path: Path) -> None:
    answer = world.index.answers[f"/f/{SDIST}"]
    world.index.answers[f"/f/{SDIST}"] = replace(answer, cut=100, headers={"Connection": "close"})
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / SDIST).write_bytes(answer.body)
    settings = replace(world.settings, find_links=(str(tmp_path / "links"),))

    folder, use = obtain_comfyui(world.spec, access(world.store, settings))

    assert contents(folder) == TREE
    assert use.origin == "sdist"


def test_the_note_beside_the_tree_is_the_use(world: World) -> None:
    folder, use = world.obtain()
    note = json.loads(folder.with_name(f"{folder.name}.json").read_text())
    assert OriginUse(**note) == use
