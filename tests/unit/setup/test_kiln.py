"""The real ./kiln, run by a real sh in a small copy of the checkout, with a real uv.

Only the packages are made here (an `invoke` that prints its arguments), so that no network is
needed; PATH holds nothing but what a case allows, each program noting that it was started.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uv

ROOT = Path(__file__).parents[3]
SYSTEM_TOOLS = ("sh", "dirname", "readlink", "realpath", "cmp", "cat", "env", "sleep")
INSTALL_PYTHON = (
    "  → install one (Debian 12 or newer, Ubuntu 24.04 or newer: apt-get install python3)\n"
)
REAL_UV = f'exec {uv.find_uv_bin()} "$@"'
SOURCES = (
    "__init__",
    "errors",
    "network/__init__",
    "network/pip",
    "system/__init__",
    "system/console",
    "system/ending",
    "system/files",
    "system/gate",
    "system/process",
)


def write_wheel(folder: Path, name: str, version: str) -> str:
    """Write a wheel whose program prints its arguments; return its line in a lock file."""
    info = f"{name}-{version}.dist-info"
    main = f"import sys\ndef main():\n    print('{name}', '{version}', *sys.argv[1:])\n"
    members = {
        f"{name}/__init__.py": main,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = "".join(f"{path},,\n" for path in [*members, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in [*members.items(), (f"{info}/RECORD", record)]:
            archive.writestr(zipfile.ZipInfo(member), text)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A checkout and a PATH of its own."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.folder / "checkout"

    @property
    def path(self) -> Path:
        return self.folder / "bin"

    def offer(self, name: str, script: str) -> None:
        """Put a program on PATH that notes its start."""
        program = self.path / name
        program.unlink(missing_ok=True)
        log = self.folder / "log"
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>{log}\n{script}\n')
        program.chmod(0o755)

    def started(self) -> list[str]:
        """Return the command lines that were noted, and forget them."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def lock(self, *run: str, dev: str = "") -> None:
        (self.root / "locks/run.txt").write_text("".join(run))
        (self.root / "locks/dev.txt").write_text("".join(run) + dev)

    def popen(self, *words: str, cwd: Path | None = None, **more: str) -> subprocess.Popen[str]:
        environ = {
            "PATH": str(self.path),
            "HOME": str(self.folder),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.folder / "wheels"),
            "UV_CACHE_DIR": str(self.folder / "uv-cache"),
            "UV_HTTP_RETRIES": "0",
        }
        return subprocess.Popen(
            [str(self.root / "kiln"), *words],
            cwd=cwd or self.folder,
            env=environ | self.environ | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kiln(self, *words: str, cwd: Path | None = None, **more: str) -> tuple[int, str, str]:
        """Run ./kiln and return exit code, standard output and standard error."""
        with self.popen(*words, cwd=cwd, **more) as child:
            out, err = child.communicate(timeout=60)
        return child.returncode, out, err


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which ./kiln was never started."""
    return make_machine(tmp_path)


@pytest.fixture(scope="module")
def ready_machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    made = make_machine(tmp_path_factory.mktemp("ready"))
    assert made.kiln("doctor")[0] == 0
    return made


@pytest.fixture
def ready(ready_machine: Machine) -> Machine:
    """A machine with its environment, shared by tests that leave the environment as it is."""
    ready_machine.offer("docker", "exit 1")
    ready_machine.started()
    return ready_machine


def make_machine(tmp_path: Path) -> Machine:
    made = Machine(folder=tmp_path)
    for name in ("bin", "wheels", "checkout/locks", "checkout/src/comfykiln"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(ROOT / "kiln", made.root / "kiln")
    for name in SOURCES:
        copy = made.root / f"src/comfykiln/{name}.py"
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / f"src/comfykiln/{name}.py", copy)
    shutil.copytree(
        ROOT / "src/comfykiln/setup",
        made.root / "src/comfykiln/setup",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    # Stands where the project's own runner stands: it prints what it was given.
    (made.root / "src/comfykiln/__main__.py").write_text(
        "from invoke import main\n\nmain()\n", "utf-8"
    )
    for name in SYSTEM_TOOLS:
        (made.path / name).symlink_to(shutil.which(name) or pytest.fail(f"no {name}"))
    made.offer("uv", REAL_UV)
    made.offer("python3", f'exec {Path(sys.executable).resolve()} "$@"')
    for forbidden in ("apt-get", "docker", "pip"):
        made.offer(forbidden, "exit 1")
    wheels = tmp_path / "wheels"
    made.lock(write_wheel(wheels, "invoke", "9.0"), dev=write_wheel(wheels, "checker", "1.0"))
    return made


def test_a_first_start_makes_the_environment_and_runs_invoke(machine: Machine) -> None:
    code, out, err = machine.kiln("doctor", "--json")
    assert (code, out) == (0, f"invoke 9.0 --search-root {machine.root} doctor --json\n")
    assert err.startswith(f"▸ making the Python environment {machine.root}/.venv\n  done in ")
    imported = subprocess.run(
        [machine.root / ".venv/bin/python", "-c", "import comfykiln; print(comfykiln.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert imported.stdout == f"{machine.root}/src/comfykiln/__init__.py\n"


def test_a_second_start_starts_nothing_but_invoke(machine: Machine) -> None:
    assert machine.kiln("doctor")[0] == 0
    assert machine.started() != []
    assert machine.kiln("doctor") == (0, f"invoke 9.0 --search-root {machine.root} doctor\n", "")
    assert machine.started() == []


def test_a_changed_lock_makes_the_environment_anew(machine: Machine) -> None:
    assert machine.kiln("doctor")[1].startswith("invoke 9.0 ")
    machine.lock(write_wheel(machine.folder / "wheels", "invoke", "9.1"))
    assert machine.kiln("doctor")[1].startswith("invoke 9.1 ")
    assert [path.name for path in (machine.root / ".kiln").iterdir()] == ["setup.lock"]


def test_checks_and_tests_get_their_tools_and_other_tasks_do_not(machine: Machine) -> None:
    assert machine.kiln("doctor")[0] == 0
    checker = machine.root / ".venv/bin/checker"
    assert not checker.exists()
    before = (machine.root / ".venv").stat().st_ino
    code, out, err = machine.kiln("lint")
    assert (code, out) == (0, f"invoke 9.0 --search-root {machine.root} lint\n")
    assert err.startswith("▸ adding the tools for tests and checks\n")
    assert checker.exists()
    # What runs from the environment meanwhile must not lose it under its feet.
    assert (machine.root / ".venv").stat().st_ino == before
    machine.started()
    assert machine.kiln("test")[2] == ""
    assert machine.kiln("doctor")[2] == ""
    assert machine.started() == []


def test_it_works_from_any_folder_through_a_link_and_after_a_move(machine: Machine) -> None:
    elsewhere = machine.folder / "else where"
    elsewhere.mkdir()
    assert machine.kiln("doctor", cwd=elsewhere)[0] == 0
    moved = machine.folder / "moved here"
    machine.root.rename(moved)
    (machine.folder / "checkout").symlink_to(moved)
    machine.started()
    code, out, err = machine.kiln("doctor", "a b", cwd=elsewhere)
    assert (code, out, err) == (0, f"invoke 9.0 --search-root {moved} doctor a b\n", "")
    assert machine.started() == []


def test_a_failed_installation_leaves_no_environment_and_the_next_start_makes_one(
    machine: Machine,
) -> None:
    wheel = machine.folder / "wheels/invoke-9.0-py3-none-any.whl"
    good = wheel.read_bytes()
    wheel.write_bytes(good + b"tampered")
    code, out, err = machine.kiln("doctor")
    assert (code, out) == (3, "")
    assert "hash" in err.lower()
    assert err.endswith(
        "\n  → check the network and the package-index settings (pip.conf, PIP_INDEX_URL, "
        "PIP_CERT, UV_DEFAULT_INDEX, HTTPS_PROXY), and start the task again\n"
    )
    assert not (machine.root / ".venv").exists()
    wheel.write_bytes(good)
    assert machine.kiln("doctor")[0] == 0


def test_an_environment_killed_half_way_is_not_taken_for_a_whole_one(machine: Machine) -> None:
    machine.offer("uv", f'[ "$1" = pip ] && kill -KILL $PPID && exit 1\n{REAL_UV}')
    assert machine.kiln("doctor")[0] != 0
    assert (machine.root / ".kiln/venv-fresh/bin/python").exists()
    assert not (machine.root / ".venv").exists()
    machine.offer("uv", REAL_UV)
    assert machine.kiln("doctor")[:2] == (0, f"invoke 9.0 --search-root {machine.root} doctor\n")


def is_running(pid: str) -> bool:
    """Tell whether a process goes on; one that has ended may wait for init to take note of it."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_set_up_and_all_that_it_started(
    machine: Machine, number: signal.Signals
) -> None:
    mark = machine.folder / "installing"
    machine.offer("uv", f'[ "$1" = pip ] && echo $$ >{mark} && exec sleep 60\n{REAL_UV}')
    with machine.popen("doctor") as child:
        while not (mark.exists() and mark.read_text()):
            time.sleep(0.05)
        child.send_signal(number)
        out, err = child.communicate(timeout=30)
    assert (child.returncode, out) == (130, "")
    assert err.splitlines()[1:] == [
        "! stopped; nothing half-made is in place, and what was finished is kept"
    ]
    assert not is_running(mark.read_text().strip())
    assert not (machine.root / ".venv").exists()
    machine.offer("uv", REAL_UV)
    assert machine.kiln("doctor")[0] == 0


def test_an_environment_that_lost_its_python_is_made_anew(machine: Machine) -> None:
    assert machine.kiln("doctor")[0] == 0
    python = machine.root / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert machine.kiln("doctor")[0] == 0


def test_somebodys_own_environment_is_kept_aside(machine: Machine) -> None:
    own = machine.root / ".venv/bin/precious"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    code, _, err = machine.kiln("doctor")
    kept = machine.root / ".kiln/venv-replaced"
    assert code == 0
    assert f"  changed: the .venv that was there is now {kept}\n" in err
    assert (kept / "bin/precious").read_text() == "mine"


def test_starts_at_the_same_time_make_one_environment(machine: Machine) -> None:
    children = [machine.popen("doctor") for _ in range(4)]
    outputs = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0, 0, 0]
    assert {out for out, _ in outputs} == {f"invoke 9.0 --search-root {machine.root} doctor\n"}
    made = [line for line in machine.started() if line.startswith("uv venv ")]
    assert len(made) == 1


def test_settings_made_for_pip_reach_uv(machine: Machine) -> None:
    code, _, err = machine.kiln("doctor", PIP_NO_INDEX="", PIP_INDEX_URL="http://127.0.0.1:9/own")
    assert code == 3
    assert "http://127.0.0.1:9/own/invoke/" in err
    assert "Connection refused" in err


def test_without_uv_pip_fetches_it_from_the_same_place(machine: Machine) -> None:
    base = str(Path(sys.executable).resolve())
    if subprocess.run(
        [base, "-c", "import ensurepip"], capture_output=True, check=False
    ).returncode:
        pytest.skip(f"{base} has no ensurepip to make a pip from")
    (machine.path / "uv").unlink()
    uv_lock = machine.root / "locks/uv.txt"
    wheels = machine.folder / "wheels"
    # The real uv as a package of this folder, so that pip has something to fetch.
    uv_lock.write_text(uv_wheel(wheels))
    code, out, err = machine.kiln("doctor")
    assert (code, out) == (0, f"invoke 9.0 --search-root {machine.root} doctor\n"), err
    assert "  fetching uv from the package index\n" in err
    assert [path.name for path in (machine.root / ".kiln").iterdir()] == ["setup.lock"]


def uv_wheel(folder: Path) -> str:
    """Write a wheel whose program is this environment's uv; return its line in a lock file."""
    path = folder / "uv-99.0-py3-none-any.whl"
    info = "uv-99.0.dist-info"
    members = {
        "uv-99.0.data/scripts/uv": f'#!/bin/sh\nexec {uv.find_uv_bin()} "$@"\n',
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: uv\nVersion: 99.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in members.items():
            entry = zipfile.ZipInfo(member)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, text)
    return f"uv==99.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def test_without_uv_and_pip_it_says_what_to_install(machine: Machine) -> None:
    (machine.path / "uv").unlink()
    # A Python as Debian ships it: the modules are in packages that are not installed.
    blocked = machine.folder / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(
        "import sys\nsys.modules['pip'] = sys.modules['ensurepip'] = None\n"
    )
    python = Path(sys.executable).resolve()
    machine.offer("python3", f'PYTHONPATH={blocked}:$PYTHONPATH exec {python} "$@"')
    code, out, err = machine.kiln("doctor", KILN_SETUP="never")
    assert (code, out) == (3, "")
    assert f"error: {python} has neither pip nor ensurepip, and uv is not installed\n  → " in err
    assert [line for line in machine.started() if line.startswith("apt-get")] == []


@pytest.mark.parametrize("version", ["3.9.2", "3.10.13"])
def test_an_old_python_is_refused(machine: Machine, version: str) -> None:
    old = f'[ "$1" = --version ] && echo "Python {version}"; [ "$1" = --version ]'
    machine.offer("python3", old)
    # As a version manager's shim does for a version that is not chosen.
    machine.offer("python3.12", "echo 'pyenv: python3.12: command not found' >&2; exit 127")
    assert machine.kiln("doctor") == (
        3,
        "",
        f"error: ./kiln needs Python 3.11 or newer; here is: Python {version}\n{INSTALL_PYTHON}",
    )


def test_no_python_at_all_is_refused(machine: Machine) -> None:
    (machine.path / "python3").unlink()
    code, out, err = machine.kiln("doctor")
    assert (code, out) == (3, "")
    assert err.startswith("error: ./kiln needs Python 3.11 or newer; here is: ")


def test_a_newer_python_beside_an_old_one_is_found(machine: Machine) -> None:
    (machine.path / "python3").rename(machine.path / "python3.12")
    machine.offer("python3", "exit 1")
    assert machine.kiln("doctor")[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--list"],
        ["-l"],
        ["--version"],
        ["--help", "build"],
        ["--help=build"],
        ["build", "--help"],
        ["doctor"],
        ["render", "--check"],
        ["lock.check"],
        ["doctor", "build"],
        ["build"],
        ["--echo", "run"],
    ],
)
def test_kiln_itself_asks_for_no_engine(ready: Machine, words: list[str]) -> None:
    given = " ".join(["invoke 9.0 --search-root", str(ready.root), *words])
    assert ready.kiln(*words) == (0, f"{given}\n", "")
    assert ready.started() == []


def test_a_policy_that_means_nothing_is_refused(machine: Machine) -> None:
    remedy = '  → set it to "never" (change nothing on this machine) or leave it out\n'
    given = machine.kiln("doctor", KILN_SETUP="sometimes")
    assert given == (2, "", f"error: KILN_SETUP is 'sometimes'\n{remedy}")


def test_the_exit_code_is_that_of_the_task(machine: Machine) -> None:
    assert machine.kiln("doctor")[0] == 0
    (machine.root / "src/comfykiln/__main__.py").write_text("raise SystemExit(4)\n")
    assert machine.kiln("render", "--check") == (4, "", "")
