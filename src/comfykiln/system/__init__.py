"""The only ways to programs, files, the console and the store."""
