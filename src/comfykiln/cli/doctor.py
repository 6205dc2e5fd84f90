"""What this machine can build and run, and how to fix what it cannot: facts in, findings out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfykiln.errors import NotPossibleError
from comfykiln.system import console

if TYPE_CHECKING:
    from comfykiln.doctor.findings import Report

ROOT = Path(__file__).resolve().parents[3]  # targets and origins are data of the checkout


def doctor(*, as_json: bool, root: Path = ROOT) -> None:
    """Print what this machine can do; `NotPossibleError` when it cannot build core for cpu."""
    report = examine(root)
    if as_json:
        console.out_json(as_data(report))
    else:
        console.out(as_text(report))
    if not report.ready:
        raise NotPossibleError(
            "this machine cannot build the image core for cpu yet",
            remedy="fix what is missing above",
        )


def examine(root: Path = ROOT) -> Report:
    """Read this machine's facts and judge them; takes a few seconds.

    `root` is the checkout whose targets and origins the machine is judged by.
    """
    from comfykiln.doctor.judge import judge  # noqa: PLC0415  # only this task needs it
    from comfykiln.doctor.machine import read_machine  # noqa: PLC0415  # the same
    from comfykiln.doctor.needs import read_needs  # noqa: PLC0415  # the same

    needs = read_needs(root)
    return judge(read_machine(needs), needs)


def as_data(report: Report) -> dict[str, Any]:
    """Return the report as JSON values."""
    findings = [asdict(finding) for finding in report.findings]
    return {"ready": report.ready, "findings": findings}


def as_text(report: Report) -> str:
    """Return the report for people: a line for each finding, a second one for its remedy."""
    width = max(len(finding.id) for finding in report.findings)
    lines: list[str] = []
    for finding in report.findings:
        lines.append(f"{finding.state:8} {finding.id:{width}}  {finding.text}")
        if finding.remedy:
            lines.append(f"{'':8} {'':{width}}  → {finding.remedy}")
    return "\n".join(lines)
