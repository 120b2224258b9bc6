"""Failures as the workflow sees them, and the domain's own account of each."""

from pydantic import ValidationError
from temporalio.exceptions import ApplicationError

from domain.errors import DealError, Problem


class DealFailure(Exception):
    """A step could not do what it should; carries the problem to whoever decides what follows."""

    def __init__(self, problem: Problem) -> None:
        """Keep the problem."""
        super().__init__(problem.message)
        self.problem = problem


def problem_of(error: BaseException) -> Problem:
    """The `Problem` an error carries, however deep; one built from its text if it carries none."""
    innermost = error
    current: BaseException | None = error
    while current is not None:
        carried = _carried_by(current)
        if carried is not None:
            return carried
        innermost, current = current, getattr(current, "cause", None) or current.__cause__
    return Problem(
        code=DealError.code,
        message=f"{type(innermost).__name__}: {innermost}",
        next_action="look at the workflow's history in the Web UI",
    )


def _carried_by(error: BaseException) -> Problem | None:
    """The problem of this one error; None if it is not one of ours."""
    if isinstance(error, DealError | DealFailure):
        return error.problem
    if not isinstance(error, ApplicationError) or not error.details:
        return None
    try:
        return Problem.model_validate(error.details[0])
    except ValidationError:
        return None
