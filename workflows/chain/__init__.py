"""Workflows about a chain as a whole."""
