"""Durable flows: what happens in which order, and what happens when it does not."""
