"""Faults against the real components: `make faults`. The chain is the judge."""
