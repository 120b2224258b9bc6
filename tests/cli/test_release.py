"""`deal chain release`, through a real Temporal server to a stand-in for the chain's worker."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from temporalio import workflow
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.transactions.interface import ChainReleased, ReleaseChain
from domain.errors import NotAllowed, OutcomeUnknown, Problem, Unavailable
from domain.identifiers import ChainId
from domain.identity import Caller, Role
from starters.cli import chain_release
from starters.cli import temporal as temporal_module
from starters.control import chains as control_chains
from starters.deals import releasing
from starters.deals.releasing import release_chain
from starters.local.temporal import ensure_temporal
from tests.cli.conftest import MIA, Deal
from tests.control.people import add_principal, caller
from tests.support.codec import encrypting_converter
from tests.support.postgres import Database
from workflows.deal.workflow import TASK_QUEUE

LATCHED, QUIET, BROKEN, SILENT = ChainId(138), ChainId(651940), ChainId(1), ChainId(2)
PROBLEM = Problem(code="outcome_unknown", message="block 90 is another now", next_action="look")


@workflow.defn(name="ReleaseChain")
class StandIn:
    """Releases one chain, finds nothing to release on another, and fails or hangs on others."""

    @workflow.run
    async def run(self, order: ReleaseChain) -> ChainReleased:
        if order.chain_id == BROKEN:
            error = NotAllowed("no", next_action="look")
            raise ApplicationError(str(error), error.problem.model_dump(), type=error.code)
        await workflow.wait_condition(lambda: order.chain_id != SILENT)
        latched = order.chain_id == LATCHED
        problem = PROBLEM.model_copy(update={"actual": order.who}) if latched else None
        return ChainReleased(chain_id=order.chain_id, cleared=latched, problem=problem)


@pytest_asyncio.fixture(scope="module")
async def temporal() -> AsyncIterator[Client]:
    """A development server with a worker for the stand-in."""
    binary = await asyncio.to_thread(ensure_temporal)
    environment = await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(binary), data_converter=encrypting_converter()
    )
    async with (
        environment,
        Worker(
            environment.client,
            task_queue=TASK_QUEUE,
            workflows=[StandIn],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ),
    ):
        yield environment.client


def order(chain_id: ChainId, who: str = "mia") -> ReleaseChain:
    """What is asked."""
    return ReleaseChain(chain_id=chain_id, who=who, why="looked at it")


async def test_a_latched_chain_is_released_and_says_what_for(temporal: Client) -> None:
    released = await release_chain(temporal, order(LATCHED))
    assert (released.cleared, released.problem) == (
        True,
        PROBLEM.model_copy(update={"actual": "mia"}),
    )
    again = await release_chain(temporal, order(LATCHED, who="joe"))
    assert again.problem is not None
    assert again.problem.actual == "joe"  # one that has ended is no answer to the next


async def test_a_chain_that_is_not_latched_says_so(temporal: Client) -> None:
    assert await release_chain(temporal, order(QUIET)) == ChainReleased(
        chain_id=QUIET, cleared=False
    )


async def test_the_workers_own_error_is_told(temporal: Client) -> None:
    with pytest.raises(NotAllowed, match="no"):
        await release_chain(temporal, order(BROKEN))


async def test_no_answer_in_time_is_unknown(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releasing, "_ANSWER_SECONDS", 0.5)
    with pytest.raises(OutcomeUnknown) as caught:
        await release_chain(temporal, order(SILENT))
    assert "ask again" in caught.value.problem.next_action


class OneChain:
    """Stands in for the worker beyond Temporal."""

    def __init__(self) -> None:
        self.asked: list[ReleaseChain] = []

    async def release(self, _: object, asked: ReleaseChain) -> ChainReleased:
        self.asked.append(asked)
        cleared = asked.chain_id == LATCHED
        return ChainReleased(
            chain_id=asked.chain_id, cleared=cleared, problem=PROBLEM if cleared else None
        )


@pytest.fixture(scope="module")
def people(database: Database) -> Database:
    """The database, with whoever types in it."""
    add_principal(database, MIA.who, *MIA.principal.roles)
    return database


@pytest.fixture
def one_chain(deal: Deal, people: Database, monkeypatch: pytest.MonkeyPatch) -> OneChain:  # noqa: ARG001 - clears the environment first
    """The command asks this stand-in."""
    stand_in = OneChain()

    async def connect(**_: object) -> object:
        return object()

    monkeypatch.setattr(temporal_module, "connect", connect)
    monkeypatch.setattr(control_chains, "release_chain", stand_in.release)
    monkeypatch.setenv("DEAL_DATABASE_URL", people.role("deal_reader"))
    monkeypatch.setenv("DEAL_CONTROL_DATABASE_URL", people.role("deal_control"))
    return stand_in


def rows(database: Database, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.owner) as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def test_a_release_carries_who_and_why(deal: Deal, one_chain: OneChain) -> None:
    answer = deal("chain", "release", "138", "--why", "looked at it", "--yes")
    assert answer.code == 0
    assert (answer.document["cleared"], answer.document["problem"]["message"]) == (
        True,
        "block 90 is another now",
    )
    assert one_chain.asked == [order(LATCHED)]
    words = deal("chain", "release", "138", "--why", "x", "--yes", "-o", "table").out
    assert "chain 138 is signed for again" in words
    assert "block 90 is another now" in words
    words = deal("chain", "release", "651940", "--why", "x", "--yes", "-o", "table").out
    assert "chain 651940 was not latched; nothing was changed" in words


@pytest.mark.parametrize(("typed", "asked"), [("y", 1), ("n", 0), ("", 0)])
def test_a_person_is_asked(
    deal: Deal, one_chain: OneChain, monkeypatch: pytest.MonkeyPatch, typed: str, asked: int
) -> None:
    assert deal("chain", "release", "138", "--why", "x").problem["field"] == "yes"
    monkeypatch.setattr(chain_release, "require_terminal", lambda *_: None)
    answer = deal("chain", "release", "138", "--why", "x", stdin=f"{typed}\n")
    assert "no latch is recorded" in answer.err
    assert (len(one_chain.asked), answer.code) == (asked, 0 if asked else 1)


@pytest.mark.parametrize(("chain", "code"), [("5", "not_found"), ("main", "invalid_input")])
def test_a_chain_nobody_knows_is_named(
    deal: Deal, one_chain: OneChain, chain: str, code: str
) -> None:
    answer = deal("chain", "release", chain, "--why", "x", "--yes")
    assert (answer.code, answer.problem["code"], answer.problem["field"]) == (2, code, "chain")
    assert one_chain.asked == []


COMMAND = (
    "SELECT kind, subject, principal_id, why, state, answer ->> 'cleared'"
    " FROM control.commands WHERE command_id = %s"
)
AUDITED = (
    "SELECT action, actor, why FROM audit.events WHERE subject_kind = 'command' AND subject = %s"
    " ORDER BY sequence"
)


def test_a_release_is_written_down_before_and_after_it_is_done(
    deal: Deal, one_chain: OneChain, people: Database
) -> None:
    release = ("chain", "release", "138", "--why", "restored", "--yes", "--command-id", "r-1")
    first, again = deal(*release), deal(*release)
    assert (first.code, again.code) == (0, 0)
    assert first.document == again.document
    assert len(one_chain.asked) == 1  # the same command is given once
    told = ("chain.release", "138", "mia", "restored", "APPLIED", "true")
    assert rows(people, COMMAND, "r-1") == [told]
    audited = rows(people, AUDITED, "r-1")
    assert [(actor, why) for _, actor, why in audited] == [("mia", "restored")] * 2
    another = deal("chain", "release", "138", "--why", "else", "--yes", "--command-id", "r-1")
    assert another.problem["code"] == "conflict"


def test_a_refused_release_is_written_down_with_the_reason(
    deal: Deal, one_chain: OneChain, people: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(**_: object) -> object:
        raise Unavailable("Temporal is away", next_action="wait")

    monkeypatch.setattr(temporal_module, "connect", away)
    given = ("--why", "restored", "--yes", "--command-id", "r-2")
    assert deal("chain", "release", "138", *given).problem["code"] == "unavailable"
    (told,) = rows(people, COMMAND.replace("answer ->> 'cleared'", "problem ->> 'code'"), "r-2")
    assert told[-2:] == ("REFUSED", "unavailable")
    assert one_chain.asked == []


def test_whoever_has_not_all_banks_releases_no_chain(
    deal: Deal, one_chain: OneChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def known() -> Caller:
        return caller("otto", Role.ONCALL, banks=("bank-one",))

    monkeypatch.setattr("starters.cli.session.known_caller", known)
    answer = deal("chain", "release", "138", "--why", "x", "--yes")
    assert (answer.code, answer.problem["code"]) == (4, "forbidden")
    assert one_chain.asked == []
