"""Keys that cannot be used: what was signed before waits for them, and people are told."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from prometheus_client import Counter

from domain.errors import InvalidConfiguration, NotFound, Problem, Unavailable

WAITING: Final = Counter(
    "deal_signer_keys_unusable",
    "Requests that wait because the signer cannot use its keys as it is set up",
    ["field"],
)
_log: Final = structlog.get_logger(__name__)


@contextmanager
def waiting_for_keys(batch: str) -> Iterator[None]:
    """Raise as `Unavailable` what a person has to mend in the signer's own set-up.

    Credentials that have ended, or a secret that was taken away, say nothing about the deal that
    needs a signature now. It waits, as it does while the key store is away, and goes on by itself
    when that is mended; what has to be mended is named, in the log and in every failed attempt.
    """
    try:
        yield
    except (InvalidConfiguration, NotFound) as error:
        problem = error.problem
        WAITING.labels(problem.field or "").inc()
        _log.error(
            "alert", kind="keys", batch=batch, **problem.model_dump(mode="json", exclude_none=True)
        )
        raise _waits(problem) from error


def _waits(problem: Problem) -> Unavailable:
    return Unavailable(
        f"the signer cannot use its keys: {problem.message}",
        field=problem.field,
        value=problem.value,
        limit=problem.limit,
        actual=problem.actual,
        next_action=f"{problem.next_action}; it is tried again by itself",
    )
