"""Tokens, feeds, Aave, Uniswap, Multicall, and the ledger, as the deployment leaves them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from eth_abi.abi import decode, encode
from web3 import Web3

from deploy.chain.artifacts import AAVE, packaged
from deploy.chain.uniswap import POOL_FEE
from tests.chain.chain import DOLLAR, OWNER, refusal

if TYPE_CHECKING:
    from web3.contract import Contract
    from web3.contract.contract import ContractFunctions

    from tests.chain.chain import Chain

RAY = 10**27


def _quote(chain: Chain, sold: str, bought: str, amount: int) -> int:
    quoter = chain.contract("uniswap_quoter").functions
    tokens = (chain.contract(sold).address, chain.contract(bought).address)
    out: int = quoter.quoteExactInputSingle((*tokens, amount, POOL_FEE, 0)).call()[0]
    return out


@pytest.mark.parametrize("dollars", [1, 30_000, 1_000_000])
def test_usdtz_is_sold_below_par(chain: Chain, dollars: int) -> None:
    bought = _quote(chain, "usdt", "usdtz", dollars * DOLLAR)
    # 1 / 0.985 is 1.01523; the pool keeps 0.01 %, and the price moves with the amount.
    assert 1.0145 < bought / (dollars * DOLLAR) < 1.0152


def test_unwinding_through_the_pool_costs_little_more_than_the_discount(chain: Chain) -> None:
    received = _quote(chain, "usdtz", "usdt", 1_000_000 * DOLLAR)
    assert 0.984 < received / (1_000_000 * DOLLAR) < 0.985


def test_the_pool_is_deep_on_both_sides(chain: Chain) -> None:
    pool = json.loads(chain.manifest.read_text())["contracts"]["usdt_usdtz_pool"]
    for token in ("usdt", "usdtz"):
        held = chain.contract(token).functions.balanceOf(pool).call()
        assert held > 45_000_000 * DOLLAR, token


def test_the_market_lends_usdt_against_weth(chain: Chain) -> None:
    data = _data_provider(chain)
    weth, usdt = chain.contract("weth").address, chain.contract("usdt").address
    decimals, ltv, threshold, _, _, as_collateral, *_ = data.getReserveConfigurationData(
        weth
    ).call()
    assert (decimals, ltv, threshold, as_collateral) == (18, 8_000, 8_250, True)
    _, _, _, _, _, as_collateral, borrowing, stable, active, frozen = (
        data.getReserveConfigurationData(usdt).call()
    )
    assert (as_collateral, borrowing, stable, active, frozen) == (False, True, False, True, False)
    tokens = data.getReserveTokensAddresses
    manifest = json.loads(chain.manifest.read_text())["contracts"]
    assert tokens(weth).call()[0] == manifest["a_weth"]
    assert tokens(usdt).call()[2] == manifest["variable_debt_usdt"]


def test_the_market_holds_a_hundred_million_and_asks_about_two_percent(chain: Chain) -> None:
    reserve = _data_provider(chain).getReserveData(chain.contract("usdt").address).call()
    supplied, variable_rate = reserve[2], reserve[6]
    assert supplied == 100_000_000 * DOLLAR
    assert variable_rate == 2 * RAY // 100


def test_a_new_price_reaches_aave(chain: Chain) -> None:
    feed = chain.contract("eth_usd_feed").functions
    manifest = json.loads(chain.manifest.read_text())["contracts"]
    artifact = packaged(AAVE, "misc/AaveOracle.sol/AaveOracle")
    oracle = chain.web3.eth.contract(address=manifest["aave_oracle"], abi=artifact.abi).functions
    assert oracle.getAssetPrice(manifest["weth"]).call() == 3_000 * 10**8

    chain.send(feed.setAnswer(2_500 * 10**8))

    assert oracle.getAssetPrice(manifest["weth"]).call() == 2_500 * 10**8


def test_a_feed_keeps_its_rounds_and_can_play_a_stale_one(chain: Chain) -> None:
    feed = chain.contract("eth_usd_feed")
    chain.send(feed.functions.setRound(-1, 1_000))
    assert feed.functions.latestRoundData().call() == [2, -1, 1_000, 1_000, 2]
    assert feed.functions.getRoundData(1).call()[1] == 3_000 * 10**8
    assert feed.functions.decimals().call() == 8
    unknown = feed.functions.getRoundData(3)
    assert refusal(feed, unknown, OWNER) == ("RoundUnknown", 3)
    assert refusal(feed, feed.functions.setAnswer(1), chain.people[1])[0].startswith("Ownable")


def test_usdt_refuses_to_change_one_allowance_into_another(chain: Chain) -> None:
    usdt = chain.contract("usdt")
    spender = chain.people[5]
    chain.send(usdt.functions.approve(spender, 10))
    again = usdt.functions.approve(spender, 11)
    refused, _, *amounts = refusal(usdt, again, OWNER)
    assert (refused, amounts) == ("AllowanceNotZero", [10, 11])
    chain.send(usdt.functions.approve(spender, 0))
    chain.send(again)


def test_only_owner_and_minters_create_and_destroy_usdtz(chain: Chain) -> None:
    usdtz = chain.contract("usdtz")
    stranger = chain.people[5]
    requests = (usdtz.functions.mint(stranger, 1), usdtz.functions.burn(1))
    for request in requests:
        assert refusal(usdtz, request, stranger)[0] == "NotMinter"
    appoint = usdtz.functions.setMinter(minter=stranger, allowed=True)
    assert refusal(usdtz, appoint, stranger)[0] == "OwnableUnauthorizedAccount"
    chain.send(appoint)
    for request in requests:
        chain.send(request, stranger)
    assert usdtz.functions.balanceOf(stranger).call() == 0


def test_the_ledger_counts_every_execution_of_an_intent(chain: Chain) -> None:
    ledger = chain.contract("ledger").functions
    once, twice = Web3.keccak(text="once"), Web3.keccak(text="twice")
    for intent in (once, twice, twice):
        chain.send(ledger.record(intent), chain.people[6])
    assert ledger.executions(once).call() == 1
    assert ledger.executions(twice).call() == 2
    assert ledger.executions(Web3.keccak(text="never")).call() == 0
    assert ledger.total().call() == 3


def test_multicall_answers_many_reads_in_one_call(chain: Chain) -> None:
    usdt, usdtz = chain.contract("usdt"), chain.contract("usdtz")
    calls = [
        (usdt.address, False, Web3.keccak(text="decimals()")[:4]),
        (usdtz.address, True, Web3.keccak(text="missing()")[:4]),
    ]
    data = Web3.keccak(text="aggregate3((address,bool,bytes)[])")[:4]
    address = json.loads(chain.manifest.read_text())["contracts"]["multicall3"]
    request = data + encode(["(address,bool,bytes)[]"], [calls])
    answer = chain.web3.eth.call({"to": address, "data": request})
    ((first, second),) = decode(["(bool,bytes)[]"], answer)
    assert (first[0], int.from_bytes(first[1], "big")) == (True, 6)
    assert second == (False, b"")


def _data_provider(chain: Chain) -> ContractFunctions:
    manifest = json.loads(chain.manifest.read_text())["contracts"]
    artifact = packaged(AAVE, "misc/AaveProtocolDataProvider.sol/AaveProtocolDataProvider")
    address = manifest["aave_data_provider"]
    contract: Contract = chain.web3.eth.contract(address=address, abi=artifact.abi)
    return contract.functions
