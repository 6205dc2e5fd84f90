"""The receipt holds what an image does at its start, as docker inspect of 26.1 and 28.5 says it."""

from __future__ import annotations

from typing import Any

import pytest

from comfykiln.errors import KilnError
from comfykiln.verify import again, receipt
from comfykiln.verify.configuration import RECEIPT_LABEL, SOFTWARE_LABEL, changes, configuration_of

CONFIG: dict[str, Any] = {
    "Hostname": "",
    "Domainname": "",
    "User": "1000:1000",
    "AttachStdin": False,
    "Env": ["PATH=/app/.venv/bin:/usr/bin", "COMFY_PORT=8188"],
    "Cmd": None,
    "Image": "",
    "Entrypoint": ["/app/.venv/bin/python", "/app/.kiln/startup.py", "serve"],
    "WorkingDir": "/app",
    "Volumes": {"/app/user": {}, "/app/output": {}},
    "ExposedPorts": {"8188/tcp": {}},
    "OnBuild": None,
    "Healthcheck": {"Test": ["CMD", "/app/.kiln/startup.py", "health"], "Interval": 10**10},
    "StopSignal": "SIGTERM",
    "Labels": {"io.comfykiln.comfyui.version": "0.30.0", SOFTWARE_LABEL: "sha256:5"},
}
SEALED: dict[str, Any] = {
    "Entrypoint": ["/app/.venv/bin/python", "/app/.kiln/startup.py", "serve"],
    "Env": ["PATH=/app/.venv/bin:/usr/bin", "COMFY_PORT=8188"],
    "User": "1000:1000",
    "WorkingDir": "/app",
    "Volumes": {"/app/user": {}, "/app/output": {}},
    "ExposedPorts": {"8188/tcp": {}},
    "Healthcheck": {"Test": ["CMD", "/app/.kiln/startup.py", "health"], "Interval": 10**10},
    "StopSignal": "SIGTERM",
    "Labels": {"io.comfykiln.comfyui.version": "0.30.0"},
}


def test_what_is_empty_or_written_later_is_left_out() -> None:
    assert configuration_of(CONFIG) == SEALED
    newer = {name: value for name, value in CONFIG.items() if value not in (None, "", False)}
    assert configuration_of(newer) == SEALED
    assert configuration_of({"Labels": None}) == {}


@pytest.mark.parametrize(
    ("member", "value", "line"),
    [
        (
            "Entrypoint",
            ["/bin/sh", "-c", "exec /app/.venv/bin/python /app/.kiln/startup.py serve"],
            (
                "Entrypoint: ['/app/.venv/bin/python', '/app/.kiln/startup.py', 'serve'] → "
                "['/bin/sh', '-c', 'exec /app/.venv/bin/python /app/.kiln/startup.py serve']"
            ),
        ),
        ("Cmd", ["--listen"], "Cmd: none → ['--listen']"),
        (
            "Env",
            ["PATH=/app/.venv/bin:/usr/bin", "COMFY_PORT=8188", "PYTHONPATH=/app/input"],
            (
                "Env: ['PATH=/app/.venv/bin:/usr/bin', 'COMFY_PORT=8188'] → "
                "['PATH=/app/.venv/bin:/usr/bin', 'COMFY_PORT=8188', 'PYTHONPATH=/app/input']"
            ),
        ),
        ("User", "", "User: 1000:1000 → none"),
        ("User", "0", "User: 1000:1000 → 0"),
        ("WorkingDir", "/", "WorkingDir: /app → /"),
        ("Volumes", None, "Volumes: {'/app/user': {}, '/app/output': {}} → none"),
        ("ExposedPorts", None, "ExposedPorts: {'8188/tcp': {}} → none"),
        ("StopSignal", "SIGKILL", "StopSignal: SIGTERM → SIGKILL"),
        ("OnBuild", ["RUN id"], "OnBuild: none → ['RUN id']"),
        ("Shell", ["/bin/sh"], "Shell: none → ['/bin/sh']"),
        (
            "Labels",
            {"io.comfykiln.comfyui.version": "9.9.9"},
            "label io.comfykiln.comfyui.version: 0.30.0 → 9.9.9",
        ),
        ("Labels", {}, "label io.comfykiln.comfyui.version: 0.30.0 → none"),
        (
            "Labels",
            {"io.comfykiln.comfyui.version": "0.30.0", "more": "x"},
            "label more: none → x",
        ),
    ],
)
def test_every_change_is_told(member: str, value: object, line: str) -> None:
    found = configuration_of({**CONFIG, member: value})
    assert changes(found, SEALED) == [line]
    with pytest.raises(KilnError) as caught:
        again._require_configuration("x:y", {**CONFIG, member: value}, SEALED)
    assert str(caught.value) == (
        f"the configuration of x:y is not the one that was verified:\n    {line}\n"
        "  → the image was changed after it was sealed: build or pull it again"
    )


def test_a_health_check_that_is_gone_is_told() -> None:
    found = configuration_of({**CONFIG, "Healthcheck": {"Test": ["NONE"]}})
    (line,) = changes(found, SEALED)
    assert line.endswith("→ {'Test': ['NONE']}")


def test_an_unchanged_image_is_accepted() -> None:
    again._require_configuration("x:y", CONFIG, SEALED)
    record = {"format": receipt.FORMAT, "software": {"digest": "sha256:5"}}
    labels = {RECEIPT_LABEL: receipt.digest(record), SOFTWARE_LABEL: "sha256:5"}
    again._require_receipt("x:y", labels, record)
    for label in labels:
        with pytest.raises(KilnError, match="is not the one that its label names"):
            again._require_receipt("x:y", labels | {label: "sha256:6"}, record)


def test_a_receipt_of_an_older_form_does_not_do() -> None:
    record: dict[str, Any] = {"format": 1, "software": {"digest": "sha256:5"}}
    labels = {RECEIPT_LABEL: receipt.digest(record)}
    with pytest.raises(KilnError, match="is of form 1, which says nothing of what the image does"):
        again._require_receipt("x:y", labels, record)
