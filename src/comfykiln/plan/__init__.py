"""What a build would make, from the data of the repository alone."""
