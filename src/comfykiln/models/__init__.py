"""Models: the list of an image, its lock, the verified files, and how they get there."""
