"""The deal workflow."""
