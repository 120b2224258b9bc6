"""What is tried out before it is signed, and what came of it, whichever way a node can be asked."""

from dataclasses import dataclass
from typing import Final

from activities.protocols.drafts import Call
from activities.protocols.reverts import reason_of
from domain.errors import SimulationFailed
from domain.identifiers import Address, ModuleId
from domain.transactions import Asset

NO_ETHER: Final = "insufficient funds"
"""How nodes refuse a sender that does not have the ether that a call carries."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Dependent calls of `sender` on top of one block, watched for what they do to `account`.

    `timestamp` is the block's own, in Unix seconds.
    """

    sender: Address
    calls: tuple[Call, ...]
    account: Address
    module: ModuleId
    block_number: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class Simulation:
    """What the calls would do: for each its gas as a transaction, and its balance changes.

    Changes are the account's, in smallest units, ether without gas; what does not change is left
    out.
    """

    block_number: int
    gas_used: tuple[int, ...]
    changes: tuple[dict[Asset, int], ...]
    exact: bool = True
    """Whether the gas is what will be used, if the state is the same; otherwise it is at most that.
    """


def reverting(call: Call, reason: str | None, data: str) -> SimulationFailed:
    """The error of a call that would revert; the reason is read out of the data if it can be."""
    return SimulationFailed(
        f"{call.purpose} would revert: {reason_of(data) or reason or 'no reason given'}",
        field=call.purpose,
        value=call.to,
        actual=data,
        next_action="look at the reason; a retry builds the batch anew from fresh quotes",
    )


def too_poor(trial: Trial, said: str) -> SimulationFailed:
    """The error of a sender without the ether that its calls carry."""
    return SimulationFailed(
        f"the sender cannot pay for the batch: {said}",
        field="sender",
        value=trial.sender,
        limit=f"{sum(call.value for call in trial.calls)} wei and gas",
        actual=said,
        next_action="send ether to the account; a retry builds the batch anew",
    )
