"""Money is at risk only with what the registry on chain agrees with; the way out is not asked."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from activities.protocols import timelock
from activities.protocols.abi import Function
from activities.protocols.registry import AT_RISK, Registry
from domain.approvals import ExecuteApproved
from domain.deals import Step
from domain.errors import NotAllowed
from domain.safe import SafeTransaction
from tests.activities.chain import OWNER
from tests.activities.desk import Desk


@pytest.fixture
async def forbidden(desk: Desk) -> AsyncIterator[str]:
    """A name whose contract the registry forbids."""
    name = "uniswap_router"
    _change(desk, timelock.SET_DESTINATION, desk.node.manifest[name], False)  # noqa: FBT003 - the ABI's order
    yield name
    _change(desk, timelock.SET_DESTINATION, desk.node.manifest[name], True)  # noqa: FBT003 - as above


def _change(desk: Desk, function: Function, *arguments: object) -> None:
    """Change the registry as the timelock, without its delay."""
    call = {
        "from": desk.node.timelock,
        "to": desk.node.manifest["desk_registry"],
        "data": function.encode(*arguments),
    }
    sent = desk.node.ask("eth_sendTransaction", call)
    receipt = desk.node.web3.eth.wait_for_transaction_receipt(sent, poll_latency=0.005)
    assert receipt["status"] == 1


@pytest.mark.parametrize("step", sorted(AT_RISK))
async def test_what_the_registry_allows_may_be_used(desk: Desk, step: Step) -> None:
    await Registry(desk.reader).check(desk.order(step))


@pytest.mark.parametrize("step", sorted(AT_RISK))
async def test_a_forbidden_destination_puts_nothing_at_risk(
    desk: Desk, forbidden: str, step: Step
) -> None:
    with pytest.raises(NotAllowed) as refused:
        await Registry(desk.reader).check(desk.order(step))
    assert refused.value.problem.field == f"registry.allowed.{forbidden}"


@pytest.mark.usefixtures("forbidden")
@pytest.mark.parametrize("step", [Step.REDEEM, Step.UNWIND, Step.TOP_UP, Step.SETTLE, Step.SWEEP])
async def test_a_forbidden_destination_does_not_bar_the_way_out(desk: Desk, step: Step) -> None:
    await Registry(desk.reader).check(desk.order(step))


async def test_the_engine_prepares_nothing_for_a_forbidden_destination(
    desk: Desk, forbidden: str
) -> None:
    async with desk.over() as anew:
        with pytest.raises(NotAllowed) as refused:
            await anew.prepare(Step.FUND)
    assert refused.value.problem.field == f"registry.allowed.{forbidden}"


async def test_a_safe_that_is_not_the_registered_treasury_funds_nothing(desk: Desk) -> None:
    safe = desk.profile.contract("treasury_safe")
    order = desk.order(Step.FUND).model_copy(
        update={
            "approval": ExecuteApproved(
                transaction=SafeTransaction(
                    chain_id=desk.profile.chain_id, safe=safe, to=desk.account, value=1, nonce=0
                ),
                signatures="0x" + "11" * 65,
                sender=desk.treasury,
            )
        }
    )
    await Registry(desk.reader).check(order)
    _change(desk, timelock.SET_TREASURY, OWNER)
    try:
        with pytest.raises(NotAllowed) as refused:
            await Registry(desk.reader).check(order)
    finally:
        _change(desk, timelock.SET_TREASURY, safe)
    assert (refused.value.problem.field, refused.value.problem.limit) == (
        "registry.treasury",
        OWNER,
    )
