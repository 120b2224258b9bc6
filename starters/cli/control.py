"""`deal pause`, `resume`, `unwind` and the others: a person's command, with who and why."""

from uuid import uuid4

import typer
from pydantic import ValidationError

from domain.amounts import BASIS_POINTS, parse_decimal
from domain.commands import CommandState
from domain.deals import Command, invalid_input_from
from domain.errors import InvalidInput
from domain.identifiers import DealId
from domain.identity import Permission, Via
from domain.views import DealView
from starters.cli import tables
from starters.cli.asking import require_terminal
from starters.cli.documents import deal_document
from starters.cli.output import Output, print_json, show
from starters.cli.session import caller, load_settings
from starters.cli.temporal import open_desk, web_link
from workflows.deal.messages import CommandMessage

_OPTIONS = {"why": "reason"}


async def give(  # noqa: PLR0913 - the options of the command
    command: Command,
    deal_id: DealId,
    *,
    reason: str,
    command_id: str | None,
    sure: bool,
    output: Output,
    part: str | None = None,
    answers: str | None = None,
) -> None:
    """Ask whether it is meant, give the command, and print where the deal stands then."""
    check_reason(reason)
    part_bps = parse_part(part)
    if not sure:
        require_terminal(command)
    who = await caller(Permission(f"deals.{command}"))
    settings = load_settings()
    desk = open_desk(settings)
    if not sure and not confirmed(command, (await desk.view(who, deal_id))[0]):
        typer.echo("nothing was changed", err=True)
        raise typer.Exit(1)
    given = command_id or str(uuid4())
    view = await desk.give(
        who, command, deal_id, reason.strip(), given, part_bps=part_bps, answers=answers
    )
    if view is None:
        print_queued(deal_id, command, given, output)
    elif output is Output.JSON:
        print_json(deal_document(view, web_ui=web_link(settings, deal_id)))
    else:
        show(tables.summary(view))


def print_queued(deal_id: DealId, command: Command, command_id: str, output: Output) -> None:
    """Say that it is kept: Temporal is away, and it is given once when it returns."""
    if output is Output.JSON:
        print_json({"deal_id": deal_id, "command_id": command_id, "state": CommandState.QUEUED})
        return
    typer.echo(f"Temporal is away; {command} of {deal_id} is queued as {command_id}")


def check_reason(reason: str) -> None:
    """Raise `InvalidInput` unless it is one; before anything is looked at."""
    parse_message(reason, "somebody")


def parse_part(part: str | None) -> int | None:
    """Basis points of a ratio such as 0.25; None for all. Raises `InvalidInput`."""
    if part is None:
        return None
    ratio = parse_decimal(part, field="part")
    basis_points = ratio * BASIS_POINTS
    if not 0 < ratio <= 1 or basis_points != int(basis_points):
        raise InvalidInput(
            "part is out of range",
            field="part",
            value=part,
            limit="above 0 and at most 1, at most 4 decimal places",
            next_action="give the part as a ratio, such as 0.25, or leave it out to unwind all",
        )
    return None if ratio == 1 else int(basis_points)


def parse_message(reason: str, who: str) -> CommandMessage:
    """Put who and why together; raises `InvalidInput` naming the option."""
    try:
        return CommandMessage(who=who, why=reason, via=Via.CLI)
    except ValidationError as error:
        problem = invalid_input_from(error).problem
        field = _OPTIONS.get(problem.field or "", problem.field)
        raise InvalidInput(
            f"{field} cannot be taken",
            field=field,
            value=problem.value,
            limit=problem.limit,
            next_action=f"correct --{field} and try again",
        ) from None


def confirmed(command: Command, view: DealView) -> bool:
    """Ask on standard error, so that the answer to the command stays apart."""
    request = view.request
    about = f"{request.deal_id} of {request.bank} on chain {request.chain_id}"
    typer.echo(f"{about} is {view.status}: {view.doing}", err=True)
    return typer.confirm(f"{command} it?", err=True)
