"""Whether there is somebody to ask; loads no Temporal, which many commands do without."""

import sys

from domain.errors import InvalidInput


def require_terminal(command: str, what: str = "a deal") -> None:
    """Raise `InvalidInput` where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"{command} changes {what}, and there is no terminal to ask whether that is meant",
            field="yes",
            limit="--yes where no terminal is",
            next_action="add --yes",
        )
