"""Large deals and the people who approve them, on a real stack, by the real command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from domain.deals import Command, DealStatus
from domain.denials import Denial
from domain.errors import PolicyDenied
from domain.identifiers import DealId
from domain.views import DealView
from starters.control.policies import POLICY_FILE
from tests.e2e.test_kills import killed
from tests.support.commands import answer, deal
from tests.support.desk import Desk

TWO_MILLION: Final = "700"
"""Ether worth 2,100,000 USD."""
SHIPPED: Final = Path(__file__).parents[2] / "deploy" / "config" / POLICY_FILE


async def refused(desk: Desk, code: str, *arguments: str) -> dict[str, Any]:
    """The problem of a command that the policy must refuse."""
    ended = await deal(desk.stack, *arguments, "-o", "json")
    assert ended.code == 5, ended.err or ended.out
    assert ended.last_problem["code"] == code, ended.last_problem
    return ended.last_problem


async def put_in_force(desk: Desk, tmp_path: Path, *changes: tuple[str, str]) -> int:
    """Have two people change the policy in force, by what stands in the file that is shipped."""
    newest = (await answer(desk.stack, "policy", "list"))[0]["version"]
    text = SHIPPED.read_text(encoding="utf-8").replace("version = 1", f"version = {newest + 1}")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    file = tmp_path / f"policy-{newest + 1}.toml"
    file.write_text(text, encoding="utf-8")
    why = ("--reason", "a test", "--yes")
    await answer(desk.stack, "--as", "risk-1", "policy", "propose", str(file), *why)
    version = str(newest + 1)
    own = ("--as", "risk-1", "policy", "approve", version, *why)
    await refused(desk, Denial.POLICY_OWN_CHANGE, *own)
    approved = await answer(desk.stack, "--as", "risk-2", "policy", "approve", version, *why)
    assert approved["state"] == "ACTIVE"
    return newest + 1


LOW: Final = (
    ('above_usd = "2_000_000"', 'above_usd = "20_000"'),
    ('above_usd = "5_000_000"', 'above_usd = "50_000"'),
)
"""The same tiers for deals that a test can run to their end without the owners of the Safe."""


@pytest.fixture
async def low(desk: Desk, tmp_path: Path) -> AsyncIterator[int]:
    """A policy whose approvals begin at 20,000 USD; the shipped one is put in force again."""
    yield await put_in_force(desk, tmp_path, *LOW)
    await put_in_force(desk, tmp_path)


async def waiting(desk: Desk, liquidity: str = "10") -> DealView:
    view = await desk.start(working_liquidity=liquidity)
    assert view.status is DealStatus.AWAITING_APPROVAL, view.problem
    assert view.desk_approval is not None
    return view


def approving(deal_id: DealId, who: str, act: str = "approve") -> tuple[str, ...]:
    return ("--as", who, act, deal_id, "--reason", "looked at it", "--yes")


async def test_a_deal_above_two_million_waits_for_one_and_then_for_the_owners(desk: Desk) -> None:
    view = await waiting(desk, TWO_MILLION)
    deal_id = view.request.deal_id
    assert view.desk_approval is not None
    assert (view.desk_approval.needed, view.policy_version) == (
        1,
        view.desk_approval.policy_version,
    )
    assert view.approval is None
    shown = await answer(desk.stack, "approvals", deal_id)
    assert (shown["desk"]["missing"], shown["desk"]["initiator"]) == (1, "desk")
    said = await answer(desk.stack, *approving(deal_id, "approver-1"))
    assert said["missing"] == 0
    asked = await desk.until(deal_id, lambda now: now.approval is not None)
    assert asked.status is DealStatus.AWAITING_APPROVAL
    await desk.command(deal_id, Command.CANCEL)
    assert (await desk.end(deal_id)).status is DealStatus.REJECTED


async def test_a_deal_above_five_million_takes_a_senior_trader_and_two_people(desk: Desk) -> None:
    request = desk.request(working_liquidity="1700")
    trader, senior = await desk.as_("trader"), await desk.as_("senior")
    denied = await desk.orders.start(trader, request, why="a test", command_id=uuid4().hex)
    assert denied.status is DealStatus.DENIED
    assert denied.problem is not None
    assert denied.problem.code == Denial.SENIOR_TRADER
    assert denied.problem.limit == "5,000,000 USD"
    again = desk.request(working_liquidity="1700")
    view = await desk.orders.start(senior, again, why="a test", command_id=uuid4().hex)
    assert view.desk_approval is not None, view.problem
    assert (view.desk_approval.needed, view.desk_approval.initiator) == (2, "senior")
    await answer(desk.stack, *approving(again.deal_id, "approver-1"))
    await refused(desk, Denial.APPROVAL_GIVEN, *approving(again.deal_id, "approver-1"))
    still = await desk.deals.view(again.deal_id)
    assert still.desk_approval is not None
    assert still.desk_approval.missing == 1
    said = await answer(desk.stack, *approving(again.deal_id, "approver-2"))
    assert [each["approver"] for each in said["given"]] == ["approver-1", "approver-2"]
    await desk.command(again.deal_id, Command.CANCEL)
    assert (await desk.end(again.deal_id)).status is DealStatus.REJECTED


async def test_an_approved_deal_runs_by_the_version_that_it_was_admitted_by(
    desk: Desk, low: int, tmp_path: Path
) -> None:
    view = await waiting(desk)
    assert view.policy_version == low
    deal_id = view.request.deal_id
    deny = ('effect = "allow"', 'effect = "deny"')
    newer = await put_in_force(desk, tmp_path, *LOW, deny)
    denied = await desk.start()
    assert denied.problem is not None
    assert denied.problem.code == Denial.POLICY_RULE
    await answer(desk.stack, *approving(deal_id, "approver-1"))
    ended = await desk.end(deal_id)
    assert (ended.status, ended.policy_version) == (DealStatus.COMPLETED, low)
    assert newer > low


async def test_approvals_are_read_while_temporal_is_away_and_given_when_it_is_back(
    desk: Desk, low: int
) -> None:
    view = await waiting(desk)
    deal_id = view.request.deal_id
    async with killed(desk.stack, "temporal"):
        listed = await answer(desk.stack, "approvals")
        assert deal_id in [each["deal_id"] for each in listed["approvals"]]
        shown = await answer(desk.stack, "approvals", deal_id)
        assert (shown["desk"]["missing"], shown["desk"]["policy_version"]) == (1, low)
        away = await deal(desk.stack, *approving(deal_id, "approver-1"), "-o", "json")
        assert (away.code, away.last_problem["code"]) == (1, "unavailable"), away.out
    said = await answer(desk.stack, *approving(deal_id, "approver-1"))
    assert (said["missing"], [each["approver"] for each in said["given"]]) == (0, ["approver-1"])
    assert (await desk.end(deal_id)).status is DealStatus.COMPLETED


async def test_whoever_started_it_does_not_approve_it_and_a_viewer_may_not(
    desk: Desk, low: int
) -> None:
    assert low
    view = await waiting(desk)
    deal_id = view.request.deal_id
    viewer = await deal(desk.stack, *approving(deal_id, "viewer"))
    assert viewer.code == 4
    own = await deal(desk.stack, *approving(deal_id, "desk"))
    assert own.code == 4
    assert "deals.approve" in own.err
    await answer(desk.stack, *approving(deal_id, "approver-2", "reject"))
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.REJECTED
    assert ended.problem is not None
    assert ended.problem.message == "approver-2 rejects it: looked at it"


async def test_what_is_not_approved_in_time_expires_with_nothing_moved(
    desk: Desk, tmp_path: Path
) -> None:
    await put_in_force(desk, tmp_path, *LOW, ("expiry_seconds = 14_400", "expiry_seconds = 5"))
    view = await waiting(desk)
    ended = await desk.end(view.request.deal_id)
    assert ended.status is DealStatus.EXPIRED
    assert ended.problem is not None
    assert ended.problem.code == Denial.APPROVAL_EXPIRED
    assert ended.steps == ()
    await put_in_force(desk, tmp_path)


async def test_a_user_who_has_started_enough_is_denied_until_he_waits(
    desk: Desk, tmp_path: Path
) -> None:
    await put_in_force(desk, tmp_path, ('max_usd = "250_000_000"', 'max_usd = "40_000"'))
    trader = await desk.as_("trader")
    first, second = desk.request(), desk.request()
    begun = await desk.orders.start(trader, first, why="a test", command_id=uuid4().hex)
    denied = await desk.orders.start(trader, second, why="a test", command_id=uuid4().hex)
    await put_in_force(desk, tmp_path)
    assert denied.status is DealStatus.DENIED
    assert denied.problem is not None
    assert denied.problem.code == Denial.VELOCITY_USER_USD
    assert denied.problem.limit == "40,000 USD within 3,600 s"
    assert (await desk.end(begun.request.deal_id)).status is DealStatus.COMPLETED


async def test_an_approval_of_something_else_does_not_count(desk: Desk, low: int) -> None:
    assert low
    view = await waiting(desk)
    approver = await desk.as_("approver-1")
    with pytest.raises(PolicyDenied) as caught:
        await desk.orders.decide(
            approver,
            view.request.deal_id,
            reject=False,
            binding_digest="0" * 64,
            why="a test",
            command_id=uuid4().hex,
        )
    assert caught.value.problem.code == Denial.APPROVAL_OTHER
    await desk.command(view.request.deal_id, Command.CANCEL)
    assert (await desk.end(view.request.deal_id)).status is DealStatus.REJECTED
