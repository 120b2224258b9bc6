"""Pages of the documentation that are written from the code.

Write them by `python -m starters.documents denials`.
"""

import sys
from pathlib import Path
from typing import Final, NoReturn

from domain import errors as of_all
from domain.denials import MEANINGS, Denial
from domain.errors import DealError, errors_by_code
from starters.api import refusals

GUIDES: Final = Path(__file__).resolve().parents[1] / "docs" / "guides"

_HEAD: Final = """\
# Why something is refused: codes

Written by `python -m starters.documents denials` from `domain/denials.py`, `domain/errors.py` and
`starters/api/refusals.py`, which only the HTTP API has; a test compares.

A refusal has a stable `code`, and says the `limit`, the `actual` value, the `headroom` where there
is one, and the `next_action`. The same object is the answer of the command line (`-o json`), the
API's problem body, and what the records and the audit trail keep. Programs decide by the code,
never by the words.

## Denied by policy (exit code 5)

| Code | What it means | Limit | Actual | What to do |
|---|---|---|---|---|
"""
_ERRORS: Final = """
## All other errors

| Code | Exit code | Trying again can help | What it means |
|---|---|---|---|
"""


_TOLD_OF: Final = frozenset({of_all.__name__, refusals.__name__})
"""Where the errors are that the page tells of, whatever else the process has loaded."""


def denials_page() -> str:
    """The page of all codes, in Markdown."""
    denials = "".join(
        f"| `{denial}` | {meaning.sentence} | {meaning.limit} | {meaning.actual} "
        f"| {meaning.next_action} |\n"
        for denial, meaning in ((each, MEANINGS[each]) for each in Denial)
    )
    named = set(map(str, Denial))
    errors = "".join(
        f"| `{code}` | {kind.exit_code} | {_yes(kind.retryable)} | {_sentence(kind)} |\n"
        for code, kind in sorted(errors_by_code().items())
        if code not in named and kind.__module__ in _TOLD_OF
    )
    return _HEAD + denials + _ERRORS + errors


def _yes(answer: bool) -> str:  # noqa: FBT001 - it is what is told
    return "yes" if answer else "no"


def _sentence(kind: type[DealError]) -> str:
    """The first line of a class's documentation."""
    return (kind.__doc__ or "").partition("\n")[0]


PAGES: Final = {"denials": (GUIDES / "denials.md", denials_page)}


def main(arguments: list[str]) -> NoReturn:
    """Write the pages that are named."""
    if not arguments or not set(arguments) <= set(PAGES):
        sys.exit(f"usage: python -m starters.documents {'|'.join(PAGES)}")
    for name in arguments:
        file, page = PAGES[name]
        file.write_text(page(), encoding="utf-8")
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
