"""comfykiln: verified ComfyUI container images from one description."""
