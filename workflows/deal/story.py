"""The deal's story as the Web UI shows it while it runs (Markdown)."""

from domain.amounts import ETHER_DECIMALS, USD_DECIMALS, format_units
from domain.deals import DealRequest
from domain.views import DealView


def _what(request: DealRequest) -> str:
    where = f"chain {request.chain_id}, module {request.module}, {request.mode}"
    return f"{request.working_liquidity} ETH for {request.bank} on {where}"


def details_of(view: DealView) -> str:
    """Current details: where the deal stands and what each step did."""
    request = view.request
    lines = [
        f"**{view.status}**: {view.doing}",
        "",
        _what(request),
        "",
    ]
    if view.steps:
        lines += ["| step | transactions | block | gas | LTV |", "|---|---|---|---|---|"]
    for step in view.steps:
        outcome = step.outcome
        lines.append(
            f"| {outcome.key.step} {outcome.key.round} | {len(outcome.inclusions)} "
            f"| {outcome.inclusions[-1].block_number} | {outcome.gas_used} "
            f"| {format_units(outcome.position.ltv_bps, 2)} % |"
        )
    if view.settlement:
        ether = format_units(view.settlement.ether_wei, ETHER_DECIMALS)
        profit = format_units(view.settlement.profit_usd8, USD_DECIMALS)
        lines += ["", f"Profit **{profit} USD**; the treasury's ether changed by {ether}"]
    if view.problem:
        lines += ["", f"Problem: {view.problem.message}. Next: {view.problem.next_action}"]
    return "\n".join(lines)
