"""The options that several commands share."""

from typing import Annotated

import typer

from starters.cli.output import Output, remember

DealIdArgument = Annotated[str, typer.Argument(metavar="ID", help="The deal's id.")]

OptionalDealId = Annotated[str | None, typer.Argument(metavar="[ID]", help="The deal's id.")]

WhereOption = Annotated[
    str | None,
    typer.Option(
        "--where",
        help="Instead of ID: all deals like that, such as 'bank=bank-one status=EXECUTING older=2h'"
        " (also id, chain, module, quiet); they are shown before anything is done.",
        show_default=False,
    ),
]

BatchIdOption = Annotated[
    str | None,
    typer.Option(
        "--batch-id",
        help="The same id again goes on with the same batch [default: a new one].",
        show_default=False,
    ),
]

OutputOption = Annotated[
    Output | None,
    typer.Option(
        "--output",
        "-o",
        help="The form of the answer: a table by default on a terminal, JSON elsewhere.",
        callback=remember,
        show_default=False,
    ),
]

ReasonOption = Annotated[
    str,
    typer.Option("--reason", "--why", help="Why; it is kept with the deal.", show_default=False),
]

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether it is meant.")]

CommandIdOption = Annotated[
    str | None,
    typer.Option(
        "--command-id",
        help="The same id again is the same command, whatever was answered [default: a new one].",
        show_default=False,
    ),
]
