"""The stack's own errors, seen from the far side of a boundary."""

from domain.errors import DealError, error_from
from starters.local.errors import ComponentFailedError, LocalStackError


def test_a_stacks_error_that_was_told_elsewhere_keeps_its_facts() -> None:
    for told in (
        LocalStackError(what="the stack is broken", why="a file is missing", action="look"),
        ComponentFailedError("redis", why="it ended", log="redis.log", tail="out of memory"),
    ):
        again = error_from(told.problem)
        assert type(again) is DealError
        assert again.problem == told.problem
        assert again.problem.code == "local_stack_failed"
