"""`deal pause`, `resume`, `unwind` and the others: a person's command, with who and why."""

import getpass
import sys
from uuid import uuid4

import typer
from pydantic import ValidationError

from domain.deals import Command, invalid_input_from
from domain.errors import InvalidInput
from domain.identifiers import DealId
from domain.views import DealView
from starters.cli import tables
from starters.cli.documents import deal_document
from starters.cli.output import Output, print_json, show
from starters.cli.session import load_settings
from starters.cli.temporal import open_client, web_link
from workflows.deal.messages import CommandMessage

_OPTIONS = {"why": "reason", "who": "who"}


async def give(  # noqa: PLR0913 - the options of the command
    command: Command,
    deal_id: DealId,
    *,
    reason: str,
    who: str | None,
    command_id: str | None,
    sure: bool,
    output: Output,
) -> None:
    """Ask whether it is meant, give the command, and print where the deal stands then."""
    message = parse_message(reason, who)
    if not sure:
        require_terminal(command)
    settings = load_settings()
    client = await open_client()
    if not sure and not confirmed(command, await client.view(deal_id)):
        typer.echo("nothing was changed", err=True)
        raise typer.Exit(1)
    view = await client.command(deal_id, command, message, command_id or str(uuid4()))
    if output is Output.JSON:
        print_json(deal_document(view, web_ui=web_link(settings, deal_id)))
    else:
        show(tables.summary(view))


def parse_message(reason: str, who: str | None) -> CommandMessage:
    """Check who and why; raises `InvalidInput` naming the option."""
    try:
        return CommandMessage(who=getpass.getuser() if who is None else who, why=reason)
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


def require_terminal(command: str, what: str = "a deal") -> None:
    """Raise `InvalidInput` where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"{command} changes {what}, and there is no terminal to ask whether that is meant",
            field="yes",
            limit="--yes where no terminal is",
            next_action="add --yes",
        )


def confirmed(command: Command, view: DealView) -> bool:
    """Ask on standard error, so that the answer to the command stays apart."""
    request = view.request
    about = f"{request.deal_id} of {request.bank} on chain {request.chain_id}"
    typer.echo(f"{about} is {view.status}: {view.doing}", err=True)
    return typer.confirm(f"{command} it?", err=True)
