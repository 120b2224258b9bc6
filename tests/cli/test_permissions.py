"""Every command asks for a permission before it does anything; none is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from domain.identity import Caller, Permission
from starters.cli import session
from starters.cli.main import app
from starters.control.policies import POLICY_FILE
from tests.cli.conftest import Deal
from tests.control.people import caller

WHY = ("--reason", "x", "--yes")
CHANGE = ("--reason", "x")
START = ("--id", "a", "--bank", "b", "--module", "usdtz", "--chain", "138", "--liquidity", "1")
OPERATION = (
    "redemption_fee",
    "--id",
    "a",
    "--chain",
    "138",
    "--module",
    "usdtz",
    "--to",
    "1",
    *WHY,
)
SHIPPED = Path(__file__).parents[2] / "deploy" / "config" / POLICY_FILE
P = Permission

ASKED: dict[str, tuple[Permission, tuple[str, ...]]] = {
    "start": (P.DEALS_START, START),
    "list": (P.DEALS_READ, ()),
    "show": (P.DEALS_READ, ("a",)),
    "watch": (P.DEALS_READ, ("a",)),
    "wait": (P.DEALS_READ, ("a",)),
    "pause": (P.DEALS_PAUSE, ("a", *WHY)),
    "resume": (P.DEALS_RESUME, ("a", *WHY)),
    "cancel": (P.DEALS_CANCEL, ("a", *WHY)),
    "retry": (P.DEALS_RETRY, ("a", *WHY)),
    "unwind": (P.DEALS_UNWIND, ("a", *WHY)),
    "expire": (P.DEALS_EXPIRE, ("a", *WHY)),
    "adopt": (P.DEALS_ADOPT, ("a", *WHY)),
    "approvals": (P.DEALS_READ, ("a",)),
    "approve": (P.DEALS_APPROVE, ("a", *WHY)),
    "sign": (P.DEALS_APPROVE, ("a", "--key-file", "k", "--yes")),
    "reject": (P.DEALS_APPROVE, ("a", "--key-file", "k", *WHY)),
    "tx list": (P.TX_READ, ()),
    "tx show": (P.TX_READ, ("a/fund/1/1/0",)),
    "tx rebroadcast": (P.TX_ACT, ("a/fund/1/1/0", *WHY)),
    "tx bump": (P.TX_ACT, ("a/fund/1/1/0", *WHY)),
    "tx cancel": (P.TX_ACT, ("a/fund/1/1/0", *WHY)),
    "chain status": (P.CHAIN_READ, ()),
    "chain release": (P.CHAIN_RELEASE, ("138", *WHY)),
    "keys list": (P.KEYS_READ, ()),
    "keys verify-journal": (P.KEYS_READ, ()),
    "keys rotate": (P.KEYS_ACT, ("--seed", *WHY)),
    "keys retire": (P.KEYS_ACT, ("a", *WHY)),
    "keys reinstate": (P.KEYS_ACT, ("a", *WHY)),
    "operation list": (P.OPERATIONS_READ, ()),
    "operation show": (P.OPERATIONS_READ, ("a",)),
    "operation propose": (P.OPERATIONS_ACT, OPERATION),
    "operation cancel": (P.OPERATIONS_ACT, ("a", *WHY)),
    "schedules apply": (P.SCHEDULES_ACT, ()),
    "codec rotate": (P.CODEC_ACT, ()),
    "codec list": (P.CODEC_ACT, ()),
    "users list": (P.USERS_READ, ()),
    "users show": (P.USERS_READ, ("a",)),
    "users create": (P.USERS_WRITE, ("a", *CHANGE)),
    "users set": (P.USERS_WRITE, ("a", *CHANGE)),
    "users disable": (P.USERS_WRITE, ("a", *CHANGE)),
    "users enable": (P.USERS_WRITE, ("a", *CHANGE)),
    "users key create": (P.USERS_WRITE, ("a", "--show-key", *CHANGE)),
    "users key list": (P.USERS_READ, ()),
    "users key revoke": (P.USERS_WRITE, ("k", *CHANGE)),
    "groups list": (P.USERS_READ, ()),
    "groups create": (P.USERS_WRITE, ("g", *CHANGE)),
    "groups add": (P.USERS_WRITE, ("g", "a", *CHANGE)),
    "groups remove": (P.USERS_WRITE, ("g", "a", *CHANGE)),
    "delegate begin": (P.DEALS_APPROVE, ("g", *CHANGE)),
    "delegate end": (P.DEALS_APPROVE, ("d", *CHANGE)),
    "delegate list": (P.USERS_READ, ()),
    "policy show": (P.POLICY_READ, ()),
    "policy list": (P.POLICY_READ, ()),
    "policy diff": (P.POLICY_READ, ("1",)),
    "policy propose": (P.POLICY_PROPOSE, (str(SHIPPED), *WHY)),
    "policy approve": (P.POLICY_APPROVE, ("1", *WHY)),
    "policy reject": (P.POLICY_APPROVE, ("1", *WHY)),
    "policy install": (P.POLICY_PROPOSE, ("--file", str(SHIPPED), *CHANGE)),
    "audit show": (P.AUDIT_READ, ()),
    "audit export": (P.AUDIT_EXPORT, CHANGE),
    "audit verify": (P.AUDIT_READ, ()),
    "halt set": (P.HALTS_SET, ("desk", *WHY)),
    "halt release": (P.HALTS_RELEASE, ("desk", *WHY)),
    "halt show": (P.HALTS_READ, ()),
}

MANY = {
    "pause": P.DEALS_PAUSE,
    "resume": P.DEALS_RESUME,
    "cancel": P.DEALS_CANCEL,
    "unwind": P.DEALS_UNWIND,
}
"""Commands that may be given to many deals at once."""

NOBODYS = {
    "whoami": "tells anybody who he is",
    "users bootstrap": "is for the database's owner, while there is nobody to ask",
    "database migrate": "is for the database's owner",
    "worker": "is a process of the system",
    "api": "is a process of the system",
    "api openapi": "writes a file that is the same for everybody",
    "codec serve": "is a process of the system, and asks for its own token",
    "policy lint": "reads a file of this machine",
    "config check": "reads files and nodes of this machine",
}
"""Commands that ask nobody, and why; those of `deal local` are about this machine alone."""


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command that can be typed."""
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        if inner is None or command.invoke_without_command:
            yield " ".join((*path, name))
        if inner is not None:
            yield from commands(command, (*path, name))


def test_no_command_is_forgotten() -> None:
    known = {*ASKED, *NOBODYS}
    typed = set(commands(typer.main.get_command(app)))
    assert {each for each in typed - known if each.split()[0] != "local"} == set()
    assert known - typed == set()


def test_no_command_for_many_is_forgotten() -> None:
    group: Any = typer.main.get_command(app)
    takes_many = {
        name
        for name, command in group.commands.items()
        if any("--where" in parameter.opts for parameter in command.params)
    }
    assert takes_many == set(MANY)


@pytest.mark.parametrize("command", list(ASKED))
def test_who_may_not_is_told_so_and_nothing_is_done(
    deal: Deal, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    permission, options = ASKED[command]
    refused(deal, monkeypatch, permission, *command.split(), *options)


@pytest.mark.parametrize("options", [("--where", "bank=b"), ("--batch-id", "b-1")])
@pytest.mark.parametrize("command", list(MANY))
def test_who_may_not_gives_no_command_to_many_either(
    deal: Deal, monkeypatch: pytest.MonkeyPatch, command: str, options: tuple[str, ...]
) -> None:
    refused(deal, monkeypatch, MANY[command], command, *options, *WHY)


def refused(
    deal: Deal, monkeypatch: pytest.MonkeyPatch, permission: Permission, *arguments: str
) -> None:
    asked: list[str] = []

    async def nobody() -> Caller:
        asked.append(arguments[0])
        return caller("nobody")

    monkeypatch.setattr(session, "known_caller", nobody)
    # Nothing answers there: whatever is asked before the permission fails otherwise.
    monkeypatch.setenv("DEAL_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    monkeypatch.setenv("DEAL_CONTROL_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    answer = deal(*arguments)
    assert (answer.code, asked) == (4, [arguments[0]]), answer.err
    assert answer.problem["code"] == "forbidden"
    assert answer.problem["value"] == permission
