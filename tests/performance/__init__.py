"""How fast a deal is, and what it costs: `python -m tests.performance.bench`."""
