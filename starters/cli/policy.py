"""`deal policy`: who may do what, by versions that two people change.

How it is done is imported when a command runs, as in `starters.cli.main`.
"""
# ruff: noqa: PLC0415 - see above

from pathlib import Path
from typing import Annotated

import typer

from starters.cli.options import OutputOption, ReasonOption, YesOption
from starters.cli.output import settled
from starters.cli.process import run_async

app = typer.Typer(
    help="Look at the deal policy, and change it: one proposes, another approves.",
    no_args_is_help=True,
)

VersionArgument = Annotated[int, typer.Argument(metavar="VERSION", help="The version.", min=1)]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The policy as TOML.")]


@app.command()
def show(
    version: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", help="[default: the one in force]")
    ] = None,
    output: OutputOption = None,
) -> None:
    """Show a version: its rules, approvals, velocity limits, and who has decided it."""
    from starters.cli.policy_act import show_policy

    run_async(show_policy(version, settled(output)))


@app.command(name="list")
def list_(output: OutputOption = None) -> None:
    """List all versions, the newest first."""
    from starters.cli.policy_act import list_policies

    run_async(list_policies(settled(output)))


@app.command()
def lint(file: FileArgument, output: OutputOption = None) -> None:
    """Find rules that can never decide, and whatever else nobody can mean; 2 if there are any."""
    from starters.cli.policy_act import lint_policy

    lint_policy(file, settled(output))


@app.command()
def diff(
    changed: Annotated[
        str, typer.Argument(metavar="CHANGED", help="A version, or a file as TOML.")
    ],
    base: Annotated[
        int | None, typer.Argument(metavar="[BASE]", help="[default: the one in force]")
    ] = None,
    output: OutputOption = None,
) -> None:
    """Show what a version or a file changes."""
    from starters.cli.policy_act import diff_policies

    run_async(diff_policies(changed, base, settled(output)))


@app.command()
def propose(
    file: FileArgument,
    reason: ReasonOption,
    based_on: Annotated[
        str | None,
        typer.Option("--based-on", help="Tag of the version it changes [default: in force]."),
    ] = None,
    *,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Propose a version in place of the one in force; another person has to approve it."""
    from starters.cli.policy_act import propose_policy

    run_async(propose_policy(file, reason, based_on, sure=yes, output=settled(output)))


@app.command()
def approve(
    version: VersionArgument,
    reason: ReasonOption,
    digest: Annotated[
        str | None,
        typer.Option("--digest", help="What you have looked at; refused if it differs."),
    ] = None,
    *,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Put a version in force that somebody else has proposed."""
    from starters.cli.policy_act import approve_policy

    run_async(approve_policy(version, reason, digest, sure=yes, output=settled(output)))


@app.command()
def reject(
    version: VersionArgument,
    reason: ReasonOption,
    *,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Reject a version that was proposed, or withdraw your own."""
    from starters.cli.policy_act import reject_policy

    run_async(reject_policy(version, reason, sure=yes, output=settled(output)))


@app.command()
def install(
    reason: ReasonOption,
    file: Annotated[
        Path | None, typer.Option("--file", help="[default: deal-policy.toml of the config folder]")
    ] = None,
    output: OutputOption = None,
) -> None:
    """Put the first version in force; does nothing where there is one."""
    from starters.cli.policy_act import install_policy

    run_async(install_policy(reason, file, settled(output)))
