"""What stands where in a snapshot of ComfyUI-Manager."""

from __future__ import annotations

KIND = "snapshot"
NODE_KEYS = ("git_custom_nodes", "cnr_custom_nodes", "file_custom_nodes")
HASH_KEYS = ("hash", "commit_hash", "commit", "ref")
"""Where a node's commit or branch stands: the spec of the map form names no key."""
