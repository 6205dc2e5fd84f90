"""Workflows of ComfyUI, by themselves and in pictures."""
