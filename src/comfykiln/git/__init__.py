"""Git: commits, refs and repositories of others."""
