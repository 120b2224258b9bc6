"""Deals as tables."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from domain.amounts import ETHER_DECIMALS, format_units
from domain.approvals import Approval
from domain.deals import DealStatus, commands_for
from domain.errors import Problem
from domain.freezes import Freeze
from domain.sizing import Sizing
from domain.views import DealView, StepView
from starters.cli import formats

_COLOURS: Final = {
    DealStatus.COMPLETED: "green",
    DealStatus.EXECUTING: "cyan",
    DealStatus.REQUESTED: "cyan",
    DealStatus.DENIED: "red",
    DealStatus.STUCK: "bold red",
}
_OTHER_COLOUR: Final = "yellow"


def status_text(status: DealStatus) -> Text:
    """A status in its colour."""
    return Text(status, style=_COLOURS.get(status, _OTHER_COLOUR))


def facts() -> Table:
    """An empty table of names and values."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def deals_table(deals: Iterable[DealView]) -> Table:
    """A list of deals, one line each."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("deal", "bank", "chain", "module"):
        table.add_column(name, overflow="fold")
    table.add_column("ETH", justify="right")
    table.add_column("status")
    table.add_column("profit", justify="right")
    table.add_column("began (UTC)", no_wrap=True)
    for deal in deals:
        request, settlement = deal.request, deal.settlement
        table.add_row(
            request.deal_id,
            request.bank,
            str(request.chain_id),
            request.module,
            format_units(request.working_liquidity.units, ETHER_DECIMALS),
            status_text(deal.status),
            formats.usd(settlement.profit_usd8) if settlement else "",
            formats.moment(deal.created_at),
        )
    return table


def summary(view: DealView) -> Table:
    """Who, where, what and how it stands."""
    request = view.request
    table = facts()
    table.add_row("deal", Text(request.deal_id, style="bold"))
    table.add_row("status", status_text(view.status))
    table.add_row("doing", Text(view.doing))
    table.add_row("bank", request.bank)
    table.add_row("chain, module", f"{request.chain_id}, {request.module}, {request.mode}")
    table.add_row("liquidity", f"{request.working_liquidity} ETH")
    limits = f"LTV {formats.percent(request.max_ltv_bps)}, slippage "
    limits += formats.percent(request.max_slippage_bps)
    if request.max_fee_per_gas_wei is not None:
        limits += f", fee {formats.gwei(request.max_fee_per_gas_wei)} gwei"
    table.add_row("limits", limits)
    if view.account:
        table.add_row("account", view.account)
    if view.treasury:
        table.add_row("treasury", view.treasury)
    if view.frozen is not None:
        _add_freeze(table, view, view.frozen, datetime.now(UTC))
    if view.adoption is not None:
        table.add_row("adopted", Text(view.adoption.text()))
    possible = ", ".join(commands_for(view.status))
    if possible:
        table.add_row("possible now", possible)
    began, changed = formats.moment(view.created_at), formats.moment(view.updated_at)
    table.add_row("began, changed", f"{began}, {changed} UTC")
    if view.sizing is not None:
        _add_sizing(table, view, view.sizing)
    return table


def _add_freeze(table: Table, view: DealView, freeze: Freeze, now: datetime) -> None:
    """What cannot be redeemed: how much, for how long, and what it is reckoned with now."""
    age = formats.age(freeze.age(now))
    table.add_row("frozen", f"{formats.par_token(view).amount(freeze.held)} for {age}")
    cut = formats.percent(freeze.haircut_bps(now))
    value = f"{formats.usd(freeze.value_usd8(now))} after a haircut of {cut}, "
    table.add_row("", f"{value}{formats.usd(freeze.at_par_usd8)} at par")
    if freeze.unwinds_at is not None:
        table.add_row("", f"unwinds by itself at {formats.moment(freeze.unwinds_at)} UTC")


def _add_sizing(table: Table, view: DealView, sizing: Sizing) -> None:
    par = formats.par_token(view)
    table.add_row("wrap", formats.ether(sizing.wrap_wei))
    table.add_row("gas reserve", formats.ether(sizing.gas_reserve_wei))
    cycles = f" x {sizing.cycles} cycles" if sizing.cycles > 1 else ""
    table.add_row(
        "borrow, swap", f"{par.amount(sizing.borrow)}{cycles}, bound by {sizing.bound_by}"
    )
    ratios = f"LTV {formats.percent(sizing.expected_ltv_bps)}, "
    ratios += f"exposure {formats.percent(sizing.expected_exposure_bps)}"
    table.add_row("expected", f"{formats.usd(sizing.expected_profit_usd8)}, {ratios}")


def steps_table(steps: Iterable[StepView]) -> Table:
    """Every transaction of every step; LTV and duration are those of the step."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("step", no_wrap=True)
    table.add_column("transaction", overflow="fold")
    for name in ("block", "gas", "LTV", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for step in steps:
        _add_step(table, step)
    return table


def _add_step(table: Table, step: StepView) -> None:
    outcome = step.outcome
    name = formats.step_name(outcome.key)
    ltv = formats.percent(outcome.position.ltv_bps)
    took = formats.seconds(step.finished_at - step.started_at)
    for number, mined in enumerate(outcome.inclusions):
        first = number == 0
        table.add_row(
            name if first else "",
            Text(mined.transaction_hash, style="" if mined.succeeded else "red"),
            str(mined.block_number),
            f"{mined.gas_used:,}",
            ltv if first else "",
            took if first else "",
        )
    if not outcome.inclusions:
        table.add_row(name, "none", "", "", ltv, took)
    if outcome.problem is not None:
        table.add_row("", Text(outcome.problem.message, style="red"), "", "", "", "")


def settlement_facts(view: DealView) -> Table:
    """The profit, and what the treasury's balances changed by, to the smallest unit."""
    table = facts()
    if view.settlement is not None:
        settlement = view.settlement
        table.add_row("profit", Text(formats.usd(settlement.profit_usd8), style="bold"))
        table.add_row("treasury", formats.signed(formats.ether(settlement.ether_wei)))
        table.add_row("", formats.signed(formats.par_token(view).amount(settlement.par)))
    return table


def approval_facts(approval: Approval) -> Table:
    """What is proposed to the owners, and who has signed."""
    proposal, transaction = approval.proposal, approval.proposal.transaction
    table = facts()
    table.add_row("Safe", f"{transaction.safe}, nonce {transaction.nonce}")
    value = f"{formats.ether(transaction.value)}, {formats.usd(proposal.value_usd8)}"
    table.add_row("pays", f"{value} to {transaction.to}")
    table.add_row("together", f"{formats.usd(proposal.together_usd8)} for {proposal.bank}")
    table.add_row("hash", proposal.transaction_hash)
    signed = f"{len(approval.signed)} of {proposal.threshold} needed"
    table.add_row("signed", Text(signed, style="green" if not approval.needed else "yellow"))
    for given in approval.signed:
        table.add_row("", f"{given.owner} by {given.who}, {formats.moment(given.at)} UTC")
    for owner in approval.missing:
        table.add_row("can sign", owner)
    table.add_row("expires", f"{formats.moment(proposal.expires_at)} UTC")
    if approval.note:
        table.add_row("note", approval.note)
    return table


def problem_facts(problem: Problem) -> Table:
    """Why the deal was denied, is unwinding or stuck."""
    table = facts()
    table.add_row(Text("problem", style="red"), problem.message)
    for name in ("code", "field", "value", "limit", "actual", "headroom"):
        value = getattr(problem, name)
        if value is not None:
            table.add_row(name, value)
    table.add_row("what to do", problem.next_action)
    return table


def source_line(view: DealView, *, from_workflow: bool, now: datetime) -> Text | None:
    """Say so where the answer is not the workflow's own."""
    return None if from_workflow else recorded_line(view.updated_at, now)


def recorded_line(changed_at: datetime, now: datetime) -> Text:
    """Say that the records answer, and how old that is."""
    old = formats.age(now - changed_at)
    return Text(f"from the records, last changed {old} ago", style="yellow")
