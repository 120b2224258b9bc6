"""Errors told on standard error, and the exit code that goes with each; here and nowhere else."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperGroup

from starters.cli.output import Output, remembered

if TYPE_CHECKING:
    from domain.errors import DealError, Problem

INTERRUPTED: Final = 130

_LABELS: Final = {
    "code": "code",
    "field": "field",
    "value": "value",
    "limit": "limit",
    "actual": "actual",
    "headroom": "headroom",
    "next_action": "what to do",
}


class DealGroup(TyperGroup):
    """The root command: whatever command is run inside it, expected errors end here."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # noqa: ANN401 - as the base has it
        """Run the command; tell an error in the form of the command's answers."""
        with errors_told(lambda: remembered(ctx)):
            return super().invoke(ctx)


@contextmanager
def errors_told(output: Callable[[], Output]) -> Iterator[None]:
    """Turn a `DealError` into its message and exit code, Ctrl-C into 130; others are bugs."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        expected = _deal_error(error)
        if expected is None:
            raise
        tell(expected.problem, output())
        raise typer.Exit(expected.exit_code) from None


def _deal_error(error: Exception) -> "DealError | None":
    """Recognise an expected error without loading the domain, which would double `--help`'s time.

    Whoever raised one has loaded it.
    """
    if "domain.errors" not in sys.modules:
        return None
    from domain.errors import DealError  # noqa: PLC0415 - see above

    return error if isinstance(error, DealError) else None


def tell(problem: "Problem", output: Output) -> None:
    """Write a problem to standard error: a sentence and its facts, or one line of JSON."""
    if output is Output.JSON:
        typer.echo(problem.model_dump_json(exclude_none=True), err=True)
        return
    typer.secho(f"error: {problem.message}", err=True, bold=True, fg="red")
    for name, label in _LABELS.items():
        value = getattr(problem, name)
        if value is not None:
            typer.echo(f"  {label:<12}{value}", err=True)
    sys.stderr.flush()
