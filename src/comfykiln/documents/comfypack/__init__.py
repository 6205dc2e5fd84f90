"""Packs of comfy-pack."""
