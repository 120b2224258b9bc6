"""The `deal` command."""
