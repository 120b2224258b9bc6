"""Chains as tables."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from starters.cli import formats
from starters.cli.chain_view import ChainView
from starters.cli.tables import facts
from starters.cli.tx_tables import alerts_table
from starters.deals.chains import AccountHealth, ChainReport, Endpoint, Observation

_UNKNOWN: Final = "-"


def chain_parts(view: ChainView) -> Iterator[RenderableType]:
    """Everything about one chain, as far as there is something."""
    observed = view.report.observed
    yield _summary(view)
    if observed is not None and observed.endpoints:
        yield _endpoints(observed.endpoints)
    if observed is not None and observed.accounts:
        yield _accounts(observed.accounts)
    if view.report.alerts:
        yield alerts_table(view.report.alerts)
    yield ""


def _summary(view: ChainView) -> Table:
    report, observed = view.report, view.report.observed or Observation()
    table = facts()
    name = f" {view.name}" if view.name else ""
    table.add_row("chain", Text(f"{report.chain_id}{name}", style="bold"))
    table.add_row("seen", _seen(view))
    finalized = observed.finalized
    behind = (
        f" ({observed.head - finalized} behind)"
        if observed.head is not None and finalized is not None
        else ""
    )
    table.add_row("head", _number(observed.head))
    table.add_row("finalized", _number(finalized) + behind)
    table.add_row("base fee", _base_fee(view, observed))
    table.add_row("priority fee", _fee(observed.priority_fee_wei))
    table.add_row("cap", _fee(view.max_fee_per_gas_wei))
    table.add_row("latch", _latch(report))
    table.add_row("alerts", str(len(report.alerts)) if report.alerts else "none")
    return table


def _seen(view: ChainView) -> Text:
    age = view.report.age_seconds
    if age is None:
        return Text("never: no chain worker has reported it", style="red")
    ago = f"{formats.age(timedelta(seconds=age))} ago"
    if not view.stale:
        return Text(ago)
    return Text(f"{ago}: STALE, older than {view.stale_after_seconds} s", style="bold red")


def _base_fee(view: ChainView, observed: Observation) -> Text:
    fee = _fee(observed.base_fee_wei)
    return Text(f"{fee}, above the cap", style="bold red") if view.above_cap else Text(fee)


def _latch(report: ChainReport) -> Text:
    if not report.latches:
        return Text("none")
    latch = report.latches[0]
    since = formats.moment(latch.set_at)
    return Text(f"since {since} UTC nothing is signed: {latch.problem.message}", style="bold red")


def _endpoints(endpoints: tuple[Endpoint, ...]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("endpoint", overflow="fold")
    for name in ("health", "circuit"):
        table.add_column(name)
    for name in ("head", "lag", "latency"):
        table.add_column(name, justify="right")
    table.add_column("last error", overflow="fold")
    for endpoint in endpoints:
        latency = endpoint.latency_ms
        table.add_row(
            f"{endpoint.number} {endpoint.label}" + (" (private)" if endpoint.private else ""),
            _health(endpoint),
            endpoint.circuit,
            _number(endpoint.head),
            _number(endpoint.lag),
            _UNKNOWN if latency is None else f"{latency:.1f} ms",
            Text(endpoint.last_error or "", style="yellow"),
        )
    return table


def _health(endpoint: Endpoint) -> Text:
    if endpoint.chain_id_ok is False:
        return Text("on another chain", style="bold red")
    return Text("healthy", style="green") if endpoint.healthy else Text("unhealthy", style="red")


def _accounts(accounts: tuple[AccountHealth, ...]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("account", no_wrap=True)
    for name in ("mined", "next nonce", "pending"):
        table.add_column(name, justify="right")
    table.add_column("gap", overflow="fold")
    for account in accounts:
        table.add_row(
            account.address,
            str(account.mined_nonce),
            str(account.next_nonce),
            str(account.pending),
            _gap(account),
        )
    return table


def _gap(account: AccountHealth) -> Text:
    if not account.gap:
        return Text("none")
    return Text(", ".join(map(str, account.gap)), style="bold red")


def _number(value: int | None) -> str:
    return _UNKNOWN if value is None else str(value)


def _fee(wei: int | None) -> str:
    return _UNKNOWN if wei is None else f"{formats.gwei(wei)} gwei"
