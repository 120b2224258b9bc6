"""`deal chain status`: what the watchers wrote about the chains, beside their profiles."""

import asyncio
import sys
from typing import Any, Final

from rich.console import Group
from rich.live import Live

from domain.chains import ChainProfile
from domain.errors import InvalidConfiguration, NotFound
from domain.identity import Permission
from starters.cli.chain_tables import chain_parts
from starters.cli.chain_view import ChainView
from starters.cli.output import Output, console, print_json, show
from starters.cli.session import caller, chains, load_config_settings, load_settings
from starters.cli.show import parse_chain_id
from starters.deals.chains import ChainsReader
from workers.runtime.profiles import load_profiles

_LOOK_SECONDS: Final = 1.0


async def status(chain: str | None, output: Output, *, watch: bool) -> None:
    """Show the chains once, or again and again until somebody interrupts."""
    chain_id = None if chain is None else parse_chain_id(chain)
    await caller(Permission.CHAIN_READ)
    reader = chains(load_settings())
    views = await read_views(reader, chain_id)
    if not watch:
        _print(views, output)
        return
    if output is Output.TABLE and sys.stdout.isatty():
        await _draw(reader, chain_id, views)
    else:
        await _tell_changes(reader, chain_id, views, output)


async def read_views(reader: ChainsReader, chain_id: int | None) -> list[ChainView]:
    """Return the chains that there are profiles or records of, or only the one asked for.

    Raises `NotFound` if there is neither of that one, and `Unavailable`.
    """
    profiles = _profiles()
    reports = await reader.reports()
    if chain_id is not None and chain_id not in profiles and chain_id not in reports:
        raise NotFound(
            f"nothing is known of chain {chain_id}",
            field="chain",
            value=chain_id,
            limit=", ".join(str(known) for known in sorted({*profiles, *reports})) or "none",
            next_action="choose one of the chains listed, or add its profile",
        )
    known = sorted({*profiles, *reports}) if chain_id is None else [chain_id]
    return [ChainView.of(each, profiles.get(each), reports.get(each)) for each in known]


def _profiles() -> dict[int, ChainProfile]:
    """The profiles by chain id; none where there are no files of them."""
    try:
        return dict(load_profiles(load_config_settings().config_dir).items())
    except InvalidConfiguration:
        return {}


def _print(views: list[ChainView], output: Output) -> None:
    if output is Output.JSON:
        print_json(_document(views))
        return
    for view in views:
        show(*chain_parts(view))


def _document(views: list[ChainView]) -> dict[str, Any]:
    return {"source": "records", "chains": [view.document() for view in views]}


async def _draw(reader: ChainsReader, chain_id: int | None, views: list[ChainView]) -> None:
    with Live(_group(views), console=console(), auto_refresh=False) as live:
        while True:
            await _pause()
            live.update(_group(await read_views(reader, chain_id)), refresh=True)


async def _pause() -> None:
    await asyncio.sleep(_LOOK_SECONDS)


def _group(views: list[ChainView]) -> Group:
    return Group(*(part for view in views for part in chain_parts(view)))


async def _tell_changes(
    reader: ChainsReader, chain_id: int | None, views: list[ChainView], output: Output
) -> None:
    """Print what there is, and again whenever it is another: a line each as JSON."""
    told: list[ChainView] = []
    while True:
        if [view.identity() for view in views] != [view.identity() for view in told]:
            if output is Output.JSON:
                print_json(_document(views), line=True)
            else:
                _print(views, output)
            told = views
        await _pause()
        views = await read_views(reader, chain_id)
