"""The commands of a manifest: whole lists for the specification's examples, and a real run.

What the real uv 0.13.8 did with the commands of the three examples, run by hand on 2026-11-20 with
Python 3.11.7, the package index in reach, download.pytorch.org and github.com not:

- 7.1: `uv venv` and `uv pip install` ended with 0; 30 packages, torch 2.1.0 and twelve nvidia-*
  among them: what the specification says, and what `advice.cpu-cuda-wheels` warns of.
- 7.2: `uv venv` 0; the torch step 2 (its index could not be reached); the packages 0: numpy 1.24.3,
  opencv-python 4.8.0.74, pillow 10.0.0, scipy 1.11.4.
- 7.3: `uv venv` 0; the packages resolve to 41 with torch 2.1.0 as constrained; the git package 1
  (host not in reach); the editable one 1 (`Distribution not found`: the folder is not here).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from tests.support.manifests import changed, encoded, whole
from tests.support.wheelindex import serving, wheel

from comfykiln.documents.manifest import parse as manifest
from comfykiln.documents.manifest.steps import as_data, plan, text
from comfykiln.environment import Environment, PlatformOverride
from comfykiln.errors import DocumentError
from comfykiln.network.indexes import uv_program

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parent / "data"
LINUX = "linux-x86_64"
PYTORCH = "https://download.pytorch.org/whl/cu121"
COMFYUI = [
    "git init --quiet",
    "git remote add origin https://github.com/Comfy-Org/ComfyUI.git",
    "git fetch --depth 1 -- origin v0.3.47",
    "git checkout --quiet --detach FETCH_HEAD",
    "uv pip install -r requirements.txt",
]
CLONE = "git clone --depth 1 --recurse-submodules --shallow-submodules"
LOCK = "uv pip freeze > migration-lock.txt"


def example(name: str) -> Environment:
    return manifest.parse((DATA / f"manifest-{name}.json").read_bytes(), name).environment


def lines(environment: Environment, where: str = LINUX, **options: str) -> list[str]:
    """The commands as a person sees them, without the comments."""
    _, stop, *others = text(plan(environment, where, **options)).splitlines()
    assert stop == "set -e  # the first command that fails ends it"
    return [line for line in others if not line.startswith("#")]


def test_the_cpu_example() -> None:
    pins = "torch==2.1.0 torchvision==0.16.0 numpy==1.24.3 pillow==10.0.0"
    assert lines(example("cpu")) == [
        f"printf '%s\\n' {pins} > migration-constraints.txt",
        "export UV_CONSTRAINT=migration-constraints.txt",
        "uv venv --python 3.11.7",
        f"uv pip install {pins}",
        *COMFYUI,
        LOCK,
    ]


def test_the_gpu_example() -> None:
    torch = "torch==2.1.0 torchvision==0.16.0 torchaudio==2.1.0"
    others = "numpy==1.24.3 opencv-python==4.8.0.74 pillow==10.0.0 scipy==1.11.4"
    node = "custom_nodes/ComfyUI-Manager"
    url = "https://github.com/ltdrdata/ComfyUI-Manager/archive/2f377ef.tar.gz"
    assert lines(example("gpu")) == [
        f"printf '%s\\n' {torch} {others} > migration-constraints.txt",
        "export UV_CONSTRAINT=migration-constraints.txt",
        "uv venv --python 3.11.7",
        f"uv pip install --index-url {PYTORCH} {torch}",
        f"uv pip install {others}",
        *COMFYUI,
        f"curl --fail --location --output {node}.tar.gz --url {url}",
        f"mkdir -p -- {node}",
        f"tar -x -f {node}.tar.gz -C {node} --strip-components 1",
        f"rm -- {node}.tar.gz",
        f"uv run --no-project --directory {node} python install.py",
        LOCK,
    ]


def test_the_development_example() -> None:
    torch = "torch==2.1.0 torchvision==0.16.0 torchaudio==2.1.0"
    others = (
        "numpy==1.24.3 scipy==1.11.4 opencv-python==4.8.0.74 "
        "transformers==4.35.2 accelerate==0.24.1"
    )
    pack = "custom_nodes/ComfyUI-Impact-Pack"
    manager = "custom_nodes/ComfyUI-Manager"
    archive = "https://github.com/ltdrdata/ComfyUI-Impact-Pack/archive/4d52e84.tar.gz"
    assert lines(example("development")) == [
        f"printf '%s\\n' {torch} {others} > migration-constraints.txt",
        "export UV_CONSTRAINT=migration-constraints.txt",
        "uv venv --python 3.11.7",
        f"uv pip install --index-url {PYTORCH} {torch}",
        f"uv pip install {others}",
        "uv pip install 'my_nodes @ git+https://github.com/myuser/private-nodes.git@dev'",
        "uv pip install -e /home/user/dev/custom-sampler",
        *COMFYUI[:2],
        "git fetch --filter=blob:none -- origin",
        "git checkout --quiet --detach abc1234",
        COMFYUI[4],
        f"curl --fail --location --output {pack}.tar.gz --url {archive}",
        f"mkdir -p -- {pack}",
        f"tar -x -f {pack}.tar.gz -C {pack} --strip-components 1",
        f"rm -- {pack}.tar.gz",
        f"{CLONE} --branch main -- https://github.com/ltdrdata/ComfyUI-Manager.git {manager}",
        f"uv pip install -r {pack}/requirements.txt",
        f"uv run --no-project --directory {manager} python install.py",
        LOCK,
    ]


def test_every_kind_of_node_and_package_and_its_fallback() -> None:
    found = lines(manifest.parse(encoded(whole()), "m.json").environment)
    install = "uv pip install --index https://packages.example.org/simple"
    wheel_path = "./wheels/six-1.16.0-py3-none-any.whl"
    subdirectory = "#subdirectory=python/core"
    clone = "git clone --filter=blob:none --no-checkout --"
    folder = "custom_nodes/by-git"
    hosts = ("github.com", "codeberg.org")
    archive = "custom_nodes/by-archive"
    address = "https://github.com/example-nodes/by-archive/archive/2f377ef.tar.gz"
    comfy = "comfy --skip-prompt --workspace . node install --exit-on-fail"
    assert found[2:] == [
        "uv venv --python 3.11.7",
        f"uv pip install --index-url {PYTORCH} torch==2.1.0 torchvision==0.16.0 torchaudio==2.1.0",
        f"{install} numpy==1.24.3 'opencv-python[extra,more]==4.8.0.74'",
        f"{install} 'my_nodes @ git+https://github.com/example/private.git@dev{subdirectory}'",
        f"{install} -e ../sampler",
        f"{install} 'six @ {wheel_path}#sha256={'ab' * 32}'",
        *COMFYUI[:4],
        f"{install} -r requirements.txt",
        " || ".join(f"{clone} https://{host}/example-nodes/by-git.git {folder}" for host in hosts),
        f"git -C {folder} checkout --quiet --detach 0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
        f"git -C {folder} submodule update --init --recursive",
        f"curl --fail --location --output {archive}.tar.gz --url {address}",
        f"mkdir -p -- {archive}",
        f"tar -x -f {archive}.tar.gz -C {archive} --strip-components 1",
        f"rm -- {archive}.tar.gz",
        "cp -R -- /srv/nodes/by-copy custom_nodes/by-copy",
        f"{comfy} by-id@1.0.5",
        f"{comfy} https://github.com/example-nodes/by-address",
        f"uv run --no-project --directory {folder} python install.py",
        LOCK,
    ]


def test_nodes_go_by_order_and_then_as_listed() -> None:
    document = changed("custom_nodes", [])
    document["custom_nodes"] = [
        {"name": name, "install_method": "local", "url": f"/srv/{name}", "install_order": order}
        for name, order in (("d", None), ("b", 2), ("e", 999), ("a", -1), ("c", 2), ("f", 1000))
    ]
    environment = manifest.parse(encoded(document), "m.json").environment
    copied = [line.rsplit("/", 1)[1] for line in lines(environment) if line.startswith("cp ")]
    assert copied == ["a", "b", "c", "d", "e", "f"]


def test_a_zip_is_unpacked_by_a_program_that_can() -> None:
    document = changed("custom_nodes/1/url", "https://example.org/a/zipball/main?x=1")
    found = lines(manifest.parse(encoded(document), "m.json").environment)
    assert "bsdtar -x -f custom_nodes/by-archive.zip -C custom_nodes/by-archive " in "\n".join(
        found
    )


OVERRIDES = (
    PlatformOverride(
        platform="linux-aarch64",
        packages=example("cpu").packages[2:3],
        environment=(("A", "specific"),),
    ),
    PlatformOverride(
        platform="linux",
        excludes=("Pillow", "nvidia-cudnn-cu11"),
        environment=(("A", "x"), ("B", "")),
    ),
    PlatformOverride(platform="win32", excludes=("numpy",)),
)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (
            "linux-arm64",
            [
                "export A=specific",
                "export B=''",
                "export UV_CONSTRAINT=migration-constraints.txt",
                "export UV_EXCLUDE=migration-excludes.txt",
                "uv pip install torch==2.1.0 torchvision==0.16.0 numpy==9",
            ],
        ),
        (
            "linux-x86_64",
            [
                "export A=x",
                "export B=''",
                "export UV_CONSTRAINT=migration-constraints.txt",
                "export UV_EXCLUDE=migration-excludes.txt",
                "uv pip install torch==2.1.0 torchvision==0.16.0 numpy==1.24.3",
            ],
        ),
        (
            "win32-x86_64",
            [
                "export UV_CONSTRAINT=migration-constraints.txt",
                "export UV_EXCLUDE=migration-excludes.txt",
                "uv pip install torch==2.1.0 torchvision==0.16.0 pillow==10.0.0",
            ],
        ),
        (
            "darwin-arm64",
            [
                "export UV_CONSTRAINT=migration-constraints.txt",
                "uv pip install torch==2.1.0 torchvision==0.16.0 numpy==1.24.3 pillow==10.0.0",
            ],
        ),
    ],
)
def test_only_the_overrides_of_the_platform_apply(where: str, expected: list[str]) -> None:
    specific = replace(OVERRIDES[0], packages=(replace(OVERRIDES[0].packages[0], version="9"),))
    environment = replace(example("cpu"), platform_overrides=(specific, *OVERRIDES[1:]))
    found = lines(environment, where)
    told = [line for line in found if line.startswith("export ")]
    installed = [line for line in found if line.startswith("uv pip install torch")]
    assert [*told, *installed] == expected


def test_excludes_reach_what_other_packages_require() -> None:
    environment = replace(example("cpu"), platform_overrides=OVERRIDES)
    assert dict(plan(environment, LINUX).files)["migration-excludes.txt"] == (
        "Pillow\nnvidia-cudnn-cu11\n"
    )


def test_the_family_goes_to_its_own_index() -> None:
    document = changed("dependencies/packages", {"torchaudio": "2.1.0", "torchvision": "0.15.0"})
    del document["dependencies"]["pytorch"]["packages"]["torchaudio"]
    found = lines(manifest.parse(encoded(document), "m.json").environment)
    assert found[3] == (
        f"uv pip install --index-url {PYTORCH} torch==2.1.0 torchvision==0.16.0 torchaudio==2.1.0"
    )
    assert not any(line.startswith("uv pip install torch") for line in found)


def test_another_backend_takes_the_family_without_its_build() -> None:
    document = changed("dependencies/pytorch/packages/torch", "2.1.0+cu121")
    environment = manifest.parse(encoded(document), "m.json").environment
    assert lines(environment, torch_backend="cpu")[3] == (
        "uv pip install --torch-backend cpu torch==2.1.0 torchvision==0.16.0 torchaudio==2.1.0"
    )
    assert lines(example("cpu"), torch_backend="cpu")[3:5] == [
        "uv pip install --torch-backend cpu torch==2.1.0 torchvision==0.16.0",
        "uv pip install numpy==1.24.3 pillow==10.0.0",
    ]


def test_credentials_of_addresses_are_left_to_netrc() -> None:
    document = changed("dependencies/index_urls/0", "https://user:secret@packages.example.org/s")
    document["dependencies"]["git_packages"][0]["url"] = "https://tok@github.com/a/b"
    document["custom_nodes"][0]["url"] = "https://tok:x@github.com/a/b"
    made = plan(manifest.parse(encoded(document), "m.json").environment, LINUX)
    everything = text(made) + json.dumps(as_data(made))
    assert "secret" not in everything
    assert "tok" not in everything
    assert "--index https://packages.example.org/s " in everything


def test_ssh_addresses_of_packages_are_spelt_as_uv_wants_them() -> None:
    document = changed("dependencies/git_packages/0/url", "git@github.com:a/b.git")
    found = lines(manifest.parse(encoded(document), "m.json").environment)
    assert "git+ssh://git@github.com/a/b.git@dev" in found[5]


def test_a_local_file_whose_name_tells_no_package_needs_no_hash() -> None:
    document = changed("dependencies/local_packages/0/path", "x.whl")
    environment = manifest.parse(encoded(document), "m.json").environment
    with pytest.raises(DocumentError, match=r"x\.whl: the file's name does not tell its package"):
        plan(environment, LINUX)
    del document["dependencies"]["local_packages"][0]["hash"]
    environment = manifest.parse(encoded(document), "m.json").environment
    assert "uv pip install --index https://packages.example.org/simple x.whl" in lines(environment)


def test_text_and_json_are_the_same_commands() -> None:
    made = plan(manifest.parse(encoded(whole()), "m.json").environment, LINUX)
    data: Any = as_data(made)
    apart = ("#", "set -e ", "printf", "exp")
    shown = [line for line in text(made).splitlines() if not line.startswith(apart)]
    read_back = [shlex.split(line) for line in shown]
    assert read_back == [
        [
            *command["argv"],
            *(["||", *command["fallback"]] if "fallback" in command else []),
            *([">", command["output"]] if "output" in command else []),
        ]
        for command in data["commands"]
    ]
    assert [command["stage"] for command in data["commands"]] == [
        "venv",
        "torch",
        "packages",
        "git",
        "editable",
        "local",
        *["comfyui"] * 5,
        *["node"] * 10,
        "post-install",
        "lock",
    ]
    assert data["platform"] == LINUX
    assert data["environment"] == {"UV_CONSTRAINT": "migration-constraints.txt"}


BACKEND = """
import zipfile

WHEEL = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "mine-1.0-py3-none-any.whl"
    info = "mine-1.0.dist-info/"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("mine.py", "")
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: mine\\nVersion: 1.0\\n")
        wheel.writestr(info + "WHEEL", WHEEL)
        wheel.writestr(info + "RECORD", "")
    return name
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


class Machine:
    """A folder in which commands run with git and uv led to this machine's own copies."""

    def __init__(self, folder: Path, index: str) -> None:
        self.repositories = folder / "repositories"
        self.work = folder / "work"
        self.work.mkdir()
        self.env = {
            "PATH": f"{Path(uv_program()).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "UV_CACHE_DIR": str(folder / "cache"),
            "UV_DEFAULT_INDEX": f"{index}/simple",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_CONFIG": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "3",
            "GIT_CONFIG_KEY_0": f"url.{self.repositories.as_uri()}/.insteadOf",
            "GIT_CONFIG_VALUE_0": "https://github.com/",
            "GIT_CONFIG_KEY_1": f"url.{self.repositories.as_uri()}/.insteadOf",
            "GIT_CONFIG_VALUE_1": "https://git.example.org/",
            "GIT_CONFIG_KEY_2": "protocol.file.allow",
            "GIT_CONFIG_VALUE_2": "always",
        }

    def repository(self, name: str, files: dict[str, str]) -> str:
        """Make a repository with one commit on `main` and a tag `v1`; return the commit."""
        folder = self.repositories / name
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content, encoding="utf-8")
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        for argv in (
            ["init", "-q", "-b", "main"],
            ["add", "."],
            [*identity, "commit", "-q", "-m", "one"],
            ["tag", "v1"],
            ["config", "uploadpack.allowAnySHA1InWant", "true"],
            ["config", "uploadpack.allowFilter", "true"],
        ):
            self.run(["git", "-C", str(folder), *argv])
        return self.run(["git", "-C", str(folder), "rev-parse", "HEAD"]).strip()

    def run_or_fall_back(self, command: dict[str, Any], variables: dict[str, str]) -> str:
        kept = {name: self.env.pop(name) for name in command.get("unset", ()) if name in self.env}
        try:
            return self.run(command["argv"], **variables)
        except AssertionError:
            return self.run(command["fallback"], **variables)
        finally:
            self.env |= kept

    def run(self, argv: list[str], **more: str) -> str:
        done = subprocess.run(  # the commands under test
            argv,
            cwd=self.work,
            env={**self.env, **more},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    simple = [wheel("numpy", "1.24.3"), wheel("six", "1.16.0"), wheel("needs-torch", "1", "torch")]
    simple += [wheel("torch", "2.2.0"), wheel("numpy", "2.0.0")]
    with serving({"/simple": simple, "/whl/cu121": [wheel("torch", "2.1.0+cu121")]}) as index:
        yield Machine(tmp_path, index.url)


def test_the_real_uv_and_git_make_what_the_manifest_says(machine: Machine, tmp_path: Path) -> None:
    """All stages run: versions stay as pinned though a node asks for others."""
    machine.repository("Comfy-Org/ComfyUI.git", {"main.py": "", "requirements.txt": "numpy\n"})
    machine.repository("a/tools.git", {"sub/backend.py": BACKEND, "sub/pyproject.toml": PROJECT})
    commit = machine.repository(
        "a/first.git",
        {
            "requirements.txt": "numpy>=1\nneeds-torch\n",
            "install.py": "import os, sys\nprint(sys.prefix, file=open('ran', 'w'))\n",
        },
    )
    machine.repository("a/second.git", {"node.py": ""})
    name, data = wheel("local-one", "3")
    (tmp_path / name).write_bytes(data)
    (tmp_path / "copied").mkdir()
    document = {
        "schema_version": "1.0",
        "system_info": {
            "python_version": platform.python_version(),
            "cuda_version": "12.1",
            "torch_version": "2.1.0+cu121",
            "comfyui_version": "v1",
        },
        "custom_nodes": [
            {
                "name": "second",
                "install_method": "git",
                "url": "https://git.example.org/a/second.git",
                "ref": "main",
            },
            {
                "name": "first",
                "install_method": "git",
                "url": "https://git.example.org/a/missing.git",
                "fallback_url": "https://git.example.org/a/first.git",
                "ref": commit,
                "has_requirements": True,
                "has_post_install": True,
                "install_order": 1,
            },
            {"name": "copied", "install_method": "local", "url": str(tmp_path / "copied")},
        ],
        "dependencies": {
            "packages": {"numpy": "1.24.3", "six": "1.16.0"},
            "pytorch": {
                "index_url": f"{machine.env['UV_DEFAULT_INDEX'].removesuffix('simple')}whl/cu121",
                "packages": {"torch": "2.1.0"},
            },
            "git_packages": [
                {
                    "url": "https://git.example.org/a/tools.git",
                    "ref": "main",
                    "subdirectory": "sub",
                    "egg_name": "mine",
                }
            ],
            "local_packages": [
                {"path": str(tmp_path / name), "hash": hashlib.sha256(data).hexdigest()}
            ],
        },
    }
    data_of: Any = as_data(plan(manifest.parse(encoded(document), "m.json").environment, LINUX))
    for file, content in data_of["files"].items():
        (machine.work / file).write_text(content, encoding="utf-8")
    for command in data_of["commands"]:
        output = machine.run_or_fall_back(command, data_of["environment"])
        if "output" in command:
            (machine.work / command["output"]).write_text(output, encoding="utf-8")
    frozen = (machine.work / "migration-lock.txt").read_text(encoding="utf-8").splitlines()
    assert [line.partition(" @ ")[0] for line in frozen] == [
        "local-one",
        "mine",
        "needs-torch==1",
        "numpy==1.24.3",
        "six==1.16.0",
        "torch==2.1.0+cu121",
    ]
    assert (machine.work / "main.py").is_file()
    nodes = machine.work / "custom_nodes"
    assert machine.run(["git", "-C", str(nodes / "first"), "rev-parse", "HEAD"]).strip() == commit
    assert (nodes / "second" / "node.py").is_file()
    assert (nodes / "copied").is_dir()
    prefix = (nodes / "first" / "ran").read_text(encoding="utf-8").strip()
    assert Path(prefix).samefile(machine.work / ".venv")


def test_a_shell_reads_the_text_as_the_argument_lists(machine: Machine) -> None:
    """Values with every character that a shell reads otherwise stay inert."""
    document = changed(
        "platform_overrides", {"linux": {"environment": {"LANG": "$(touch p) `x` \"'"}}}
    )
    document["custom_nodes"] = [
        {"name": "a; touch p $(touch q) 'x'", "install_method": "local", "url": "/srv/$(touch r)"}
    ]
    document["dependencies"] = {"packages": {}}
    made = plan(manifest.parse(encoded(document), "m.json").environment, LINUX)
    for program in ("uv", "git", "cp"):
        fake = machine.work / program
        fake.write_text(f'#!/bin/sh\nprintf "%s\\n" {program} "$@" "A=$LANG" END >> log\n')
        fake.chmod(0o755)
    subprocess.run(  # the text under test
        ["/bin/sh", "-e", "-c", text(made)],
        cwd=machine.work,
        env={"PATH": f"{machine.work}:/usr/bin:/bin"},
        check=True,
    )
    log = (machine.work / "log").read_text(encoding="utf-8")
    expected = ""
    for command in made.commands:
        if command.stage != "lock":
            expected += "\n".join([*command.argv, "A=$(touch p) `x` \"'", "END"]) + "\n"
    assert log.startswith(expected)
    assert sorted(path.name for path in machine.work.iterdir()) == [
        "cp",
        "git",
        "log",
        "migration-lock.txt",
        "uv",
    ]


PLACES = (
    "system_info/python_version",
    "system_info/comfyui_version",
    *(f"custom_nodes/0/{key}" for key in ("name", "url", "ref", "fallback_url")),
    *(f"custom_nodes/{index}/url" for index in range(1, 5)),
    *(f"dependencies/git_packages/0/{key}" for key in ("url", "ref", "subdirectory", "egg_name")),
    "dependencies/editable/0/path",
    "dependencies/local_packages/0/path",
    "dependencies/packages/numpy",
    "dependencies/pytorch/index_url",
    "dependencies/index_urls/0",
    "platform_overrides/linux-aarch64/environment/OMP_NUM_THREADS",
)
MARKS = ("\n", "'", '"', "$(id)", "`id`", ";", "&", "|", " ", "-", "--x", "\\", "#", "@", "a", "/")
WORDS = ("https://example.org/a", "\u2028", "\0", "1.0", "٣", "%", "${x}", "::", "*", "~", "==")
HOSTILE = st.lists(st.sampled_from((*MARKS, *WORDS)), max_size=6).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PLACES), HOSTILE)
def test_no_value_becomes_an_option_a_word_or_a_line_of_its_own(place: str, value: str) -> None:
    """Whatever stands in a field is refused, or is one inert argument in text and JSON alike."""
    document = changed(place, value)
    document["dependencies"]["local_packages"][0].pop("hash")
    try:
        made = plan(manifest.parse(encoded(document), "m.json").environment, "linux-arm64")
    except DocumentError:
        return
    harmless = plan(manifest.parse(encoded(whole()), "m.json").environment, "linux-arm64")
    stages = [command.stage for command in made.commands if command.stage not in STAGES_THAT_VARY]
    assert stages == [
        command.stage for command in harmless.commands if command.stage not in STAGES_THAT_VARY
    ]
    assert not any(word.startswith("--x") for command in made.commands for word in command.argv)
    lines_of = [line for line in text(made).split("\n") if not line.startswith(("#", "set -e "))]
    assert len(lines_of) == len(made.files) + len(made.variables) + len(made.commands)
    for line, command in zip(lines_of[-len(made.commands) :], made.commands, strict=True):
        words = [*command.argv]
        words += ["||", *command.fallback] if command.fallback else []
        words += [">", command.output] if command.output else []
        assert shlex.split(line) == words


# A ref that is a commit needs other commands than a branch, an archive that is a zip others too.
STAGES_THAT_VARY = ("node", "comfyui", "packages", "git")
