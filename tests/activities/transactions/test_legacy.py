"""A chain without EIP-1559: one price for a transaction, and transactions of type 0."""

import pytest

from domain.deals import Step
from domain.errors import Unavailable
from tests.activities.desk import UP_TO_BORROW, Desk

LEGACY = {"kind": "legacy"}


async def test_steps_are_mined_as_legacy_transactions_of_their_accounts(desk: Desk) -> None:
    async with desk.over(fees=LEGACY) as legacy:
        outcomes = [await legacy.run(step) for step in UP_TO_BORROW]
    senders = {desk.treasury.lower(), desk.account.lower()}
    for inclusion in (each for outcome in outcomes for each in outcome.inclusions):
        mined = desk.node.ask("eth_getTransactionByHash", inclusion.transaction_hash)
        assert mined["type"] == "0x0"
        assert mined["from"] in senders
        assert int(mined["gasPrice"], 16) == inclusion.effective_gas_price


async def test_a_sweep_at_one_price_leaves_nothing(desk: Desk) -> None:
    async with desk.over(fees=LEGACY) as legacy:
        await legacy.run(Step.FUND)
        await legacy.run(Step.SWEEP)
    assert desk.node.ether(desk.account) == 0


async def test_a_deals_own_cap_is_kept_to(desk: Desk) -> None:
    price = int(desk.node.ask("eth_gasPrice"), 16)
    modest = desk.asking(max_fee_per_gas_wei=price)
    batch = await modest.prepare(Step.FUND)
    assert batch.intents[0].fees.max_fee_per_gas == price
    desk.node.next_base_fee(2 * price)
    another = await desk.another()
    with pytest.raises(Unavailable) as caught:
        await another.asking(max_fee_per_gas_wei=price).prepare(Step.FUND)
    assert caught.value.problem.limit == str(price)
