"""What the commands of `deal operation` do."""

from enum import StrEnum
from typing import Final, NamedTuple
from uuid import uuid4

import typer
from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.table import Table

from domain.deals import invalid_input_from
from domain.errors import InvalidInput
from domain.identity import Permission
from domain.operations import OperationId, OperationRequest, OperationView, title_of, wanted
from starters.cli.asking import require_terminal
from starters.cli.control import check_reason, parse_message
from starters.cli.output import Output, print_json, show
from starters.cli.session import caller, command_store, load_settings
from starters.cli.show import parse_chain_id
from starters.cli.temporal import connected
from starters.control.operations import OperationDesk
from starters.deals.database import single_connection
from starters.deals.operations import OperationClient, OperationsReader


class Kind(StrEnum):
    """What can be changed."""

    TREASURY = "treasury"
    DESTINATION = "destination"
    SAFE_OWNER = "safe_owner"
    REDEMPTION_FEE = "redemption_fee"
    REDEMPTION_CAP = "redemption_cap"


_DESTINATIONS: Final = {"allowed": True, "forbidden": False}


class Proposal(NamedTuple):
    """The options of `deal operation propose`."""

    kind: str
    name: str
    chain: str
    module: str
    to: str
    of: str | None
    delay: int | None
    reason: str


async def open_operations() -> OperationClient:
    """Connect to Temporal. Raises `Unavailable`."""
    load_settings()
    return OperationClient(await connected())


def open_operation_desk() -> OperationDesk:
    """What people do with operations; it connects when it is asked."""
    settings = load_settings()
    reader = OperationsReader(single_connection(settings.database_url.get_secret_value()))
    return OperationDesk(open_operations, reader, command_store(settings))


async def propose_operation(proposal: Proposal, *, sure: bool, output: Output) -> None:
    """Ask whether it is meant, schedule it, and print where it stands."""
    check_reason(proposal.reason)
    who = await caller(Permission.OPERATIONS_ACT)
    request = parse_request(proposal, who.who)
    if not sure:
        require_terminal("propose", "what the whole desk relies on")
        change = f"{title_of(request.change)} becomes {wanted(request.change)}"
        typer.echo(f"on chain {request.chain_id}, {change}", err=True)
        if not typer.confirm("schedule it?", err=True):
            typer.echo("nothing was changed", err=True)
            raise typer.Exit(1)
    _print(await open_operation_desk().propose(who, request, str(uuid4())), output)


async def show_operation(name: str, output: Output) -> None:
    """Print where an operation stands."""
    who = await caller(Permission.OPERATIONS_READ)
    _print(await open_operation_desk().view(who, OperationId(name)), output)


async def cancel_operation(
    name: str,
    reason: str,
    *,
    command_id: str | None,
    sure: bool,
    output: Output,
) -> None:
    """Ask whether it is meant, cancel, and print how it ended."""
    check_reason(reason)
    operation_id = OperationId(name)
    who = await caller(Permission.OPERATIONS_ACT)
    desk = open_operation_desk()
    if not sure:
        require_terminal("cancel", "an operation")
        view = await desk.view(who, operation_id)
        typer.echo(f"{operation_id} is {view.status}: {view.doing}", err=True)
        if not typer.confirm("cancel it?", err=True):
            typer.echo("nothing was changed", err=True)
            raise typer.Exit(1)
    given = command_id or str(uuid4())
    _print(await desk.cancel(who, operation_id, reason.strip(), given), output)


async def list_operations(chain: str | None, limit: int, output: Output) -> None:
    """Print the newest operations."""
    who = await caller(Permission.OPERATIONS_READ)
    chain_id = None if chain is None else parse_chain_id(chain)
    views = await open_operation_desk().list(who, chain_id, limit)
    if output is Output.JSON:
        print_json({"operations": [view.model_dump(mode="json") for view in views]})
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("operation", "chain", "status", "changes", "from", "to", "ready (UTC)"):
        table.add_column(column, overflow="fold")
    for view in views:
        table.add_row(
            view.request.operation_id,
            str(view.request.chain_id),
            view.status,
            view.title,
            view.before or "",
            view.after,
            _time(view),
        )
    show(table)


def parse_request(proposal: Proposal, who: str) -> OperationRequest:
    """Check the options; raises `InvalidInput` naming the one that is wrong."""
    message = parse_message(proposal.reason, who)
    fields = {
        "operation_id": proposal.name,
        "chain_id": parse_chain_id(proposal.chain),
        "module": proposal.module,
        "change": _change(proposal),
        "delay_seconds": proposal.delay,
        "who": message.who,
        "why": message.why,
    }
    try:
        return OperationRequest.model_validate(fields)
    except ValidationError as error:
        raise invalid_input_from(error) from None


def _change(proposal: Proposal) -> dict[str, object]:
    kind, to = _kind(proposal.kind), proposal.to
    if (proposal.of is None) != (kind not in {Kind.SAFE_OWNER, Kind.DESTINATION}):
        raise InvalidInput(
            "--of says whose value changes",
            field="of",
            value=proposal.of,
            limit="an address for safe_owner and destination, nothing otherwise",
            next_action="give it, or leave it out",
        )
    match kind:
        case Kind.TREASURY:
            return {"kind": kind, "treasury": to}
        case Kind.SAFE_OWNER:
            return {"kind": kind, "old_owner": proposal.of, "new_owner": to}
        case Kind.DESTINATION:
            if to not in _DESTINATIONS:
                raise _not(to, " or ".join(_DESTINATIONS))
            return {"kind": kind, "destination": proposal.of, "allowed": _DESTINATIONS[to]}
        case _:
            if not to.isascii() or not to.isdecimal():
                raise _not(to, "a whole number")
            field = "fee_bps" if kind is Kind.REDEMPTION_FEE else "daily_cap"
            return {"kind": kind, field: int(to)}


def _kind(name: str) -> Kind:
    try:
        return Kind(name)
    except ValueError:
        raise InvalidInput(
            "this is nothing that the timelock changes",
            field="kind",
            value=name,
            limit=", ".join(Kind),
            next_action="choose one of those",
        ) from None


def _not(value: str, limit: str) -> InvalidInput:
    return InvalidInput(
        "the new value cannot be read",
        field="to",
        value=value,
        limit=limit,
        next_action="correct --to and try again",
    )


def _print(view: OperationView, output: Output) -> None:
    if output is Output.JSON:
        print_json(view.model_dump(mode="json"))
        return
    table = Table.grid(padding=(0, 2))
    call = view.scheduled
    rows = {
        "operation": view.request.operation_id,
        "status": view.status,
        "doing": view.doing,
        "changes": view.title,
        "from": view.before,
        "to": view.after,
        "chain, module": f"{view.request.chain_id}, {view.request.module}",
        "ready (UTC)": _time(view),
        "proposed by": f"{view.request.who}: {view.request.why}",
        "cancelled by": view.cancelled_by,
        "timelock id": call and call.timelock_id,
        "calls": call and f"{call.target} {call.data}",
        "transactions": "\n".join(view.transactions),
        "problem": view.problem and f"{view.problem.message}; {view.problem.next_action}",
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, str(value))
    show(table)


def _time(view: OperationView) -> str:
    return f"{view.ready_at:%Y-%m-%d %H:%M:%S}" if view.ready_at else ""
