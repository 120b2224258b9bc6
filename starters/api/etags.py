"""ETags: what a change is based on is what was read, and nothing newer."""

from typing import Annotated

from fastapi import Header

from starters.api.refusals import PreconditionFailed

IfMatch = Annotated[str, Header(include_in_schema=False)]


def quoted(tag: object) -> str:
    """The strong ETag of this text or number."""
    return f'"{tag}"'


def unquoted(if_match: str) -> str:
    """A strong ETag without its quotes."""
    return if_match.strip().removeprefix('"').removesuffix('"')


def stale(if_match: str) -> PreconditionFailed:
    """The error of a change that is based on something else than there is now."""
    return PreconditionFailed(
        "it has changed since it was read",
        field="If-Match",
        value=if_match[:100],
        limit="the ETag under which it is now",
        next_action="read it again, and decide anew",
    )
