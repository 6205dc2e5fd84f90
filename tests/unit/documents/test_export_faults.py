"""What is wrong with an export, each by its rule and place; hostile ones cost next to nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.peers import DEV, comfydock, comfygit, packed, unpacked

from comfykiln.documents import read
from comfykiln.documents.export import format as export
from comfykiln.documents.export.write import members_of
from comfykiln.environment import Environment, Node
from comfykiln.errors import DocumentError
from comfykiln.parsing.faults import FaultyDocumentError
from comfykiln.parsing.toml_reading import toml_value

if TYPE_CHECKING:
    from pathlib import Path

HEAD = '[tool.comfydock]\ncomfyui_version = "v0.3.64"\n'
NODE = HEAD + "[tool.comfydock.nodes.a]\n"
MODELS = HEAD + "[tool.comfydock.models]\n"
WORKFLOW = HEAD + "[tool.comfydock.workflows.w]\n"
USE = WORKFLOW + "[[tool.comfydock.workflows.w.models]]\n"
LISTED = {"workflows/w.json": b'{"nodes": []}'}


def parsed(project: str, **more: bytes) -> Any:
    members = {"pyproject.toml": project.encode(), **LISTED, **more}
    return export.parse(packed(members), "x.tar.gz")


def faults(project: str, **more: bytes) -> list[tuple[str, str]]:
    with pytest.raises(FaultyDocumentError) as caught:
        parsed(project, **more)
    return [
        (fault.path.removeprefix("pyproject.toml: "), fault.rule) for fault in caught.value.records
    ]


FAULTS = [
    ("[tool.other]\n", "$", "export.table"),
    ("x = 1\n", "$", "export.required"),
    ("[tool]\ncomfydock = 1\n", "$.tool.comfydock", "export.type"),
    ("[tool.comfydock\n", "line 1 column 16", "reading.syntax"),
    ("[tool.comfydock]\na = nan\n", "$.tool.comfydock.a", "reading.number"),
    ("a = 1\na = 2\n", "line 2 column 6", "reading.syntax"),
    (HEAD + "schema_version = 3\n", "$.tool.comfydock.schema_version", "export.schema-version"),
    (
        HEAD + 'comfyui_version_type = "tag"\n',
        "$.tool.comfydock.comfyui_version_type",
        "export.enum",
    ),
    (
        '[tool.comfydock]\ncomfyui_version = "--upload-pack=x"\n',
        "$.tool.comfydock.comfyui_version",
        "ref.dash",
    ),
    (
        HEAD + 'comfyui_repository = "ext::sh"\n',
        "$.tool.comfydock.comfyui_repository",
        "url.transport",
    ),
    (HEAD + 'python_version = "three"\n', "$.tool.comfydock.python_version", "export.python"),
    (HEAD + 'torch_backend = "--pre"\n', "$.tool", "export.torch-backend"),
    (NODE + 'source = "svn"\n', "$.tool.comfydock.nodes.a.source", "export.node-source"),
    (NODE + 'source = "git"\n', "$.tool.comfydock.nodes.a", "export.repository"),
    (
        NODE + 'source = "git"\nrepository = "file:///etc"\n',
        "$.tool.comfydock.nodes.a.repository",
        "url.transport",
    ),
    (
        NODE + 'source = "git"\nrepository = "https://h/r"\nversion = "-x"\n',
        "$.tool.comfydock.nodes.a.version",
        "ref.dash",
    ),
    (NODE + 'name = "../a"\n', "$.tool.comfydock.nodes.a", "name.separator"),
    (NODE + 'criticality = "much"\n', "$.tool.comfydock.nodes.a.criticality", "export.enum"),
    (
        NODE + 'source = "registry"\nversion = ">=1"\n',
        "$.tool.comfydock.nodes.a.version",
        "export.version",
    ),
    (
        NODE + 'source = "registry"\nregistry_id = "--pre"\n',
        "$.tool.comfydock.nodes.a",
        "export.registry-id",
    ),
    (
        NODE + 'source = "registry"\ndownload_url = "ftp://a/b"\n',
        "$.tool.comfydock.nodes.a.download_url",
        "url.transport",
    ),
    (
        NODE + '[tool.comfydock.nodes.b]\nname = "a"\n',
        "$.tool.comfydock.nodes.b",
        "export.duplicate-node",
    ),
    (NODE + "[tool.comfydock.nodes.A]\n", "$.tool.comfydock.nodes.A", "name.case"),
    (
        WORKFLOW + 'path = "workflows/gone.json"\n',
        "$.tool.comfydock.workflows.w.path",
        "export.workflow",
    ),
    (USE + 'category = "vae"\n', "$.tool.comfydock.workflows.w.models[0]", "export.required"),
    (
        USE + 'filename = "a.pt"\nrelative_path = "../../a.pt"\n',
        "$.tool.comfydock.workflows.w.models[0].relative_path",
        "name.reserved",
    ),
    (MODELS + "k = {size = 1}\n", "$.tool.comfydock.models.k", "export.required"),
    (
        MODELS + 'k = {filename = "a", relative_path = "/etc/a"}\n',
        "$.tool.comfydock.models.k.relative_path",
        "path.absolute",
    ),
    (
        MODELS + 'k = {filename = "a", sha256 = "00"}\n',
        "$.tool.comfydock.models.k.sha256",
        "export.sha256",
    ),
    (
        HEAD + '[project]\ndependencies = ["--index-url=http://evil"]\n',
        "$.project.dependencies[0]",
        "requirement.option",
    ),
    (
        HEAD + '[dependency-groups]\ng = ["a b"]\n',
        "$.dependency-groups.g[0]",
        "requirement.format",
    ),
    (
        HEAD + '[tool.uv]\nconstraint-dependencies = ["-r x"]\n',
        "$.tool.uv.constraint-dependencies[0]",
        "requirement.option",
    ),
    (
        HEAD + '[[tool.uv.index]]\nurl = "file:///x"\n',
        "$.tool.uv.index[0].url",
        "url.transport",
    ),
]


@pytest.mark.parametrize(("project", "path", "rule"), FAULTS)
def test_a_broken_rule_is_told_with_its_place(project: str, path: str, rule: str) -> None:
    assert faults(project) == [(path, rule)]


def test_missing_keys_are_no_faults() -> None:
    found = parsed(
        NODE + '[tool.comfydock.nodes.b]\nrepository = "https://github.com/a/b"\n'
        '[tool.comfydock.nodes.c]\nregistry_id = "c-id"\n'
        '[tool.comfydock.models]\nk = {filename = "x.pt"}\n'
        '[[tool.comfydock.workflows.w.models]]\nfilename = "y.pt"\n'
    ).environment
    assert [(node.name, node.source, node.registry_id) for node in found.nodes] == [
        ("a", "development", None),
        ("b", "git", None),
        ("c", "registry", "c-id"),
    ]
    assert [(model.filename, model.paths) for model in found.models] == [("x.pt", ()), ("y.pt", ())]
    assert found.comfyui.version == "v0.3.64"


def test_every_fault_of_every_file_at_once() -> None:
    found = faults(
        NODE + 'name = "-a"\n',
        **{"workflows/w.json": b'{"nodes": [{"type": 1}]}', "package_config.toml": b"x ="},
    )
    assert found == [
        ("package_config.toml: its end", "reading.syntax"),
        ("$.tool.comfydock.nodes.a", "name.dash"),
        ("workflows/w.json $.nodes[0].type", "workflow.type"),
    ]


def test_more_workflows_than_anybody_has_are_refused() -> None:
    many = {f"workflows/{number}.json": b"{" for number in range(1000)}
    assert faults(HEAD, **many) == [("workflows/", "export.length")]
    large = {f"workflows/{number}.json": b" " * (10 << 20) for number in range(2)}
    assert faults(HEAD, **large) == [("workflows/", "export.length")]


def test_a_python_that_two_files_tell_differently() -> None:
    found = parsed(HEAD + 'python_version = "3.12"\n', **{".python-version": b"3.11\n"})
    assert found.environment.system.python == "3.12"
    assert [note.rule for note in found.notes] == ["export.python"]
    exact = parsed(HEAD + 'python_version = "3.11"\n', **{".python-version": b"3.11.7\n"})
    assert exact.environment.system.python == "3.11.7"
    assert faults(HEAD, **{".python-version": b"-x"}) == [(".python-version", "export.python")]


@pytest.mark.parametrize(
    ("version", "kind", "expected"),
    [
        ("v0.3.64", "release", ("v0.3.64", None, None, None)),
        ("master", "branch", (None, None, "master", None)),
        ("ab" * 20, "commit", (None, "ab" * 20, None, None)),
        ("abcdef1", "commit", (None, None, None, "abcdef1")),
        ("master", "", (None, None, "master", None)),
    ],
)
def test_what_kind_of_version_comfyui_has(
    version: str, kind: str, expected: tuple[str | None, ...]
) -> None:
    said = f'comfyui_version_type = "{kind}"\n' if kind else ""
    found = parsed(f'[tool.comfydock]\ncomfyui_version = "{version}"\n{said}').environment.comfyui
    assert (found.version, found.commit, found.branch, found.ref) == expected


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "hostile",
    [
        member(f"{DEV}/link.txt", tarfile.SYMTYPE, "/etc/hostname"),
        member(f"{DEV}/hard", tarfile.LNKTYPE, "pyproject.toml"),
        member("/etc/cron.d/x", tarfile.REGTYPE),
        member("../x", tarfile.REGTYPE),
        member("dev_nodes/pipe", tarfile.FIFOTYPE),
        member("PYPROJECT.toml", tarfile.REGTYPE),
        member("uv.lock", tarfile.REGTYPE),
    ],
)
def test_a_hostile_tarball_is_refused_whole(hostile: tarfile.TarInfo, tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(packed(comfydock(), hostile))
    with pytest.raises(DocumentError, match="refused, not a safe tarball"):
        read(path)


def test_a_folder_with_links_is_refused(tmp_path: Path) -> None:
    folder = unpacked(comfygit(), tmp_path / "folder")
    (folder / "dev_nodes" / "a").mkdir(parents=True)
    (folder / "dev_nodes" / "a" / "link").symlink_to("/etc/hostname")
    (folder / "workflows" / "a\\b.json").write_text("{}", "utf-8")
    with pytest.raises(DocumentError) as caught:
        read(folder)
    assert caught.value.faults == (
        "'dev_nodes/a/link': is a symbolic link to '/etc/hostname'",
        "'workflows/a\\\\b.json': the name has a backslash",
    )


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(packed({"a.txt": b""}))
    with pytest.raises(DocumentError, match=r"holds no pyproject\.toml"):
        read(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DocumentError, match=r"not a whole \.tar\.gz file"):
        read(path)


def test_a_folder_around_an_export_is_named(tmp_path: Path) -> None:
    """The archives of repositories that hosts hand out have one."""
    path = tmp_path / "export.tar.gz"
    path.write_bytes(packed({f"my-env-main/{name}": data for name, data in comfygit().items()}))
    with pytest.raises(DocumentError, match=r"holds no pyproject\.toml") as caught:
        read(path)
    assert caught.value.remedy == "it lies in my-env-main/: unpack it and name that folder"


def hostile_record(change: Any) -> bytes:
    """An export whose record was changed by hand, its digests included."""
    members = members_of(
        Environment(nodes=(Node(name="a", source="git", url="https://github.com/a/a"),))
    )
    record = json.loads(members["environment.json"])
    change(record["environment"])
    members["environment.json"] = json.dumps(record).encode()
    return packed(members)


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("name", "../../etc", "name.separator"),
        ("url", "ext::sh -c x", "url.transport"),
        ("ref", "--upload-pack=x", "ref.dash"),
        ("commit", "-x", "ref.dash"),
        ("identifier", "-x", "name.dash"),
        ("registry_id", "--pre", "record.value"),
        ("version", "$(x)", "record.value"),
        ("download_url", "file:///x", "url.transport"),
        ("source", "svn", "record.type"),
        ("unheard", 1, "record.unknown-key"),
    ],
)
def test_a_record_is_as_untrusted_as_any_document(key: str, value: Any, rule: str) -> None:
    def change(environment: dict[str, Any]) -> None:
        environment["nodes"][0][key] = value

    with pytest.raises(FaultyDocumentError) as caught:
        export.parse(hostile_record(change), "x.tar.gz")
    assert [fault.rule for fault in caught.value.records] == [rule]


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("packages", [{"name": "-x"}], "requirement.option"),
        ("packages", [{"name": "a", "source": "editable", "path": "--x"}], "record.path"),
        ("models", [{"filename": "a", "paths": ["/etc/a"]}], "path.absolute"),
        ("models", [{"filename": "a", "sources": [{"url": "file:///a"}]}], "url.transport"),
        ("indexes", [{"url": "--x"}], "url.dash"),
        ("torch", {"index_url": "ext::x"}, "url.transport"),
        ("torch", {"version": "-1"}, "record.value"),
        ("system", {"python": "3.11; x"}, "record.value"),
        ("comfyui", {"branch": "-b"}, "ref.dash"),
        ("resolution", {"overrides": ["--x"]}, "requirement.option"),
        ("attachments", [{"path": "../x", "data": ""}], "record.path"),
        (
            "platform_overrides",
            [{"platform": "linux", "environment": [["PATH", "x"]]}],
            "manifest.environment",
        ),
    ],
)
def test_every_part_of_a_record_is_checked(key: str, value: Any, rule: str) -> None:
    with pytest.raises(FaultyDocumentError) as caught:
        export.parse(hostile_record(lambda entry: entry.update({key: value})), "x.tar.gz")
    assert rule in [fault.rule for fault in caught.value.records]


def test_no_address_of_a_repository_can_run_a_program(tmp_path: Path) -> None:
    for address in ("ext::sh -c touch%20pwned", f"file://{tmp_path}", "--upload-pack=touch pwned"):
        with pytest.raises(DocumentError):
            export.read_repository(address)
    assert list(tmp_path.iterdir()) == []


BOMBS = {
    "dots": "b'.'.join([b'a'] * 400_000) + b'=1'",
    "quoted": "b'.'.join([b'\"a\"'] * 200_000) + b'=1'",
    "depth": "b'a=' + b'[' * 500_000",
    "tables": "b'\\n'.join(b'[k%d' % n + b'.a' * 14 + b']' for n in range(25_000))",
    "inline": "b'a=' + b'{a=' * 300_000",
    "keys": "b'\\n'.join(b'k%d=1' % n for n in range(100_000))",
    "one key": "b'a' * 1_000_000",
    "size": "b'#' * 2_000_000",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_less_than_a_second_and_128_megabytes(name: str) -> None:
    program = f"""
import time
from comfykiln.parsing.faults import FaultyDocumentError
from comfykiln.parsing.toml_reading import toml_value
data = {BOMBS[name]}
begin = time.process_time()
try:
    toml_value(data, "x.toml")
except FaultyDocumentError as error:
    rule = error.records[0].rule
peak = next(line.split()[1] for line in open("/proc/self/status") if line[:5] == "VmHWM")
print(rule, time.process_time() - begin, peak)
"""
    # Not ru_maxrss: that of a child begins at its parent's.
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    rule, seconds, peak = done.stdout.split()
    assert rule.startswith(b"reading.")
    assert float(seconds) < 1
    assert int(peak) < 128 * 1024


def test_dates_become_text() -> None:
    assert toml_value(b"a = 2026-01-02\nb = [1, true, 1.5]\n", "x") == {
        "a": "2026-01-02",
        "b": [1, True, 1.5],
    }
