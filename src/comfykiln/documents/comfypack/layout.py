"""What lies in a pack of comfy-pack, whether zipped or not."""

from __future__ import annotations

KIND = "comfypack"
SNAPSHOT, REQUIREMENTS = "snapshot.json", "requirements.txt"
WORKFLOWS = {"workflow.json": "ui", "workflow_api.json": "api"}
MAX_ARCHIVE = 32 * 1024 * 1024
