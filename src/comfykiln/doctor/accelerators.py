"""Whether a target's images can run here: the engine, and the accelerator a container is given.

What a target needs is data (`accelerator` of images/targets.yaml); what nothing here can judge is
`unknown`, never ok.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from comfykiln.doctor.devices import RENDER_NODES
from comfykiln.doctor.findings import Finding, limited, missing, ok, unknown
from comfykiln.plan.accelerators import Kind
from comfykiln.setup.engine_info import version_of

if TYPE_CHECKING:
    from comfykiln.doctor.devices import Node, Said
    from comfykiln.doctor.machine import Engine, Machine
    from comfykiln.doctor.needs import Needs

GIGA = 10**9
RUN_NEEDS = {"engine", "buildx"}  # without which `run` refuses
CALLED = {Kind.NVIDIA: "NVIDIA GPU", Kind.AMD: "AMD GPU", Kind.INTEL: "Intel GPU"}
DRIVER = "install the driver of the device"
GIVEN_BY_NVIDIA = (
    "install nvidia-container-toolkit, run `nvidia-ctk runtime configure --runtime=docker` and "
    "restart the daemon"
)


def judge_run(need: Needs, machine: Machine, lacking: set[str], doubtful: set[str]) -> Finding:
    """Judge by the devices that the target's containers are given.

    `lacking` and `doubtful` are the ids of what is missing and of what could not be judged.
    """
    name = f"run.{need.target}"
    if machine.engine is None:
        return missing(name, "no engine answers", "")
    if unusable := sorted(lacking & RUN_NEEDS):
        return missing(name, f"not from here, for want of: {', '.join(unusable)}", "")
    found = _judge(name, need, machine, machine.engine)
    if doubts := sorted(doubtful & RUN_NEEDS):
        return found.doubted(f"cannot be judged here: {', '.join(doubts)}")
    return found


def _judge(name: str, need: Needs, machine: Machine, engine: Engine) -> Finding:
    if need.accelerator.kind is Kind.NONE:
        cpus = f"{engine.cpus} CPUs" if engine.cpus else "an unknown number of CPUs"
        memory = f"{engine.memory / GIGA:.0f} GB" if engine.memory else "an unknown amount"
        return ok(name, f"{cpus}, {memory} of memory")
    if not engine.here:
        return unknown(name, "the engine is on another machine, whose devices are not seen here")
    if engine.rootless:
        return unknown(
            name, "the engine is rootless: whether its containers may open a device is not known"
        )
    shown: list[str] = []
    for check in (_by_program, _by_nodes, _by_runtime, _by_driver):
        fault = check(name, need, machine, shown)
        if fault is not None:
            return fault
    return _verdict(name, need, ", ".join(shown))


def _verdict(name: str, need: Needs, shown: str) -> Finding:
    """Judge a target of which everything that its data names is there."""
    accelerator = need.accelerator
    if not shown:
        return unknown(name, "images/targets.yaml names nothing to know its device by")
    if accelerator.kind is Kind.OTHER:
        return unknown(name, f"{shown}, but whether its driver serves the image only a run tells")
    if accelerator.limit:
        return limited(name, f"{shown}: {accelerator.limit}", "")
    return ok(name, shown)


def _by_program(name: str, need: Needs, machine: Machine, shown: list[str]) -> Finding | None:
    """Judge what the driver's program prints: a line `name, version` for each device."""
    accelerator = need.accelerator
    if not accelerator.program:
        return None
    program, called = accelerator.program[0], _called(need)
    said = machine.devices.said.get(accelerator.program)
    if said is None:
        return missing(name, f"{program} is not installed: no {called} is known", DRIVER)
    if said.text is None:
        return unknown(name, f"{program} {said.fault}", f"run `{program}` by hand")
    rows = _rows(said.text)
    if rows is None:
        text = f"{program} prints what cannot be read: {_start(said.text)}"
        return unknown(name, text, f"run `{program}` by hand")
    if not rows:
        return missing(name, f"{program} finds no {called}{_because(said)}", DRIVER)
    shown.append(f"{', '.join(device for device, _ in rows)}, driver {rows[0][1]}")
    return None


def _by_driver(name: str, need: Needs, machine: Machine, shown: list[str]) -> Finding | None:
    """Judge the driver's age, by what its program said."""
    accelerator, said = need.accelerator, machine.devices.said.get(need.accelerator.program)
    if not accelerator.driver:
        return None
    rows = _rows(said.text) if said and said.text else None
    if not rows:
        return unknown(name, f"{', '.join(shown)}: its driver's version is not known")
    oldest = tuple(int(part) for part in accelerator.driver.split("."))
    if version_of(rows[0][1]) >= oldest:
        return None
    text = f"{', '.join(shown)}, is too old: {accelerator.driver} is the oldest that serves"
    return missing(name, text, f"install driver {accelerator.driver} or newer")


def _rows(text: str) -> list[tuple[str, str]] | None:
    """Return name and driver of each device, None where a line is something else."""
    matches = [re.fullmatch(r"(.+), (\d+(?:\.\d+)+)", line.strip()) for line in text.splitlines()]
    rows = [(match[1], match[2]) for match in matches if match]
    return rows if len(rows) == len(matches) else None


def _because(said: Said) -> str:
    return f": {said.fault}" if said.fault else ""


def _start(text: str) -> str:
    return repr(" ".join(text.split())[:60])


def _by_nodes(name: str, need: Needs, machine: Machine, shown: list[str]) -> Finding | None:
    """Judge by device files: each pattern has one of the right vendor that a container may open."""
    fitting: list[str] = []
    for pattern in need.accelerator.nodes:
        nodes = machine.devices.nodes.get(pattern, ())
        if not nodes:
            return missing(name, f"this machine has no {pattern}", DRIVER)
        of_vendors = f"{pattern}/".startswith(RENDER_NODES)
        found = _of_vendor(name, need, nodes) if of_vendors else nodes
        if isinstance(found, Finding):
            return found
        opened = [node.path for node in found if node.open]
        if not opened:
            closed = " and ".join(node.path for node in found)
            remedy = "let its group read and write it (a rule of udev)"
            return missing(name, f"{closed} is there, but closed to its group", remedy)
        fitting += opened
    if fitting:
        shown.append(f"{' and '.join(fitting)}{_groups(need, machine)}")
    return None


def _of_vendor(name: str, need: Needs, nodes: tuple[Node, ...]) -> tuple[Node, ...] | Finding:
    """Return the nodes of the target's vendor, else the finding that there is none."""
    wanted = need.accelerator.vendor
    own = tuple(node for node in nodes if wanted in {"", node.vendor})
    if own:
        return own
    others = " and ".join(f"{node.path} ({node.vendor or 'unknown'})" for node in nodes)
    if all(node.vendor for node in nodes):
        return missing(name, f"no {_called(need)} ({wanted}): {others}", DRIVER)
    return unknown(name, f"whose this is cannot be told: {others}")


def _by_runtime(name: str, need: Needs, machine: Machine, shown: list[str]) -> Finding | None:
    """Judge whether the engine gives containers what its runtime has to hand out."""
    accelerator, runtimes = need.accelerator, machine.engine.runtimes if machine.engine else ()
    if accelerator.runtime and accelerator.runtime not in runtimes:
        text = f"the engine has no runtime {accelerator.runtime}"
        return missing(name, text, "install the container toolkit of the device's maker")
    if not accelerator.gpus or "nvidia" in runtimes:
        return None
    devices = ", ".join(shown)
    if machine.devices.nvidia_cdi:
        text = f"{devices}: by CDI alone, which not every engine's --gpus takes"
        return unknown(name, text, GIVEN_BY_NVIDIA)
    return missing(name, f"{devices}, but containers cannot be given it", GIVEN_BY_NVIDIA)


def _called(need: Needs) -> str:
    return CALLED.get(need.accelerator.kind, "device")


def _groups(need: Needs, machine: Machine) -> str:
    groups = machine.devices.groups
    named = [f"{name}={groups[name]}" for name in need.accelerator.groups if name in groups]
    return f" (groups {', '.join(named)})" if named else ""
