"""`deal approvals`, `deal sign` and `deal reject`: what the owners of a Safe can ask for."""
# ruff: noqa: PLC0415 - as in `starters.cli.main`

from pathlib import Path
from typing import Annotated

import typer

from starters.cli.options import (
    DealIdArgument,
    OutputOption,
    ReasonOption,
    YesOption,
)
from starters.cli.output import settled
from starters.cli.process import run_async

KeyFileOption = Annotated[
    Path, typer.Option("--key-file", help="Your own key: a keystore file (Web3 Secret Storage).")
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="Its passphrase; without, it is asked for."),
]
RpcOption = Annotated[
    str | None,
    typer.Option("--rpc-url", help="Your own node; by default the first of your chain profile."),
]
DigestOption = Annotated[
    str | None,
    typer.Option("--request-digest", help="What the desk has told you; refused if it differs."),
]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to `deal`."""
    app.command()(approvals)
    app.command()(sign)
    app.command()(reject)


def approvals(deal_id: DealIdArgument, output: OutputOption = None) -> None:
    """Show what a deal's owners are asked to sign, who has signed, and who can."""
    from domain.identifiers import DealId
    from starters.cli.owners import show_approvals

    run_async(show_approvals(DealId(deal_id), settled(output)))


def sign(  # noqa: PLR0913 - the options of the command
    deal_id: DealIdArgument,
    key_file: KeyFileOption,
    passphrase_file: PassphraseOption = None,
    rpc_url: RpcOption = None,
    request_digest: DigestOption = None,
    *,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Approve a deal as an owner of its Safe, after checking everything on this machine.

    The Safe's nonce, owners and threshold are read from your own node, the hash is computed here
    and compared with the contract's, and what will happen is shown before you are asked.
    """
    from domain.identifiers import DealId
    from starters.cli.owners import Session
    from starters.cli.owners import sign as run

    session = Session(key_file, passphrase_file, rpc_url, request_digest, sure=yes)
    run_async(run(DealId(deal_id), session, settled(output)))


def reject(  # noqa: PLR0913 - the options of the command
    deal_id: DealIdArgument,
    key_file: KeyFileOption,
    reason: ReasonOption,
    passphrase_file: PassphraseOption = None,
    rpc_url: RpcOption = None,
    *,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Reject a deal as an owner of its Safe: it ends, and nothing is moved."""
    from domain.identifiers import DealId
    from starters.cli.owners import Session
    from starters.cli.owners import reject as run

    session = Session(key_file, passphrase_file, rpc_url, None, sure=yes)
    run_async(run(DealId(deal_id), session, reason, settled(output)))
