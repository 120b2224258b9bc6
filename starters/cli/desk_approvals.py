"""How `deal approvals`, `deal approve` and the desk's `deal reject` do what they do."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import typer
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from domain.desk_approvals import DeskApproval, Given
from domain.errors import NotAllowed
from domain.identifiers import DealId
from domain.identity import Permission
from domain.policy_decision import usd
from starters.cli import formats, tables
from starters.cli.asking import require_terminal
from starters.cli.control import check_reason
from starters.cli.documents import standing, standing_text
from starters.cli.output import Output, console_for_questions, print_json, show
from starters.cli.session import caller, load_settings
from starters.cli.temporal import open_desk
from starters.control.approvals import Approvals, AskedOfDesk
from starters.deals.reading import Cursor, DealFilter


@dataclass(frozen=True)
class Decision:
    """What an approver says: why, of what, and whether he was sure before."""

    why: str
    binding: str | None
    command_id: str | None
    sure: bool
    reject: bool


async def show_approvals(deal_id: DealId, output: Output) -> None:
    """`deal approvals ID`: the workflow's own answer, or the records' with its age."""
    settings = load_settings()
    who = await caller(Permission.DEALS_READ)
    found = await open_desk(settings).approvals(who, deal_id)
    if found.desk is None and found.approval is None:
        raise NotAllowed(
            f"deal {deal_id} needs nobody's approval",
            field="approval",
            value=found.status,
            limit="a deal above what the policy or its bank's threshold lets through",
            next_action="look at the deal with `deal show`",
        )
    if output is Output.JSON:
        print_json(found.model_dump(mode="json"))
        return
    parts: list[RenderableType] = []
    if found.source == "records":
        parts.append(tables.recorded_line(found.as_of, datetime.now(UTC)))
    if found.desk is not None:
        parts.append(desk_facts(found.desk))
    if found.approval is not None:
        parts.append(tables.approval_facts(found.approval))
    show(*parts)


async def list_approvals(limit: int, cursor: str | None, output: Output) -> None:
    """`deal approvals` without an id: a page of the deals that wait, from the records."""
    who = await caller(Permission.DEALS_READ)
    chosen = DealFilter(limit=limit, before=Cursor.parse(cursor) if cursor else None)
    page = await open_desk(load_settings()).waiting(who, chosen)
    changes = [each.as_of for each in page.approvals]
    following = None if page.next_cursor is None else str(page.next_cursor)
    if output is Output.JSON:
        found = [each.model_dump(mode="json") for each in page.approvals]
        told = {"approvals": found, "next_cursor": following}
        print_json({"source": "records", **standing(changes), **told})
        return
    show(_waiting_table(page.approvals))
    note = f"from the records, {len(page.approvals)} deals wait{standing_text(changes)}"
    typer.echo(note if following is None else f"{note}; go on with --cursor {following}")


async def decide(deal_id: DealId, decision: Decision, output: Output) -> None:
    """`deal approve`, and `deal reject` without a key."""
    name = "reject" if decision.reject else "approve"
    check_reason(decision.why)
    if not decision.sure:
        require_terminal(name)
    who = await caller(Permission.DEALS_APPROVE)
    desk, binding = open_desk(load_settings()), decision.binding
    if not decision.sure:
        asked = await desk.asked(who, deal_id)
        view, _ = await desk.view(who, deal_id)
        for part in (tables.summary(view), desk_facts(asked)):
            console_for_questions().print(part)
        if not typer.confirm(f"{name} it?", err=True):
            typer.echo("nothing was changed", err=True)
            raise typer.Exit(1)
        binding = binding or asked.binding_digest
    said = await desk.decide(
        who,
        deal_id,
        reject=decision.reject,
        binding_digest=binding,
        why=decision.why.strip(),
        command_id=decision.command_id or str(uuid4()),
    )
    if output is Output.JSON:
        print_json(AskedOfDesk.of(said).model_dump(mode="json"))
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


def _waiting_table(waiting: tuple[Approvals, ...]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("deal", "value", "started by", "desk", "owners", "expires (UTC)"):
        table.add_column(name, overflow="fold")
    for each in waiting:
        desk, owners = each.desk, each.approval
        ends = desk.expires_at if desk is not None and desk.missing else None
        if ends is None and owners is not None:
            ends = owners.proposal.expires_at
        table.add_row(
            each.deal_id,
            "" if desk is None else usd(desk.value_usd8),
            "" if desk is None else desk.initiator,
            "" if desk is None else f"{len(desk.given)} of {desk.needed}",
            "" if owners is None else f"{len(owners.signed)} of {owners.proposal.threshold}",
            "" if ends is None else formats.moment(ends),
        )
    return table
