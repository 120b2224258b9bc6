"""Deals that owners must approve, on the real chain with a real Safe of two out of three."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from uuid import uuid4

import pytest

from activities.protocols import safe
from domain.approvals import Approval
from domain.deals import Command, DealStatus, Step
from domain.errors import Conflict, InvalidInput, NotAllowed
from domain.identifiers import Address
from domain.safe import CURVE_ORDER, OwnerSignature, SafeTransaction, packed
from domain.views import DealView
from starters.local import owners
from tests.support.answers import Answer
from tests.support.commands import deal
from tests.support.desk import Desk, eventually
from tests.support.node import Node
from tests.support.owners import KEYS, sign, sign_with
from workflows.deal.messages import OwnerMessage, RejectionMessage

LARGE: Final = "400"
"""Ether worth 1,200,000 USD."""
FIRST, SECOND, THIRD = KEYS
APPROVER: Final = "approver-1"
STRANGER: Final = b"\x11" * 32


async def approve(desk: Desk, view: DealView, owner: Address, **changes: Any) -> Approval:
    """Sign as this owner, with a signature made by nothing of ours."""
    assert view.approval is not None
    proposal = view.approval.proposal
    fields = {
        "owner": owner,
        "transaction_hash": proposal.transaction_hash,
        "who": "an owner",
    }
    if "signature" not in changes:
        fields["signature"] = sign(owner, proposal.transaction_hash)
    message = OwnerMessage.model_validate(fields | changes)
    return await desk.deals.hear_owner(view.request.deal_id, message, uuid4().hex)


def outsiders_call(node: Node, transaction: SafeTransaction, signatures: str) -> dict[str, str]:
    """What somebody sends who has nothing but the owners' signatures."""
    return {
        "from": node.ask("eth_accounts")[5],
        "to": transaction.safe,
        "data": safe.execution(transaction, signatures),
        "gas": hex(300_000),
    }


async def withdraw(desk: Desk, *views: DealView) -> None:
    """Leave the Safe to the next test."""
    for view in views:
        await desk.command(view.request.deal_id, Command.CANCEL)
        assert (await desk.end(view.request.deal_id)).status is DealStatus.REJECTED


def files(desk: Desk, number: int) -> tuple[str, ...]:
    """The options with which an owner signs."""
    folder = desk.stack.folder
    return (
        "--key-file",
        str(owners.key_file(folder, number)),
        "--passphrase-file",
        str(owners.passphrase_file(folder, number)),
        "--yes",
    )


async def run(desk: Desk, *arguments: str, who: str = APPROVER) -> Answer:
    """Give a command as an approver does, who is an owner of the Safe besides."""
    return await deal(desk.stack, *arguments, who=who)


async def test_a_large_deal_is_approved_by_the_command_line_and_settles_into_the_safe(
    desk: Desk,
) -> None:
    node = desk.node()
    treasury = node.contracts["treasury_safe"]
    before, par_before = node.wei(treasury), node.token("usdt", treasury)
    hot_nonce = node.nonce(desk.treasury)
    view = await desk.start(working_liquidity=LARGE)
    assert view.status is DealStatus.AWAITING_APPROVAL, view.problem
    assert view.approval is not None
    deal_id, proposal = view.request.deal_id, view.approval.proposal

    signed = await run(desk, "sign", deal_id, *files(desk, 2))
    assert signed.code == 0, signed.err
    for shown in (
        proposal.transaction.to,
        proposal.transaction.safe,
        proposal.transaction.hash(),
        view.request.digest(),
        view.request.bank,
        "400.",
        "1,200,",
    ):
        assert shown in signed.err
    assert signed.document["needed"] == 1
    again = await run(desk, "sign", deal_id, *files(desk, 2))
    assert (again.code, again.last_problem["field"]) == (1, "owner")
    asked = (await run(desk, "approvals", deal_id)).document
    assert [given["owner"] for given in asked["approval"]["signed"]] == [SECOND]
    assert asked["missing"] == [FIRST, THIRD]
    assert node.wei(proposal.transaction.to) == 0

    digest = ("--request-digest", view.request.digest())
    assert (await run(desk, "sign", deal_id, *digest, *files(desk, 1))).code == 0
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.COMPLETED, ended.problem
    assert ended.treasury == treasury
    assert ended.settlement is not None
    fund = ended.steps[0].outcome
    assert fund.key.step is Step.FUND
    # The gas of funding was the fee account's.
    gas = fund.inclusions[0].gas_cost_wei
    assert node.wei(treasury) - before == ended.settlement.ether_wei + gas
    assert node.token("usdt", treasury) - par_before == ended.settlement.par > 0
    assert ended.settlement.profit_usd8 > 0
    assert node.nonce(desk.treasury) == hot_nonce
    assert ended.account is not None
    assert node.holdings(ended.account) == {}

    late = await run(desk, "sign", deal_id, *files(desk, 3))
    assert late.code == NotAllowed.exit_code


async def test_every_forgery_is_refused_and_counts_nothing(desk: Desk) -> None:
    view, other, elsewhere = await asyncio.gather(
        desk.start(working_liquidity=LARGE),
        desk.start(working_liquidity="401"),
        desk.start(working_liquidity=LARGE, chain_id=651940),
    )
    assert view.approval is not None
    assert other.approval is not None
    assert elsewhere.approval is not None
    transaction = view.approval.proposal.transaction
    good = sign(FIRST, transaction.hash())
    r, s, v = good[2:66], good[66:130], int(good[130:], 16)
    high_s = f"{CURVE_ORDER - int(s, 16):064x}"
    of_owner = FIRST[2:].lower().rjust(64, "0")
    changed = {
        "another nonce": {"nonce": transaction.nonce + 7},
        "another value": {"value": transaction.value + 1},
        "another destination": {"to": THIRD},
        "another Safe": {"safe": THIRD},
        "another chain": {"chain_id": 651940},
        "calldata": {"data": "0x00"},
        "a delegate call": {"operation": 1},
        "a refund": {"gas_price": 1},
    }
    forgeries = {
        "nobody's": "0x" + "12" * 64 + "1b",
        "a stranger's in an owner's name": sign_with(STRANGER, transaction.hash()),
        "another owner's in his name": sign(SECOND, transaction.hash()),
        "for another deal": sign(FIRST, other.approval.proposal.transaction_hash),
        "for another chain's deal": sign(FIRST, elsewhere.approval.proposal.transaction_hash),
        "a rejection": sign(FIRST, transaction.rejection_hash()),
        "by eth_sign": f"0x{r}{s}{v + 4:02x}",
        "a contract's": f"0x{of_owner}{'00' * 31}4100",
        "an approved hash": f"0x{of_owner}{'00' * 32}01",
        "with the other s": f"0x{r}{high_s}{55 - v:02x}",
    } | {
        f"over {what}": sign(FIRST, transaction.model_copy(update=change).hash())
        for what, change in changed.items()
    }
    for what, signature in forgeries.items():
        with pytest.raises(InvalidInput) as caught:
            await approve(desk, view, FIRST, signature=signature)
        assert str(caught.value.problem.field).startswith("signature"), what
    with pytest.raises(NotAllowed) as stranger:
        await approve(
            desk,
            view,
            Address("0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"),
            signature=sign_with(STRANGER, transaction.hash()),
        )
    assert stranger.value.problem.field == "owner"
    with pytest.raises(Conflict):
        await approve(desk, view, FIRST, transaction_hash=other.approval.proposal.transaction_hash)

    now = await desk.deals.view(view.request.deal_id)
    assert now.approval is not None
    assert now.approval.signed == ()
    await withdraw(desk, view, other, elsewhere)
    assert desk.books.intents(view.request.deal_id) == []


async def test_owners_reject_it_by_the_command_line(desk: Desk) -> None:
    view = await desk.start(working_liquidity=LARGE)
    deal_id = view.request.deal_id
    done = await run(desk, "reject", deal_id, "--reason", "too large", *files(desk, 3))
    assert done.code == 0, done.err
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.REJECTED
    assert ended.problem is not None
    assert "too large" in ended.problem.message

    other = await desk.start(working_liquidity=LARGE)
    assert other.approval is not None
    proposal = other.approval.proposal
    message = RejectionMessage(
        owner=FIRST,
        signature=sign(FIRST, proposal.transaction_hash),  # an approval is no rejection
        transaction_hash=proposal.transaction_hash,
        who="server",
        why="a lie",
    )
    with pytest.raises(InvalidInput):
        await desk.deals.hear_owner(other.request.deal_id, message, uuid4().hex)
    await withdraw(desk, other)


async def test_small_deals_of_one_bank_count_as_one_and_the_crossing_one_waits(
    desk: Desk,
) -> None:
    bank = f"bank-{uuid4().hex[:8]}"
    small = [await desk.start(bank=bank, working_liquidity="33") for _ in range(10)]
    assert {view.approval for view in small} == {None}
    crossing = await desk.start(bank=bank, working_liquidity="33")
    assert crossing.status is DealStatus.AWAITING_APPROVAL
    assert crossing.approval is not None
    proposal = crossing.approval.proposal
    assert proposal.value_usd8 < 1_000_000 * 10**8 < proposal.together_usd8
    assert (await desk.start(working_liquidity="33")).approval is None  # another bank's
    await withdraw(desk, crossing)
    for view in small:
        assert (await desk.end(view.request.deal_id)).status is DealStatus.COMPLETED


async def test_of_two_deals_at_once_that_cross_together_one_waits(desk: Desk) -> None:
    bank = f"bank-{uuid4().hex[:8]}"
    views = await asyncio.gather(
        *(desk.start(bank=bank, working_liquidity="180") for _ in range(2))
    )
    statuses = sorted(view.status for view in views)
    assert statuses.count(DealStatus.AWAITING_APPROVAL) == 1
    for view in views:
        if view.status is DealStatus.AWAITING_APPROVAL:
            await withdraw(desk, view)
        else:
            assert (await desk.end(view.request.deal_id)).status is DealStatus.COMPLETED


async def test_an_outsider_who_sends_it_first_pays_it_once(desk: Desk) -> None:
    """Signatures are no secrets: whoever has them may execute what they are for."""
    node = desk.node()
    view = await desk.start(working_liquidity=LARGE)
    assert view.approval is not None
    transaction = view.approval.proposal.transaction
    signatures = packed(
        OwnerSignature(owner=owner, signature=sign(owner, transaction.hash()))
        for owner in (FIRST, SECOND)
    )
    before = node.wei(transaction.safe)
    call = outsiders_call(node, transaction, signatures)
    sent = node.ask("eth_sendTransaction", call)
    await eventually(lambda: node.receipt(sent) is not None, "it is mined")

    ended = await desk.end(view.request.deal_id)
    assert ended.status is DealStatus.COMPLETED, ended.problem
    assert ended.steps[0].outcome.inclusions[0].transaction_hash == sent
    assert desk.books.of_step(view.request.deal_id, "fund") == []
    assert ended.settlement is not None
    assert node.wei(transaction.safe) - before == ended.settlement.ether_wei
    replayed = node.ask("eth_sendTransaction", call)
    await eventually(lambda: node.receipt(replayed) is not None, "it is mined")
    receipt = node.receipt(replayed)
    assert receipt is not None
    assert receipt["status"] == "0x0"


async def test_what_is_paid_after_it_was_withdrawn_comes_home(desk: Desk) -> None:
    """Two owners have signed; the desk withdraws it; somebody has it paid all the same."""
    node = desk.node()
    first = await desk.start(working_liquidity=LARGE)
    second = await desk.start(working_liquidity="410")
    assert second.approval is not None
    deal_id, transaction = second.request.deal_id, second.approval.proposal.transaction
    for owner in (FIRST, SECOND):
        await approve(desk, second, owner)
    await desk.command(deal_id, Command.CANCEL)
    over = await desk.until(deal_id, lambda view: "is used up" in view.doing)
    assert over.status is DealStatus.AWAITING_APPROVAL
    with pytest.raises(NotAllowed, match="it is over"):
        await approve(desk, second, THIRD)
    open_alerts = (
        "SELECT problem ->> 'next_action' FROM transactions.alerts"
        " WHERE kind = 'safe_payment' AND subject = %s AND cleared_at IS NULL"
    )
    await eventually(lambda: desk.books.rows(open_alerts, deal_id), "people are told")
    ((action,),) = desk.books.rows(open_alerts, deal_id)
    assert f"nonce {transaction.nonce}" in action

    for owner in (SECOND, THIRD):
        await approve(desk, first, owner)
    assert (await desk.end(first.request.deal_id)).status is DealStatus.COMPLETED
    before = node.wei(transaction.safe)
    signatures = packed(
        OwnerSignature(owner=owner, signature=sign(owner, transaction.hash()))
        for owner in (FIRST, SECOND)
    )
    node.ask("eth_sendTransaction", outsiders_call(node, transaction, signatures))
    ended = await desk.end(deal_id)
    assert ended.status is DealStatus.UNWOUND, ended.problem
    assert ended.account is not None
    assert ended.settlement is not None
    assert node.holdings(ended.account) == {}
    assert node.wei(transaction.safe) - before == ended.settlement.ether_wei
    assert -(10**16) < ended.settlement.ether_wei < 0  # the gas of the way home


async def test_two_deals_wait_for_the_safe_in_order(desk: Desk) -> None:
    first = await desk.start(working_liquidity=LARGE)
    second = await desk.start(working_liquidity="410")
    assert first.approval is not None
    assert second.approval is not None
    nonces = [v.approval.proposal.transaction.nonce for v in (first, second) if v.approval]
    assert nonces[1] == nonces[0] + 1
    for owner in (FIRST, SECOND):
        await approve(desk, second, owner)
    waiting = await desk.until(second.request.deal_id, lambda view: "the Safe is at" in view.doing)
    assert waiting.status is DealStatus.AWAITING_APPROVAL
    for owner in (SECOND, THIRD):
        await approve(desk, first, owner)
    for view in await desk.ends(first.request.deal_id, second.request.deal_id):
        assert view.status is DealStatus.COMPLETED


async def test_a_deal_behind_one_that_is_given_up_is_proposed_anew(desk: Desk) -> None:
    first = await desk.start(working_liquidity=LARGE)
    second = await desk.start(working_liquidity="410")
    await approve(desk, second, FIRST)
    await withdraw(desk, first)
    again = await desk.until(
        second.request.deal_id, lambda view: view.approval and view.approval.proposal.number == 2
    )
    assert again.approval is not None
    assert again.approval.signed == ()
    assert "was given up" in again.approval.note
    with pytest.raises(Conflict):
        await approve(desk, second, SECOND)
    for owner in (FIRST, THIRD):
        await approve(desk, again, owner)
    assert (await desk.end(second.request.deal_id)).status is DealStatus.COMPLETED


async def test_a_removed_owner_counts_no_more(desk: Desk) -> None:
    node = desk.node()
    view = await desk.start(working_liquidity=LARGE)
    assert view.approval is not None
    treasury = view.approval.proposal.transaction.safe
    await approve(desk, view, FIRST)
    sentinel = "0x0000000000000000000000000000000000000001"
    (listed,) = safe.OWNERS.decode_result(
        bytes.fromhex(node.ask("eth_call", _call(treasury, safe.OWNERS.encode()), "latest")[2:])
    )
    before = dict(zip(listed, [sentinel, *listed], strict=False))[FIRST.lower()]
    remove = safe.Function("removeOwner(address,address,uint256)")
    add = safe.Function("addOwnerWithThreshold(address,uint256)")
    _as_safe(desk, treasury, remove.encode(before, FIRST, 2))
    try:
        now = await desk.until(view.request.deal_id, lambda v: v.approval and not v.approval.signed)
        assert now.approval is not None
        assert FIRST not in now.approval.proposal.owners
        with pytest.raises(NotAllowed):
            await approve(desk, view, FIRST)
        await approve(desk, view, SECOND)
        await desk.until(view.request.deal_id, lambda v: "1 of 2" in v.doing)
        assert desk.books.intents(view.request.deal_id) == []
        await approve(desk, view, THIRD)
        assert (await desk.end(view.request.deal_id)).status is DealStatus.COMPLETED
    finally:
        _as_safe(desk, treasury, add.encode(FIRST, 2))


def _call(to: str, data: str) -> dict[str, str]:
    return {"to": to, "data": data}


def _as_safe(desk: Desk, treasury: str, data: str) -> None:
    """What the owners have decided among themselves."""
    node = desk.node()
    node.ask("anvil_impersonateAccount", treasury)
    call = {"from": treasury, "to": treasury, "data": data, "gas": hex(200_000), "gasPrice": "0x0"}
    fees = {"maxFeePerGas": hex(10**10), "maxPriorityFeePerGas": hex(10**9)}
    call.pop("gasPrice")
    sent = node.ask("eth_sendTransaction", call | fees)
    node.mine()
    node.ask("anvil_stopImpersonatingAccount", treasury)
    receipt = node.receipt(sent)
    assert receipt is not None
    assert receipt["status"] == "0x1"


async def test_workers_killed_between_threshold_and_execution_execute_it_once(
    slow_desk: Desk,
) -> None:
    desk, node = slow_desk, slow_desk.node()
    view = await desk.start(working_liquidity=LARGE)
    assert view.approval is not None
    transaction = view.approval.proposal.transaction
    before = node.wei(transaction.safe)
    with node.held():
        for owner in (FIRST, SECOND):
            await approve(desk, view, owner)
        await desk.saved(view.request.deal_id, "fund")
        workers = ("deals", "chain", "signer")
        await asyncio.gather(*(asyncio.to_thread(desk.stack.kill, name) for name in workers))
        for name in workers:
            await asyncio.to_thread(desk.stack.start, name)
    ended = await desk.end(view.request.deal_id)
    assert ended.status is DealStatus.COMPLETED, ended.problem
    assert len(desk.books.of_step(view.request.deal_id, "fund")) == 1
    executed = node.ask(
        "eth_getLogs",
        {
            "address": transaction.safe,
            "topics": [safe.EXECUTED_TOPIC, transaction.hash()],
            "fromBlock": "0x0",
        },
    )
    assert len(executed) == 1
    assert ended.settlement is not None
    gas = ended.steps[0].outcome.inclusions[0].gas_cost_wei
    assert node.wei(transaction.safe) - before == ended.settlement.ether_wei + gas
