"""How `deal approvals`, `deal approve` and the desk's `deal reject` do what they do."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import typer
from rich.table import Table
from rich.text import Text

from domain.desk_approvals import DeskApproval, Given, not_awaited
from domain.errors import NotAllowed
from domain.identifiers import DealId
from domain.identity import Permission
from domain.policy_decision import usd
from domain.views import DealView
from starters.cli import formats, tables
from starters.cli.control import check_reason, require_terminal
from starters.cli.output import Output, print_json, show
from starters.cli.session import caller, load_settings
from starters.cli.temporal import open_desk


@dataclass(frozen=True)
class Decision:
    """What an approver says: why, of what, and whether he was sure before."""

    why: str
    binding: str | None
    command_id: str | None
    sure: bool
    reject: bool


async def show_approvals(deal_id: DealId, output: Output) -> None:
    """`deal approvals`."""
    settings = load_settings()
    who = await caller(Permission.DEALS_READ)
    view, _ = await open_desk(settings).view(who, deal_id)
    if view.desk_approval is None and view.approval is None:
        raise NotAllowed(
            f"deal {deal_id} needs nobody's approval",
            field="approval",
            value=view.status,
            limit="a deal above what the policy or its bank's threshold lets through",
            next_action="look at the deal with `deal show`",
        )
    if output is Output.JSON:
        print_json(_document(view))
        return
    parts = [] if view.desk_approval is None else [desk_facts(view.desk_approval)]
    show(*parts, *([] if view.approval is None else [tables.approval_facts(view.approval)]))


async def decide(deal_id: DealId, decision: Decision, output: Output) -> None:
    """`deal approve`, and `deal reject` without a key."""
    name = "reject" if decision.reject else "approve"
    check_reason(decision.why)
    if not decision.sure:
        require_terminal(name)
    who = await caller(Permission.DEALS_APPROVE)
    desk = open_desk(load_settings())
    view, _ = await desk.view(who, deal_id)
    if view.desk_approval is None:
        raise not_awaited(view.status)
    if not decision.sure:
        show(tables.summary(view), desk_facts(view.desk_approval))
        if not typer.confirm(f"{name} it?", err=True):
            typer.echo("nothing was changed", err=True)
            raise typer.Exit(1)
    said = await desk.decide(
        who,
        deal_id,
        reject=decision.reject,
        binding_digest=decision.binding or view.desk_approval.binding_digest,
        why=decision.why.strip(),
        command_id=decision.command_id or str(uuid4()),
    )
    if output is Output.JSON:
        print_json(_desk(said))
    else:
        show(desk_facts(said))


def desk_facts(approval: DeskApproval) -> Table:
    """What the desk is asked for, and who has said what."""
    table = tables.facts()
    table.add_row("value", usd(approval.value_usd8))
    table.add_row("started by", approval.initiator)
    table.add_row("request", approval.request_digest)
    table.add_row("policy", f"version {approval.policy_version}")
    table.add_row("dry run", approval.prediction_digest)
    table.add_row("binding", approval.binding_digest)
    approved = f"{len(approval.given)} of {approval.needed} needed"
    table.add_row("approved", Text(approved, style="yellow" if approval.missing else "green"))
    for given in approval.given:
        table.add_row("", _given(given))
    if approval.group is not None:
        table.add_row("group", approval.group)
    if approval.rejected is not None:
        table.add_row("rejected", Text(_given(approval.rejected), style="red"))
    table.add_row("expires", f"{formats.moment(approval.expires_at)} UTC")
    return table


def _given(given: Given) -> str:
    name = f" for {given.on_behalf_of}" if given.on_behalf_of else ""
    return f"{given.approver}{name}, {formats.moment(given.at)} UTC: {given.why}"


def _document(view: DealView) -> dict[str, Any]:
    """Both kinds of approval, the owners' as it always was."""
    document: dict[str, Any] = {"deal_id": view.request.deal_id, "status": view.status}
    if view.desk_approval is not None:
        document["desk"] = _desk(view.desk_approval)
    if view.approval is not None:
        document["approval"] = view.approval.model_dump(mode="json")
        document["needed"] = view.approval.needed
        document["missing"] = list(view.approval.missing)
    return document


def _desk(approval: DeskApproval) -> dict[str, Any]:
    return approval.model_dump(mode="json") | {"missing": approval.missing}
