"""`deal approvals`, `approve`, `sign` and `reject`: what the desk and the owners of a Safe say."""
# ruff: noqa: PLC0415 - as in `starters.cli.main`

from pathlib import Path
from typing import Annotated

import typer

from starters.cli.options import (
    CommandIdOption,
    DealIdArgument,
    OptionalDealId,
    OutputOption,
    ReasonOption,
    YesOption,
)
from starters.cli.output import settled
from starters.cli.process import run_async

KeyFileOption = Annotated[
    Path, typer.Option("--key-file", help="Your own key: a keystore file (Web3 Secret Storage).")
]
OwnersKeyOption = Annotated[
    Path | None,
    typer.Option("--key-file", help="As an owner of the Safe: your own key, a keystore file."),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="Its passphrase; without, it is asked for."),
]
RpcOption = Annotated[
    str | None,
    typer.Option("--rpc-url", help="Your own node; by default the first of your chain profile."),
]
BindingOption = Annotated[
    str | None,
    typer.Option("--binding", help="What you have looked at; refused if it differs."),
]
DigestOption = Annotated[
    str | None,
    typer.Option("--request-digest", help="What the desk has told you; refused if it differs."),
]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to `deal`."""
    app.command()(approvals)
    app.command()(approve)
    app.command()(sign)
    app.command()(reject)


def approvals(
    deal_id: OptionalDealId = None,
    *,
    limit: Annotated[int, typer.Option(help="Without ID: at most that many, up to 500.")] = 50,
    cursor: Annotated[
        str | None, typer.Option(help="Without ID: next_cursor of the page before.")
    ] = None,
    output: OutputOption = None,
) -> None:
    """Show what the desk and a Safe's owners are asked for, who has said what, what is missing.

    Without ID: the deals that wait, newest first.
    """
    from domain.identifiers import DealId
    from starters.cli.desk_approvals import list_approvals, show_approvals

    if deal_id is None:
        run_async(list_approvals(limit, cursor, settled(output)))
    else:
        run_async(show_approvals(DealId(deal_id), settled(output)))


def approve(  # noqa: PLR0913 - the options of the command
    deal_id: DealIdArgument,
    reason: ReasonOption,
    binding: BindingOption = None,
    command_id: CommandIdOption = None,
    *,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Approve a deal for the desk: exactly what is shown before you are asked."""
    from domain.identifiers import DealId
    from starters.cli.desk_approvals import Decision, decide

    decision = Decision(reason, binding, command_id, sure=yes, reject=False)
    run_async(decide(DealId(deal_id), decision, settled(output)))


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


def reject(  # noqa: PLR0913, PLR0917 - the options of the command
    deal_id: DealIdArgument,
    reason: ReasonOption,
    key_file: OwnersKeyOption = None,
    passphrase_file: PassphraseOption = None,
    rpc_url: RpcOption = None,
    binding: BindingOption = None,
    command_id: CommandIdOption = None,
    *,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Reject a deal that waits: for the desk, or with --key-file as an owner of its Safe.

    It ends, and nothing is moved.
    """
    from domain.identifiers import DealId

    if key_file is None:
        from starters.cli.desk_approvals import Decision, decide

        decision = Decision(reason, binding, command_id, sure=yes, reject=True)
        run_async(decide(DealId(deal_id), decision, settled(output)))
        return
    from starters.cli.owners import Session
    from starters.cli.owners import reject as run

    session = Session(key_file, passphrase_file, rpc_url, None, sure=yes)
    run_async(run(DealId(deal_id), session, reason, settled(output)))
