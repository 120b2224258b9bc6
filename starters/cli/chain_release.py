"""`deal chain release`: a person says that a chain may be signed for again."""

from uuid import uuid4

import typer
from rich.text import Text

from activities.transactions.interface import ChainReleased
from domain.identity import Permission
from starters.cli.asking import require_terminal
from starters.cli.chain_status import read_views
from starters.cli.chain_view import ChainView
from starters.cli.control import check_reason
from starters.cli.output import Output, print_json, show
from starters.cli.session import caller, chains, load_settings
from starters.cli.show import parse_chain_id
from starters.cli.tables import problem_facts
from starters.cli.temporal import open_chain_desk


async def release(
    chain: str, reason: str, command_id: str | None, output: Output, *, sure: bool
) -> None:
    """Ask whether it is meant, have the latch cleared, and print what it was."""
    chain_id = parse_chain_id(chain)
    check_reason(reason)
    if not sure:
        require_terminal("release", "what is signed")
    who = await caller(Permission.CHAIN_RELEASE)
    desk = open_chain_desk(load_settings())
    desk.check(who, chain_id)
    if not sure:
        (view,) = await read_views(chains(load_settings()), chain_id)
        if not _confirmed(view):
            typer.echo("nothing was changed", err=True)
            raise typer.Exit(1)
    given = command_id or str(uuid4())
    _print(await desk.release(who, chain_id, reason.strip(), command_id=given), output)


def _confirmed(view: ChainView) -> bool:
    """Ask on standard error, so that the answer to the command stays apart."""
    for latch in view.report.latches:
        typer.echo(f"{latch.problem.message}; {latch.problem.next_action}", err=True)
    if not view.report.latches:
        typer.echo("no latch is recorded", err=True)
    return typer.confirm(f"let chain {view.report.chain_id} be signed for again?", err=True)


def _print(released: ChainReleased, output: Output) -> None:
    if output is Output.JSON:
        print_json(released.model_dump(mode="json"))
        return
    done = "is signed for again" if released.cleared else "was not latched; nothing was changed"
    show(Text(f"chain {released.chain_id} {done}"))
    if released.problem is not None:
        show(problem_facts(released.problem))
