"""What we read of the chain in one request, against asking its contracts one by one."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.protocols.activities import ProtocolReads
from activities.protocols.interface import ReadMarket, ReadPosition
from activities.protocols.reader import ChainReader
from activities.rpc.client import Rpc
from domain.deals import ExecutionMode
from domain.errors import InvalidConfiguration, InvalidInput, NotFound, Unavailable
from domain.identifiers import Address, ChainId, ModuleId
from domain.limits import MAX_PIPELINED_CYCLES
from domain.market import LendingTerms, RedemptionTerms
from tests.activities.chain import CHAIN, DOLLAR, ETHER, GWEI, OWNER, Node
from tests.activities.desk import MODULE, UP_TO_SWAP, Desk, profile_for
from tests.activities.rpc.front import front_of

STRANGER = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")


@pytest.fixture
async def reader(node: Node) -> AsyncIterator[ChainReader]:
    profile = profile_for(node.url)
    rpc = Rpc(profile)
    yield ChainReader(profile, rpc)
    await rpc.close()


async def reader_over(url: str, **changes: Any) -> ChainReader:
    profile = profile_for(url).model_copy(update=changes)
    return ChainReader(profile, Rpc(profile))


async def test_a_position_is_what_the_contracts_say_one_by_one(desk: Desk) -> None:
    await desk.walk(UP_TO_SWAP)
    node, account = desk.node, desk.account
    position = await desk.position()
    collateral_usd8, debt_usd8, *_, health = node.read("aave_pool", "getUserAccountData", account)
    assert position.model_dump() == {
        "account": account,
        "block_number": node.head(),
        "wei": node.ether(account),
        "weth": node.balance("weth", account),
        "par": node.balance("usdt", account),
        "discount": node.balance("usdtz", account),
        "collateral": node.balance("a_weth", account),
        "debt": node.balance("variable_debt_usdt", account),
        "collateral_usd8": collateral_usd8,
        "debt_usd8": debt_usd8,
        "ether_price_usd8": node.read("aave_oracle", "getAssetPrice", node.manifest["weth"]),
        "par_price_usd8": node.read("aave_oracle", "getAssetPrice", node.manifest["usdt"]),
        "par_decimals": node.read("usdt", "decimals"),
        "health_factor_wad": health,
    }
    # Every field has been somewhere, or a mix-up of two would not have shown.
    assert all((position.wei, position.collateral, position.debt, position.discount))


async def test_each_balance_of_a_position_is_of_its_own_token(
    node: Node, reader: ChainReader
) -> None:
    node.send("usdt", "transfer", STRANGER, 11)
    node.send("usdtz", "mint", STRANGER, 13)
    node.ask("anvil_setBalance", STRANGER, hex(10 * ETHER))
    node.ask("anvil_impersonateAccount", STRANGER)
    weth = node.contract("weth").functions.deposit()
    weth.transact({"from": STRANGER, "value": 17})
    position = await reader.position(MODULE, STRANGER)
    assert (position.par, position.discount, position.weth) == (11, 13, 17)
    assert (position.collateral, position.debt) == (0, 0)


async def test_a_market_is_what_the_contracts_say_one_by_one(
    node: Node, reader: ChainReader
) -> None:
    node.send("eth_usd_feed", "setAnswer", 2_987 * 10**8)
    node.send("redemption", "setFeeBps", 7)
    node.send("redemption", "setDailyCap", 123 * DOLLAR)
    market = await reader.market(MODULE, STRANGER)
    weth, usdt = node.manifest["weth"], node.manifest["usdt"]
    configuration = node.read("aave_data_provider", "getReserveConfigurationData", weth)
    reserve = node.read("aave_data_provider", "getReserveData", usdt)
    assert market.lending == LendingTerms(
        ltv_bps=configuration[1],
        liquidation_threshold_bps=configuration[2],
        borrow_rate_ray=reserve[6],
        available=node.balance("usdt", node.read("aave_pool", "getReserveData", usdt)[8]),
    )
    assert market.redemption == RedemptionTerms(
        fee_bps=7,
        frozen=False,
        remaining_today=123 * DOLLAR,
        reserve=node.balance("usdt", node.manifest["redemption"]),
    )
    assert market.redemption.redeemable == 123 * DOLLAR
    assert (market.chain_id, market.block_number) == (CHAIN, node.head())
    assert market.timestamp >= int(node.block()["timestamp"], 16)
    assert (market.collateral_price_usd8, market.par_price_usd8) == (2_987 * 10**8, 10**8)
    assert (market.par_decimals, market.treasury_wei) == (6, node.ether(STRANGER))
    node.mine()
    base_fee = int(node.block()["baseFeePerGas"], 16)
    assert market.gas_price_wei == base_fee + GWEI
    assert market.gas_fee_cap_wei == 2 * base_fee + GWEI


async def test_no_more_can_be_redeemed_than_the_reserve_pays_for(
    node: Node, reader: ChainReader
) -> None:
    held = node.balance("usdt", node.manifest["redemption"])
    node.send("redemption", "withdrawReserve", held - 1_000 * DOLLAR, OWNER)
    redeeming = (await reader.market(MODULE, STRANGER)).redemption
    most = redeeming.redeemable
    assert redeeming.remaining_today > most
    quoted = node.contract("redemption").functions.quoteRedeem
    assert quoted(most).call() == 1_000 * DOLLAR
    assert quoted(most + 1).call() > 1_000 * DOLLAR


async def test_what_is_lent_out_is_not_available(desk: Desk) -> None:
    before = (await desk.reader.market(MODULE, desk.treasury)).lending.available
    await desk.walk(UP_TO_SWAP)
    after = (await desk.reader.market(MODULE, desk.treasury)).lending.available
    # Interest that has accrued meanwhile is owed to the pool, not held by it.
    assert before - after == pytest.approx(desk.sizing.borrow, abs=100)


async def test_a_frozen_redemption_shows(node: Node, reader: ChainReader) -> None:
    node.send("redemption", "setFrozen", 0, True)  # noqa: FBT003 - the ABI's order
    assert (await reader.market(MODULE, STRANGER)).redemption.frozen
    node.send("redemption", "setFrozen", 0, False)  # noqa: FBT003 - as above
    node.send("redemption", "setFrozen", 1, True)  # noqa: FBT003 - the other direction
    assert not (await reader.market(MODULE, STRANGER)).redemption.frozen


@pytest.mark.parametrize("answer", [0, -1])
async def test_without_a_price_there_is_no_market_for_now(
    node: Node, reader: ChainReader, answer: int
) -> None:
    # Without an answer of its feed Aave's oracle asks the next one, and there is none.
    node.send("eth_usd_feed", "setAnswer", answer)
    with pytest.raises(Unavailable) as caught:
        await reader.market(MODULE, STRANGER)
    assert caught.value.problem.message == "the node of chain 138 answers with an error"


async def test_a_look_is_of_one_request_and_reads_what_is_asked_besides(
    node: Node,
) -> None:
    async with front_of(node.url) as front:
        reader = await reader_over(front.url)
        await reader.decimals(MODULE)
        before = len(front.requests)
        reads = reader.redemption_reads(reader.profile.module(MODULE))
        look = await reader.look(MODULE, STRANGER, Address(OWNER), reads)
        await reader.rpc.close()
    assert front.requests[before:] == [["eth_call", "eth_feeHistory", "eth_getTransactionCount"]]
    assert look.position == await reader_position(node, STRANGER)
    assert look.values == [(5,), (False,), (100_000_000 * DOLLAR,), (200_000_000 * DOLLAR,)]
    assert look.mined_nonce == node.nonce(OWNER)
    assert look.fees.priority_fee == GWEI


async def reader_position(node: Node, account: Address) -> Any:
    reader = await reader_over(node.url)
    position = await reader.position(MODULE, account)
    await reader.rpc.close()
    return position


async def test_decimals_are_asked_for_once(node: Node) -> None:
    async with front_of(node.url) as front:
        reader = await reader_over(front.url)
        assert [await reader.decimals(MODULE) for _ in range(3)] == [6, 6, 6]
        assert len(front.requests) == 1
        await reader.rpc.close()


async def test_tokens_of_different_decimals_are_a_mistake_of_the_profile(
    node: Node, reader: ChainReader
) -> None:
    module = reader.profile.module(MODULE).model_copy(update={"par_token": "weth"})
    other = await reader_over(node.url, modules={MODULE: module})
    with pytest.raises(InvalidConfiguration) as caught:
        await other.decimals(MODULE)
    assert caught.value.problem.actual == "18 and 6"
    await other.rpc.close()


async def test_a_chain_that_is_as_configured_is_verified_once(node: Node) -> None:
    async with front_of(node.url) as front:
        reader = await reader_over(front.url)
        for _ in range(3):
            await reader.verify()
        assert len(front.requests) == 1
        await reader.rpc.close()


async def test_a_node_of_another_chain_is_found_out(node: Node) -> None:
    reader = await reader_over(node.url, chain_id=ChainId(651940))
    with pytest.raises(InvalidConfiguration) as caught:
        await reader.verify()
    problem = caught.value.problem
    assert (problem.field, problem.limit, problem.actual) == ("chain_id", "651940", "138")
    assert "DEAL_CHAIN_651940_ENDPOINTS" in problem.next_action
    await reader.rpc.close()


@pytest.mark.parametrize("name", ["aave_oracle", "weth", "usdt_usdtz_pool"])
async def test_a_contract_that_is_not_there_is_named(
    node: Node, reader: ChainReader, name: str
) -> None:
    contracts = reader.profile.contracts | {name: STRANGER}
    broken = await reader_over(node.url, contracts=contracts)
    for _ in range(2):  # what failed once is looked at again
        with pytest.raises(InvalidConfiguration) as caught:
            await broken.verify()
    problem = caught.value.problem
    assert (problem.field, problem.value) == (f"addresses.{name}", STRANGER)
    await broken.rpc.close()


async def test_an_error_of_the_node_is_not_taken_for_a_missing_contract(node: Node) -> None:
    async with front_of(node.url) as front:
        front.errors["eth_getCode"] = {"code": -32000, "message": "try later"}
        reader = await reader_over(front.url)
        with pytest.raises(Unavailable):
            await reader.verify()
        del front.errors["eth_getCode"]
        await reader.verify()
        await reader.rpc.close()


async def test_reading_a_market_checks_the_request_then_the_chain(desk: Desk) -> None:
    reads, run = ProtocolReads(desk.reader), ActivityEnvironment().run
    order = ReadMarket(request=desk.request, treasury=desk.treasury)
    reading = await run(reads.read_market, order)
    assert reading.module == desk.profile.module(MODULE)
    assert reading.market.treasury_wei == desk.node.ether(desk.treasury)
    wrong = {
        NotFound: {"module": ModuleId("other")},
        InvalidInput: {"mode": ExecutionMode.PIPELINED, "cycles": MAX_PIPELINED_CYCLES + 1},
    }
    for kind, change in wrong.items():
        request = desk.request.model_copy(update=change)
        with pytest.raises(kind):
            await run(reads.read_market, order.model_copy(update={"request": request}))
    async with desk.over(contracts=desk.profile.contracts | {"ledger": STRANGER}) as elsewhere:
        with pytest.raises(InvalidConfiguration):
            await run(ProtocolReads(elsewhere.reader).read_market, order)


async def test_reading_a_position_is_by_module_and_account(desk: Desk) -> None:
    order = ReadPosition(chain_id=ChainId(CHAIN), module=MODULE, account=desk.treasury)
    position = await ActivityEnvironment().run(ProtocolReads(desk.reader).read_position, order)
    assert position == await desk.reader.position(MODULE, desk.treasury)
    assert position.par == desk.node.balance("usdt", desk.treasury) > 0
