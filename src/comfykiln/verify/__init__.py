"""Whether an image is what its plan says: asked of the image itself."""
