"""What a dry run says of a launch is what the launch is then decided by: the same, in Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from activities.control.admissions import Admissions
from activities.control.interface import AdmitDeal
from activities.dryrun.interface import DryRunResult
from activities.protocols.interface import MarketReading
from domain.approvals import funding_usd8
from domain.deals import DealRequest
from domain.denials import Denial
from domain.errors import Forbidden, PolicyDenied, Unavailable
from domain.identity import Caller, Role
from domain.outlooks import Outlook
from starters.control import dry_runs
from starters.control.dry_runs import DryRunDesk, DryRunReport
from starters.deals.database import single_connection
from tests.activities.deals import samples
from tests.control.people import add_principal, caller, change
from tests.control.test_admissions import MAX, command
from tests.control.test_policy_tables import document, propose
from tests.support.halting import put_halt
from tests.support.postgres import Database, Postgres
from tests.unit.domain.test_predictions import prediction

READING = MarketReading.model_validate_json(
    (Path(__file__).parents[1] / "workflows" / "market.json").read_bytes()
)
TRADER = caller("trader", Role.TRADER, banks=("bank-a",))
SENIOR = caller("senior", Role.SENIOR_TRADER)
SMALL, MIDDLE, LARGE = "9", "1200", "3000"
"""Ether worth 18,000, 2.4 million and 6 million USD."""
VELOCITY = [
    {"per": "user", "window_seconds": 3_600, "max_deals": 2},
    {"per": "bank", "window_seconds": 3_600, "max_usd": "20000000"},
]


@pytest.fixture
def control(postgres: Postgres) -> Database:
    """A database with people, and no policy yet."""
    database = postgres.migrated()
    add_principal(database, "installer", "admin")
    for who in (TRADER, SENIOR):
        banks = tuple(who.principal.banks)
        add_principal(database, who.who, *who.principal.roles, banks=banks)
    change(database, MAX)
    return database


@pytest.fixture
async def admissions(control: Database) -> AsyncIterator[Admissions]:
    async with AsyncConnectionPool[psycopg.AsyncConnection[Any]](
        control.role("deal_records"), kwargs={"autocommit": True}, min_size=1, open=False
    ) as pool:
        yield Admissions(pool)


@pytest.fixture
def desk(control: Database, monkeypatch: pytest.MonkeyPatch) -> DryRunDesk:
    """Dry runs whose chain is a stand-in: what is decided is decided by the real database."""

    async def connect() -> Any:
        return None

    async def run(_: object, request: DealRequest, __: object) -> DryRunResult:
        assert request
        return DryRunResult(prediction=prediction(), sizing=samples.SIZING, reading=READING)

    monkeypatch.setattr(dry_runs, "dry_run", run)
    return DryRunDesk(connect, single_connection(control.role("deal_reader")))


def in_force(control: Database, **changes: Any) -> None:
    propose(control, document(**{"velocity": VELOCITY} | changes), "installer", None, "ACTIVE")


def asked(liquidity: str, deal_id: str = "deal-1", bank: str = "bank-a") -> DealRequest:
    fields = {"module": "usdtz", "chain_id": 138, "working_liquidity": liquidity}
    return DealRequest.parse(deal_id=deal_id, bank=bank, **fields)


async def launched(
    admissions: Admissions, control: Database, who: Caller, request: DealRequest
) -> Outlook:
    """How a launch of the request is decided, told as an outlook is."""
    command(control, who.who, request)
    value = funding_usd8(request, READING.module, READING.market)
    order = AdmitDeal(
        request=request,
        command_id=f"start-{request.deal_id}",
        value_usd8=value,
        limit_usd8=READING.multisig.threshold_usd8,
        window_seconds=int(READING.multisig.window.total_seconds()),
    )
    admitted = await admissions.admit_deal(order)
    return Outlook(
        allowed=True,
        policy_version=admitted.policy.version,
        rule=admitted.rule,
        approvals_needed=admitted.approvals_needed,
        value_usd8=admitted.funding.value_usd8,
        together_usd8=admitted.funding.together_usd8,
        owners_decide=admitted.funding.owners_decide,
    )


async def same(
    desk: DryRunDesk, admissions: Admissions, control: Database, who: Caller, request: DealRequest
) -> Outlook:
    """The outlook, once the launch was decided as it says."""
    outlook = (await desk.run(who, request)).outlook
    try:
        assert await launched(admissions, control, who, request) == outlook.model_copy(
            update={"approver_group": None}
        )
    except PolicyDenied as denied:
        assert outlook.problem is not None
        told, given = outlook.problem.model_dump(), denied.problem.model_dump()
        assert told == given
        assert outlook.allowed is False
    return outlook


async def test_it_is_decided_as_the_launch_is(
    desk: DryRunDesk, admissions: Admissions, control: Database
) -> None:
    in_force(control)
    small = await same(desk, admissions, control, TRADER, asked(SMALL))
    assert (small.allowed, small.approvals_needed, small.rule) == (True, 0, "all")
    middle = await same(desk, admissions, control, TRADER, asked(MIDDLE, "deal-2"))
    assert (middle.approvals_needed, middle.owners_decide) == (1, True)
    assert middle.together_usd8 == small.value_usd8 + middle.value_usd8
    large = await same(desk, admissions, control, SENIOR, asked(LARGE, "deal-3", "bank-b"))
    assert (large.allowed, large.approvals_needed) == (True, 2)
    denied = await same(desk, admissions, control, TRADER, asked(LARGE, "deal-4"))
    assert denied.problem is not None
    assert (denied.problem.code, denied.rule) == (Denial.SENIOR_TRADER, "all")
    # The third of a user's within the hour, which is counted by the database alone.
    third = await same(desk, admissions, control, TRADER, asked(SMALL, "deal-5"))
    assert third.problem is not None
    assert (third.problem.code, third.problem.limit) == (
        Denial.VELOCITY_USER_DEALS,
        "2 within 3,600 s",
    )


async def test_the_rule_that_denies_is_named(
    desk: DryRunDesk, admissions: Admissions, control: Database
) -> None:
    rules = [
        {"name": "not-bank-a", "effect": "deny", "banks": ["bank-a"]},
        {"name": "all", "effect": "allow", "max_usd": "100000"},
        {"name": "rest", "effect": "deny"},
    ]
    in_force(control, rules=rules)
    outlook = await same(desk, admissions, control, TRADER, asked(SMALL))
    assert outlook.problem is not None
    assert (outlook.rule, outlook.problem.code) == ("not-bank-a", Denial.POLICY_RULE)
    outlook = await same(desk, admissions, control, SENIOR, asked(MIDDLE, "deal-2", "bank-b"))
    assert outlook.problem is not None
    assert (outlook.rule, outlook.problem.code) == ("rest", Denial.POLICY_SIZE)
    assert outlook.problem.limit == "100,000 USD"


async def test_the_group_that_would_have_to_approve_is_named(
    desk: DryRunDesk, admissions: Admissions, control: Database
) -> None:
    tiers = [{"above_usd": "1000", "needed": 2, "group": "seniors"}]
    in_force(control, approvals={"expiry_seconds": 600, "tiers": tiers})
    outlook = await same(desk, admissions, control, TRADER, asked(SMALL))
    assert (outlook.approvals_needed, outlook.approver_group) == (2, "seniors")
    with psycopg.connect(control.owner) as connection:
        rows = connection.execute("SELECT approver_group FROM control.admissions").fetchall()
    assert rows == [("seniors",)]


async def test_nothing_is_written_however_often_it_is_asked(
    desk: DryRunDesk, control: Database
) -> None:
    in_force(control)
    reports = [await desk.run(TRADER, asked(SMALL)) for _ in range(4)]
    assert all(isinstance(report, DryRunReport) for report in reports)
    assert {report.outlook.allowed for report in reports} == {True}
    with psycopg.connect(control.owner) as connection:
        for table in ("control.commands", "control.admissions", "deals.reservations"):
            rows = connection.execute(f"SELECT 1 FROM {table}").fetchall()  # noqa: S608 - our own names
            assert rows == [], table


async def test_a_halt_comes_before_the_policy(desk: DryRunDesk, control: Database) -> None:
    in_force(control)
    put_halt(control.role("deal_control"), "bank=bank-a", "REDUCING")
    halted = (await desk.run(TRADER, asked(SMALL))).outlook
    assert halted.problem is not None
    assert (halted.allowed, halted.problem.code, halted.problem.actual) == (
        False,
        "halted",
        "REDUCING",
    )
    assert (await desk.run(SENIOR, asked(SMALL, bank="bank-b"))).outlook.allowed is True
    put_halt(control.role("deal_control"), "bank=bank-a", "ACTIVE", who="risk-2")
    assert (await desk.run(TRADER, asked(SMALL))).outlook.allowed is True


async def test_without_a_policy_and_for_who_is_disabled_it_would_be_denied(
    desk: DryRunDesk, control: Database
) -> None:
    without = (await desk.run(TRADER, asked(SMALL))).outlook
    assert without.problem is not None
    assert (without.problem.code, without.policy_version) == (Denial.NO_POLICY, None)
    in_force(control)
    change(control, "UPDATE control.principals SET disabled_at = now() WHERE roles = '{trader}'")
    disabled = (await desk.run(TRADER, asked(SMALL))).outlook
    assert disabled.problem is not None
    assert (disabled.allowed, disabled.problem.code) == (False, Denial.PRINCIPAL_DISABLED)


async def test_it_takes_what_starting_takes(desk: DryRunDesk, control: Database) -> None:
    in_force(control)
    for who, bank in ((caller("vera", Role.VIEWER), "bank-a"), (TRADER, "bank-b")):
        with pytest.raises(Forbidden):
            await desk.run(who, asked(SMALL, bank=bank))


async def test_with_postgres_away_nothing_is_said(
    desk: DryRunDesk, control: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_force(control)
    nowhere = single_connection("postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setattr(desk, "_reading", nowhere)
    with pytest.raises(Unavailable):
        await desk.run(TRADER, asked(SMALL))
