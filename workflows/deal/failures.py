"""Finding the domain's own account of a failure inside Temporal's chain of causes."""

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
        if isinstance(current, DealError | DealFailure):
            return current.problem
        if isinstance(current, ApplicationError) and current.details:
            try:
                return Problem.model_validate(current.details[0])
            except ValidationError:
                pass
        innermost, current = current, getattr(current, "cause", None) or current.__cause__
    return Problem(
        code=DealError.code,
        message=f"{type(innermost).__name__}: {innermost}",
        next_action="look at the workflow's history in the Web UI",
    )
