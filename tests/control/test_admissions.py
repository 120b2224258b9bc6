"""The policy decides by who gave the recorded command, and the denial says why."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from activities.approvals.interface import ReleaseFunding
from activities.approvals.reservations import Reservations
from activities.control.admissions import Admissions
from activities.control.denials import denied
from activities.control.interface import (
    AdmitDeal,
    Admitted,
    AskApprovals,
    FindPolicy,
    RecordApproval,
)
from domain.deals import DealRequest
from domain.denials import Denial
from domain.desk_approvals import DeskApproval, binding_digest
from domain.errors import NotAllowed, PolicyDenied, Unavailable
from domain.identifiers import DealId
from tests.control.people import add_principal, change
from tests.control.test_policy_tables import COMMAND, approve, document, propose
from tests.support.postgres import Database, Postgres

USD = 10**8
PREDICTION = "b" * 64
MAX = "UPDATE control.principals SET max_deal_usd8 = 1000000000000000"


@pytest.fixture
def control(postgres: Postgres) -> Database:
    """A database with people and version 1 of the policy in force."""
    database = postgres.migrated()
    for name, roles, banks in (
        ("installer", ["admin"], ("*",)),
        ("risk-1", ["risk_manager"], ("*",)),
        ("risk-2", ["risk_manager"], ("*",)),
        ("trader", ["trader"], ("bank-a",)),
        ("senior", ["senior_trader"], ("*",)),
        ("viewer", ["viewer"], ("*",)),
        ("ann", ["approver"], ("*",)),
        ("bob", ["approver"], ("*",)),
    ):
        add_principal(database, name, *roles, banks=banks)
    change(database, MAX)
    velocity = [{"per": "bank", "window_seconds": 3_600, "max_usd": "20000000"}]
    propose(database, document(velocity=velocity), "installer", None, "ACTIVE")
    return database


@pytest.fixture
async def pool(control: Database) -> AsyncIterator[AsyncConnectionPool[Any]]:
    """The connections of a deals worker."""
    async with AsyncConnectionPool[psycopg.AsyncConnection[Any]](
        control.role("deal_records"), kwargs={"autocommit": True}, min_size=1, open=False
    ) as opened:
        yield opened


@pytest.fixture
def admissions(pool: AsyncConnectionPool[Any]) -> Admissions:
    return Admissions(pool)


def request(deal: str = "deal-1", bank: str = "bank-a") -> DealRequest:
    return DealRequest.parse(
        deal_id=deal, bank=bank, module="usdtz", chain_id=138, working_liquidity="9"
    )


def order(asked: DealRequest, usd: int = 1_000, command_id: str | None = "given") -> AdmitDeal:
    command = f"start-{asked.deal_id}" if command_id == "given" else command_id
    return AdmitDeal(
        request=asked,
        command_id=command,
        value_usd8=usd * USD,
        limit_usd8=1_000_000 * USD,
        window_seconds=86_400,
    )


def command(
    database: Database,
    who: str,
    asked: DealRequest,
    kind: str = "deal.start",
    command_id: str | None = None,
    **body: str,
) -> str:
    name = command_id or f"{kind.removeprefix('deal.')}-{asked.deal_id}"
    digest = asked.digest() if kind == "deal.start" else None
    row = (name, kind, asked.deal_id, asked.deal_id, asked.bank, json.dumps(body), PREDICTION)
    change(database, COMMAND, *row, digest, who, who=who)
    return name


async def start(  # noqa: PLR0913, PLR0917 - what an admission is made of
    admissions: Admissions,
    database: Database,
    who: str = "trader",
    usd: int = 1_000,
    deal: str = "deal-1",
    bank: str = "bank-a",
) -> Admitted:
    asked = request(deal, bank)
    command(database, who, asked)
    return await admissions.admit_deal(order(asked, usd))


async def denial(code: Denial, **how: Any) -> PolicyDenied:
    with pytest.raises(PolicyDenied) as caught:
        await start(**how)
    assert caught.value.problem.code == code
    return caught.value


async def test_a_deal_is_admitted_in_the_name_of_who_gave_the_command(
    admissions: Admissions, control: Database
) -> None:
    admitted = await start(admissions, control)
    assert (admitted.initiator, admitted.rule, admitted.policy.version) == ("trader", "all", 1)
    assert (admitted.approvals_needed, admitted.funding.owners_decide) == (0, False)
    assert admitted.funding.value_usd8 == 1_000 * USD


async def test_asking_again_gets_the_first_answer_also_under_a_new_policy(
    admissions: Admissions, control: Database
) -> None:
    first = await start(admissions, control, usd=3_000_000)
    assert (first.approvals_needed, first.funding.owners_decide) == (1, True)
    deny = [{"name": "none", "effect": "deny"}]
    propose(control, document(2, rules=deny), "risk-1", 1)
    approve(control, 2, "risk-2")
    assert await admissions.admit_deal(order(request(), 3_000_000)) == first
    await denial(Denial.POLICY_NO_RULE, admissions=admissions, database=control, deal="deal-2")


async def test_a_deal_that_was_lost_finds_the_policy_it_was_admitted_by(
    admissions: Admissions, control: Database
) -> None:
    first = await start(admissions, control)
    propose(control, document(2, exit={"attempts": 9}), "risk-1", 1)
    approve(control, 2, "risk-2")
    second = await start(admissions, control, deal="deal-2")
    assert second.policy.exit.attempts == 9
    for deal_id, admitted in (("deal-1", first), ("deal-2", second)):
        found = await admissions.find_policy(FindPolicy(deal_id=DealId(deal_id)))
        assert found.policy == admitted.policy
    assert (await admissions.find_policy(FindPolicy(deal_id=DealId("deal-3")))).policy is None


async def test_a_start_without_a_recorded_command_is_denied(
    admissions: Admissions,
) -> None:
    for command_id in (None, "made-up"):
        with pytest.raises(PolicyDenied) as caught:
            await admissions.admit_deal(order(request(), command_id=command_id))
        assert caught.value.problem.code == Denial.NO_COMMAND
        assert caught.value.problem.actual == (command_id or "none")


@pytest.mark.parametrize("other", [{"deal": "deal-2"}, {"bank": "bank-b"}])
async def test_a_command_for_something_else_admits_nothing(
    admissions: Admissions, control: Database, other: dict[str, str]
) -> None:
    name = command(control, "trader", request(**other))
    with pytest.raises(PolicyDenied) as caught:
        await admissions.admit_deal(order(request(), command_id=name))
    assert caught.value.problem.code == Denial.COMMAND_MISMATCH


async def test_another_kind_of_command_admits_nothing(
    admissions: Admissions, control: Database
) -> None:
    name = command(control, "trader", request(), "deal.pause")
    with pytest.raises(PolicyDenied) as caught:
        await admissions.admit_deal(order(request(), command_id=name))
    assert caught.value.problem.code == Denial.COMMAND_MISMATCH


async def test_who_may_not_start_it_is_told_why(admissions: Admissions, control: Database) -> None:
    how: dict[str, Any] = {"admissions": admissions, "database": control}
    await denial(Denial.NO_PERMISSION, **how, who="viewer")
    await denial(Denial.FOREIGN_BANK, **how, deal="deal-2", bank="bank-b")
    await denial(Denial.SENIOR_TRADER, **how, deal="deal-3", usd=5_000_001)
    large = await start(admissions, control, "senior", 5_000_001, "deal-4")
    assert large.approvals_needed == 2
    await denial(Denial.OWN_SIZE, **how, who="senior", deal="deal-5", usd=10_000_001)
    change(
        control, "UPDATE control.principals SET disabled_at = now() WHERE principal_id = 'senior'"
    )
    await denial(Denial.PRINCIPAL_DISABLED, **how, who="senior", deal="deal-6")


async def test_what_was_moved_lately_is_told_with_the_headroom(
    admissions: Admissions, control: Database
) -> None:
    for number in range(4):
        await start(admissions, control, usd=4_500_000, deal=f"deal-{number}")
    refused = await denial(
        Denial.VELOCITY_BANK_USD, admissions=admissions, database=control, usd=3_000_000, deal="d-5"
    )
    problem = refused.problem
    assert problem.limit == "20,000,000 USD within 3,600 s"
    assert (problem.actual, problem.headroom) == ("21,000,000 USD", "2,000,000 USD")
    assert refused.exit_code == 5


async def test_a_denied_deal_is_not_counted_with_its_bank(
    admissions: Admissions, control: Database, pool: AsyncConnectionPool[Any]
) -> None:
    await denial(Denial.SENIOR_TRADER, admissions=admissions, database=control, usd=6_000_000)
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM deals.reservations")
        assert await cursor.fetchone() == (0,)


async def test_what_moved_nothing_counts_no_longer(
    admissions: Admissions, control: Database, pool: AsyncConnectionPool[Any]
) -> None:
    for number in range(4):
        await start(admissions, control, usd=5_000_000, deal=f"deal-{number}")
    await Reservations(pool).release_funding(ReleaseFunding(deal_id=DealId("deal-0")))
    assert (await start(admissions, control, usd=5_000_000, deal="deal-9")).rule == "all"


async def test_without_a_policy_nothing_is_admitted(postgres: Postgres) -> None:
    database = postgres.migrated()
    add_principal(database, "trader", "trader")
    async with AsyncConnectionPool[psycopg.AsyncConnection[Any]](
        database.role("deal_records"), kwargs={"autocommit": True}, open=False
    ) as opened:
        await denial(Denial.NO_POLICY, admissions=Admissions(opened), database=database)


async def approval_of(admissions: Admissions, control: Database, usd: int) -> DeskApproval:
    await start(admissions, control, "senior", usd)
    return await admissions.ask_approvals(
        AskApprovals(deal_id=DealId("deal-1"), prediction_digest=PREDICTION)
    )


async def say(
    admissions: Admissions, control: Database, who: str, binding: str, kind: str = "deal.approve"
) -> DeskApproval:
    name = command(control, who, request(), kind, f"{kind}-{who}", binding_digest=binding)
    return await admissions.record_approval(
        RecordApproval(deal_id=DealId("deal-1"), command_id=name)
    )


async def test_two_people_approve_what_was_bound(admissions: Admissions, control: Database) -> None:
    asked = await approval_of(admissions, control, 6_000_000)
    assert (asked.needed, asked.missing, asked.initiator) == (2, 2, "senior")
    assert asked.binding_digest == binding_digest(request().digest(), 1, PREDICTION)
    first = await say(admissions, control, "ann", asked.binding_digest)
    assert (first.missing, first.given[0].why) == (1, "a test")
    second = await say(admissions, control, "bob", asked.binding_digest)
    assert [each.approver for each in second.given] == ["ann", "bob"]


async def test_a_rejection_is_told_with_its_reason(
    admissions: Admissions, control: Database
) -> None:
    asked = await approval_of(admissions, control, 3_000_000)
    said = await say(admissions, control, "ann", asked.binding_digest, "deal.reject")
    assert said.rejected is not None
    assert (said.rejected.approver, said.given) == ("ann", ())
    with pytest.raises(PolicyDenied) as caught:
        await say(admissions, control, "bob", asked.binding_digest)
    assert caught.value.problem.code == Denial.APPROVAL_NOT_AWAITED


async def test_an_approval_that_does_not_count_is_told_why(
    admissions: Admissions, control: Database
) -> None:
    asked = await approval_of(admissions, control, 3_000_000)
    with pytest.raises(PolicyDenied) as caught:
        await say(admissions, control, "ann", "0" * 64)
    assert caught.value.problem.code == Denial.APPROVAL_OTHER
    assert caught.value.problem.limit == asked.binding_digest
    with pytest.raises(PolicyDenied) as caught:
        await say(admissions, control, "viewer", asked.binding_digest)
    assert caught.value.problem.code == Denial.APPROVAL_NOT_APPROVER
    unheard_of = RecordApproval(deal_id=DealId("deal-1"), command_id="made-up")
    with pytest.raises(PolicyDenied) as caught:
        await admissions.record_approval(unheard_of)
    assert caught.value.problem.code == Denial.NO_COMMAND


async def test_a_database_that_is_away_is_waited_for() -> None:
    nowhere = AsyncConnectionPool[psycopg.AsyncConnection[Any]](
        "postgresql://nobody@127.0.0.1:1/none", min_size=0, max_size=1, timeout=0.2, open=False
    )
    async with nowhere:
        with pytest.raises(Unavailable):
            await Admissions(nowhere).admit_deal(order(request()))


def test_what_no_denial_speaks_of_is_passed_on_as_not_allowed() -> None:
    error = denied(psycopg.IntegrityError("something else"), 0, "ann")
    assert isinstance(error, NotAllowed)
    assert error.problem.field == "database"
