"""`deal chain release`: a person says that a chain may be signed for again."""

import typer
from rich.text import Text

from activities.transactions.interface import ChainReleased, ReleaseChain
from domain.errors import NotFound
from domain.identifiers import ChainId
from domain.identity import Permission
from starters.cli.chain_status import read_views
from starters.cli.chain_view import ChainView
from starters.cli.control import check_reason, require_terminal
from starters.cli.output import Output, print_json, show
from starters.cli.session import caller, chains, load_settings
from starters.cli.show import parse_chain_id
from starters.cli.tables import problem_facts
from starters.deals.releasing import release_chain
from workers.runtime.connect import connect


async def release(chain: str, reason: str, output: Output, *, sure: bool) -> None:
    """Ask whether it is meant, have the latch cleared, and print what it was."""
    chain_id = parse_chain_id(chain)
    check_reason(reason)
    if not sure:
        require_terminal("release", "what is signed")
    who = await caller(Permission.CHAIN_RELEASE)
    (view,) = await read_views(chains(load_settings()), chain_id)
    if view.name is None:
        raise NotFound(
            f"chain {chain_id} is not configured",
            field="chain",
            value=chain_id,
            next_action="choose one of the chains of `deal config check`",
        )
    if not sure and not _confirmed(view):
        typer.echo("nothing was changed", err=True)
        raise typer.Exit(1)
    order = ReleaseChain(chain_id=ChainId(chain_id), who=who.who, why=reason.strip())
    _print(await release_chain(await connect(), order), output)


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
