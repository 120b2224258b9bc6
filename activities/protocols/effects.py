"""What logs say an account gained and lost: the same reading for simulated and mined batches."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from activities.protocols import erc20, safe, weth
from activities.protocols.abi import address_of
from domain.chains import ChainProfile, ModuleProfile
from domain.identifiers import Address
from domain.transactions import Asset


@dataclass(frozen=True, slots=True)
class Movement:
    """Ether that a transaction itself carries."""

    sender: Address
    recipient: Address
    value: int


def movements_of(sender: Address, to: Address, value: int, data: str) -> tuple[Movement, ...]:
    """Ether that a call moves if it succeeds: its own value, and what it makes a Safe pay."""
    payment = safe.payment_in(data)
    own = Movement(sender, to, value)
    return (own,) if payment is None else (own, Movement(to, *payment))


class EffectReader:
    """Balance changes of one account in a module's assets, from values and logs alone.

    ERC-20 transfers are taken from their events; WETH9 logs Deposit and Withdrawal instead of
    minting and burning, and a withdrawal pays ether that no other event shows.
    """

    def __init__(self, profile: ChainProfile, module: ModuleProfile) -> None:
        """Map the module's contracts to the assets that post-conditions speak of."""
        contract = profile.contract
        self._weth = contract(module.collateral)
        self._assets: Mapping[str, Asset] = {
            self._weth.lower(): Asset.WETH,
            contract(module.par_token).lower(): Asset.PAR,
            contract(module.discount_token).lower(): Asset.DISCOUNT,
            contract(module.collateral_receipt).lower(): Asset.COLLATERAL,
            contract(module.debt_token).lower(): Asset.DEBT,
        }

    def changes(
        self, account: Address, movements: Iterable[Movement], logs: Iterable[Mapping[str, Any]]
    ) -> dict[Asset, int]:
        """Changes in smallest units, gas not counted; assets without a change are left out."""
        changes: dict[Asset, int] = defaultdict(int)
        for movement in movements:
            changes[Asset.ETHER] += movement.value * (
                (movement.recipient == account) - (movement.sender == account)
            )
        for log in logs:
            self._add(changes, account, log)
        return {asset: change for asset, change in changes.items() if change}

    def _add(self, changes: dict[Asset, int], account: Address, log: Mapping[str, Any]) -> None:
        asset = self._assets.get(log["address"].lower())
        topics = log["topics"]
        if asset is None or not topics:
            return
        if topics[0] == erc20.TRANSFER_TOPIC:
            amount = int(log["data"], 16)
            changes[asset] += amount * (_is(topics[2], account) - _is(topics[1], account))
        elif asset is Asset.WETH and _is(topics[1], account):
            amount = int(log["data"], 16)
            if topics[0] == weth.DEPOSIT_TOPIC:
                changes[Asset.WETH] += amount
            elif topics[0] == weth.WITHDRAWAL_TOPIC:
                changes[Asset.WETH] -= amount
                changes[Asset.ETHER] += amount


def _is(topic: str, account: Address) -> bool:
    """Whether an indexed address is the account; the zero address of a mint is nobody's."""
    return int(topic, 16) != 0 and address_of(topic) == account
