"""The nodes of an image, from their pins to their files."""
