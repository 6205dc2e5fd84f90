"""The container engine: its disk, its images, what a build left unfinished."""
