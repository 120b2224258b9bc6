"""The `deal` command: what can be asked for. How it is done stands in the modules it calls.

Those are imported when their command runs, so that help and completion come at once.
"""
# ruff: noqa: PLC0415 - see above

import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from starters.cli import (
    api,
    approvals,
    audit,
    codec,
    halt,
    keys,
    local,
    operation,
    policy,
    schedules,
    tx,
    users,
)
from starters.cli import chain as chain_commands
from starters.cli.errors import DealGroup
from starters.cli.options import (
    BatchIdOption,
    CommandIdOption,
    DealIdArgument,
    OptionalDealId,
    OutputOption,
    ReasonOption,
    WhereOption,
    YesOption,
)
from starters.cli.output import Output, print_json, settled
from starters.cli.process import run_and_leave, run_async

app = typer.Typer(
    name="deal",
    help="Launch deals, follow them, and keep them in hand.",
    cls=DealGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
config_app = typer.Typer(help="Look at the configuration.", no_args_is_help=True)
database_app = typer.Typer(help="Look after the database.", no_args_is_help=True)

approvals.add_commands(app)
users.add_commands(app)
app.add_typer(policy.app, name="policy")
app.add_typer(tx.app, name="tx")
app.add_typer(chain_commands.app, name="chain")
app.add_typer(keys.app, name="keys")
app.add_typer(halt.app, name="halt")
app.add_typer(schedules.app, name="schedules")
app.add_typer(operation.app, name="operation")
app.add_typer(audit.app, name="audit")
app.add_typer(local.app, name="local")
app.add_typer(codec.app, name="codec")
app.add_typer(api.app, name="api")
app.add_typer(config_app, name="config")
app.add_typer(database_app, name="database")


class WorkerRole(StrEnum):
    """The processes that do the work."""

    DEALS = "deals"
    CHAIN = "chain"
    SIGNER = "signer"


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    run_and_leave(app)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(version("deal-orchestrator"))
        except PackageNotFoundError:  # run from a checkout that is not installed
            typer.echo("not installed")
        raise typer.Exit


@app.callback()
def root(
    *,
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Tell the version."),
    ] = False,
    as_: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Act as one of the local stack's identities."),
    ] = None,
) -> None:
    """Take the options that go before the command."""
    del show_version  # it has told by itself
    if as_ is not None:
        from starters.local.identities import key_file

        os.environ["DEAL_CREDENTIAL_FILE"] = str(key_file(as_))


@app.command()
def start(  # noqa: PLR0913 - the fields of a request
    *,
    deal_id: Annotated[
        str | None, typer.Option("--id", help="A new name: a-z, 0-9, hyphens.")
    ] = None,
    bank: Annotated[str | None, typer.Option(help="The bank the deal is run for.")] = None,
    module: Annotated[str | None, typer.Option(help="The market, such as usdtz.")] = None,
    chain: Annotated[str | None, typer.Option(help="The chain id, such as 138.")] = None,
    liquidity: Annotated[str | None, typer.Option(help="Working liquidity in ETH.")] = None,
    max_ltv: Annotated[str | None, typer.Option(help="At most 0.30 [default: 0.30].")] = None,
    max_slippage: Annotated[str | None, typer.Option(help="At most 0.05 [default: 0.005].")] = None,
    cycles: Annotated[
        str | None, typer.Option(help="Rounds of swap and redeem [default: 1].")
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help="stepwise or pipelined [default: stepwise].")
    ] = None,
    max_fee_gwei: Annotated[
        str | None,
        typer.Option(help="Never bid more, in gwei per gas [default: the chain's own cap]."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="A request as JSON; options go before its fields."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the deal to its end.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what it would do, step by step; nothing is kept."),
    ] = False,
    output: OutputOption = None,
) -> None:
    """Start a deal: print its sizing, or why it was refused."""
    from starters.cli.start import run_dry
    from starters.cli.start import start as run

    options = {
        "deal_id": deal_id,
        "bank": bank,
        "module": module,
        "chain_id": chain,
        "working_liquidity": liquidity,
        "max_ltv": max_ltv,
        "max_slippage": max_slippage,
        "cycles": cycles,
        "mode": mode,
        "max_fee_gwei": max_fee_gwei,
    }
    if dry_run:
        run_async(run_dry(options, file, settled(output)))
    else:
        run_async(run(options, file, settled(output), wait=wait))


@app.command(name="list")
def list_(  # noqa: PLR0913 - the options of the command
    *,
    status: Annotated[
        list[str] | None, typer.Option(help="Only these; may be given several times.")
    ] = None,
    bank: Annotated[str | None, typer.Option(help="Only this bank's.")] = None,
    chain: Annotated[str | None, typer.Option(help="Only on this chain id.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Begun since then: 24h, 7d, 2026-11-22T18:00 (UTC).")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most that many, up to 500.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="next_cursor of the page before.")] = None,
    output: OutputOption = None,
) -> None:
    """List deals from the records, newest first."""
    from starters.cli.show import list_deals, parse_filter

    chosen = parse_filter(
        statuses=status or [], bank=bank, chain=chain, since=since, limit=limit, cursor=cursor
    )
    run_async(list_deals(chosen, settled(output)))


@app.command()
def show(deal_id: DealIdArgument, output: OutputOption = None) -> None:
    """Show a deal: its steps and transactions, sizing, profit, and problem if it has one."""
    from domain.identifiers import DealId
    from starters.cli.show import show_deal

    run_async(show_deal(DealId(deal_id), settled(output)))


@app.command()
def watch(deal_id: DealIdArgument, output: OutputOption = None) -> None:
    """Follow a deal step by step until it ends, and leave with its exit code."""
    from domain.identifiers import DealId
    from starters.cli.follow import watch as run

    run_async(run(DealId(deal_id), settled(output)))


@app.command()
def wait(
    deal_id: DealIdArgument,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds to wait at most [default: as long as it takes]."),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Wait for a deal's end: 0 completed, 1 ended otherwise, 7 outcome unknown, 124 timed out."""
    from domain.identifiers import DealId
    from starters.cli.follow import wait as run

    run_async(run(DealId(deal_id), timeout, settled(output)))


@app.command()
def pause(  # noqa: PLR0913 - the options of the command
    deal_id: OptionalDealId = None,
    *,
    reason: ReasonOption,
    where: WhereOption = None,
    batch_id: BatchIdOption = None,
    command_id: CommandIdOption = None,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Stop a deal before its next step; the one under way is brought to its end."""
    chosen = _Chosen(deal_id, where, batch_id, command_id)
    _give_chosen("pause", chosen, reason, sure=yes, output=output)


@app.command()
def resume(  # noqa: PLR0913 - the options of the command
    deal_id: OptionalDealId = None,
    *,
    reason: ReasonOption,
    where: WhereOption = None,
    batch_id: BatchIdOption = None,
    command_id: CommandIdOption = None,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Let a paused deal go on."""
    chosen = _Chosen(deal_id, where, batch_id, command_id)
    _give_chosen("resume", chosen, reason, sure=yes, output=output)


@app.command()
def cancel(  # noqa: PLR0913 - the options of the command
    deal_id: OptionalDealId = None,
    *,
    reason: ReasonOption,
    where: WhereOption = None,
    batch_id: BatchIdOption = None,
    command_id: CommandIdOption = None,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Unwind a deal from where it stands; all funds go back to the treasury."""
    chosen = _Chosen(deal_id, where, batch_id, command_id)
    _give_chosen("cancel", chosen, reason, sure=yes, output=output)


@app.command()
def retry(
    deal_id: DealIdArgument,
    reason: ReasonOption,
    command_id: CommandIdOption = None,
    *,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Try again now: a stuck deal its way out, a frozen one its redemption."""
    _give("retry", deal_id, reason, command_id=command_id, sure=yes, output=output)


@app.command()
def unwind(  # noqa: PLR0913 - the options of the command
    deal_id: OptionalDealId = None,
    part: Annotated[
        str | None, typer.Option(help="How much of it, such as 0.25 [default: all].")
    ] = None,
    *,
    reason: ReasonOption,
    where: WhereOption = None,
    batch_id: BatchIdOption = None,
    command_id: CommandIdOption = None,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Bring a deal's funds home from any state in which it holds some, or a part of them.

    A part is sold or redeemed and repaid; the deal then waits, paused, for resume or unwind.
    """
    chosen = _Chosen(deal_id, where, batch_id, command_id)
    _give_chosen("unwind", chosen, reason, sure=yes, output=output, part=part)


@app.command()
def expire(
    deal_id: DealIdArgument,
    reason: ReasonOption,
    command_id: CommandIdOption = None,
    *,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Wait no longer: for approval (it ends EXPIRED), or while FROZEN (it unwinds)."""
    _give("expire", deal_id, reason, command_id=command_id, sure=yes, output=output)


@app.command()
def adopt(  # noqa: PLR0913 - the options of the command
    deal_id: DealIdArgument,
    reason: ReasonOption,
    command_id: CommandIdOption = None,
    answers: Annotated[
        str | None, typer.Option(help="Who answers for what is left [default: who adopts it].")
    ] = None,
    *,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """End a stuck deal with a written account of what is left, and who answers for it."""
    _give(
        "adopt",
        deal_id,
        reason,
        command_id=command_id,
        sure=yes,
        output=output,
        answers=answers,
    )


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def worker(
    context: typer.Context,
    role: Annotated[WorkerRole, typer.Argument(help="Which one.")],
) -> None:
    """Run a worker in place of this command; further arguments are the worker's."""
    command = [sys.executable, "-m", f"workers.{role}", *context.args]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606 - this interpreter, one of our modules


@config_app.command()
def check(output: OutputOption = None) -> None:
    """Check that profiles and manifests are well formed and agree with every node.

    Of the timelock: its delay, the roles of the fee account (DEAL_FEE_ADDRESS), and what it owns.
    """
    from starters.cli.config import check as run

    run(settled(output))


@database_app.command()
def migrate(output: OutputOption = None) -> None:
    """Bring the database to the newest schema (DEAL_DATABASE_OWNER_URL)."""
    from domain.errors import InvalidConfiguration
    from starters.database import migrate as run

    url = os.environ.get("DEAL_DATABASE_OWNER_URL")
    if not url:
        raise InvalidConfiguration(
            "the database to migrate is not named",
            field="DEAL_DATABASE_OWNER_URL",
            limit="postgresql://owner@host:port/database",
            next_action="set it to a URL of the database's owner",
        )
    applied = run(url)
    if settled(output) is Output.JSON:
        print_json({"applied": applied})
    else:
        typer.echo("\n".join(applied) if applied else "nothing to do")


def _give(  # noqa: PLR0913 - as the commands have them
    name: str,
    deal_id: str,
    reason: str,
    *,
    command_id: str | None,
    sure: bool,
    output: Output | None,
    part: str | None = None,
    answers: str | None = None,
) -> None:
    from domain.deals import Command
    from domain.identifiers import DealId
    from starters.cli.control import give

    run_async(
        give(
            Command(name),
            DealId(deal_id),
            reason=reason,
            command_id=command_id,
            sure=sure,
            output=settled(output),
            part=part,
            answers=answers,
        )
    )


@dataclass(frozen=True)
class _Chosen:
    """Which deals a command is for: one, or those of a batch."""

    deal_id: str | None
    where: str | None
    batch_id: str | None
    command_id: str | None

    def one(self) -> str | None:
        """The deal, or None if it is a batch; raises `InvalidInput` unless it is clear which."""
        from domain.errors import InvalidInput

        if self.where is None and self.batch_id is None:
            if self.deal_id is not None:
                return self.deal_id
            raise InvalidInput(
                "no deal is named",
                field="deal_id",
                limit="ID, or --where with a filter",
                next_action="name a deal, or give --where 'bank=... status=...'",
            )
        if self.deal_id is not None or self.command_id is not None:
            raise InvalidInput(
                "a batch takes its deals from --where, and their commands have ids of their own",
                field="where",
                limit="ID, or --where, or --batch-id alone",
                next_action="leave out one of them",
            )
        return None


def _give_chosen(  # noqa: PLR0913 - as the commands have them
    name: str,
    chosen: _Chosen,
    reason: str,
    *,
    sure: bool,
    output: Output | None,
    part: str | None = None,
) -> None:
    from domain.deals import Command
    from domain.errors import InvalidInput

    deal_id = chosen.one()
    if deal_id is not None:
        command_id = chosen.command_id
        _give(name, deal_id, reason, command_id=command_id, sure=sure, output=output, part=part)
        return
    if part is not None:
        raise InvalidInput(
            "a part is unwound of one deal at a time",
            field="part",
            value=part,
            limit="the id of one deal",
            next_action="name the deal, or leave the part out",
        )
    from starters.cli.batch import give_to_many

    run_async(
        give_to_many(
            Command(name),
            where=chosen.where,
            batch_id=chosen.batch_id,
            reason=reason,
            sure=sure,
            output=settled(output),
        )
    )


if __name__ == "__main__":
    main()
