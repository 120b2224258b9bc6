"""Simulating a whole batch before anything is signed, by ``eth_simulateV1``."""

from dataclasses import dataclass
from typing import Any, Final

from activities.protocols.drafts import Call, Draft
from activities.protocols.effects import Movement
from activities.protocols.reverts import reason_of
from activities.rpc.client import Rpc, RpcCall, RpcError
from domain.errors import SimulationFailed
from domain.identifiers import Address

_NO_ETHER: Final = "insufficient funds"
"""How nodes refuse a simulation whose sender does not have the ether that a call carries."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What the batch would do on top of one block: gas and logs of each call."""

    block_number: int
    gas_used: tuple[int, ...]
    logs: tuple[tuple[dict[str, Any], ...], ...]


async def simulate(rpc: Rpc, draft: Draft) -> Simulation:
    """Run the calls one after the other in the block after the one the draft was built from.

    Raises `SimulationFailed` with the decoded reason of the first call that reverts, or if the
    sender does not have the ether, and `Unavailable` if the node does not answer.
    """
    calls = [_call(draft.sender, call) for call in draft.calls]
    # Said outright, because nodes differ in the block that they simulate if they are not told.
    following = {"number": hex(draft.block_number + 1), "time": hex(draft.timestamp + 1)}
    order = {
        "blockStateCalls": [{"blockOverrides": following, "calls": calls}],
        "validation": False,
    }
    (answer,) = await rpc.batch([RpcCall("eth_simulateV1", (order, hex(draft.block_number)))])
    if isinstance(answer, RpcError) and _NO_ETHER in answer.message.lower():
        raise _too_poor(draft, answer)
    (block,) = rpc.expect(answer)
    for index, result in enumerate(block["calls"]):
        if int(result["status"], 16) != 1:
            raise _failure(draft, index, result)
    return Simulation(
        block_number=draft.block_number,
        gas_used=tuple(int(result["gasUsed"], 16) for result in block["calls"]),
        logs=tuple(tuple(result["logs"]) for result in block["calls"]),
    )


def movements(sender: Address, calls: tuple[Call, ...]) -> list[Movement]:
    """The ether that the calls themselves carry."""
    return [Movement(sender, call.to, call.value) for call in calls]


def _call(sender: Address, call: Call) -> dict[str, str]:
    return {"from": sender, "to": call.to, "data": call.data, "value": hex(call.value)}


def _failure(draft: Draft, index: int, result: dict[str, Any]) -> SimulationFailed:
    call, data = draft.calls[index], result.get("returnData") or "0x"
    reason = reason_of(data) or (result.get("error") or {}).get("message", "no reason given")
    return SimulationFailed(
        f"{call.purpose} would revert: {reason}",
        field=call.purpose,
        value=call.to,
        actual=data,
        next_action="look at the reason; a retry builds the batch anew from fresh quotes",
    )


def _too_poor(draft: Draft, answer: RpcError) -> SimulationFailed:
    return SimulationFailed(
        f"the sender cannot pay for the batch: {answer.message}",
        field="sender",
        value=draft.sender,
        limit=f"{sum(call.value for call in draft.calls)} wei and gas",
        actual=answer.message,
        next_action="send ether to the account; a retry builds the batch anew",
    )
