"""The embedded stack: every server a deal needs, on this machine, from package registries."""
