"""`deal start`: from options and a file to a request, and from the admission to its answer."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import typer

from domain.amounts import Amount
from domain.deals import DealRequest, DealStatus
from domain.desk_approvals import waits_for
from domain.errors import ApprovalNeeded, InvalidInput, error_from
from domain.identity import Permission
from domain.views import DealView
from starters.cli import tables
from starters.cli.documents import deal_document
from starters.cli.dry_run import print_dry_run
from starters.cli.follow import follow, show_link
from starters.cli.formats import GWEI_DECIMALS
from starters.cli.output import Output, print_json, show
from starters.cli.session import caller, load_config_settings, load_settings
from starters.cli.temporal import open_client, open_desk, open_dry_runs, web_link
from starters.deals.launch import check_request

STARTED: Final = "started from the command line"
_WHOLE_NUMBERS: Final = ("chain_id", "cycles")


async def run_dry(options: dict[str, str | None], file: Path | None, output: Output) -> None:
    """Print what a deal would do and how it would be decided; raise what it would be refused for.

    Nothing is kept.
    """
    request = parse_request(options, file)
    check_request(request, load_config_settings().config_dir)
    who = await caller(Permission.DEALS_START)
    print_dry_run(await open_dry_runs(load_settings()).run(who, request), output)


async def start(  # noqa: PLR0913 - the options of the command
    options: dict[str, str | None],
    file: Path | None,
    output: Output,
    *,
    wait: bool,
    reason: str = STARTED,
    command_id: str | None = None,
) -> None:
    """Start a deal and print its admission, or follow it to its end."""
    request = parse_request(options, file)
    check_request(request, load_config_settings().config_dir)
    settings = load_settings()
    who = await caller(Permission.DEALS_START)
    client = await open_client()
    view = await open_desk(settings).start(
        who, request, why=reason, command_id=command_id or f"start-{uuid4()}"
    )
    web_ui = web_link(settings, request.deal_id)
    if wait and view.status is not DealStatus.DENIED:
        await follow(client, request.deal_id, output, web_ui)
    print_admission(view, output, web_ui)


def parse_request(options: dict[str, str | None], file: Path | None) -> DealRequest:
    """Build the request from a file, if there is one, and the options, which go before it.

    Raises `InvalidInput` naming the field.
    """
    fields = _read(file) if file is not None else {}
    fields |= {name: value for name, value in options.items() if value is not None}
    if options.get("max_fee_gwei") is not None:
        fields["max_fee_per_gas_wei"] = _wei(fields.pop("max_fee_gwei"))
    for name in _WHOLE_NUMBERS:
        if isinstance(fields.get(name), str):
            fields[name] = _whole(fields[name], name)
    return DealRequest.parse(**fields)


def print_admission(view: DealView, output: Output, web_ui: str | None) -> None:
    """Print the sizing; raise the refusal if the deal was denied, or that it needs approval."""
    if output is Output.JSON:
        print_json(deal_document(view, web_ui=web_ui))
    else:
        show(tables.summary(view))
        if web_ui is not None:
            show_link(web_ui)
    if view.status is DealStatus.DENIED and view.problem is not None:
        raise error_from(view.problem)
    waiting = view.status is DealStatus.AWAITING_APPROVAL
    if waiting and view.desk_approval is not None and view.approval is None:
        raise waits_for(view.request.deal_id, view.desk_approval)
    if waiting:
        raise ApprovalNeeded(
            f"deal {view.request.deal_id} waits for its approval",
            field="status",
            value=view.status,
            next_action="have its owners sign it (`deal sign`); `deal wait` follows it",
        )
    raise typer.Exit(0)


def _read(file: Path) -> dict[str, Any]:
    """Read the request's fields; numbers keep every digit that was written."""
    try:
        fields = json.loads(
            file.read_text(encoding="utf-8"), parse_float=Decimal, parse_constant=str
        )
    except (OSError, ValueError) as error:
        raise _unreadable(file, str(error)) from None
    if not isinstance(fields, dict):
        raise _unreadable(file, f"a {type(fields).__name__}")
    return fields


def _unreadable(file: Path, actual: str) -> InvalidInput:
    return InvalidInput(
        f"{file} is not a request",
        field="file",
        value=file,
        limit="a JSON object with the fields of a request",
        actual=actual,
        next_action="correct the file; `deal start --help` names the fields",
    )


def _wei(gwei: str) -> int:
    return Amount.parse(gwei, decimals=GWEI_DECIMALS, field="max_fee_gwei").units


def _whole(text: str, field: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidInput(
            f"{field} is not a whole number",
            field=field,
            value=text,
            limit="a whole number",
            next_action="correct the field and try again",
        ) from None
