"""The profit is what the treasury has more at the end, to the smallest unit."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.deals import Step
from domain.identifiers import DealId
from domain.positions import Position
from domain.settlement import Settlement, settle
from domain.transactions import Asset, BatchKey, StepOutcome


def position(**changes: Any) -> Position:
    fields: dict[str, Any] = {
        "account": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "block_number": 7,
        **dict.fromkeys(("wei", "weth", "par", "discount", "collateral", "debt"), 0),
        "collateral_usd8": 0,
        "debt_usd8": 0,
        "ether_price_usd8": 2_000_00000000,
        "par_price_usd8": 1_00000000,
        "par_decimals": 6,
    }
    return Position.model_validate({**fields, **changes})


def outcome(changes: dict[Asset, int], **own: int) -> StepOutcome:
    return StepOutcome(
        key=BatchKey(deal_id=DealId("alpha"), step=Step.FUND),
        inclusions=(),
        changes={Asset(name): units for name, units in own.items()},
        treasury_changes=changes,
        position=position(),
    )


def test_a_deal_that_brings_home_more_than_it_took_has_a_profit() -> None:
    outcomes = [
        outcome({Asset.ETHER: -11 * 10**18}, ether=11 * 10**18),
        outcome({Asset.ETHER: 11 * 10**18 - 5 * 10**15, Asset.PAR: 60_000_000}, debt=9),
    ]
    assert settle(outcomes, position()) == Settlement(
        ether_wei=-5 * 10**15, par=60_000_000, profit_usd8=50_00000000
    )


def test_a_loss_of_a_single_wei_is_not_rounded_away() -> None:
    result = settle([outcome({Asset.ETHER: -1})], position())
    assert (result.ether_wei, result.profit_usd8) == (-1, -1)


def test_a_deal_that_did_nothing_brought_nothing() -> None:
    assert settle([], position()) == Settlement(ether_wei=0, par=0, profit_usd8=0)


def test_the_prices_are_those_of_the_last_position() -> None:
    last = position(ether_price_usd8=1_000_00000000, par_price_usd8=99_000_000, par_decimals=18)
    result = settle([outcome({Asset.ETHER: 10**18, Asset.PAR: 10**18})], last)
    assert result.profit_usd8 == 1_000_99000000


changes = st.integers(-(10**30), 10**30)


@given(st.lists(st.tuples(changes, changes, changes), max_size=12))
def test_the_settlement_is_the_sum_of_the_treasurys_changes_and_of_nothing_else(
    steps: list[tuple[int, int, int]],
) -> None:
    outcomes = [
        outcome({Asset.ETHER: ether, Asset.PAR: par, Asset.WETH: other}, ether=other, par=other)
        for ether, par, other in steps
    ]
    result = settle(iter(outcomes), position())
    assert result.ether_wei == sum(ether for ether, _, _ in steps)
    assert result.par == sum(par for _, par, _ in steps)
    exact = result.ether_wei * 2_000_00000000 * 10**6 + result.par * 1_00000000 * 10**18
    assert 0 <= exact - result.profit_usd8 * 10**24 < 2 * 10**24
    assert Settlement.model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize("asset", [a for a in Asset if a not in {Asset.ETHER, Asset.PAR}])
def test_the_treasury_settles_in_ether_and_the_par_token_only(asset: Asset) -> None:
    assert settle([outcome({asset: 10**30})], position()).profit_usd8 == 0
