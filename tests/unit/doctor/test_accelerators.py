"""What can be said of each target's accelerator; what cannot be judged is never ok."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.machine import ENGINE, GOOD

from comfykiln.doctor import devices
from comfykiln.doctor.accelerators import DRIVER, GIVEN_BY_NVIDIA, judge_run
from comfykiln.doctor.devices import Devices, Node, Said, find_nodes, read_devices
from comfykiln.doctor.findings import Finding, limited, missing, ok, unknown
from comfykiln.doctor.needs import read_needs
from comfykiln.plan.accelerators import Accelerator, Kind

if TYPE_CHECKING:
    from comfykiln.doctor.machine import Engine

NEEDS = read_needs(Path(__file__).parents[3])
BY_NAME = {need.target: need for need in NEEDS}
SMI = BY_NAME["cuda"].accelerator.program
KFD = Node(path="/dev/kfd", group=105, open=True)
AMD = Node(path="/dev/dri/renderD128", group=105, open=True, vendor="0x1002")
INTEL = Node(path="/dev/dri/renderD129", group=105, open=True, vendor="0x8086")
NAMELESS = replace(AMD, vendor="")
LIMIT = BY_NAME["xpu"].accelerator.limit
WITH_NVIDIA = replace(ENGINE, runtimes=("nvidia", "runc"))
UDEV = "let its group read and write it (a rule of udev)"


def said(text: str | None, fault: str = "", *, cdi: bool = False) -> Devices:
    return Devices(said={SMI: Said(text=text, fault=fault)}, nvidia_cdi=cdi)


def nodes(*render: Node, kfd: tuple[Node, ...] = (KFD,)) -> Devices:
    return Devices(
        nodes={"/dev/kfd": kfd, "/dev/dri/renderD*": render}, groups={"render": 105, "video": 44}
    )


CASES: dict[str, tuple[str, Devices, Engine, Finding]] = {
    "a GPU, its driver and its runtime": (
        "cuda",
        said("NVIDIA H200, 580.65.06\n"),
        WITH_NVIDIA,
        ok("run.cuda", "NVIDIA H200, driver 580.65.06"),
    ),
    "a driver too old": (
        "cuda",
        said("NVIDIA H200, 570.1\n"),
        WITH_NVIDIA,
        missing(
            "run.cuda",
            "NVIDIA H200, driver 570.1, is too old: 580 is the oldest that serves",
            "install driver 580 or newer",
        ),
    ),
    "no runtime": (
        "cuda",
        said("NVIDIA L4, 590.1\nNVIDIA T4, 590.1\n"),
        ENGINE,
        missing(
            "run.cuda",
            "NVIDIA L4, NVIDIA T4, driver 590.1, but containers cannot be given it",
            GIVEN_BY_NVIDIA,
        ),
    ),
    "CDI alone": (
        "cuda",
        said("NVIDIA L4, 590.1\n", cdi=True),
        ENGINE,
        unknown(
            "run.cuda",
            "NVIDIA L4, driver 590.1: by CDI alone, which not every engine's --gpus takes",
            GIVEN_BY_NVIDIA,
        ),
    ),
    "nvidia-smi is not installed": (
        "cuda",
        Devices(),
        WITH_NVIDIA,
        missing("run.cuda", "nvidia-smi is not installed: no NVIDIA GPU is known", DRIVER),
    ),
    "nvidia-smi hangs": (
        "cuda",
        said(None, "gave no answer within 20 s"),
        WITH_NVIDIA,
        unknown("run.cuda", "nvidia-smi gave no answer within 20 s", "run `nvidia-smi` by hand"),
    ),
    "nvidia-smi fails": (
        "cuda",
        said("", "NVIDIA-SMI has failed"),
        WITH_NVIDIA,
        missing("run.cuda", "nvidia-smi finds no NVIDIA GPU: NVIDIA-SMI has failed", DRIVER),
    ),
    "nvidia-smi prints garbage": (
        "cuda",
        said("\x1b[31m??\n\nSegmentation fault\n"),
        WITH_NVIDIA,
        unknown(
            "run.cuda",
            "nvidia-smi prints what cannot be read: '\\x1b[31m?? Segmentation fault'",
            "run `nvidia-smi` by hand",
        ),
    ),
    "a driver without a version": (
        "cuda",
        said("NVIDIA L4, [N/A]\n"),
        WITH_NVIDIA,
        unknown(
            "run.cuda",
            "nvidia-smi prints what cannot be read: 'NVIDIA L4, [N/A]'",
            "run `nvidia-smi` by hand",
        ),
    ),
    "an AMD GPU": (
        "rocm",
        nodes(INTEL, AMD),
        ENGINE,
        ok("run.rocm", "/dev/kfd and /dev/dri/renderD128 (groups video=44, render=105)"),
    ),
    "no kfd": (
        "rocm",
        nodes(AMD, kfd=()),
        ENGINE,
        missing("run.rocm", "this machine has no /dev/kfd", DRIVER),
    ),
    "a kfd that is closed": (
        "rocm",
        nodes(AMD, kfd=(replace(KFD, open=False),)),
        ENGINE,
        missing("run.rocm", "/dev/kfd is there, but closed to its group", UDEV),
    ),
    "a GPU of another vendor": (
        "rocm",
        nodes(INTEL),
        ENGINE,
        missing("run.rocm", "no AMD GPU (0x1002): /dev/dri/renderD129 (0x8086)", DRIVER),
    ),
    "a GPU of an unknown vendor": (
        "rocm",
        nodes(INTEL, NAMELESS),
        ENGINE,
        unknown(
            "run.rocm",
            (
                "whose this is cannot be told: /dev/dri/renderD129 (0x8086) and "
                "/dev/dri/renderD128 (unknown)"
            ),
        ),
    ),
    "an Intel GPU, for which the image has no driver": (
        "xpu",
        nodes(INTEL),
        ENGINE,
        limited("run.xpu", f"/dev/dri/renderD129 (groups video=44, render=105): {LIMIT}", ""),
    ),
    "an engine elsewhere": (
        "rocm",
        nodes(AMD),
        replace(ENGINE, here=False),
        unknown("run.rocm", "the engine is on another machine, whose devices are not seen here"),
    ),
    "a rootless engine": (
        "cuda",
        said("NVIDIA H200, 580.65.06\n"),
        replace(WITH_NVIDIA, rootless=True),
        unknown(
            "run.cuda",
            "the engine is rootless: whether its containers may open a device is not known",
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_state_of_a_device(case: str) -> None:
    target, found, engine, expected = CASES[case]
    machine = replace(GOOD, devices=found, engine=engine)
    assert judge_run(BY_NAME[target], machine, set(), set()) == expected


DAVINCI = Node(path="/dev/davinci0", group=7, open=True)
OTHER: dict[str, tuple[dict[str, Any], Finding]] = {
    "no device of it": (
        {"nodes": ("/dev/davinci1",)},
        missing("run.cpu", "this machine has no /dev/davinci1", DRIVER),
    ),
    "a device of it": (
        {"nodes": ("/dev/davinci0",)},
        unknown(
            "run.cpu", "/dev/davinci0, but whether its driver serves the image only a run tells"
        ),
    ),
    "nothing to know it by": (
        {},
        unknown("run.cpu", "images/targets.yaml names nothing to know its device by"),
    ),
    "a runtime that the engine has not": (
        {"nodes": ("/dev/davinci0",), "runtime": "ascend"},
        missing(
            "run.cpu",
            "the engine has no runtime ascend",
            "install the container toolkit of the device's maker",
        ),
    ),
}


@pytest.mark.parametrize("case", OTHER)
def test_an_accelerator_that_nobody_here_knows(case: str) -> None:
    fields, expected = OTHER[case]
    need = replace(BY_NAME["cpu"], accelerator=Accelerator(kind=Kind.OTHER, **fields))
    machine = replace(GOOD, devices=Devices(nodes={"/dev/davinci0": (DAVINCI,)}))
    assert judge_run(need, machine, set(), set()) == expected


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.NONE])
def test_a_kind_alone_is_never_ok(kind: Kind) -> None:
    need = replace(BY_NAME["cpu"], accelerator=Accelerator(kind=kind))
    assert judge_run(need, GOOD, set(), set()) == unknown(
        "run.cpu", "images/targets.yaml names nothing to know its device by"
    )


def test_an_oldest_driver_without_a_program_that_tells_it_is_not_judged() -> None:
    accelerator = Accelerator(kind=Kind.AMD, nodes=("/dev/kfd",), driver="6.10")
    machine = replace(GOOD, devices=nodes())
    found = judge_run(replace(BY_NAME["rocm"], accelerator=accelerator), machine, set(), set())
    assert found == unknown("run.rocm", "/dev/kfd: its driver's version is not known")


def host(folder: Path) -> Path:
    """Lay out a host: device files stand for themselves as links to a device that any has."""
    for number, vendor in (("D128", "0x1002"), ("D129", "0x8086")):
        file = folder / f"sys/class/drm/render{number}/device/vendor"
        file.parent.mkdir(parents=True)
        file.write_text(f"{vendor}\n")
    (folder / "dev/dri").mkdir(parents=True)
    for name in ("kfd", "dri/renderD128", "dri/renderD129", "dri/renderD130"):
        (folder / "dev" / name).symlink_to("/dev/null")
    (folder / "dev/dri/renderD131").touch()  # no device
    (folder / "etc/cdi").mkdir(parents=True)
    (folder / "etc/cdi/nvidia.yaml").touch()
    return folder


def test_devices_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi = tmp_path / "bin/nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\necho 'NVIDIA L4, 580.95.05'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{smi.parent}:/usr/bin:/bin")
    wanted = [BY_NAME[name].accelerator for name in ("cpu", "cuda", "rocm", "xpu")]
    group = Path("/dev/null").stat().st_gid
    null = Node(path="", group=group, open=True)
    found = read_devices(wanted, host(tmp_path))
    assert found.nodes == {
        "/dev/kfd": (replace(null, path="/dev/kfd"),),
        "/dev/dri/renderD*": (
            replace(null, path="/dev/dri/renderD128", vendor="0x1002"),
            replace(null, path="/dev/dri/renderD129", vendor="0x8086"),
            replace(null, path="/dev/dri/renderD130"),
        ),
    }
    assert found.said == {SMI: Said(text="NVIDIA L4, 580.95.05\n")}
    assert found.nvidia_cdi
    assert found.groups.keys() <= {"video", "render"}
    smi.unlink()
    nothing = read_devices(wanted, tmp_path / "none")
    assert nothing.nodes == {"/dev/kfd": (), "/dev/dri/renderD*": ()}
    assert (nothing.said, nothing.nvidia_cdi) == ({}, False)


def test_a_device_file_is_open_by_its_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path := host(tmp_path) / "dev/kfd").exists()
    real = path.stat()
    for mode, opened in ((0o600, False), (0o640, False), (0o660, True), (0o606, True)):
        facts = os.stat_result([real.st_mode & ~0o777 | mode, *real[1:]])
        monkeypatch.setattr(Path, "stat", lambda _self, facts=facts, **_more: facts)
        node = devices._node(path, tmp_path)
        monkeypatch.undo()
        assert node.open is opened
    assert [node.path for node in find_nodes("/dev/kf*", tmp_path)] == ["/dev/kfd"]


def test_a_folder_of_device_files_stands_for_them(tmp_path: Path) -> None:
    (tmp_path / "dev/accel/by-path").mkdir(parents=True)
    (tmp_path / "dev/accel/notes").write_text("", "utf-8")
    assert find_nodes("/dev/accel", tmp_path) == ()
    for name in ("accel1", "accel0"):
        (tmp_path / "dev/accel" / name).symlink_to("/dev/zero")
    found = find_nodes("/dev/accel", tmp_path)
    assert [node.path for node in found] == ["/dev/accel/accel0", "/dev/accel/accel1"]


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("echo 'a, 1.2'", Said(text="a, 1.2\n")),
        ("echo; echo ' broken '; exit 9", Said(text="", fault="broken")),
        ("exit 9", Said(text="", fault="it ended with status 9")),
        ("exec sleep 9", Said(text=None, fault="gave no answer within 1 s")),
    ],
)
def test_what_a_drivers_program_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, answer: Said
) -> None:
    program = tmp_path / "kiln-smi"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(devices, "PATIENCE", 1)
    asked = Accelerator(kind=Kind.OTHER, program=("kiln-smi",))
    assert read_devices([asked], tmp_path).said == {("kiln-smi",): answer}
