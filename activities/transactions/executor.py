"""Simulating on nodes without ``eth_simulateV1``: the whole batch in one ``eth_call``.

A state override puts the code of BatchExecutor (deploy/chain/contracts) at the sender's own
address. Called there, it performs the calls as the sender would, and reads the balances before and
after each. Source of the state override: the JSON-RPC documentation of go-ethereum.
"""

import json
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import Any, Final

from eth_abi.exceptions import DecodingError

from activities.protocols.abi import Function
from activities.protocols.balances import BalanceReader
from activities.protocols.multicall import GET_ETH_BALANCE, Read
from activities.rpc.client import Questions, RpcCall, RpcError
from activities.transactions.trials import NO_ETHER, Simulation, Trial, reverting, too_poor
from domain.chains import ChainProfile
from domain.errors import SimulationFailed, Unavailable
from domain.identifiers import Address
from domain.transactions import TRANSFER_GAS, Asset

EXECUTE: Final = Function(
    "execute((address,uint256,bytes)[],(address,bytes)[])",
    ("bytes[]", "(bool,uint256,bytes,bytes[])[]"),
)
_CODE_FILE: Final = "executor.json"
_BYTE_GAS: Final = 4
_NON_ZERO: Final = 4
"""A byte that is not zero counts as four that are (EIP-2028)."""
_FLOOR_BYTE_GAS: Final = 10
"""What calldata costs at least, together with the base cost (EIP-7623)."""
_SLOT_SET_AGAIN: Final = 22_000
"""Setting a slot that holds zero, cold: what it costs more than one already changed, 100 gas."""
_REVISITED_DIVISOR: Final = 8
"""The share of a later call's gas that it is allowed besides, for what it finds warm."""


@dataclass(frozen=True, slots=True)
class _Result:
    """What one call did; `gas` is what its code used."""

    success: bool
    gas: int
    returned: bytes
    readings: list[bytes]


class Executor:
    """Tries batches out through the executor's code."""

    def __init__(self, profile: ChainProfile, rpc: Questions) -> None:
        """Take the chain's contracts and its endpoints."""
        self._profile = profile
        self._rpc = rpc
        text = (
            resources.files("activities.transactions")
            .joinpath(_CODE_FILE)
            .read_text(encoding="utf-8")
        )
        self._code: str = json.loads(text)["runtime"]

    async def simulate(self, trial: Trial) -> Simulation:
        """Run the calls in the block of the trial, after all that is in it.

        Raises `SimulationFailed` as `Simulator` does, and `Unavailable` if the node does not
        answer, or knows no state override either.
        """
        reader = BalanceReader(self._profile, self._profile.module(trial.module), trial.account)
        before, results = await self._execute(trial, reader)
        if not results[-1].success:
            raise _failure(trial, results, before)
        readings = [before, *(result.readings for result in results)]
        balances = [reader.balances(values[:-1]) for values in readings]
        return Simulation(
            block_number=trial.block_number,
            gas_used=tuple(
                _gas(bytes.fromhex(call.data[2:]), result.gas, first=index == 0)
                for index, (call, result) in enumerate(zip(trial.calls, results, strict=True))
            ),
            changes=tuple(_differences(earlier, later) for earlier, later in pairwise(balances)),
            exact=False,
        )

    async def revert_data(self, trial: Trial) -> str | None:
        """What the call that fails reverts with, 0x-hexadecimal; None if none fails here."""
        reader = BalanceReader(self._profile, self._profile.module(trial.module), trial.account)
        try:
            _, results = await self._execute(trial, reader)
        except Unavailable:
            return None
        return None if results[-1].success else "0x" + results[-1].returned.hex()

    async def _execute(
        self, trial: Trial, reader: BalanceReader
    ) -> tuple[list[bytes], list[_Result]]:
        calls = [(call.to, call.value, bytes.fromhex(call.data[2:])) for call in trial.calls]
        reads = [
            (read.target, bytes.fromhex(read.function.encode(*read.arguments)[2:]))
            for read in (*reader.reads, self._ether_of(trial.sender))
        ]
        order = {"from": trial.sender, "to": trial.sender, "data": EXECUTE.encode(calls, reads)}
        override = {trial.sender: {"code": self._code}}
        request = RpcCall("eth_call", (order, hex(trial.block_number), override))
        (answer,) = await self._rpc.batch([request])
        if isinstance(answer, RpcError) and NO_ETHER in answer.message.lower():
            raise too_poor(trial, answer.message)
        try:
            before, results = EXECUTE.decode_result(bytes.fromhex(self._rpc.expect(answer)[2:]))
        except (DecodingError, ValueError):
            raise self._no_override(str(answer)) from None
        return list(before), [_Result(*result) for result in results]

    def _ether_of(self, sender: Address) -> Read:
        """The read behind those of the balances."""
        return Read(self._profile.contract("multicall3"), GET_ETH_BALANCE, (sender,))

    def _no_override(self, answer: str) -> Unavailable:
        return Unavailable(
            f"the node of chain {self._profile.chain_id} cannot simulate a batch",
            field="endpoints",
            value=self._profile.chain_id,
            limit="eth_simulateV1, or eth_call with a state override",
            actual=answer[:100],
            next_action="name an endpoint in the chain's profile that has one of the two",
        )


def _failure(trial: Trial, results: list[_Result], before: list[bytes]) -> SimulationFailed:
    """Say why the last of the results failed, before which the sender had the ether read last."""
    (wei,) = GET_ETH_BALANCE.decode_result(before[-1])
    failed = results[-1]
    # A call that cannot carry its value fails without a word.
    if not failed.returned and sum(call.value for call in trial.calls[: len(results)]) > wei:
        return too_poor(trial, f"{NO_ETHER}: it has {wei} wei")
    return reverting(trial.calls[len(results) - 1], None, "0x" + failed.returned.hex())


def _gas(data: bytes, used: int, *, first: bool) -> int:
    """Gas of the call as a transaction of its own: never less than it takes.

    The base cost and the calldata's are exact. What the code used is exact for the first call, but
    for refunds, which are not taken off. A later call finds warm what earlier ones have touched,
    and pays little for a slot that one of them has changed; sent on its own it pays the full price,
    for which it is allowed more. What a limit allows and is not used is not paid.
    """
    zeros = data.count(0)
    tokens = zeros + _NON_ZERO * (len(data) - zeros)
    if used and not first:
        used += _SLOT_SET_AGAIN + used // _REVISITED_DIVISOR
    floor = TRANSFER_GAS + _FLOOR_BYTE_GAS * tokens
    return max(TRANSFER_GAS + _BYTE_GAS * tokens + used, floor)


def _differences(earlier: dict[Asset, int], later: dict[Asset, int]) -> dict[Asset, int]:
    changes: dict[Asset, Any] = {asset: later[asset] - earlier[asset] for asset in earlier}
    return {asset: change for asset, change in changes.items() if change}
