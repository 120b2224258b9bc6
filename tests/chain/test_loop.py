"""The seven steps of a deal, by hand, against the real protocols."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from deploy.chain.paths import CONFIG_DIR
from tests.chain.chain import DOLLAR

if TYPE_CHECKING:
    from deploy.chain.rehearsal import Rehearsal
    from tests.chain.chain import Chain

COLLATERAL_USD = 40 * 3_000 * 10**8  # 40 ETH at 3,000 USD, in 1e-8 USD


def test_one_loop_captures_the_discount_and_leaves_nothing_behind(
    chain: Chain, loop: Rehearsal
) -> None:
    treasury = loop.treasury
    usdt = chain.contract("usdt").functions
    before = usdt.balanceOf(treasury).call()

    loop.fund()
    loop.wrap()
    assert loop.balance("weth") == loop.liquidity

    loop.collateralize()
    collateral, *_ = chain.contract("aave_pool").functions.getUserAccountData(loop.account).call()
    assert collateral == COLLATERAL_USD

    loop.borrow()
    borrowed = loop.balance("usdt")
    assert borrowed == 30_000 * DOLLAR  # a quarter of 120,000 USD

    loop.swap()
    bought = loop.balance("usdtz")
    assert bought > borrowed  # below par

    loop.redeem()
    assert loop.balance("usdtz") == 0
    assert loop.balance("usdt") == bought - -(-bought * 5 // 10_000)

    loop.settle()
    _, debt, *_ = chain.contract("aave_pool").functions.getUserAccountData(loop.account).call()
    assert debt == 0
    assert [loop.balance(token) for token in ("weth", "usdt", "usdtz")] == [0, 0, 0]
    profit = usdt.balanceOf(treasury).call() - before
    # 1.5 % of the discount on 30,000 USD is 456.85 USD; the fees of pool and module are 18 of it.
    assert 430 * DOLLAR < profit < 445 * DOLLAR


@pytest.mark.parametrize("chain_id", [138, 651940])
def test_the_profile_reckons_with_enough_gas_and_not_with_far_too_much(
    loop: Rehearsal, chain_id: int
) -> None:
    profile = tomllib.loads((CONFIG_DIR / f"{chain_id}.toml").read_text())
    reckoned = profile["modules"]["usdtz"]["gas_units"]

    used = loop.steps()

    assert reckoned.keys() == used.keys()
    for step, gas in used.items():
        assert 1.2 * gas < reckoned[step] < 1.5 * gas, step
