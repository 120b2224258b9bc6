"""`deal codec`: the keys that encrypt what Temporal keeps, and the server that reads it to people.

Imports stand in the functions, so that help comes at once.
"""
# ruff: noqa: PLC0415 - see above

from typing import TYPE_CHECKING

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from starters.cli.options import OutputOption
from starters.cli.output import Output, print_json, settled, show
from starters.cli.process import run_async

if TYPE_CHECKING:
    from workers.runtime.key_ring import CodecKey, KeySource

app = typer.Typer(
    help="Look after the keys that encrypt what Temporal keeps, and read it.", no_args_is_help=True
)


@app.command()
def rotate(output: OutputOption = None) -> None:
    """Add a new key: it encrypts from now on, and the old ones go on decrypting.

    Processes that run take it up within a minute, and at once when they meet a payload under it.
    """
    run_async(_rotate(settled(output)))


@app.command(name="list")
def list_(output: OutputOption = None) -> None:
    """List the keys by id and age; the keys themselves are never shown."""
    run_async(_list(settled(output)))


@app.command()
def serve() -> None:
    """Serve /encode and /decode for the Web UI and `temporal --codec-endpoint`.

    It listens where DEAL_CODEC_SERVER_ADDRESS says, on loopback by default, and lets scripts of
    DEAL_WEB_UI ask and of no other page. With DEAL_CODEC_SERVER_TOKEN_FILE whoever asks must send
    that token; in production it must be set.
    """
    from starters.cli.session import use_local_stack
    from starters.codec.access import access_from
    from starters.codec.server import serve as run_server
    from workers.runtime.codec_keys import needed_source
    from workers.runtime.key_ring import KeyRing
    from workers.runtime.settings import CodecServerSettings

    use_local_stack()
    settings = CodecServerSettings.load()
    access = access_from(settings)
    run_server(KeyRing(needed_source(settings)), access)


async def _rotate(output: Output) -> None:
    from domain.identity import Permission
    from starters.cli.session import caller
    from workers.runtime.key_ring import CodecKey

    await caller(Permission.CODEC_ACT)
    key = CodecKey.generate()
    await _source().add(key)
    if output is Output.JSON:
        print_json(_document(key))
    else:
        typer.echo(f"key {key.key_id} encrypts from now on; the ones before it go on decrypting")


async def _list(output: Output) -> None:
    from domain.identity import Permission
    from starters.cli.session import caller

    await caller(Permission.CODEC_ACT)
    keys = await _source().read()
    if output is Output.JSON:
        print_json([_document(key) for key in keys])
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("key", "made", "use"):
        table.add_column(column)
    for key in keys:
        use = "encrypts, decrypts" if key is keys[-1] else "decrypts"
        table.add_row(key.key_id, f"{key.created_at:%Y-%m-%d %H:%M} UTC", use)
    show(table)


def _source() -> "KeySource":
    from starters.cli.session import use_local_stack
    from workers.runtime.codec_keys import needed_source
    from workers.runtime.settings import CodecSettings

    use_local_stack()
    return needed_source(CodecSettings.load())


def _document(key: "CodecKey") -> dict[str, object]:
    return {"key_id": key.key_id, "created_at": key.created_at.isoformat()}
