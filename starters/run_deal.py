"""`python -m starters.run_deal`: one fresh deal on the running stack, from start to profit."""

import asyncio
from datetime import UTC, datetime

import typer

from domain.deals import DealRequest, DealStatus
from domain.errors import error_from
from domain.identity import Permission
from starters.cli import tables
from starters.cli.errors import errors_told
from starters.cli.follow import follow
from starters.cli.output import Output, show
from starters.cli.process import run_and_leave
from starters.cli.session import caller, load_settings
from starters.cli.temporal import open_client, open_desk, web_link
from starters.deals.launch import check_request


def demo_request(now: datetime) -> DealRequest:
    """Ten ETH for bank-one on chain 138, under a name of its own."""
    return DealRequest.parse(
        deal_id=f"demo-{now:%Y%m%d-%H%M%S-%f}",
        bank="bank-one",
        module="usdtz",
        chain_id=138,
        working_liquidity="10",
    )


async def run_deal() -> None:
    """Start the deal, follow it, and leave with its exit code."""
    request = demo_request(datetime.now(UTC))
    settings = load_settings()
    check_request(request, settings.config_dir)
    client = await open_client()
    who = await caller(Permission.DEALS_START)
    admitted = await open_desk(settings).start(
        who, request, why="the demonstration", command_id=f"start-{request.deal_id}"
    )
    show(tables.summary(admitted), "")
    if admitted.status is DealStatus.DENIED and admitted.problem is not None:
        raise error_from(admitted.problem)
    await follow(client, request.deal_id, Output.TABLE, web_link(settings, request.deal_id))


def _told() -> None:
    try:
        with errors_told(lambda: Output.TABLE):
            asyncio.run(run_deal())
    except typer.Exit as end:
        raise SystemExit(end.exit_code) from None


if __name__ == "__main__":
    run_and_leave(_told)
