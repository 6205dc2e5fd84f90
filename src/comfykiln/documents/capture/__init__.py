"""The manifest of what is really on disk."""
