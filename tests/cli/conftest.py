"""The command line, run inside this process, with no stack anywhere near."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from activities.transactions.interface import Action, TransactionView
from domain.deals import Command
from domain.identifiers import DealId
from domain.identity import Caller, Role
from domain.views import DealView
from starters.cli import session
from starters.cli.main import app
from starters.deals.transactions import IntentDetail
from tests.control.people import caller
from tests.support.answers import Answer
from workflows.deal.messages import CommandMessage, TransactionMessage, UnwindMessage

Deal = Callable[..., Answer]

MIA = caller("mia", *Role)
"""Whoever types, where a test says nothing else: everything is allowed."""


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every command be Mia's, without a database to look her up in."""

    async def known() -> Caller:
        return MIA

    monkeypatch.setattr(session, "known_caller", known)


class StandInDesk:
    """A desk that asks nothing and hands over to a stand-in of the deals' client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def view(self, caller: Caller, deal_id: DealId) -> tuple[DealView, bool]:
        assert caller == MIA
        return await self._client.view(deal_id), True

    async def give(  # noqa: PLR0913 - as the desk has it
        self,
        caller: Caller,
        command: Command,
        deal_id: DealId,
        why: str,
        command_id: str,
        *,
        part_bps: int | None = None,
        answers: str | None = None,
    ) -> DealView | None:
        assert answers is None
        message = CommandMessage(who=caller.who, why=why, via=caller.via)
        if part_bps is not None:
            message = UnwindMessage(**message.model_dump(), part_bps=part_bps)
        view: DealView | None = await self._client.command(deal_id, command, message, command_id)
        return view

    async def transact(
        self, caller: Caller, intent: IntentDetail, action: Action, why: str, *, command_id: str
    ) -> TransactionView:
        assert caller == MIA
        message = TransactionMessage(
            intent_id=intent.intent_id, action=action, who=caller.who, why=why, via=caller.via
        )
        view: TransactionView = await self._client.transact(intent.deal_id, message, command_id)
        return view


@pytest.fixture
def deal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Deal:
    """Run `deal` with arguments; an unexpected error is raised, not swallowed."""
    for name in list(os.environ):
        if name.startswith(("DEAL_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DEAL_LOCAL_DIR", str(tmp_path / "no-stack"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("DEAL_ENVIRONMENT", "development")
    monkeypatch.setenv("DEAL_CODEC_KEYS", "off")  # what is connected to here is a stand-in

    def run(*arguments: str, stdin: str | None = None) -> Answer:
        result = CliRunner().invoke(app, arguments, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    return run
