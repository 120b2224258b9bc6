"""An approver is away: his group approves real waiting deals in his place, and only so far."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from domain.deals import Command, DealStatus
from domain.denials import Denial
from tests.e2e.test_policy import LOW, approving, put_in_force, refused, waiting
from tests.support.commands import answer, deal
from tests.support.desk import Desk

WHY = ("--reason", "holidays")


@pytest.fixture
async def low(desk: Desk, tmp_path: Path) -> AsyncIterator[int]:
    """A policy whose approvals begin at 20,000 USD, and with two people at 50,000."""
    yield await put_in_force(desk, tmp_path, *LOW)
    await put_in_force(desk, tmp_path)


@pytest.fixture
async def delegation(desk: Desk, low: int) -> AsyncIterator[str]:
    """Approver-1 is away; who looks on may approve in his place. Its id."""
    assert low
    group = f"deputies-{uuid4().hex[:8]}"
    await answer(desk.stack, "--as", "admin-1", "groups", "create", group, *WHY)
    await answer(desk.stack, "--as", "admin-1", "groups", "add", group, "viewer", *WHY)
    begun = await answer(desk.stack, "--as", "approver-1", "delegate", "begin", group, *WHY)
    name: str = begun["delegation"]
    yield name
    listed = (await answer(desk.stack, "--as", "approver-1", "delegate", "list"))["delegations"]
    if [each for each in listed if each["delegation_id"] == name and each["ended_at"] is None]:
        await answer(desk.stack, "--as", "admin-1", "delegate", "end", name, *WHY)


async def test_a_member_of_the_group_approves_a_waiting_deal_which_then_runs(
    desk: Desk, delegation: str
) -> None:
    told = await answer(desk.stack, "--as", "viewer", "whoami")
    assert told["stands_in_for"] == ["approver-1"]
    assert "deals.approve" in told["permissions"]
    view = await waiting(desk)
    deal_id = view.request.deal_id
    said = await answer(desk.stack, *approving(deal_id, "viewer"))
    assert said["missing"] == 0
    (given,) = said["given"]
    assert (given["approver"], given["on_behalf_of"]) == ("viewer", "approver-1")
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.COMPLETED, ended.problem

    await answer(desk.stack, "--as", "approver-1", "delegate", "end", delegation, *WHY)
    later = await waiting(desk)
    ended_too_early = await deal(
        desk.stack, *approving(later.request.deal_id, "viewer"), "-o", "json"
    )
    told = (ended_too_early.code, ended_too_early.problem["code"])
    assert told == (4, "forbidden"), ended_too_early.out
    await desk.command(later.request.deal_id, Command.CANCEL)
    assert (await desk.end(later.request.deal_id)).status is DealStatus.REJECTED


async def test_who_stands_in_uses_up_the_part_of_whom_he_stands_in_for(
    desk: Desk, delegation: str
) -> None:
    assert delegation
    view = await waiting(desk, "20")
    deal_id = view.request.deal_id
    assert view.desk_approval is not None
    assert view.desk_approval.needed == 2
    assert (await answer(desk.stack, *approving(deal_id, "viewer")))["missing"] == 1
    await refused(desk, Denial.APPROVAL_GIVEN, *approving(deal_id, "approver-1"))
    assert (await answer(desk.stack, *approving(deal_id, "approver-2")))["missing"] == 0
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.COMPLETED, ended.problem


async def test_nobody_approves_his_own_deal_by_standing_in(desk: Desk, delegation: str) -> None:
    """Not even with the part of an approver who did not start it."""
    listed = (await answer(desk.stack, "--as", "approver-1", "delegate", "list"))["delegations"]
    (group,) = {each["group_id"] for each in listed if each["delegation_id"] == delegation}
    await answer(desk.stack, "--as", "admin-1", "groups", "add", group, "desk", *WHY)
    view = await waiting(desk)
    deal_id = view.request.deal_id
    await refused(desk, Denial.APPROVAL_OWN_DEAL, *approving(deal_id, "desk"))
    await answer(desk.stack, "--as", "admin-1", "groups", "remove", group, "desk", *WHY)
    await desk.command(deal_id, Command.CANCEL)
    assert (await desk.end(deal_id)).status is DealStatus.REJECTED
