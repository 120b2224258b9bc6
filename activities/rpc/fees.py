"""Pricing by EIP-1559 from the fee history, under the profile's hard cap."""

from dataclasses import dataclass
from statistics import median_low
from typing import Any, Final

from activities.rpc.client import RpcCall
from domain.chains import ChainProfile, FeePolicy
from domain.errors import Unavailable
from domain.transactions import Fees

_BLOCKS: Final = 5
_BUMP_NUMERATOR: Final = 1125
_BUMP_DENOMINATOR: Final = 1000
"""Nodes replace a transaction only if both fees rise by 10 %; 12.5 % leaves room for rounding."""


def fee_history_call(policy: FeePolicy) -> RpcCall:
    """The call whose answer `fee_level` reads."""
    return RpcCall("eth_feeHistory", (hex(_BLOCKS), "latest", [policy.priority_percentile]))


@dataclass(frozen=True, slots=True)
class FeeLevel:
    """What gas costs now, in wei: the next block's base fee and the usual priority fee."""

    base_fee: int
    priority_fee: int
    cap: int

    @property
    def expected_price(self) -> int:
        """What a unit of gas is likely to cost."""
        return self.base_fee + self.priority_fee

    @property
    def maximum(self) -> Fees:
        """Fees for a new transaction: room for the base fee to double, never above the cap."""
        highest = min(self.cap, 2 * self.base_fee + self.priority_fee)
        return Fees(
            max_fee_per_gas=highest, max_priority_fee_per_gas=min(self.priority_fee, highest)
        )

    @property
    def maximum_exact(self) -> Fees:
        """Fees of which every wei is spent, so that what is left of an account is known."""
        highest = self.maximum.max_fee_per_gas
        return Fees(max_fee_per_gas=highest, max_priority_fee_per_gas=highest)

    def ensure_under_cap(self) -> None:
        """Raise `Unavailable` while the market's price is above the cap: wait, never overbid."""
        if self.expected_price > self.cap:
            raise Unavailable(
                "gas costs more than the chain's fee cap allows",
                field="max_fee_per_gas_wei",
                limit=self.cap,
                actual=self.expected_price,
                next_action="wait for the base fee to fall, or raise the cap in the profile",
            )

    def replacement(self, fees: Fees) -> Fees | None:
        """Higher fees for a transaction that was passed over.

        None if it bids enough already, or if the bump would exceed the cap.
        """
        if fees.max_fee_per_gas >= self.expected_price and (
            fees.max_priority_fee_per_gas >= self.priority_fee
        ):
            return None
        # Fees that are spent to the last wei stay so, or something would be left over.
        exact = fees.max_fee_per_gas == fees.max_priority_fee_per_gas
        fresh = self.maximum_exact if exact else self.maximum
        bumped = Fees(
            max_fee_per_gas=max(_bumped(fees.max_fee_per_gas), fresh.max_fee_per_gas),
            max_priority_fee_per_gas=max(
                _bumped(fees.max_priority_fee_per_gas), fresh.max_priority_fee_per_gas
            ),
        )
        return bumped if bumped.max_fee_per_gas <= self.cap else None


def fee_level(profile: ChainProfile, history: dict[str, Any]) -> FeeLevel:
    """Read an ``eth_feeHistory`` answer: the last base fee is the next block's."""
    rewards = [int(row[0], 16) for row in history.get("reward") or [] if row]
    return FeeLevel(
        base_fee=int(history["baseFeePerGas"][-1], 16),
        priority_fee=max(1, median_low(rewards) if rewards else 0),
        cap=profile.fees.max_fee_per_gas_wei,
    )


def _bumped(fee: int) -> int:
    return -(-fee * _BUMP_NUMERATOR // _BUMP_DENOMINATOR)
