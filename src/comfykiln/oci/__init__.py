"""Model files as content-addressed layers: packed, appended to images, archived, pushed."""
