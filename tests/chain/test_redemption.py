"""The redemption module: par less fee, freeze, daily cap, owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from web3.logs import DISCARD

from tests.chain.chain import DOLLAR, ISSUE, OWNER, REDEEM, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from eth_typing import ChecksumAddress
    from web3.contract import Contract
    from web3.contract.contract import ContractFunction

    from tests.chain.chain import Chain

CAP = 100_000_000 * DOLLAR
NOBODY = "0x0000000000000000000000000000000000000000"
DAY = 86_400


@pytest.fixture
def module(chain: Chain) -> Contract:
    """Return the redemption module."""
    return chain.contract("redemption")


@pytest.fixture
def holder(chain: Chain) -> ChecksumAddress:
    """Return someone who holds 1,000 USDTz and lets the module take it."""
    account = chain.people[3]
    chain.give_usdtz(account, 1_000 * DOLLAR)
    return account


@pytest.mark.parametrize(
    ("amount", "paid"),
    [(0, 0), (1, 0), (1_999, 1_998), (2_000, 1_999), (2_001, 1_999), (10**12, 999_500_000_000)],
)
def test_the_fee_is_five_basis_points_rounded_up(module: Contract, amount: int, paid: int) -> None:
    assert module.functions.quoteRedeem(amount).call() == paid


def test_redeeming_pays_what_was_quoted_and_destroys_the_usdtz(
    chain: Chain, module: Contract, holder: ChecksumAddress
) -> None:
    usdt, usdtz = chain.contract("usdt").functions, chain.contract("usdtz").functions
    supply = usdtz.totalSupply().call()
    recipient = chain.people[4]

    receipt = chain.send(module.functions.redeem(1_000 * DOLLAR, recipient), holder)

    assert usdt.balanceOf(recipient).call() == 999_500_000
    assert usdtz.balanceOf(holder).call() == 0
    assert usdtz.totalSupply().call() == supply - 1_000 * DOLLAR
    (event,) = module.events.Redeemed().process_receipt(receipt, errors=DISCARD)
    assert dict(event["args"]) == {
        "caller": holder,
        "recipient": recipient,
        "amount": 1_000 * DOLLAR,
        "paid": 999_500_000,
        "fee": 500_000,
    }


def test_issuing_charges_par_plus_the_fee(chain: Chain, module: Contract) -> None:
    usdt, usdtz = chain.contract("usdt").functions, chain.contract("usdtz").functions
    charged = module.functions.quoteIssue(1_000 * DOLLAR).call()
    assert charged == 1_000_500_000
    before = usdt.balanceOf(OWNER).call()
    chain.send(usdt.approve(module.address, charged))

    chain.send(module.functions.issue(1_000 * DOLLAR, chain.people[4]))

    assert usdt.balanceOf(OWNER).call() == before - charged
    assert usdtz.balanceOf(chain.people[4]).call() == 1_000 * DOLLAR


def test_a_frozen_direction_refuses_and_the_other_stays_open(
    chain: Chain, module: Contract, holder: ChecksumAddress
) -> None:
    redeem = module.functions.redeem(DOLLAR, holder)
    issue = module.functions.issue(DOLLAR, holder)
    chain.send(module.functions.setFrozen(direction=REDEEM, frozen_=True))
    assert refusal(module, redeem, holder) == ("Frozen", REDEEM)
    assert module.functions.redeemFrozen().call()
    assert not module.functions.issueFrozen().call()

    chain.send(module.functions.setFrozen(direction=REDEEM, frozen_=False))
    chain.send(module.functions.setFrozen(direction=ISSUE, frozen_=True))
    assert refusal(module, issue, holder) == ("Frozen", ISSUE)
    chain.send(redeem, holder)


def test_the_daily_cap_holds_until_midnight_utc(
    chain: Chain, module: Contract, holder: ChecksumAddress
) -> None:
    assert module.functions.remainingToday().call() == CAP
    chain.send(module.functions.setDailyCap(600 * DOLLAR), chain.timelock)
    chain.send(module.functions.redeem(400 * DOLLAR, holder), holder)
    more = module.functions.redeem(201 * DOLLAR, holder)
    assert refusal(module, more, holder) == ("DailyCapExceeded", 201 * DOLLAR, 200 * DOLLAR)

    midnight = (chain.now() // DAY + 1) * DAY
    chain.mine_at(midnight - 1)
    assert module.functions.remainingToday().call() == 200 * DOLLAR
    chain.mine_at(midnight)
    assert module.functions.remainingToday().call() == 600 * DOLLAR
    chain.send(more, holder)


def test_a_cap_below_what_was_redeemed_leaves_nothing(
    chain: Chain, module: Contract, holder: ChecksumAddress
) -> None:
    chain.send(module.functions.redeem(400 * DOLLAR, holder), holder)
    chain.send(module.functions.setDailyCap(300 * DOLLAR), chain.timelock)
    assert module.functions.remainingToday().call() == 0
    one = module.functions.redeem(1, holder)
    assert refusal(module, one, holder) == ("DailyCapExceeded", 1, 0)


def test_an_empty_reserve_is_named(chain: Chain, module: Contract, holder: ChecksumAddress) -> None:
    reserve = module.functions.reserve().call()
    assert reserve == 200_000_000 * DOLLAR
    chain.send(module.functions.withdrawReserve(reserve - 7, OWNER))
    redeem = module.functions.redeem(DOLLAR, holder)
    assert refusal(module, redeem, holder) == ("InsufficientReserve", 999_500, 7)


def test_senseless_requests_are_refused(
    chain: Chain, module: Contract, holder: ChecksumAddress
) -> None:
    requests: dict[str, ContractFunction] = {
        "ZeroAmount": module.functions.redeem(0, holder),
        "ZeroRecipient": module.functions.redeem(1, NOBODY),
    }
    for error, request in requests.items():
        assert refusal(module, request, holder) == (error,)
    fee = module.functions.setFeeBps(1_001)
    assert refusal(module, fee, chain.timelock) == ("FeeTooHigh", 1_001, 1_000)


OWNED: dict[str, Callable[[Contract], ContractFunction]] = {
    "setFeeBps": lambda module: module.functions.setFeeBps(0),
    "setDailyCap": lambda module: module.functions.setDailyCap(0),
    "setOperator": lambda module: module.functions.setOperator(OWNER),
    "transferOwnership": lambda module: module.functions.transferOwnership(OWNER),
}
OPERATED: dict[str, Callable[[Contract], ContractFunction]] = {
    "setFrozen": lambda module: module.functions.setFrozen(direction=REDEEM, frozen_=True),
    "withdrawReserve": lambda module: module.functions.withdrawReserve(1, OWNER),
}


@pytest.mark.parametrize("name", OWNED)
def test_only_the_timelock_sets_the_terms(module: Contract, name: str) -> None:
    refused, caller = refusal(module, OWNED[name](module), OWNER)
    assert refused == "OwnableUnauthorizedAccount"
    assert caller.lower() == OWNER.lower()


@pytest.mark.parametrize("name", OPERATED)
def test_only_the_operator_freezes_and_takes_out_reserve(
    chain: Chain, module: Contract, holder: ChecksumAddress, name: str
) -> None:
    for somebody in (holder, chain.timelock):
        refused, caller = refusal(module, OPERATED[name](module), somebody)
        assert refused == "NotOperator"
        assert caller.lower() == somebody.lower()


def test_another_operator_is_appointed_by_the_timelock(
    chain: Chain, module: Contract, holder: ChecksumAddress
) -> None:
    chain.send(module.functions.setOperator(holder), chain.timelock)
    chain.send(module.functions.setFrozen(direction=REDEEM, frozen_=True), holder)
    assert module.functions.redeemFrozen().call()
