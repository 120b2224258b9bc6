"""How `deal policy` does what it does."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from domain.identity import Caller, Permission
from domain.policy import DealPolicy, Rule
from domain.policy_decision import usd
from domain.policy_diff import Change, changes
from domain.policy_lint import Finding, lint
from starters.cli import formats, tables
from starters.cli.asking import require_terminal
from starters.cli.output import Output, print_json, show
from starters.cli.session import caller, load_config_settings, load_settings
from starters.control.database import ControlDatabase
from starters.control.policies import POLICY_FILE, PolicyBook, PolicyRecord, read_policy
from starters.deals.database import single_connection

_THE_POLICY: Final = "the deal policy"
_USAGE: Final = 2


async def show_policy(version: int | None, output: Output) -> None:
    """`deal policy show`."""
    who, book = await caller(), _book()
    record = await (book.active(who) if version is None else book.find(who, version))
    _print(record, output)


async def list_policies(output: Output) -> None:
    """`deal policy list`."""
    records = await _book().versions(await caller())
    if output is Output.JSON:
        print_json([_document(record, whole=False) for record in records])
        return
    table = _table("version", "state", "proposed by", "decided by", "proposed (UTC)", "why")
    for record in records:
        decided = record.approved_by or record.rejected_by or ""
        at = formats.moment(record.proposed_at)
        table.add_row(
            str(record.version), record.state, record.proposed_by, decided, at, record.why
        )
    show(table)


def lint_policy(file: Path, output: Output) -> None:
    """`deal policy lint`."""
    policy = read_policy(file)
    findings = lint(policy)
    if output is Output.JSON:
        told = [finding._asdict() | {"text": finding.text} for finding in findings]
        print_json({"version": policy.version, "digest": policy.digest, "findings": told})
    else:
        typer.echo("\n".join(map(_told, findings)) or f"version {policy.version}: nothing found")
    raise typer.Exit(_USAGE if any(finding.is_error for finding in findings) else 0)


async def diff_policies(changed: str, base: int | None, output: Output) -> None:
    """`deal policy diff`."""
    who, book = await caller(), _book()
    before = await (book.active(who) if base is None else book.find(who, base))
    if changed.isdecimal():
        after = (await book.find(who, int(changed))).policy
    else:
        after = read_policy(Path(changed))
    found = changes(before.policy, after)
    if output is Output.JSON:
        print_json({"base": before.tag, "changes": [change._asdict() for change in found]})
    else:
        _show_changes(before, found)


async def propose_policy(
    file: Path, why: str, based_on: str | None, *, sure: bool, output: Output
) -> None:
    """`deal policy propose`."""
    policy = read_policy(file)
    who, book = await caller(Permission.POLICY_PROPOSE), _book()
    in_force = await book.active(who)
    if not sure:
        _show_changes(in_force, changes(in_force.policy, policy))
        _ask("propose", f"propose it as version {policy.version}?")
    _print(await book.propose(who, policy, based_on=based_on or in_force.tag, why=why), output)


async def approve_policy(
    version: int, why: str, digest: str | None, *, sure: bool, output: Output
) -> None:
    """`deal policy approve`."""
    who, book = await caller(Permission.POLICY_APPROVE), _book()
    seen = await _looked_at(who, book, version, "approve", sure=sure)
    _print(await book.approve(who, version, digest=digest or seen.digest, why=why), output)


async def reject_policy(version: int, why: str, *, sure: bool, output: Output) -> None:
    """`deal policy reject`."""
    who, book = await caller(Permission.POLICY_APPROVE), _book()
    await _looked_at(who, book, version, "reject", sure=sure)
    _print(await book.reject(who, version, why=why), output)


async def install_policy(why: str, file: Path | None, output: Output) -> None:
    """`deal policy install`."""
    policy = read_policy(file or load_config_settings().config_dir / POLICY_FILE)
    _print(await _book().install(await caller(), policy, why), output)


def _book() -> PolicyBook:
    settings = load_settings()
    return PolicyBook(
        ControlDatabase.at(settings.control_database()),
        single_connection(settings.database_url.get_secret_value()),
    )


async def _looked_at(
    who: Caller, book: PolicyBook, version: int, act: str, *, sure: bool
) -> PolicyRecord:
    """The version, once it was shown what it changes and the answer was yes."""
    proposed = await book.find(who, version)
    if not sure:
        in_force = await book.active(who)
        _show_changes(in_force, changes(in_force.policy, proposed.policy))
        _ask(act, f"{act} version {version}, proposed by {proposed.proposed_by}?")
    return proposed


def _ask(act: str, question: str) -> None:
    require_terminal(act, _THE_POLICY)
    if not typer.confirm(question, err=True):
        typer.echo("nothing was changed", err=True)
        raise typer.Exit(1)


def _print(record: PolicyRecord, output: Output) -> None:
    if output is Output.JSON:
        print_json(_document(record, whole=True))
        return
    facts = tables.facts()
    facts.add_row("version", f"{record.version}, {record.state}")
    facts.add_row("digest", record.digest)
    facts.add_row("proposed", f"{record.proposed_by}: {record.why}")
    if record.decided_at is not None:
        decided = f"{record.approved_by or record.rejected_by}: {record.decided_why}"
        facts.add_row("decided", decided)
    for name, told in _limits(record.policy):
        facts.add_row(name, told)
    show(facts, _rules(record.policy))


def _document(record: PolicyRecord, *, whole: bool) -> dict[str, Any]:
    document = record.model_dump(mode="json", exclude_none=True)
    if not whole:
        document.pop("policy")
    return document | {"tag": record.tag}


def _limits(policy: DealPolicy) -> list[tuple[str, str]]:
    expiry = formats.age(timedelta(seconds=policy.approvals.expiry_seconds))
    lines = [
        ("approvals", f"{tier.needed} above {usd(tier.above_usd)}, within {expiry}")
        for tier in policy.approvals.tiers
    ]
    for each in policy.velocity:
        most = [f"{each.max_deals} deals"] if each.max_deals else []
        most += [usd(each.max_usd)] if each.max_usd else []
        window = formats.age(timedelta(seconds=each.window_seconds))
        lines.append(("velocity", f"{' and '.join(most)} a {each.per} in {window}"))
    return lines


def _rules(policy: DealPolicy) -> Table:
    table = _table("rule", "effect", "for whom", "where", "when (UTC)", "up to")
    for rule in policy.rules:
        style = "green" if rule.effect == "allow" else "red"
        most = usd(rule.max_usd) if rule.max_usd else "any"
        table.add_row(rule.name, Text(rule.effect, style=style), *_conditions(rule), most)
    return table


def _conditions(rule: Rule) -> tuple[str, str, str]:
    whom = [*(rule.roles or ()), *(rule.principals or ())]
    where = [
        *(rule.banks or ()),
        *(f"chain {chain}" for chain in rule.chains or ()),
        *(rule.modules or ()),
    ]
    when = [*(rule.weekdays or ()), *(rule.hours or ())]
    whom_told, where_told, when_told = (", ".join(map(str, part)) for part in (whom, where, when))
    return whom_told or "all", where_told or "everywhere", when_told or "always"


def _show_changes(base: PolicyRecord, found: list[Change]) -> None:
    if not found:
        typer.echo(f"nothing differs from version {base.version}")
        return
    table = _table("what", f"version {base.version}", "changed to")
    for change in found:
        gone, come = change.before or "-", change.after or "-"
        table.add_row(change.path, Text(gone, style="red"), Text(come, style="green"))
    show(table)


def _told(finding: Finding) -> str:
    return f"{'error' if finding.is_error else 'note'}: {finding.text}"


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
