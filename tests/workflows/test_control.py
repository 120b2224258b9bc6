"""Deals that the policy admits, denies, or has the desk approve: what follows in the workflow."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from domain.deals import Command, DealStatus
from domain.denials import Denial
from domain.desk_approvals import DeskApproval, binding_digest
from domain.errors import PolicyDenied, PostConditionFailed, TransactionReverted
from domain.identity import PrincipalId, Via
from domain.launches import Launch
from domain.policy import ExitPolicy
from domain.views import DealView
from tests.support.desk import eventually
from tests.support.owners import KEYS, sign
from tests.workflows.conftest import Theatre
from tests.workflows.fakes import POLICY, PREDICTION, Script
from workflows.deal.messages import ApprovalMessage, OwnerMessage


async def say(
    theatre: Theatre,
    script: Script,
    view: DealView,
    who: str,
    *,
    reject: bool = False,
    **changes: Any,
) -> DeskApproval:
    """Have somebody approve or reject what the deal waits for, by a command of his."""
    assert view.desk_approval is not None
    command_id = uuid4().hex
    script.said[command_id] = (who, reject)
    fields = {"who": who, "why": "a test", "binding_digest": view.desk_approval.binding_digest}
    message = ApprovalMessage.model_validate(fields | changes)
    return await theatre.deals.decide(view.request.deal_id, message, command_id, reject=reject)


async def test_an_admitted_deal_keeps_the_version_of_the_policy(theatre: Theatre) -> None:
    script = Script()
    view = await theatre.run(script)
    assert (view.status, view.policy_version) == (DealStatus.COMPLETED, POLICY.version)
    assert view.desk_approval is None
    (order,) = script.admissions
    assert order.request == view.request
    assert [record.view.policy_version for record in script.records][-1] == POLICY.version
    assert [call for call in script.calls if call in {"admit", "reserve", "ask"}] == ["admit"]


async def test_admission_is_asked_with_the_command_that_the_deal_was_started_by(
    theatre: Theatre,
) -> None:
    script = Script()
    launch = Launch(command_id="c-17", initiator=PrincipalId("ann"), via=Via.CLI)
    await theatre.deals.start(theatre.request(script), launch)
    assert [order.command_id for order in script.admissions] == ["c-17"]


async def test_a_deal_that_no_command_has_started_is_denied_before_anything_is_done(
    theatre: Theatre,
) -> None:
    script = Script()
    view = await theatre.deals.start(theatre.request(script))
    assert view.status is DealStatus.DENIED
    assert view.problem is not None
    assert view.problem.code == Denial.NO_COMMAND
    assert script.calls == []


async def test_a_deal_that_the_policy_denies_moves_nothing_and_says_why(theatre: Theatre) -> None:
    denied = PolicyDenied.because(Denial.POLICY_SIZE, field="value", limit="5 USD", actual="6 USD")
    script = Script(refused={("admit", ""): [denied]})
    view = await theatre.start(script)
    assert view.status is DealStatus.DENIED
    assert view.problem == denied.problem
    assert script.ordered == []
    assert view.policy_version is None
    assert "release" in script.calls


async def test_a_deal_goes_on_when_enough_people_have_approved_it(theatre: Theatre) -> None:
    script = Script(approvals_needed=2)
    view = await theatre.start(script)
    approval = view.desk_approval
    assert approval is not None
    assert view.sizing is not None
    assert view.status is DealStatus.AWAITING_APPROVAL
    assert view.doing == "waiting for 2 approvals"
    assert approval.binding_digest == binding_digest(
        view.request.digest(), POLICY.version, PREDICTION.digest()
    )
    first = await say(theatre, script, view, "ann")
    assert (first.missing, [each.approver for each in first.given]) == (1, ["ann"])
    assert script.ordered == []
    second = await say(theatre, script, view, "bob")
    assert second.missing == 0
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.COMPLETED
    assert ended.desk_approval is not None
    assert [each.approver for each in ended.desk_approval.given] == ["ann", "bob"]
    assert "release" not in script.calls


async def test_one_who_rejects_ends_it_and_his_reason_is_told(theatre: Theatre) -> None:
    script = Script(approvals_needed=2)
    view = await theatre.start(script)
    await say(theatre, script, view, "ann")
    await say(theatre, script, view, "bob", reject=True)
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.REJECTED
    assert ended.problem is not None
    assert ended.problem.code == Denial.APPROVAL_REJECTED
    assert ended.problem.message == "bob rejects it: looked at it"
    assert script.ordered == []
    assert "release" in script.calls


async def test_what_is_not_approved_in_time_has_expired(theatre: Theatre) -> None:
    script = Script(approvals_needed=2, desk_expiry_seconds=1)
    view = await theatre.start(script)
    await say(theatre, script, view, "ann")
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.EXPIRED
    assert ended.problem is not None
    assert ended.problem.code == Denial.APPROVAL_EXPIRED
    assert ended.problem.actual == "1 of 2 approvals"
    assert script.ordered == []
    assert "release" in script.calls


async def test_a_deal_can_be_cancelled_while_it_waits_for_approval(theatre: Theatre) -> None:
    script = Script(approvals_needed=1)
    view = await theatre.start(script)
    await theatre.command(view.request.deal_id, Command.CANCEL)
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.REJECTED
    assert ended.problem is not None
    assert "withdrawn by on-call" in ended.problem.message
    assert "release" in script.calls


async def test_a_deal_can_be_let_expire_before_its_time(theatre: Theatre) -> None:
    script = Script(approvals_needed=1)
    view = await theatre.start(script)
    await theatre.command(view.request.deal_id, Command.EXPIRE)
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.EXPIRED
    assert ended.problem is not None
    assert ended.problem.code == Denial.APPROVAL_EXPIRED
    assert "no longer waited for" in ended.problem.message
    assert "release" in script.calls


async def test_the_freeze_and_exit_policies_are_those_of_the_admission(theatre: Theatre) -> None:
    script = Script(policy=POLICY.model_copy(update={"exit": ExitPolicy(attempts=1)}))
    script.outcomes["unwind/1/1"] = TransactionReverted("sold nothing", next_action="wait")
    script.outcomes["redeem/1/1"] = PostConditionFailed("no par token", next_action="look")
    view = await theatre.start(script)
    stuck = await theatre.until(view.request.deal_id, lambda now: now.status is DealStatus.STUCK)
    assert script.of("prepare").count("unwind/1/2") == 0
    assert stuck.status is DealStatus.STUCK
    await theatre.command(view.request.deal_id, Command.CANCEL)
    assert (await theatre.end(view.request.deal_id)).status is DealStatus.UNWOUND


async def test_approvals_of_something_else_are_refused(theatre: Theatre) -> None:
    script = Script(approvals_needed=1)
    view = await theatre.start(script)
    with pytest.raises(PolicyDenied) as caught:
        await say(theatre, script, view, "ann", binding_digest="0" * 64)
    assert caught.value.problem.code == Denial.APPROVAL_OTHER
    assert not [call for call in script.calls if call.startswith("count")]


async def test_nobody_approves_what_waits_for_nobody(theatre: Theatre) -> None:
    script = Script(approvals_needed=1)
    view = await theatre.start(script)
    await say(theatre, script, view, "ann")
    await theatre.end(view.request.deal_id)
    with pytest.raises(PolicyDenied) as caught:
        await say(theatre, script, view, "bob")
    assert caught.value.problem.code == Denial.APPROVAL_NOT_AWAITED
    assert caught.value.problem.actual == DealStatus.COMPLETED


async def test_what_the_database_refuses_is_the_answer(theatre: Theatre) -> None:
    script = Script(approvals_needed=1)
    view = await theatre.start(script)
    own = PolicyDenied.because(Denial.APPROVAL_OWN_DEAL, field="approval", value="trader")
    command = "c-own"
    script.said[command] = ("trader", False)
    script.refused["count", command] = [own]
    assert view.desk_approval is not None
    message = ApprovalMessage(
        who="trader", why="mine", binding_digest=view.desk_approval.binding_digest
    )
    with pytest.raises(PolicyDenied) as caught:
        await theatre.deals.decide(view.request.deal_id, message, command)
    assert caught.value.problem == own.problem
    still = await theatre.deals.view(view.request.deal_id)
    assert still.status is DealStatus.AWAITING_APPROVAL


async def test_a_rejection_stands_though_an_older_answer_comes_after_it(theatre: Theatre) -> None:
    script = Script(approvals_needed=2)
    view = await theatre.start(script)
    assert view.desk_approval is not None
    slow = asyncio.Event()
    script.held["slow"] = slow
    script.said["slow"] = ("ann", False)
    message = ApprovalMessage(
        who="ann", why="slow", binding_digest=view.desk_approval.binding_digest
    )
    approving = asyncio.create_task(
        theatre.deals.decide(view.request.deal_id, message, "slow"),
    )
    await eventually(lambda: "count slow" in script.calls, "the approval is being counted")
    await say(theatre, script, view, "bob", reject=True)
    slow.set()
    with pytest.raises(PolicyDenied):
        await approving
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.REJECTED


async def test_the_desk_is_asked_before_the_owners_of_a_safe(theatre: Theatre) -> None:
    script = Script(approvals_needed=1, owners_decide=True)
    view = await theatre.start(script)
    assert view.approval is None
    assert script.proposals == []
    await say(theatre, script, view, "ann")
    asked = await theatre.until(view.request.deal_id, lambda now: now.approval is not None)
    assert asked.status is DealStatus.AWAITING_APPROVAL
    assert asked.approval is not None
    proposal = asked.approval.proposal
    for owner in list(KEYS)[:2]:
        signed = OwnerMessage(
            owner=owner,
            signature=sign(owner, proposal.transaction.hash()),
            transaction_hash=proposal.transaction_hash,
            who="owner",
        )
        await theatre.deals.hear_owner(view.request.deal_id, signed, uuid4().hex)
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.COMPLETED
    assert script.calls.index("ask") < script.calls.index("propose 1")


async def test_owners_are_not_asked_for_what_the_desk_rejects(theatre: Theatre) -> None:
    script = Script(approvals_needed=1, owners_decide=True)
    view = await theatre.start(script)
    await say(theatre, script, view, "ann", reject=True)
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.REJECTED
    assert script.proposals == []
