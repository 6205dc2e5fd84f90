"""The parts of an export tarball; `comfykiln.export.tarball` puts them together."""
