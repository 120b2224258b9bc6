"""What can go wrong with the embedded stack, said so that it can be acted on."""

from __future__ import annotations

from domain.errors import DealError
from domain.masking import mask


class LocalStackError(DealError):
    """The stack could not do what was asked: what failed, why, and what to do about it.

    Args:
        what: the thing that failed, as a short sentence.
        why: the cause, as far as it is known.
        action: what the reader can do now.
        detail: longer evidence, such as the end of a log; may be empty.

    """

    code = "local_stack_failed"

    def __init__(self, *, what: str, why: str, action: str, detail: str = "") -> None:
        """Keep the evidence beside the facts of the problem."""
        super().__init__(f"{what}: {why}", next_action=action)
        self.detail = mask(detail)

    def __str__(self) -> str:
        """Return the parts on one line, and the evidence below it."""
        line = f"{self.problem.message}. {self.problem.next_action}"
        return f"{line}\n{self.detail}" if self.detail else line


class ComponentFailedError(LocalStackError):
    """One component of the stack did not become healthy; `name` says which."""

    def __init__(self, name: str, *, why: str, log: str, tail: str) -> None:
        """Say which component failed, and show the end of its log."""
        super().__init__(
            what=f"{name} did not become healthy",
            why=why,
            action=f"See the end of its log below, or the whole of it in {log}.",
            detail=tail,
        )
        self.name = name


class StartCancelledError(Exception):
    """A start was given up because another component failed or the user interrupted."""
