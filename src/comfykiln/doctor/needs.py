"""What a build of `core` needs from the machine, target by target: read from images/*.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfykiln.engine.disk import bytes_needed
from comfykiln.parsing.values import split_url
from comfykiln.plan.origins import GitOrigin, SdistOrigin
from comfykiln.plan.plan import REPOSITORY
from comfykiln.plan.project import Project

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from comfykiln.plan.accelerators import Accelerator
    from comfykiln.plan.origins import ComfyUISpec, TorchFamily
    from comfykiln.plan.targets import Target

IMAGE = "core"
REGISTRY = "docker.io"
REGISTRY_ADDRESS = "https://registry-1.docker.io/v2/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What one target asks of a machine."""

    target: str
    image: str  # the name its newest build has, which makes the next one small
    torch_host: str
    torch_gigabytes: float
    stand_in: str  # local tag of a build on the package index that serves too, or empty
    stand_in_note: str  # what that costs, or empty
    stand_in_gigabytes: float
    git_host: str
    sdist: bool  # ComfyUI is on the package index, too
    suite: str  # the Debian release of the base
    accelerator: Accelerator

    def room_for(self, images: Sequence[str], *, by_stand_in: bool, containerd_store: bool) -> int:
        """Return the free bytes that the next build wants, `images` being there already."""
        return bytes_needed(
            self.stand_in_gigabytes if by_stand_in else self.torch_gigabytes,
            rebuild=self.image in images,
            containerd_store=containerd_store,
        )


def read_needs(root: Path) -> tuple[Needs, ...]:
    """Read what every target of the checkout at `root` needs; faults raise `DocumentError`."""
    project = Project(root=root)
    release = project.origins.comfyui(project.service(IMAGE).comfyui)
    families = project.origins.torch.families
    return tuple(_needs(project, t, release, families) for t in project.targets.by_name.values())


def addresses(needs: Sequence[Needs]) -> Mapping[str, str]:
    """Return the address to ask for each origin's name, all needs together."""
    hosts = dict.fromkeys([n.git_host for n in needs] + [n.torch_host for n in needs])
    return {REGISTRY: REGISTRY_ADDRESS} | {host: f"https://{host}/" for host in hosts if host}


def _needs(
    project: Project, target: Target, release: ComfyUISpec, families: Sequence[TorchFamily]
) -> Needs:
    torch = target.torch
    family = next((family for family in families if _serves(family, target)), None)
    local = family.local if family else ""
    size = project.targets.torch_gigabytes(local) if family else torch.gigabytes
    git = next((o.url for o in release.origins if isinstance(o, GitOrigin)), "")
    return Needs(
        target=target.name,
        image=f"{REPOSITORY}/{IMAGE}:{target.name}",
        torch_host=split_url(torch.index).hostname or "",
        torch_gigabytes=torch.gigabytes,
        stand_in=local,
        stand_in_note=family.stands_in_for.get(target.name, "") if family else "",
        stand_in_gigabytes=size,
        git_host=split_url(git).hostname or "",
        sdist=any(isinstance(origin, SdistOrigin) for origin in release.origins),
        suite=project.service(IMAGE).suite,
        accelerator=target.accelerator,
    )


def _serves(family: TorchFamily, target: Target) -> bool:
    same = family.versions == target.torch.versions
    return same and (family.local == target.torch.local or target.name in family.stands_in_for)
