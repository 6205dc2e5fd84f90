"""What this machine can build and run, and what would change that."""
