"""Deals that owners must approve: who may say what, when it is executed, and how it ends."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from domain.approvals import Approval, SafeStanding
from domain.deals import Command, DealStatus, Step
from domain.errors import (
    Conflict,
    DealError,
    InvalidInput,
    NotAllowed,
    SimulationFailed,
    TransactionReverted,
)
from domain.identifiers import Address, DealId
from domain.safe import packed
from domain.transactions import Asset
from domain.views import DealView
from tests.support.desk import eventually
from tests.support.owners import KEYS, sign
from tests.workflows.conftest import LAUNCH, Theatre
from tests.workflows.fakes import FEE, SAFE, Script
from workflows.deal.messages import OwnerMessage, RejectionMessage

FIRST, SECOND, THIRD = KEYS


def _script(**changes: Any) -> Script:
    return Script(owners_decide=True, **changes)


def _message(view: DealView, owner: Address, **changes: Any) -> OwnerMessage:
    assert view.approval is not None
    proposal = view.approval.proposal
    fields = {
        "owner": owner,
        "signature": sign(owner, proposal.transaction.hash()),
        "transaction_hash": proposal.transaction_hash,
        "who": "somebody",
    }
    return OwnerMessage.model_validate(fields | changes)


async def _sign(theatre: Theatre, view: DealView, owner: Address, **changes: Any) -> Approval:
    message = _message(view, owner, **changes)
    return await theatre.deals.hear_owner(view.request.deal_id, message, uuid4().hex)


async def _reject(theatre: Theatre, view: DealView, owner: Address) -> Approval:
    assert view.approval is not None
    proposal = view.approval.proposal
    message = RejectionMessage(
        owner=owner,
        signature=sign(owner, proposal.transaction.rejection_hash()),
        transaction_hash=proposal.transaction_hash,
        who="owner",
        why="too large",
    )
    return await theatre.deals.hear_owner(view.request.deal_id, message, uuid4().hex)


def _next(script: Script, **changes: Any) -> None:
    """Let the Safe be otherwise from now on."""
    script.standing = script.standing.model_copy(update=changes)


async def _waiting(theatre: Theatre, deal_id: DealId, said: str) -> DealView:
    return await theatre.until(deal_id, lambda view: said in view.doing)


async def test_a_deal_that_needs_nobody_is_counted_and_goes_on(theatre: Theatre) -> None:
    script = Script()
    view = await theatre.run(script)
    assert view.status is DealStatus.COMPLETED
    assert view.approval is None
    (admitted,) = script.admissions
    assert (admitted.request.bank, admitted.limit_usd8) == ("bank-one", 1_000_000 * 10**8)
    assert admitted.window_seconds == 24 * 3_600
    assert script.reservations == []
    assert "release" not in script.calls
    assert all(order.treasury is None and order.approval is None for order in script.ordered)


async def test_two_of_three_owners_are_waited_for_and_the_safe_funds_it_once(
    theatre: Theatre,
) -> None:
    script = _script()
    view = await theatre.start(script)
    assert view.status is DealStatus.AWAITING_APPROVAL
    assert view.treasury == SAFE
    assert view.approval is not None
    assert view.approval.proposal.request_digest == view.request.digest()
    assert view.sizing is not None
    paid = view.approval.proposal.transaction
    assert paid.value == view.sizing.wrap_wei + view.sizing.gas_reserve_wei
    assert (paid.to, paid.data, paid.operation) == (view.account, "0x", 0)

    first = await _sign(theatre, view, SECOND)
    assert [given.owner for given in first.signed] == [SECOND]
    assert (first.needed, first.missing) == (1, (FIRST, THIRD))
    await _waiting(theatre, view.request.deal_id, "1 of 2 owners have signed")
    assert script.of("prepare") == []

    await _sign(theatre, view, FIRST)
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.COMPLETED
    assert script.of("prepare").count("fund/1/1") == 1
    assert {order.treasury for order in script.ordered} == {SAFE}
    funding = [order for order in script.ordered if order.approval is not None]
    assert [order.key.step for order in funding] == [Step.FUND]
    assert funding[0].approval is not None
    assert funding[0].approval.sender == FEE
    assert funding[0].approval.signatures == packed(order.given for order in script.checked)
    assert {order.treasury for order in script.delivered} == {SAFE}


@pytest.mark.parametrize(
    ("changes", "error", "field"),
    [
        ({"transaction_hash": "0x" + "00" * 32}, Conflict, "transaction_hash"),
        ({"signature": "0x" + "01" * 64 + "00"}, InvalidInput, "signature.v"),
        ({"signature": "0x" + "01" * 64 + "01"}, InvalidInput, "signature.v"),
        ({"signature": "0x" + "01" * 64 + "1f"}, InvalidInput, "signature.v"),
    ],
)
async def test_what_cannot_count_is_refused_before_the_chain_is_asked(
    theatre: Theatre, changes: dict[str, str], error: type[DealError], field: str
) -> None:
    script = _script()
    view = await theatre.start(script)
    with pytest.raises(error) as caught:
        await _sign(theatre, view, FIRST, **changes)
    assert caught.value.problem.field == field
    assert script.checked == []
    await theatre.command(view.request.deal_id, Command.CANCEL)
    await theatre.end(view.request.deal_id)


async def test_one_owner_counts_once_also_when_both_are_checked_at_the_same_time(
    theatre: Theatre,
) -> None:
    script = _script(held={"check": asyncio.Event()})
    view = await theatre.start(script)
    twice = [asyncio.create_task(_sign(theatre, view, FIRST)) for _ in range(2)]
    await eventually(lambda: len(script.checked) == 2, "both are checked")
    script.held["check"].set()
    results = await asyncio.gather(*twice, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Approval", "Conflict"]

    with pytest.raises(Conflict) as caught:
        await _sign(theatre, view, FIRST)
    assert caught.value.problem.field == "owner"
    await _waiting(theatre, view.request.deal_id, "1 of 2 owners have signed")
    assert script.of("prepare") == []
    await theatre.command(view.request.deal_id, Command.CANCEL)
    await theatre.end(view.request.deal_id)


async def test_what_the_chain_refuses_does_not_count(theatre: Theatre) -> None:
    refusal = NotAllowed("is no owner of the Safe", field="owner", next_action="an owner has to")
    script = _script(refused={("check", THIRD): [refusal]})
    view = await theatre.start(script)
    with pytest.raises(NotAllowed):
        await _sign(theatre, view, THIRD)
    await _sign(theatre, view, THIRD)  # he is made an owner, and his signature counts
    await theatre.command(view.request.deal_id, Command.CANCEL)
    await theatre.end(view.request.deal_id)


async def test_an_owner_rejects_it_and_nothing_was_moved(theatre: Theatre) -> None:
    script = _script()
    view = await theatre.start(script)
    await _sign(theatre, view, FIRST)
    await _reject(theatre, view, FIRST)  # who has signed may think better of it
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.REJECTED
    assert ended.problem is not None
    assert ended.problem.code == "approval_needed"
    assert "too large" in ended.problem.message
    assert script.of("prepare") == []
    assert script.calls[-2:] == ["close", "release"]
    with pytest.raises(NotAllowed):
        await _sign(theatre, view, SECOND)


async def test_the_desk_withdraws_it(theatre: Theatre) -> None:
    script = _script()
    view = await theatre.start(script)
    await theatre.command(view.request.deal_id, Command.CANCEL)
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.REJECTED
    assert "withdrawn by on-call" in ended.doing


async def test_it_expires_below_the_threshold_with_nothing_moved(theatre: Theatre) -> None:
    script = _script(expiry_seconds=2)
    view = await theatre.start(script)
    await _sign(theatre, view, FIRST)
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.EXPIRED
    assert ended.problem is not None
    assert ended.problem.actual == "1 signed"
    assert script.of("prepare") == []
    assert script.calls[-2:] == ["close", "release"]


async def _over(theatre: Theatre, view: DealView, script: Script, nonce: int) -> DealView:
    """The deal when it is over with two signatures given, and the nonce not used."""
    said = f"it ends when nonce {nonce} of the Safe is used up"
    over = await _waiting(theatre, view.request.deal_id, said)
    assert over.status is DealStatus.AWAITING_APPROVAL
    assert script.calls.count("close") == 1  # the next proposal has the nonce
    assert "release" not in script.calls  # it may still move what it was counted for
    with pytest.raises(NotAllowed, match="it is over"):
        await _sign(theatre, view, THIRD)
    return over


async def test_it_expires_approved_and_ends_when_nobody_can_have_it_paid(theatre: Theatre) -> None:
    script = _script(expiry_seconds=3, next_nonce=9)
    view = await theatre.start(script)
    for owner in (FIRST, SECOND):
        await _sign(theatre, view, owner)
    await _waiting(theatre, view.request.deal_id, "the Safe is at nonce 7, this is 9")
    await _over(theatre, view, script, 9)
    _next(script, nonce=9, final_nonce=9)  # it would be its turn
    await eventually(lambda: script.calls[-1] == "watch", "it looks on")
    assert script.of("prepare") == []
    assert script.watched[-1].over is not None
    _next(script, nonce=10, final_nonce=10)  # by the next deal, or by a rejection in the Safe
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.EXPIRED
    assert ended.problem is not None
    assert ended.problem.actual == "2 signed"
    assert script.of("prepare") == []
    assert script.proposals[-1].number == 1


@pytest.mark.parametrize("how", ["reject", "cancel"])
async def test_what_is_paid_after_it_was_over_goes_home(theatre: Theatre, how: str) -> None:
    script = _script(next_nonce=8)
    view = await theatre.start(script)
    for owner in (FIRST, SECOND):
        await _sign(theatre, view, owner)
    if how == "reject":
        await _reject(theatre, view, THIRD)
    else:
        await theatre.command(view.request.deal_id, Command.CANCEL)
    await _over(theatre, view, script, 8)
    executed = "0x" + "cd" * 32
    _next(script, nonce=9, final_nonce=9, executed=executed)
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.UNWOUND
    assert script.of("adopt") == [executed]
    assert script.of("prepare") == ["sweep/1/1"]
    assert {order.treasury for order in script.ordered} == {SAFE}


async def test_it_ends_when_too_few_of_those_who_have_signed_are_owners(theatre: Theatre) -> None:
    script = _script(next_nonce=8)
    view = await theatre.start(script)
    for owner in (FIRST, SECOND):
        await _sign(theatre, view, owner)
    await theatre.command(view.request.deal_id, Command.CANCEL)
    await _over(theatre, view, script, 8)
    _next(script, owners=(FIRST, THIRD))
    assert (await theatre.end(view.request.deal_id)).status is DealStatus.REJECTED


async def test_it_waits_for_its_turn_then_is_executed(theatre: Theatre) -> None:
    script = _script(next_nonce=8)
    view = await theatre.start(script)
    for owner in (FIRST, SECOND):
        await _sign(theatre, view, owner)
    await _waiting(theatre, view.request.deal_id, "the Safe is at nonce 7")
    assert script.of("prepare") == []
    _next(script, nonce=8, final_nonce=8)
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.COMPLETED


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        ({"nonce": 8, "final_nonce": 8}, "the Safe has used nonce 7 for something else"),
        ({"nonce": 5, "final_nonce": 5, "gap": True}, "before nonce 7 was given up"),
    ],
)
async def test_signatures_are_never_used_for_another_nonce(
    theatre: Theatre, standing: dict[str, Any], said: str
) -> None:
    script = _script()
    view = await theatre.start(script)
    await _sign(theatre, view, FIRST)
    script.next_nonce = standing["nonce"]
    _next(script, **standing)
    again = await theatre.until(
        view.request.deal_id, lambda v: v.approval and v.approval.proposal.number == 2
    )
    _next(script, gap=False)
    assert again.approval is not None
    assert said in again.approval.note
    assert "the 1 signatures that were given are needed anew" in again.approval.note
    assert again.approval.signed == ()

    with pytest.raises(Conflict) as caught:
        await _sign(theatre, view, SECOND)  # what was proposed before
    assert caught.value.problem.field == "transaction_hash"
    await _sign(theatre, again, SECOND)
    await _waiting(theatre, view.request.deal_id, "1 of 2 owners have signed")
    await _sign(theatre, again, FIRST)
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.COMPLETED
    assert script.ordered[0].approval is not None
    assert script.ordered[0].approval.transaction.nonce == standing["nonce"]


async def test_a_nonce_counts_as_used_only_when_that_is_final(theatre: Theatre) -> None:
    script = _script(expiry_seconds=2)
    view = await theatre.start(script)
    _next(script, nonce=8)
    waiting = await _waiting(theatre, view.request.deal_id, "waiting for owners")
    assert waiting.approval is not None
    # Past its expiry as well: it may have been executed.
    await eventually(lambda: script.calls.count("watch") > 3, "it goes on looking")
    assert len(script.proposals) == 1
    _next(script, nonce=7)
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.EXPIRED


async def test_what_somebody_else_has_executed_is_not_paid_twice(theatre: Theatre) -> None:
    script = _script()
    view = await theatre.start(script)
    for owner in (FIRST,):
        await _sign(theatre, view, owner)
    executed = "0x" + "ab" * 32
    _next(script, nonce=8, final_nonce=8, executed=executed)
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.COMPLETED
    assert script.of("adopt") == [executed]
    assert not [key for key in script.of("prepare") if key.startswith("fund")]
    fund = ended.steps[0].outcome
    assert (fund.key.step, fund.inclusions[0].transaction_hash) == (Step.FUND, executed)
    assert fund.treasury_changes[Asset.ETHER] < 0


async def test_the_signature_of_a_former_owner_does_not_count(theatre: Theatre) -> None:
    script = _script(next_nonce=8)
    view = await theatre.start(script)
    for owner in (FIRST, SECOND):
        await _sign(theatre, view, owner)
    _next(script, nonce=8, final_nonce=8, owners=(SECOND, THIRD))
    waiting = await _waiting(theatre, view.request.deal_id, "1 of 2 owners have signed")
    assert waiting.approval is not None
    assert [given.owner for given in waiting.approval.signed] == [SECOND]
    assert script.of("prepare") == []
    await _sign(theatre, view, THIRD)
    assert (await theatre.end(view.request.deal_id)).status is DealStatus.COMPLETED


async def test_a_higher_threshold_is_waited_for(theatre: Theatre) -> None:
    script = _script(next_nonce=8)
    view = await theatre.start(script)
    for owner in (FIRST, SECOND):
        await _sign(theatre, view, owner)
    _next(script, nonce=8, final_nonce=8, threshold=3)
    await _waiting(theatre, view.request.deal_id, "2 of 3 owners have signed")
    await _sign(theatre, view, THIRD)
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.COMPLETED
    assert script.ordered[0].approval is not None
    assert len(script.ordered[0].approval.signatures) == 2 + 3 * 130


async def test_funding_that_fails_before_it_is_sent_is_tried_again_when_somebody_speaks(
    theatre: Theatre,
) -> None:
    failure = SimulationFailed("the Safe has too little", field="value", next_action="fund it")
    script = _script(refused={("prepare", "fund/1/1"): [failure]})
    view = await theatre.start(script)
    for owner in (FIRST, SECOND):
        await _sign(theatre, view, owner)
    waiting = await _waiting(theatre, view.request.deal_id, "not funded: the Safe has too little")
    assert waiting.status is DealStatus.AWAITING_APPROVAL
    await _sign(theatre, view, THIRD)
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.COMPLETED
    assert script.of("prepare")[:2] == ["fund/1/1", "fund/2/1"]


async def test_what_was_mined_in_vain_and_then_expires_is_settled_with_its_gas(
    theatre: Theatre,
) -> None:
    reverted = TransactionReverted("GS026", next_action="look again")
    script = _script(outcomes={"fund/1/1": reverted}, expiry_seconds=12)
    view = await theatre.start(script)
    for owner in (FIRST, SECOND):
        await _sign(theatre, view, owner)
    script.next_nonce = 8
    await _waiting(theatre, view.request.deal_id, "not funded")
    _next(script, nonce=8, final_nonce=8)
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.EXPIRED
    assert script.of("prepare") == ["fund/1/1"]
    assert len(ended.steps) == 1


async def test_a_pause_is_kept_until_it_is_taken_back(theatre: Theatre) -> None:
    script = _script(admitted_when=asyncio.Event())
    request = theatre.request(script)
    starting = asyncio.create_task(theatre.deals.start(request, LAUNCH))
    await eventually(lambda: "open_account" in script.calls, "it has begun")
    await theatre.command(request.deal_id, Command.PAUSE)
    assert script.admitted_when is not None
    script.admitted_when.set()
    view = await starting
    for owner in (FIRST, SECOND):
        await _sign(theatre, view, owner)
    await _waiting(theatre, request.deal_id, "paused by on-call")
    assert script.of("prepare") == []
    await theatre.command(request.deal_id, Command.RESUME)
    assert (await theatre.end(request.deal_id)).status is DealStatus.COMPLETED


async def test_a_deal_that_cannot_be_proposed_is_denied_and_counts_no_longer(
    theatre: Theatre,
) -> None:
    failure = Conflict("the Safe hashes it differently", field="hash", next_action="do not sign")
    script = _script(refused={("propose", "1"): [failure]})
    view = await theatre.run(script)
    assert view.status is DealStatus.DENIED
    assert script.calls[-1] == "release"


async def test_a_cancel_while_it_is_funded_unwinds_it_into_the_safe(theatre: Theatre) -> None:
    script = _script(held={"fund/1/1": asyncio.Event()})
    view = await theatre.start(script)
    for owner in (FIRST, SECOND):
        await _sign(theatre, view, owner)
    await eventually(lambda: script.of("deliver") == ["fund/1/1"], "it is sent")
    await theatre.command(view.request.deal_id, Command.CANCEL)
    script.held["fund/1/1"].set()
    ended = await theatre.end(view.request.deal_id)
    assert ended.status is DealStatus.UNWOUND
    assert script.of("prepare") == ["fund/1/1", "sweep/1/1"]
    assert {order.treasury for order in script.ordered} == {SAFE}


def test_a_standing_is_told_apart_by_what_matters() -> None:
    standing = SafeStanding(nonce=1, final_nonce=1, threshold=2, owners=(FIRST,))
    assert standing == standing.model_copy()
    assert standing != standing.model_copy(update={"final_nonce": 0})
