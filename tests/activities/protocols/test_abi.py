"""Encoding and decoding by Solidity signatures, against web3's own codec."""

import pytest
from eth_abi.exceptions import DecodingError
from hypothesis import given
from hypothesis import strategies as st
from web3 import Web3

from activities.protocols import aave, chainlink, erc20, multicall, redemption, uniswap, weth
from activities.protocols.abi import Function, address_of, event_topic, types_of
from deploy.chain.artifacts import AAVE, UNISWAP_CORE, own, packaged
from deploy.chain.rehearsal import ARTIFACTS
from domain.identifiers import Address
from tests.activities.chain import OWNER

DATA_PROVIDER = packaged(AAVE, "misc/AaveProtocolDataProvider.sol/AaveProtocolDataProvider").abi
ORACLE = packaged(AAVE, "misc/AaveOracle.sol/AaveOracle").abi
POOL = packaged(UNISWAP_CORE, "UniswapV3Pool.sol/UniswapV3Pool").abi
DEBT_TOKEN = packaged(AAVE, "protocol/tokenization/VariableDebtToken.sol/VariableDebtToken").abi
OF_CONTRACTS = [
    *((function, ARTIFACTS["aave_pool"]().abi) for function in (aave.SUPPLY, aave.BORROW)),
    *((function, ARTIFACTS["aave_pool"]().abi) for function in (aave.REPAY, aave.WITHDRAW)),
    (aave.GET_USER_ACCOUNT_DATA, ARTIFACTS["aave_pool"]().abi),
    (aave.GET_ASSET_PRICE, ORACLE),
    (aave.GET_RESERVE_CONFIGURATION, DATA_PROVIDER),
    (aave.GET_RESERVE_DATA, DATA_PROVIDER),
    (aave.SCALED_BALANCE_OF, DEBT_TOKEN),
    (aave.GET_PREVIOUS_INDEX, DEBT_TOKEN),
    (chainlink.LATEST_ROUND_DATA, own("PriceFeed").abi),
    (uniswap.EXACT_INPUT_SINGLE, ARTIFACTS["uniswap_router"]().abi),
    (uniswap.QUOTE_EXACT_INPUT_SINGLE, ARTIFACTS["uniswap_quoter"]().abi),
    (uniswap.SLOT0, POOL),
    (uniswap.LIQUIDITY, POOL),
    (uniswap.TICK_SPACING, POOL),
    (uniswap.TICK_BITMAP, POOL),
    (uniswap.TICKS, POOL),
    *((function, own("USDT").abi) for function in (erc20.APPROVE, erc20.ALLOWANCE)),
    *((function, own("USDT").abi) for function in (erc20.TRANSFER, erc20.BALANCE_OF)),
    (erc20.DECIMALS, own("USDT").abi),
    *((function, own("RedemptionModule").abi) for function in (redemption.REDEEM,)),
    (redemption.QUOTE_REDEEM, own("RedemptionModule").abi),
    (redemption.RESERVE, own("RedemptionModule").abi),
    (redemption.FEE_BPS, own("RedemptionModule").abi),
    (redemption.REDEEM_FROZEN, own("RedemptionModule").abi),
    (redemption.REMAINING_TODAY, own("RedemptionModule").abi),
    *((function, ARTIFACTS["weth"]().abi) for function in (weth.DEPOSIT, weth.WITHDRAW)),
]


def _type(parameter: dict[str, object]) -> str:
    if parameter["type"] == "tuple":
        components: list[dict[str, object]] = parameter["components"]  # type: ignore[assignment]
        return f"({','.join(_type(component) for component in components)})"
    return str(parameter["type"])


@pytest.mark.parametrize(
    ("function", "abi"), OF_CONTRACTS, ids=[function.signature for function, _ in OF_CONTRACTS]
)
def test_every_function_we_call_is_one_that_its_contract_has(
    function: Function, abi: list[dict[str, object]]
) -> None:
    entries = [entry for entry in abi if entry.get("name") == function.name]
    signatures = {
        f"{function.name}({','.join(_type(p) for p in entry['inputs'])})": tuple(  # type: ignore[attr-defined]
            _type(p)
            for p in entry["outputs"]  # type: ignore[attr-defined]
        )
        for entry in entries
    }
    assert function.signature in signatures
    if function.returns:
        assert signatures[function.signature] == function.returns


def test_every_event_we_read_has_the_topic_of_its_signature() -> None:
    assert Web3.keccak(text="Transfer(address,address,uint256)").to_0x_hex() == erc20.TRANSFER_TOPIC
    assert Web3.keccak(text="Deposit(address,uint256)").to_0x_hex() == weth.DEPOSIT_TOPIC
    assert event_topic("Withdrawal(address,uint256)") == weth.WITHDRAWAL_TOPIC


@given(st.integers(min_value=0, max_value=2**256 - 1), st.binary(min_size=20, max_size=20))
def test_arguments_come_back_as_they_went_in(amount: int, raw: bytes) -> None:
    spender = Address.from_bytes(raw) if any(raw) else Address(OWNER)
    calldata = bytes.fromhex(erc20.APPROVE.encode(spender, amount)[2:])
    assert erc20.APPROVE.decode_arguments(calldata) == (spender.lower(), amount)
    assert address_of(calldata[4:36]) == spender
    assert address_of("0x" + calldata[4:36].hex()) == spender


def test_calldata_of_another_function_is_refused() -> None:
    calldata = bytes.fromhex(erc20.TRANSFER.encode(OWNER, 1)[2:])
    with pytest.raises(ValueError, match=r"not for approve\(address,uint256\)"):
        erc20.APPROVE.decode_arguments(calldata)


def test_calldata_with_something_behind_it_is_refused() -> None:
    calldata = bytes.fromhex(erc20.APPROVE.encode(OWNER, 1)[2:])
    with pytest.raises(ValueError, match="not canonically encoded"):
        erc20.APPROVE.decode_arguments(calldata + b"\0")


def test_calldata_with_dirt_before_an_address_is_refused() -> None:
    calldata = bytearray.fromhex(erc20.APPROVE.encode(OWNER, 1)[2:])
    calldata[4] = 1
    with pytest.raises(DecodingError):
        erc20.APPROVE.decode_arguments(bytes(calldata))


def test_calldata_that_ends_early_is_refused() -> None:
    calldata = bytes.fromhex(erc20.APPROVE.encode(OWNER, 1)[2:])
    with pytest.raises(DecodingError):
        erc20.APPROVE.decode_arguments(calldata[:-1])


@pytest.mark.parametrize(
    ("signature", "types"),
    [
        ("deposit()", ()),
        ("f(address,uint256)", ("address", "uint256")),
        ("f((address,bool,bytes)[])", ("(address,bool,bytes)[]",)),
    ],
)
def test_the_types_of_a_signature_are_its_arguments(signature: str, types: tuple[str, ...]) -> None:
    assert types_of(signature) == types


def test_reads_of_one_call_are_decoded_in_their_order() -> None:
    reads = [
        multicall.Read(Address(OWNER), erc20.DECIMALS),
        multicall.Read(Address(OWNER), erc20.BALANCE_OF, (OWNER,)),
    ]
    ((calls),) = multicall.AGGREGATE3.decode_arguments(
        bytes.fromhex(multicall.encode_reads(reads)[2:])
    )
    assert [call[:2] for call in calls] == [(OWNER.lower(), False)] * 2
    answers = [(True, (6).to_bytes(32, "big")), (True, (7).to_bytes(32, "big"))]
    result = Function("f((bool,bytes)[])").encode(answers)[10:]
    assert multicall.decode_reads(reads, "0x" + result) == [(6,), (7,)]
