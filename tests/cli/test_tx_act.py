"""`deal tx rebroadcast`, `bump` and `cancel`: what is asked of the deal, and what came of it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from activities.deals.interface import DealRecord
from activities.deals.records import Records
from activities.transactions.interface import Action, TransactionView
from domain.deals import DealStatus
from domain.errors import DealError, LimitExceeded, NotAllowed, OutcomeUnknown
from domain.identifiers import DealId
from domain.identity import Via
from domain.transactions import IntentState
from starters.cli import tx_act
from starters.deals.acting import closed_deal
from tests.activities.deals import samples
from tests.cli.conftest import Deal, StandInDesk
from tests.cli.ledger import ACCOUNT, Ledger
from tests.support.postgres import Database
from workflows.deal.messages import TransactionMessage

ACTIONS = [str(action) for action in Action]
Then = Callable[[str], None]


class OneDesk:
    """Stands in for Temporal: what deals were told, and what the chain did of it."""

    def __init__(self, ledger: Ledger) -> None:
        self.told: list[tuple[DealId, TransactionMessage, str]] = []
        self.refusal: DealError | None = None
        self.then: Then = lambda _: None
        self.ledger = ledger

    async def transact(
        self, deal_id: DealId, message: TransactionMessage, command_id: str
    ) -> TransactionView:
        if self.refusal is not None:
            raise self.refusal
        self.told.append((deal_id, message, command_id))
        await asyncio.to_thread(self.then, message.intent_id)
        return TransactionView(
            intent_id=message.intent_id,
            nonce=3,
            state=IntentState.BROADCAST,
            transaction_hash="0x" + "ab" * 32,
            action=message.action,
            note="sent to 2 endpoints",
        )


@pytest.fixture(scope="module")
def ledger(database: Database) -> Ledger:
    """The engine's books."""
    return Ledger(database)


@pytest.fixture
def desk(deal: Deal, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> OneDesk:  # noqa: ARG001 - clears the environment first
    """The commands talk to this stand-in and read real records."""
    stand_in = OneDesk(ledger)

    monkeypatch.setattr(tx_act, "open_desk", lambda _: StandInDesk(stand_in))
    monkeypatch.setenv("DEAL_DATABASE_URL", ledger.database.role("deal_reader"))
    return stand_in


@pytest.fixture
def intent(ledger: Ledger, request: pytest.FixtureRequest) -> str:
    """An intent of its own for each test, sent once."""
    number = abs(hash(request.node.nodeid)) % 10**9
    name = f"d{number}/swap/1/1/0"
    ledger.intent(name, number)
    return name


def act(deal: Deal, action: str, intent: str, *options: str) -> Any:
    """Give a command without being asked whether it is meant."""
    return deal("tx", action, intent, "--why", "too slow", "--yes", *options)


@pytest.mark.parametrize("action", ACTIONS)
def test_without_a_terminal_a_change_needs_yes(
    deal: Deal, desk: OneDesk, intent: str, action: str
) -> None:
    answer = deal("tx", action, intent, "--why", "x")
    assert (answer.code, answer.problem["field"]) == (2, "yes")
    assert "a transaction" in answer.problem["message"]
    assert desk.told == []


def test_why_has_a_form(deal: Deal, desk: OneDesk, intent: str) -> None:
    answer = deal("tx", "bump", intent, "--yes", "--why", " ")
    assert (answer.code, answer.problem["field"]) == (2, "reason")
    assert deal("tx", "bump", intent, "--yes").code == 2
    assert desk.told == []


@pytest.mark.parametrize("action", ACTIONS)
def test_a_command_carries_who_why_and_its_id(
    deal: Deal, desk: OneDesk, intent: str, action: str
) -> None:
    answer = act(deal, action, intent, "--command-id", "c-1")
    assert answer.code == 0
    assert (answer.document["action"], answer.document["note"]) == (action, "sent to 2 endpoints")
    message = TransactionMessage(
        intent_id=intent, action=Action(action), who="mia", why="too slow", via=Via.CLI
    )
    assert desk.told == [(intent.partition("/")[0], message, "c-1")]
    words = act(deal, action, intent, "-o", "table")
    assert "sent to 2 endpoints" in words.out
    assert "0x" + "ab" * 32 in words.out
    (_, _, first), (_, _, second) = desk.told
    assert first != second


def test_an_attempts_hash_names_the_intent(deal: Deal, desk: OneDesk, intent: str) -> None:
    (attempt,) = deal("tx", "show", intent).document["attempts"]
    assert act(deal, "bump", attempt["transaction_hash"]).code == 0
    assert desk.told[0][1].intent_id == intent


@pytest.mark.parametrize(("typed", "told"), [("y", 1), ("n", 0), ("", 0)])
def test_a_person_is_asked(  # noqa: PLR0913, PLR0917 - fixtures and a table
    deal: Deal,
    desk: OneDesk,
    intent: str,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    told: int,
) -> None:
    monkeypatch.setattr(tx_act, "require_terminal", lambda *_: None)
    answer = deal("tx", "cancel", intent, "--why", "x", stdin=f"{typed}\n")
    assert f"{intent} (do it) at nonce" in answer.err
    assert "is BROADCAST, 1 attempt" in answer.err
    assert (len(desk.told), answer.code) == (told, 0 if told else 1)


@pytest.mark.parametrize("action", ACTIONS)
def test_an_intent_nobody_knows_exits_2(deal: Deal, desk: OneDesk, action: str) -> None:
    answer = act(deal, action, "nobody/swap/1/1/0")
    assert (answer.code, answer.problem["code"]) == (2, "not_found")
    assert answer.problem["value"] == "nobody/swap/1/1/0"
    assert desk.told == []


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("state", ["FINALIZED", "ABANDONED"])
def test_what_is_final_exits_4(
    deal: Deal, desk: OneDesk, ledger: Ledger, action: str, state: str
) -> None:
    name = f"final-{action}-{state.lower()}/swap/1/1/0"
    number = 2_000_000_000 + ACTIONS.index(action) * 2 + (state == "FINALIZED")
    ledger.intent(name, number, state=state)
    answer = act(deal, action, name)
    assert (answer.code, answer.problem["code"]) == (4, "not_allowed")
    assert (answer.problem["actual"], answer.problem["field"]) == (state, "state")
    assert desk.told == []


def test_a_deal_that_has_ended_exits_4(deal: Deal, desk: OneDesk, ledger: Ledger) -> None:
    async def record() -> None:
        async with AsyncConnectionPool(ledger.database.role("deal_records"), open=False) as pool:
            records, view = Records(pool), samples.view("ended")
            await records.record_deal(DealRecord(view=view))
            denied = samples.later(view, DealStatus.DENIED)
            await records.record_deal(DealRecord(view=denied))

    asyncio.run(record())
    ledger.intent("ended/swap/1/1/0", 3_000_000_000)
    answer = act(deal, "cancel", "ended/swap/1/1/0")
    assert (answer.code, answer.problem["code"]) == (4, "not_allowed")
    assert (answer.problem["field"], answer.problem["actual"]) == ("deal", "DENIED")
    assert desk.told == []


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (LimitExceeded("above the cap", next_action="wait", field="fee", limit=1, actual=2), 5),
        (closed_deal(Action.BUMP, "alpha", "COMPLETED"), 4),
        (NotAllowed("it is mined", next_action="look"), 4),
        (OutcomeUnknown("no answer", next_action="again"), 7),
    ],
)
def test_a_refusal_of_the_deals_is_told_with_its_exit_code(
    deal: Deal, desk: OneDesk, intent: str, refusal: DealError, code: int
) -> None:
    desk.refusal = refusal
    answer = act(deal, "bump", intent, "--wait")
    assert (answer.code, answer.out) == (code, "")
    assert answer.problem == refusal.problem.model_dump(exclude_none=True)


# -- following -----------------------------------------------------------------------------------


def mined(ledger: Ledger, state: str, *, no_op: bool) -> Then:
    """The chain answers with the intent's own attempt, or with a no-op."""

    def then(intent_id: str) -> None:
        replacement = ledger.attempt(intent_id, 9, no_op=no_op)
        ledger.move(intent_id, state, mined=replacement)

    return then


@pytest.mark.parametrize(
    ("action", "state", "no_op", "code"),
    [
        ("rebroadcast", "INCLUDED", False, 0),
        ("bump", "INCLUDED", False, 0),
        ("bump", "REVERTED", False, 1),
        ("bump", "REPLACED", True, 1),
        ("cancel", "REPLACED", True, 0),
        ("cancel", "INCLUDED", False, 1),
        ("cancel", "REVERTED", False, 1),
    ],
)
def test_the_receipt_decides(  # noqa: PLR0913, PLR0917 - fixtures and a table
    deal: Deal,
    desk: OneDesk,
    intent: str,
    ledger: Ledger,
    action: str,
    state: str,
    *,
    no_op: bool,
    code: int,
) -> None:
    desk.then = mined(ledger, state, no_op=no_op)
    answer = act(deal, action, intent, "--wait")
    assert answer.code == code
    told, *changes = [line for line in answer.out.splitlines() if line]
    assert '"note": "sent to 2 endpoints"' in told
    assert f'"state": "{state}"' in changes[-1]
    assert (answer.err == "") == (code == 0)
    if code:
        reverted = state == "REVERTED" and action == "bump"
        assert answer.problem["code"] == ("transaction_reverted" if reverted else "failed")


def test_progress_is_told_line_by_line(
    deal: Deal, desk: OneDesk, intent: str, ledger: Ledger
) -> None:
    desk.then = mined(ledger, "INCLUDED", no_op=False)
    words = act(deal, "bump", intent, "--wait", "-o", "table")
    assert words.code == 0
    assert f"{intent}  INCLUDED   2 attempts  in block 9" in words.out


def test_a_nonce_that_somebody_else_used_exits_7(
    deal: Deal, desk: OneDesk, intent: str, ledger: Ledger
) -> None:
    desk.then = lambda intent_id: ledger.move(intent_id, "REPLACED")
    answer = act(deal, "cancel", intent, "--wait")
    assert (answer.code, answer.problem["code"]) == (7, "outcome_unknown")
    assert ACCOUNT in answer.problem["message"]


def test_waiting_ends_in_time(deal: Deal, desk: OneDesk, intent: str) -> None:
    answer = act(deal, "bump", intent, "--wait", "--timeout", "0.3")
    assert (answer.code, answer.problem["code"]) == (124, "timed_out")
    assert answer.problem["actual"] == "BROADCAST"
    assert len(desk.told) == 1
