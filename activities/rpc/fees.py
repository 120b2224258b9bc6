"""Pricing under a hard cap: by EIP-1559 from the fee history, or by the node's gas price.

On a chain without EIP-1559 a transaction has one price. It is a `Fees` of which both fields are
that price, so that everything else need not tell the two kinds apart.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median_low
from typing import Any, Final

from activities.rpc.calls import RpcCall
from domain.chains import ChainProfile, FeePolicy
from domain.errors import Unavailable
from domain.transactions import Fees

_BLOCKS: Final = 5
_RAISE_NUMERATOR: Final = 1125
_LEAST_NUMERATOR: Final = 1100
_DENOMINATOR: Final = 1000
"""Nodes replace a transaction only if both fees rise by 10 %; 12.5 % leaves room for rounding."""


def price_call(policy: FeePolicy) -> RpcCall:
    """The call whose answer `fee_level` reads."""
    if policy.kind == "legacy":
        return RpcCall("eth_gasPrice")
    return RpcCall("eth_feeHistory", (hex(_BLOCKS), "latest", [policy.priority_percentile]))


class ReplacementReason(StrEnum):
    """Why there are higher fees for a transaction that was passed over, or why there are none."""

    RAISED = "raised"
    COMPETITIVE = "competitive"
    """It bids enough for the next block already: only time is missing."""
    CAPPED = "capped"
    """No bid that nodes take instead fits under the cap: send the same again, and tell somebody."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """Fees for another attempt at the same nonce; `fees` is there if the reason is `RAISED`."""

    reason: ReplacementReason
    fees: Fees | None = None


@dataclass(frozen=True, slots=True)
class FeeLevel:
    """What gas costs now, in wei: the next block's base fee and the usual priority fee.

    Without EIP-1559 the base fee is 0 and the priority fee the whole price.
    """

    base_fee: int
    priority_fee: int
    cap: int

    def under(self, cap: int | None) -> "FeeLevel":
        """The same under another cap as well, such as a deal's own: the lower one holds."""
        return self if cap is None else replace(self, cap=min(cap, self.cap))

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
                "gas costs more than the fee cap allows",
                field="max_fee_per_gas_wei",
                limit=self.cap,
                actual=self.expected_price,
                next_action="wait for the base fee to fall, or raise the cap",
            )

    def replacement(self, fees: Fees) -> Replacement:
        """Higher fees for a transaction that was passed over, or why there are none.

        Both rise by 12.5 %, or to today's price if that is more. What would exceed the cap bids
        exactly the cap, as long as that is a rise of 10 %.
        """
        if fees.max_fee_per_gas >= self.expected_price and (
            fees.max_priority_fee_per_gas >= self.priority_fee
        ):
            return Replacement(ReplacementReason.COMPETITIVE)
        return self.outbidding(fees)

    def outbidding(self, fees: Fees) -> Replacement:
        """Higher fees than these whether or not they would do, for what must take their place."""
        if _least(fees.max_fee_per_gas) > self.cap:
            return Replacement(ReplacementReason.CAPPED)
        # Fees that are spent to the last wei stay so, or something would be left over.
        exact = fees.max_fee_per_gas == fees.max_priority_fee_per_gas
        fresh = self.maximum_exact if exact else self.maximum
        highest = min(self.cap, max(_raised(fees.max_fee_per_gas), fresh.max_fee_per_gas))
        priority = max(_raised(fees.max_priority_fee_per_gas), fresh.max_priority_fee_per_gas)
        raised = Fees(max_fee_per_gas=highest, max_priority_fee_per_gas=min(priority, highest))
        return Replacement(ReplacementReason.RAISED, raised)


def fee_level(profile: ChainProfile, answer: Any) -> FeeLevel:  # noqa: ANN401 - JSON of any shape
    """Read the answer to `price_call`."""
    cap = profile.fees.max_fee_per_gas_wei
    if profile.fees.kind == "legacy":
        return FeeLevel(base_fee=0, priority_fee=max(1, int(answer, 16)), cap=cap)
    # The last base fee of a history is the next block's.
    rewards = [int(row[0], 16) for row in answer.get("reward") or [] if row]
    return FeeLevel(
        base_fee=int(answer["baseFeePerGas"][-1], 16),
        priority_fee=max(1, median_low(rewards) if rewards else 0),
        cap=cap,
    )


def _raised(fee: int) -> int:
    return -(-fee * _RAISE_NUMERATOR // _DENOMINATOR)


def _least(fee: int) -> int:
    return -(-fee * _LEAST_NUMERATOR // _DENOMINATOR)
