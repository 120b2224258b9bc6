"""Following a deal to its end: live on a terminal, a line a change elsewhere."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import typer

from domain.deals import SETTLED, DealStatus
from domain.errors import NotFound, OutcomeUnknown
from domain.identifiers import DealId
from domain.identity import Permission
from domain.views import DealView
from starters.cli import formats, tables
from starters.cli.documents import deal_document
from starters.cli.errors import tell
from starters.cli.live import LiveDeal, steps_ahead
from starters.cli.output import Output, console, print_json, show
from starters.cli.session import caller, load_settings, records, require_deal
from starters.cli.temporal import open_client, web_link
from starters.deals.client import DealClient

_FAILED = 1


async def watch(deal_id: DealId, output: Output) -> None:
    """`deal watch`."""
    settings = load_settings()
    await require_deal(await caller(Permission.DEALS_READ), deal_id, settings)
    await follow(await open_client(), deal_id, output, web_link(settings, deal_id))


async def wait(deal_id: DealId, timeout: float | None, output: Output) -> None:  # noqa: ASYNC109 - the option of the command
    """`deal wait`."""
    settings = load_settings()
    await require_deal(await caller(Permission.DEALS_READ), deal_id, settings)
    try:
        view = await (await open_client()).wait(deal_id, timeout)
    except NotFound:
        # Temporal forgets a deal some time after its end; the records never do.
        recorded = await records(settings).find(deal_id)
        if recorded is None or recorded.status not in SETTLED:
            raise
        view = recorded
    if output is Output.JSON:
        print_json(deal_document(view, web_ui=web_link(settings, deal_id)))
    else:
        show(tables.summary(view), tables.settlement_facts(view))
    end_as(view, output)


async def follow(client: DealClient, deal_id: DealId, output: Output, web_ui: str | None) -> None:
    """Show a deal until it has ended, then leave with its exit code."""
    async with aclosing(client.watch(deal_id)) as views:
        if output is Output.JSON:
            view = await _stream(views, web_ui)
        elif sys.stdout.isatty():
            view = await _draw(views)
        else:
            view = await _log(views)
    if output is Output.TABLE:
        show_end(view, web_ui)
    end_as(view, output)


def show_end(view: DealView, web_ui: str | None) -> None:
    """Print what a deal has done: steps, profit, and where to look."""
    show("", tables.steps_table(view.steps), tables.settlement_facts(view))
    if web_ui is not None:
        show_link(web_ui)


def show_link(web_ui: str) -> None:
    """Print the Web UI's address, whole on one line so that it can be clicked."""
    typer.echo(f"\nWeb UI: {web_ui}")


def exit_code(view: DealView) -> int:
    """0 if the deal completed, 7 if nobody knows what it did, 1 for every other end."""
    if view.status is DealStatus.COMPLETED:
        return 0
    if view.problem is not None and view.problem.code == OutcomeUnknown.code:
        return OutcomeUnknown.exit_code
    return _FAILED


def end_as(view: DealView, output: Output) -> None:
    """Tell what went wrong, if something did, and leave with the deal's exit code."""
    if view.problem is not None:
        tell(view.problem, output)
    raise typer.Exit(exit_code(view))


async def _stream(views: AsyncIterator[DealView], web_ui: str | None) -> DealView:
    def print_line(view: DealView) -> None:
        print_json(deal_document(view, web_ui=web_ui), line=True)

    return await _tell_each(views, print_line)


async def _draw(views: AsyncIterator[DealView]) -> DealView:
    with LiveDeal(console()) as live:
        return await _tell_each(views, live.show)


async def _log(views: AsyncIterator[DealView]) -> DealView:
    def print_line(view: DealView) -> None:
        done = len(view.steps)
        steps = f"{done} of {done + len(steps_ahead(view))} steps"
        typer.echo(f"{formats.moment(view.updated_at)}  {view.status:<10} {steps:<14} {view.doing}")

    return await _tell_each(views, print_line)


async def _tell_each(
    views: AsyncIterator[DealView], tell_one: Callable[[DealView], None]
) -> DealView:
    """Tell every view and return the last."""
    last: DealView | None = None
    async for view in views:
        tell_one(view)
        last = view
    if last is None:
        raise AssertionError  # a deal that is watched has at least one view
    return last
