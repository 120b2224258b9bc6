"""Balance changes of an account, read from values and logs."""

from typing import Any

import pytest

from activities.protocols import erc20, weth
from activities.protocols.abi import event_topic
from activities.protocols.effects import EffectReader, Movement
from domain.identifiers import Address
from domain.transactions import Asset
from tests.activities.chain import OWNER
from tests.activities.desk import MODULE, profile_for

PROFILE = profile_for("http://nowhere")
ACCOUNT = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
OTHER = Address(OWNER)
ZERO = "0x" + "00" * 32
USDT, WETH = PROFILE.contract("usdt"), PROFILE.contract("weth")


@pytest.fixture
def effects() -> EffectReader:
    return EffectReader(PROFILE, PROFILE.module(MODULE))


def topic(address: str) -> str:
    return "0x" + address[2:].lower().rjust(64, "0")


def log(address: str, data: int, *topics: str) -> dict[str, Any]:
    return {"address": address, "topics": list(topics), "data": f"0x{data:064x}"}


def transfer(token: str, sender: str, recipient: str, amount: int) -> dict[str, Any]:
    return log(token, amount, erc20.TRANSFER_TOPIC, sender, recipient)


@pytest.mark.parametrize(
    ("name", "asset"),
    [
        ("usdt", Asset.PAR),
        ("usdtz", Asset.DISCOUNT),
        ("a_weth", Asset.COLLATERAL),
        ("variable_debt_usdt", Asset.DEBT),
        ("weth", Asset.WETH),
    ],
)
def test_transfers_count_for_the_asset_that_the_token_is(
    effects: EffectReader, name: str, asset: Asset
) -> None:
    token = PROFILE.contract(name)
    logs = [
        transfer(token, topic(OTHER), topic(ACCOUNT), 7),
        transfer(token.lower(), topic(ACCOUNT), topic(OTHER), 2),
    ]
    assert effects.changes(ACCOUNT, [], logs) == {asset: 5}
    assert effects.changes(OTHER, [], logs) == {asset: -5}


def test_minting_and_burning_count_for_the_holder_alone(effects: EffectReader) -> None:
    logs = [transfer(USDT, ZERO, topic(ACCOUNT), 7), transfer(USDT, topic(ACCOUNT), ZERO, 3)]
    assert effects.changes(ACCOUNT, [], logs) == {Asset.PAR: 4}


def test_what_one_pays_to_oneself_changes_nothing(effects: EffectReader) -> None:
    movements = [Movement(ACCOUNT, ACCOUNT, 5)]
    logs = [transfer(USDT, topic(ACCOUNT), topic(ACCOUNT), 7)]
    assert effects.changes(ACCOUNT, movements, logs) == {}


def test_ether_goes_from_the_sender_to_the_recipient(effects: EffectReader) -> None:
    movements = [Movement(ACCOUNT, OTHER, 5), Movement(OTHER, ACCOUNT, 2), Movement(OTHER, WETH, 1)]
    assert effects.changes(ACCOUNT, movements, []) == {Asset.ETHER: -3}
    assert effects.changes(OTHER, movements, []) == {Asset.ETHER: 2}


def test_wrapping_and_unwrapping_show_by_weths_own_events(effects: EffectReader) -> None:
    logs = [
        log(WETH, 9, weth.DEPOSIT_TOPIC, topic(ACCOUNT)),
        log(WETH, 4, weth.WITHDRAWAL_TOPIC, topic(ACCOUNT)),
        log(WETH, 100, weth.DEPOSIT_TOPIC, topic(OTHER)),
    ]
    assert effects.changes(ACCOUNT, [], logs) == {Asset.WETH: 5, Asset.ETHER: 4}


@pytest.mark.parametrize(
    "noise",
    [
        log(USDT, 7),  # anonymous
        log(USDT, 7, event_topic("Approval(address,address,uint256)"), topic(ACCOUNT), ZERO),
        log(USDT, 7, weth.DEPOSIT_TOPIC, topic(ACCOUNT)),  # only of WETH does it mean anything
        log(WETH, 7, event_topic("Approval(address,address,uint256)"), topic(ACCOUNT), ZERO),
        transfer(PROFILE.contract("ledger"), topic(OTHER), topic(ACCOUNT), 7),
        transfer(USDT, topic(OTHER), topic(WETH), 7),
    ],
)
def test_other_logs_change_nothing(effects: EffectReader, noise: dict[str, Any]) -> None:
    assert effects.changes(ACCOUNT, [], [noise]) == {}
