"""Snapshots of ComfyUI-Manager and of the desktop's launcher."""
