"""The parts of an export tarball; `comfykiln.export` puts them together."""
