"""How a command ended and what it printed, whichever way it was run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)

    @property
    def last_document(self) -> Any:
        """The last of the JSON lines on standard output."""
        return json.loads(self.out.splitlines()[-1])

    @property
    def problem(self) -> dict[str, Any]:
        """The problem on standard error, as JSON."""
        return dict(json.loads(self.err))

    @property
    def last_problem(self) -> dict[str, Any]:
        """The problem that ends standard error, below what was shown before."""
        return dict(json.loads(self.err.splitlines()[-1]))
