"""A chain as it would be after some calls, at one block, without anything being sent.

Whoever asks it does not see the difference: what is read or simulated goes to the node as one
``eth_simulateV1`` on top of the block, with all the calls so far in front. Each batch so far is a
block of its own; what is read is read at the end of the newest one.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from activities.protocols.drafts import Call
from activities.rpc.calls import RpcCall, RpcError
from activities.rpc.client import Questions, Rpc
from activities.transactions.simulation import is_unknown
from activities.transactions.trials import NO_ETHER, reverting
from domain.chains import ChainProfile
from domain.errors import NoPrediction, SimulationFailed, Unavailable
from domain.identifiers import Address

_SIMULATE: Final = "eth_simulateV1"
_READ: Final = "eth_call"
_OF_THE_BLOCK: Final = "eth_getTransactionCount"
"""Asked of the block itself: a draft tells of its sender's nonce, and nobody here needs one."""
_KEPT: Final = frozenset({"eth_feeHistory", "eth_gasPrice"})
"""Asked once: one price for the whole run."""
_BURNT: Final = Address("0x000000000000000000000000000000000000dEaD")
"""Takes what would be paid for gas: simulated calls cost nothing."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A call that counts as mined, and who sent it."""

    sender: Address
    call: Call

    def document(self) -> dict[str, str]:
        """As the node takes it."""
        return {
            "from": self.sender,
            "to": self.call.to,
            "data": self.call.data,
            "value": hex(self.call.value),
        }


@dataclass(frozen=True, slots=True)
class Pinned:
    """The block that everything is on top of; `timestamp` in Unix seconds."""

    number: int
    block_hash: str
    timestamp: int


@dataclass(slots=True)
class _Block:
    number: int
    timestamp: int
    calls: list[Sent] = field(default_factory=list)

    def document(self, *more: dict[str, Any]) -> dict[str, Any]:
        overrides = {"number": hex(self.number), "time": hex(self.timestamp)}
        calls = [sent.document() for sent in self.calls]
        return {"blockOverrides": overrides, "calls": [*calls, *more]}


class Snapshot(Questions):
    """One chain at one block, and what has been done to it since, in memory only."""

    def __init__(self, profile: ChainProfile, rpc: Rpc, pinned: Pinned) -> None:
        """Take the chain's connection and the block."""
        super().__init__(profile)
        self._rpc = rpc
        self._blocks: list[_Block] = []
        self._kept: dict[str, Any] = {}
        self.pinned = pinned

    @classmethod
    async def taken(cls, profile: ChainProfile, rpc: Rpc) -> "Snapshot":
        """A snapshot of the newest block."""
        block = await rpc.call("eth_getBlockByNumber", "latest", False)  # noqa: FBT003 - positional
        return cls(profile, rpc, _pinned(block))

    async def ensure_unmoved(self) -> None:
        """Raise `Unavailable` if the block is in the chain no more: what was seen is of no use."""
        block = await self._rpc.call("eth_getBlockByNumber", hex(self.pinned.number), False)  # noqa: FBT003 - positional
        if block is None or block["hash"] != self.pinned.block_hash:
            raise Unavailable(
                f"chain {self.chain_id} has gone back behind the block of the dry run",
                field="block",
                value=self.pinned.number,
                limit=self.pinned.block_hash,
                actual=block and block["hash"],
                next_action="run it again",
            )

    @property
    def timestamp(self) -> int:
        """The time of the newest block, in Unix seconds."""
        return self._blocks[-1].timestamp if self._blocks else self.pinned.timestamp

    def mine(
        self, sender: Address, calls: tuple[Call, ...], *, gas_wei: int, after_seconds: int
    ) -> None:
        """Take these calls as mined in a block of their own, so many seconds later.

        `gas_wei` is what the sender pays for them besides.
        """
        last = self._blocks[-1] if self._blocks else _Block(self.pinned.number, 0)
        block = _Block(last.number + 1, self.timestamp + after_seconds)
        block.calls = [Sent(sender, call) for call in calls]
        block.calls.append(Sent(sender, Call(_BURNT, "Pay for the gas", value=gas_wei)))
        self._blocks.append(block)

    async def batch(self, calls: list[RpcCall]) -> list[Any]:
        """See `Questions.batch`.

        Raises `NoPrediction` if the chain's nodes cannot simulate, `SimulationFailed` if a call
        that counts as mined reverts.
        """
        asked = [call for call in calls if call.method not in self._kept]
        answers = await self._rpc.batch([self._asked(call) for call in asked])
        fresh = {id(c): self._read(c, a) for c, a in zip(asked, answers, strict=True)}
        for call in asked:
            if call.method in _KEPT and not isinstance(fresh[id(call)], RpcError):
                self._kept[call.method] = fresh[id(call)]
        return [fresh[id(call)] if id(call) in fresh else self._kept[call.method] for call in calls]

    def _asked(self, call: RpcCall) -> RpcCall:
        """What the node is asked instead."""
        if call.method in _KEPT:
            return call
        if call.method == _OF_THE_BLOCK:
            return RpcCall(call.method, (call.params[0], hex(self.pinned.number)))
        if call.method == _READ:
            return self._reading(call)
        if call.method == _SIMULATE:
            (trial,) = call.params[0]["blockStateCalls"]
            return self._simulating([block.document() for block in self._blocks] + [trial])
        msg = f"a snapshot cannot be asked for {call.method}"
        raise NotImplementedError(msg)

    def _reading(self, call: RpcCall) -> RpcCall:
        if not self._blocks:
            return RpcCall(_READ, (call.params[0], hex(self.pinned.number)))
        *before, newest = self._blocks
        blocks = [*(block.document() for block in before), newest.document(call.params[0])]
        return self._simulating(blocks)

    def _simulating(self, blocks: list[dict[str, Any]]) -> RpcCall:
        order = {"blockStateCalls": blocks, "validation": False}
        return RpcCall(_SIMULATE, (order, hex(self.pinned.number)))

    def _read(self, call: RpcCall, answer: Any) -> Any:  # noqa: ANN401 - JSON of any shape
        """The answer to the call itself, out of the node's."""
        simulated = call.method == _SIMULATE or (call.method == _READ and self._blocks)
        if not simulated:
            return answer
        if is_unknown(answer):
            raise _cannot_simulate(self.chain_id, answer)
        if isinstance(answer, RpcError):
            if call.method == _READ and NO_ETHER in answer.message.lower():
                raise self._cannot_pay_gas(answer)
            return answer
        for block, result in zip(self._blocks, answer, strict=False):
            self._ensure_done(block, result["calls"])
        if call.method == _SIMULATE:
            return answer[-1:]
        return _returned(answer[-1]["calls"][-1])

    def _cannot_pay_gas(self, answer: RpcError) -> SimulationFailed:
        """The newest block went through when it was tried: only its gas was not paid then."""
        *_, gas = self._blocks[-1].calls
        return SimulationFailed(
            "the sender cannot pay the gas of its calls",
            field="sender",
            value=gas.sender,
            limit=f"{gas.call.value} wei for gas",
            actual=answer.message,
            next_action="send ether to the account, or wait for cheaper gas",
        )

    def _ensure_done(self, block: _Block, results: list[dict[str, Any]]) -> None:
        """Raise `SimulationFailed` if what counts as mined does not go through after all."""
        for sent, result in zip(block.calls, results, strict=False):
            if int(result["status"], 16) != 1:
                error = result.get("error") or {}
                raise reverting(sent.call, error.get("message"), result.get("returnData") or "0x")


def _pinned(block: dict[str, Any]) -> Pinned:
    return Pinned(int(block["number"], 16), block["hash"], int(block["timestamp"], 16))


def _returned(result: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON of any shape
    """What an ``eth_call`` would have answered."""
    if int(result["status"], 16) == 1:
        return result["returnData"]
    error = result.get("error") or {}
    return RpcError(error.get("code", 3), error.get("message", "reverted"), result["returnData"])


def _cannot_simulate(chain_id: int, answer: RpcError) -> NoPrediction:
    return NoPrediction(
        f"the nodes of chain {chain_id} cannot run a deal dry",
        field="endpoints",
        value=chain_id,
        limit=_SIMULATE,
        actual=answer.message,
        next_action="name an endpoint in the chain's profile that has the method",
    )
