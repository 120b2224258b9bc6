"""What a person waiting for the local chain is told."""

import sys


def announce(text: str) -> None:
    """Print one line on stderr, because stdout belongs to the result."""
    sys.stderr.write(f"chain: {text}\n")
    sys.stderr.flush()
