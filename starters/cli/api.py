"""`deal api`: serve the HTTP API, and write its document."""
# ruff: noqa: PLC0415 - help needs none of what the command does

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Serve the HTTP API.")


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    address: Annotated[
        str | None,
        typer.Option(
            help="host:port, or a port of loopback [default: DEAL_API_ADDRESS, 127.0.0.1:8080]."
        ),
    ] = None,
) -> None:
    """Serve the HTTP API until it is told to stop."""
    if context.invoked_subcommand is not None:
        return
    from starters.api.serving import serve
    from starters.api.settings import ApiSettings
    from starters.cli.session import use_local_stack

    use_local_stack()
    settings = ApiSettings.load()
    serve(settings if address is None else settings.model_copy(update={"api_address": address}))


@app.command()
def openapi(
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Write it there [default: print it].")
    ] = None,
) -> None:
    """Write the API's document (OpenAPI 3.1)."""
    from starters.api.application import document_text

    text = document_text()
    if file is None:
        typer.echo(text, nl=False)
    else:
        file.write_text(text)
