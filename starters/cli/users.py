"""`deal whoami`, `users`, `groups` and `delegate`: who may do what, and who stands in for whom."""
# ruff: noqa: PLC0415 - as in `starters.cli.main`

from pathlib import Path
from typing import Annotated

import typer

from starters.cli.options import OutputOption, ReasonOption
from starters.cli.output import settled
from starters.cli.process import run_async

app = typer.Typer(help="Look after people and services, and their keys.", no_args_is_help=True)
key_app = typer.Typer(help="API keys of services.", no_args_is_help=True)
groups_app = typer.Typer(help="Groups that stand in for approvers.", no_args_is_help=True)
delegate_app = typer.Typer(help="Have a group stand in for you.", no_args_is_help=True)
app.add_typer(key_app, name="key")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Whose.")]
GroupArgument = Annotated[str, typer.Argument(metavar="GROUP", help="Which group.")]
RolesOption = Annotated[
    list[str] | None, typer.Option("--role", help="A role; may be given several times.")
]
BanksOption = Annotated[
    list[str] | None, typer.Option("--bank", help="A bank, or * for all; several times.")
]
LimitOption = Annotated[
    str | None, typer.Option("--max-usd", help="The largest deal to start, in USD.")
]
SubjectOption = Annotated[
    str | None, typer.Option("--subject", help="The claim `sub` of the identity provider.")
]
LabelOption = Annotated[str | None, typer.Option("--full-name", help="For people to read.")]


def add_commands(root: typer.Typer) -> None:
    """Add the commands to `deal`."""
    root.command()(whoami)
    root.add_typer(app, name="users")
    root.add_typer(groups_app, name="groups")
    root.add_typer(delegate_app, name="delegate")


def whoami(output: OutputOption = None) -> None:
    """Tell who you are here: roles, banks, and what you may do."""
    from starters.cli import users_act

    run_async(users_act.whoami(settled(output)))


@app.command(name="list")
def list_(output: OutputOption = None) -> None:
    """List everybody."""
    from starters.cli import users_act

    run_async(users_act.list_users(settled(output)))


@app.command()
def show(name: NameArgument, output: OutputOption = None) -> None:
    """Show one of them with their keys."""
    from starters.cli import users_act

    run_async(users_act.show_user(name, settled(output)))


@app.command()
def create(  # noqa: PLR0913, PLR0917 - the options of the command
    name: NameArgument,
    reason: ReasonOption,
    role: RolesOption = None,
    bank: BanksOption = None,
    max_usd: LimitOption = None,
    subject: SubjectOption = None,
    full_name: LabelOption = None,
    *,
    service: Annotated[bool, typer.Option("--service", help="A service, not a person.")] = False,
    output: OutputOption = None,
) -> None:
    """Add a person or a service."""
    from starters.cli import users_act

    wanted = users_act.parse_wanted(role, bank, max_usd, subject, full_name)
    run_async(users_act.create(name, wanted, reason, settled(output), service=service))


@app.command(name="set")
def set_(  # noqa: PLR0913, PLR0917 - the options of the command
    name: NameArgument,
    reason: ReasonOption,
    role: RolesOption = None,
    bank: BanksOption = None,
    max_usd: LimitOption = None,
    subject: SubjectOption = None,
    full_name: LabelOption = None,
    output: OutputOption = None,
) -> None:
    """Change what somebody else may do; what is not named stays. Lists are given whole."""
    from starters.cli import users_act

    wanted = users_act.parse_wanted(role, bank, max_usd, subject, full_name)
    run_async(users_act.set_user(name, wanted, reason, settled(output)))


@app.command()
def disable(name: NameArgument, reason: ReasonOption, output: OutputOption = None) -> None:
    """Let somebody in no more, at once; never the last admin."""
    from starters.cli import users_act

    run_async(users_act.disable(name, reason, settled(output), enable=False))


@app.command()
def enable(name: NameArgument, reason: ReasonOption, output: OutputOption = None) -> None:
    """Let somebody in again."""
    from starters.cli import users_act

    run_async(users_act.disable(name, reason, settled(output), enable=True))


@app.command()
def bootstrap(
    name: NameArgument,
    reason: ReasonOption,
    file: Annotated[Path, typer.Option("--key-file", help="Where the key is written, 0600.")],
    output: OutputOption = None,
) -> None:
    """Add the first admin, only while no admin can come in (DEAL_DATABASE_OWNER_URL)."""
    from starters.cli import users_act

    run_async(users_act.bootstrap(name, reason, file, settled(output)))


@key_app.command(name="create")
def key_create(  # noqa: PLR0913, PLR0917 - the options of the command
    name: NameArgument,
    reason: ReasonOption,
    file: Annotated[
        Path | None, typer.Option("--key-file", help="Where the key is written, 0600.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="A permission it is for, several times [default: all]."),
    ] = None,
    days: Annotated[int, typer.Option(help="How long it lasts, up to 366.")] = 90,
    label: Annotated[str, typer.Option(help="What it is used for.")] = "",
    *,
    show_key: Annotated[
        bool, typer.Option("--show-key", help="Print the key instead of writing a file.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Draw a key; nobody can see it later."""
    from starters.cli import users_act

    asked = users_act.KeyOptions(
        name, reason, file, tuple(scope) if scope else None, days, label, show_key=show_key
    )
    run_async(users_act.create_key(asked, settled(output)))


@key_app.command(name="list")
def key_list(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only these.")] = None,
    output: OutputOption = None,
) -> None:
    """List keys by id; the keys themselves are kept nowhere."""
    from starters.cli import users_act

    run_async(users_act.list_keys(name, settled(output)))


@key_app.command(name="revoke")
def key_revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id.")],
    reason: ReasonOption,
    output: OutputOption = None,
) -> None:
    """Let a key open nothing any more, at once and for good."""
    from starters.cli import users_act

    run_async(users_act.revoke_key(key, reason, settled(output)))


@groups_app.command(name="list")
def groups_list(output: OutputOption = None) -> None:
    """List the groups and who is in them."""
    from starters.cli import users_act

    run_async(users_act.list_groups(settled(output)))


@groups_app.command(name="create")
def groups_create(
    group: GroupArgument,
    reason: ReasonOption,
    full_name: LabelOption = None,
    output: OutputOption = None,
) -> None:
    """Add a group with nobody in it."""
    from starters.cli import users_act

    run_async(users_act.create_group(group, full_name or "", reason, settled(output)))


@groups_app.command(name="add")
def groups_add(
    group: GroupArgument, name: NameArgument, reason: ReasonOption, output: OutputOption = None
) -> None:
    """Put somebody else into a group."""
    from starters.cli import users_act

    run_async(users_act.move(group, name, reason, settled(output), into=True))


@groups_app.command(name="remove")
def groups_remove(
    group: GroupArgument, name: NameArgument, reason: ReasonOption, output: OutputOption = None
) -> None:
    """Take somebody out of a group."""
    from starters.cli import users_act

    run_async(users_act.move(group, name, reason, settled(output), into=False))


@delegate_app.command(name="begin")
def delegate_begin(
    group: GroupArgument,
    reason: ReasonOption,
    days: Annotated[int, typer.Option(help="For how long, up to 92.")] = 14,
    output: OutputOption = None,
) -> None:
    """Have a group approve in your place, for the banks that they have as well."""
    from starters.cli import users_act

    run_async(users_act.delegate(group, days, reason, settled(output)))


@delegate_app.command(name="list")
def delegate_list(output: OutputOption = None) -> None:
    """List who stands in for whom, and until when."""
    from starters.cli import users_act

    run_async(users_act.list_delegations(settled(output)))


@delegate_app.command(name="end")
def delegate_end(
    delegation: Annotated[str, typer.Argument(metavar="ID", help="The delegation's id.")],
    reason: ReasonOption,
    output: OutputOption = None,
) -> None:
    """End it early."""
    from starters.cli import users_act

    run_async(users_act.end_delegation(delegation, reason, settled(output)))
