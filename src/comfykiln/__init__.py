"""comfykiln: verified ComfyUI container images from one description."""

__version__ = "0.1.0"
