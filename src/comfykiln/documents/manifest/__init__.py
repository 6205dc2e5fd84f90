"""Migration manifests 1.0."""
