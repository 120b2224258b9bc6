"""Simulating a whole batch before anything is signed: by ``eth_simulateV1``, or without it."""

import re
import time
from typing import Any, Final

from activities.protocols.effects import EffectReader, movements_of
from activities.rpc.client import Questions, RpcCall, RpcError
from activities.transactions.executor import Executor
from activities.transactions.trials import NO_ETHER, Simulation, Trial, reverting, too_poor
from domain.chains import ChainProfile
from domain.errors import SimulationFailed

_METHOD: Final = "eth_simulateV1"
_METHOD_NOT_FOUND: Final = -32601
_UNKNOWN_METHOD: Final = re.compile(
    r"method\b.*\b(not found|does not exist|not available|not supported|not enabled|not allowed"
    r"|unknown)|\b(unsupported|unknown|unrecognized) method",
    re.IGNORECASE | re.DOTALL,
)
"""The words of geth and erigon, besu, nethermind and reth, and of providers in front of them."""
_ASK_AGAIN_SECONDS: Final = 600.0
"""Nodes are upgraded, and an endpoint that knows the method may come back."""


class Simulator:
    """Simulates on one chain; remembers for a while that its nodes lack the method."""

    def __init__(self, profile: ChainProfile, rpc: Questions) -> None:
        """Take the chain's contracts and its endpoints."""
        self._profile = profile
        self._rpc = rpc
        self._executor = Executor(profile, rpc)
        self._missing_until = 0.0

    async def simulate(self, trial: Trial) -> Simulation:
        """Run the calls one after the other in the block after the trial's.

        Raises `SimulationFailed` with the decoded reason of the first call that reverts, or if the
        sender does not have the ether, and `Unavailable` if the node does not answer.
        """
        if time.monotonic() >= self._missing_until:
            (answer,) = await self._rpc.batch([_request(trial)])
            if not is_unknown(answer):
                return await self._read(trial, answer)
            self._missing_until = time.monotonic() + _ASK_AGAIN_SECONDS
        return await self._executor.simulate(trial)

    async def _read(self, trial: Trial, answer: Any) -> Simulation:  # noqa: ANN401 - JSON
        if isinstance(answer, RpcError) and NO_ETHER in answer.message.lower():
            raise too_poor(trial, answer.message)
        (block,) = self._rpc.expect(answer)
        results = block["calls"]
        for index, result in enumerate(results):
            if int(result["status"], 16) != 1:
                raise await self._failure(trial, index, result)
        effects = EffectReader(self._profile, self._profile.module(trial.module))
        return Simulation(
            block_number=trial.block_number,
            gas_used=tuple(int(result["gasUsed"], 16) for result in results),
            changes=tuple(
                effects.changes(
                    trial.account,
                    movements_of(trial.sender, call.to, call.value, call.data),
                    result["logs"],
                )
                for call, result in zip(trial.calls, results, strict=True)
            ),
        )

    async def _failure(self, trial: Trial, index: int, result: dict[str, Any]) -> SimulationFailed:
        """Say why a call fails; where the node does not, its ``eth_call`` may."""
        error = result.get("error") or {}
        data = result.get("returnData") or "0x"
        if data == "0x":
            data = error.get("data") or await self._executor.revert_data(trial) or "0x"
        return reverting(trial.calls[index], error.get("message"), data)


def _request(trial: Trial) -> RpcCall:
    # Said outright, because nodes differ in the block that they simulate if they are not told.
    following = {"number": hex(trial.block_number + 1), "time": hex(trial.timestamp + 1)}
    calls = [
        {"from": trial.sender, "to": call.to, "data": call.data, "value": hex(call.value)}
        for call in trial.calls
    ]
    order = {
        "blockStateCalls": [{"blockOverrides": following, "calls": calls}],
        "validation": False,
    }
    return RpcCall(_METHOD, (order, hex(trial.block_number)))


def is_unknown(answer: Any) -> bool:  # noqa: ANN401 - JSON of any shape
    """Whether the node says that it does not know the method."""
    return isinstance(answer, RpcError) and (
        answer.code == _METHOD_NOT_FOUND or _UNKNOWN_METHOD.search(answer.message) is not None
    )
