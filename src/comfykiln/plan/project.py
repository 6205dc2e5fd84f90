"""The repository at hand: its targets, services and origins, each read when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from comfykiln.errors import DocumentError
from comfykiln.plan.services import load_service, service_names
from comfykiln.plan.targets import load_targets

if TYPE_CHECKING:
    from comfykiln.plan.origins import BaseSpec, Origins
    from comfykiln.plan.plan import BuildPlan
    from comfykiln.plan.services import Service
    from comfykiln.plan.targets import Targets
    from comfykiln.system.store import Store

RESTORE = Path(__file__).parents[1] / "restore"
DEFAULT_IMAGE = "complete"


@dataclass(frozen=True, kw_only=True)
class Project:
    """The repository at `root`."""

    root: Path

    @cached_property
    def targets(self) -> Targets:
        """The accelerators of images/targets.yaml."""
        return load_targets(self.root / "images" / "targets.yaml")

    @cached_property
    def origins(self) -> Origins:
        """The origins of images/origins.yaml."""
        from comfykiln.plan.origins import load_origins  # noqa: PLC0415  # where it is used

        return load_origins(self.root / "images" / "origins.yaml")

    @cached_property
    def store(self) -> Store:
        """The content-addressed store of this user."""
        from comfykiln.system.store import Store  # noqa: PLC0415  # where it is used

        return Store.of_user()

    def service(self, image: str | None) -> Service:
        """Return what is inside the image; None means the default image."""
        return load_service(self.root, DEFAULT_IMAGE if image is None else image)

    def package_index_build(self) -> str:
        """Return the local tag of the torch build that the package index has: what a lock solves.

        Raises `DocumentError` when origins.yaml names none for the family of targets.yaml.
        """
        wanted = {target.torch.requirements for target in self.targets.by_name.values()}
        for family in self.origins.torch.families:
            lines = tuple(f"{name}=={version}" for name, version in family.versions.items())
            if {lines} == wanted:
                return family.local
        raise DocumentError(
            "images/origins.yaml names no build of this torch family on the package index",
            faults=[" ".join(lines) for lines in sorted(wanted)],
            remedy="add it below torch.package_index, with the local tag it reports",
        )

    def plan(self, target: str | None, image: str | None) -> BuildPlan:
        """Return the plan of one image; every fault in the data files is known after this."""
        from comfykiln.plan.plan import make_plan  # noqa: PLC0415  # where it is used

        chosen = self.targets.get(target)
        service = self.service(image)
        base = self.origins.base(service.suite)
        require_python(service, base)
        comfyui = self.origins.comfyui(service.comfyui)
        return make_plan(service, chosen, base, comfyui, RESTORE)

    def plans(self) -> list[BuildPlan]:
        """Return the plans of all images for all targets, as images/ holds them."""
        return [
            self.plan(target, image)
            for target in self.targets.by_name
            for image in service_names(self.root)
        ]


def require_python(service: Service, base: BaseSpec) -> None:
    """Raise `DocumentError` when the service asks for another Python than its base has.

    Its packages would be locked for one Python and installed into another.
    """
    if service.python != base.python:
        raise DocumentError(
            f"{service.folder / 'service.yaml'}: python is {service.python}, "
            f"but Debian {service.suite} has {base.python}",
            remedy=f'write python: "{base.python}", or name the suite that has {service.python}',
        )
