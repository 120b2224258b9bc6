"""Worker processes, one module a role."""
