"""Whether a target's images can run here: the engine, and the accelerator a container is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfykiln.doctor.findings import Finding, dotted, limited, missing, ok

if TYPE_CHECKING:
    from collections.abc import Sequence

    from comfykiln.doctor.machine import Machine
    from comfykiln.doctor.needs import Needs

CUDA_DRIVER = (580,)  # the first that runs programs made for CUDA 13.0
GIGA = 10**9


def judge_run(need: Needs, machine: Machine) -> Finding:
    """Judge by the devices that the target's containers are given."""
    name = f"run.{need.target}"
    if machine.engine is None:
        return missing(name, "no engine answers", "")
    if need.nvidia:
        return _run_nvidia(name, machine, machine.engine.runtimes)
    if need.kfd:
        return _run_amd(name, machine)
    if need.render:
        return _run_intel(name, machine)
    return ok(name, f"{machine.engine.cpus} CPUs, {machine.engine.memory / GIGA:.0f} GB of memory")


def _run_nvidia(name: str, machine: Machine, runtimes: Sequence[str]) -> Finding:
    devices = machine.devices
    if not devices.nvidia_gpus:
        return missing(name, "nvidia-smi finds no NVIDIA GPU", "install the GPU's driver")
    gpus = ", ".join(devices.nvidia_gpus)
    if "nvidia" not in runtimes and not devices.nvidia_cdi:
        return missing(
            name,
            f"{gpus}, but containers cannot be given it",
            "install nvidia-container-toolkit, run `nvidia-ctk runtime configure "
            "--runtime=docker` and restart the daemon",
        )
    if devices.nvidia_driver < CUDA_DRIVER:
        return limited(
            name,
            f"{gpus}: driver {dotted(devices.nvidia_driver)} is too old for CUDA 13.0",
            f"install driver {dotted(CUDA_DRIVER)} or newer",
        )
    return ok(name, f"{gpus}, driver {dotted(devices.nvidia_driver)}")


def _run_amd(name: str, machine: Machine) -> Finding:
    nodes = _nodes(machine, "amd")
    if not nodes:
        return missing(name, "no AMD GPU has a render node in /dev/dri", "")
    if not machine.devices.kfd:
        return missing(
            name,
            f"{', '.join(nodes)}, but /dev/kfd is missing or closed to this user",
            "install the amdgpu driver with ROCm, or join the groups render and video",
        )
    return ok(name, f"{', '.join(nodes)} and /dev/kfd{_groups(machine)}")


def _run_intel(name: str, machine: Machine) -> Finding:
    nodes = _nodes(machine, "intel")
    if not nodes:
        return missing(name, "no Intel GPU has a render node in /dev/dri", "")
    return ok(name, f"{', '.join(nodes)}{_groups(machine)}")


def _nodes(machine: Machine, vendor: str) -> list[str]:
    return [path for path, owner in machine.devices.render_nodes if owner == vendor]


def _groups(machine: Machine) -> str:
    named = [f"{name}={number}" for name, number in machine.devices.groups]
    return f" (groups {', '.join(named)})" if named else ""
