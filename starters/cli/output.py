"""How answers are printed: tables for people, JSON for programs."""

import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_META_KEY: Final = "starters.cli.output"
_WIDE: Final = 160
"""Columns where there is no terminal whose width could be asked for."""


class Output(StrEnum):
    """The form of an answer."""

    JSON = "json"
    TABLE = "table"


def remember(context: typer.Context, output: Output | None) -> Output:
    """Settle the form of the answer: what was asked for, else a table on a terminal only.

    It is kept with the context, so that errors are told in the same form.
    """
    settled = output or default_output()
    context.meta[_META_KEY] = settled
    return settled


def settled(output: Output | None) -> Output:
    """The form of the answer; the option's callback has settled it."""
    return output or Output.JSON


def remembered(context: typer.Context) -> Output:
    """Return the form that was settled, or the usual one if the command got not that far."""
    settled = context.meta.get(_META_KEY)
    return settled if isinstance(settled, Output) else default_output()


def default_output() -> Output:
    """Return the form that suits where standard output goes."""
    return Output.TABLE if sys.stdout.isatty() else Output.JSON


def console() -> "Console":
    """Return where tables are printed; outside a terminal wide enough for a whole hash."""
    from rich.console import Console  # noqa: PLC0415 - JSON needs none of it

    return Console() if sys.stdout.isatty() else Console(width=_WIDE)


def console_for_questions() -> "Console":
    """Return where is printed what somebody is asked about: apart from the answer."""
    from rich.console import Console  # noqa: PLC0415 - as above

    return Console(stderr=True) if sys.stderr.isatty() else Console(stderr=True, width=_WIDE)


def show(*parts: "RenderableType") -> None:
    """Print tables and text, one below the other."""
    printer = console()
    for part in parts:
        printer.print(part)


def print_json(document: object, *, line: bool = False) -> None:
    """Print one JSON document, indented, or on a single line as part of a stream."""
    typer.echo(json.dumps(document, indent=None if line else 2))
    sys.stdout.flush()
