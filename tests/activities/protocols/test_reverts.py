"""Why a call reverted, in words."""

import re

import pytest
from eth_abi.abi import encode
from hypothesis import example, given
from hypothesis import strategies as st

from activities.protocols.abi import Function
from activities.protocols.reverts import _AAVE, reason_of
from deploy.chain.artifacts import AAVE
from deploy.chain.paths import NODE_MODULES
from tests.activities.chain import OWNER

ERROR = Function("Error(string)")
STRANGER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


@pytest.mark.parametrize(
    ("signature", "arguments", "words"),
    [
        ("Error(string)", ("Too little received",), "Too little received"),
        ("Error(string)", ("35",), "Aave error 35: the health factor would fall below 1"),
        ("Error(string)", ("26",), "Aave error 26: the amount is zero"),
        ("Error(string)", ("999",), "999"),
        ("Panic(uint256)", (17,), "Panic(17)"),
        ("Frozen(uint8)", (0,), "Frozen(0)"),
        ("DailyCapExceeded(uint256,uint256)", (7, 5), "DailyCapExceeded(7, 5)"),
        ("InsufficientReserve(uint256,uint256)", (7, 5), "InsufficientReserve(7, 5)"),
        ("ZeroAmount()", (), "ZeroAmount()"),
        (
            "AllowanceNotZero(address,uint256,uint256)",
            (STRANGER, 1, 2),
            f"AllowanceNotZero({STRANGER.lower()}, 1, 2)",
        ),
        (
            "ERC20InsufficientBalance(address,uint256,uint256)",
            (STRANGER, 1, 2),
            f"ERC20InsufficientBalance({STRANGER.lower()}, 1, 2)",
        ),
        (
            "ERC20InsufficientAllowance(address,uint256,uint256)",
            (STRANGER, 1, 2),
            f"ERC20InsufficientAllowance({STRANGER.lower()}, 1, 2)",
        ),
        (
            "OwnableUnauthorizedAccount(address)",
            (STRANGER,),
            f"OwnableUnauthorizedAccount({STRANGER.lower()})",
        ),
    ],
)
def test_a_known_error_is_told_with_its_arguments(
    signature: str, arguments: tuple[object, ...], words: str
) -> None:
    assert reason_of(Function(signature).encode(*arguments)) == words


def test_an_unknown_error_is_told_by_its_selector() -> None:
    error = Function("SomethingElse(address)")
    assert reason_of(error.encode(OWNER)) == f"error 0x{error.selector.hex()}"


@pytest.mark.parametrize("data", [None, "", "0x", "0x01", "0x010203", 7, b"\1\2\3\4", {}])
def test_without_revert_data_there_is_no_reason(data: object) -> None:
    assert reason_of(data) is None


@pytest.mark.parametrize("data", ["0xnothexadecimal", "0x0102030", "nothing of the kind"])
def test_what_is_no_hexadecimal_is_no_reason(data: str) -> None:
    assert reason_of(data) is None


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"\xff" * 32,
        encode(("uint256", "uint256"), (32, 2**255)),
        encode(("uint256", "uint256", "uint256"), (32, 1, 2**256 - 1)),
        encode(("uint256", "uint256"), (32, 2)) + b"\xff\xfe".ljust(32, b"\0"),
    ],
    ids=["nothing", "no offset", "endless", "garbage", "no UTF-8"],
)
def test_of_a_known_error_with_broken_arguments_the_name_is_told(tail: bytes) -> None:
    assert reason_of("0x" + (ERROR.selector + tail).hex()) == "Error"


SELECTORS = st.sampled_from([ERROR.selector, Function("Panic(uint256)").selector, b""])


@given(SELECTORS, st.binary(max_size=200))
@example(ERROR.selector, encode(("string",), ("\0",)))
def test_whatever_a_contract_returns_there_is_an_answer(selector: bytes, rest: bytes) -> None:
    data = selector + rest
    assert (reason_of("0x" + data.hex()) is None) == (len(data) < 4)


def test_aaves_codes_mean_what_its_library_says() -> None:
    source = NODE_MODULES / AAVE.split("/artifacts")[0] / "contracts/protocol/libraries/helpers"
    text = (source / "Errors.sol").read_text()
    names = {code: name for name, code in re.findall(r"constant (\w+) = '(\d+)'", text)}
    assert {code: names[code] for code in _AAVE} == {
        "26": "INVALID_AMOUNT",
        "27": "RESERVE_INACTIVE",
        "28": "RESERVE_FROZEN",
        "29": "RESERVE_PAUSED",
        "30": "BORROWING_NOT_ENABLED",
        "32": "NOT_ENOUGH_AVAILABLE_USER_BALANCE",
        "34": "COLLATERAL_BALANCE_IS_ZERO",
        "35": "HEALTH_FACTOR_LOWER_THAN_LIQUIDATION_THRESHOLD",
        "36": "COLLATERAL_CANNOT_COVER_NEW_BORROW",
        "39": "NO_DEBT_OF_SELECTED_TYPE",
        "43": "UNDERLYING_BALANCE_ZERO",
        "50": "BORROW_CAP_EXCEEDED",
        "51": "SUPPLY_CAP_EXCEEDED",
        "57": "LTV_VALIDATION_FAILED",
        "59": "PRICE_ORACLE_SENTINEL_CHECK_FAILED",
    }
