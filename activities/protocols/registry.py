"""The desk's registry on chain: may money be put at risk with the treasury and contracts we know?

It changes by the timelock only, so what it says may be remembered for a block. The way out is never
asked: a destination that was forbidden still has to give back what it holds.
"""

import time
from typing import Final

from activities.protocols import multicall, timelock
from activities.protocols.abi import address_of
from activities.protocols.multicall import Read
from activities.protocols.reader import ChainReader
from activities.transactions.interface import PrepareBatch
from domain.chains import ModuleProfile
from domain.deals import Step
from domain.errors import NotAllowed
from domain.identifiers import Address, ModuleId

AT_RISK: Final = frozenset(
    {Step.FUND, Step.RUN, Step.WRAP, Step.COLLATERALIZE, Step.BORROW, Step.SWAP}
)
"""The steps that put money at risk."""

_NEXT: Final = (
    "compare the profile with the registry: see `deal operation list` for what changed it"
)


class Registry:
    """Holds the profile's contracts against the registry of one chain."""

    def __init__(self, reader: ChainReader) -> None:
        """Take the chain's reader."""
        self._reader = reader
        self._profile = reader.profile
        self._known: dict[ModuleId, tuple[float, Address, frozenset[str]]] = {}

    async def check(self, order: PrepareBatch) -> None:
        """Raise `NotAllowed` unless the registry agrees with what the order would use.

        That is every contract that the module's deals call, and the Safe where it is the treasury.
        """
        if order.key.step not in AT_RISK:
            return
        module = order.request.module
        treasury, allowed = await self._registered(module)
        for name in _destinations(self._profile.module(module)):
            if name not in allowed:
                raise NotAllowed(
                    f"the desk's registry does not allow deals to call {name}",
                    field=f"registry.allowed.{name}",
                    value=self._profile.contract(name),
                    limit="a destination that the registry allows",
                    next_action=_NEXT,
                )
        if order.approval is not None and order.approval.transaction.safe != treasury:
            raise NotAllowed(
                "the deal's treasury is not the desk's by the registry",
                field="registry.treasury",
                value=order.approval.transaction.safe,
                limit=treasury,
                next_action=_NEXT,
            )

    async def _registered(self, module: ModuleId) -> tuple[Address, frozenset[str]]:
        """The treasury, and the names of the module's contracts that may be called."""
        now = time.monotonic()
        known = self._known.get(module)
        if known is not None and now < known[0]:
            return known[1:]
        registry = self._profile.contract(self._profile.timelock.registry)
        names = _destinations(self._profile.module(module))
        contracts = [self._profile.contract(name) for name in names]
        reads = [
            Read(registry, timelock.TREASURY),
            *(Read(registry, timelock.ALLOWED, (contract,)) for contract in contracts),
        ]
        (answer,) = await self._reader.rpc.batch([self._reader.read_call(reads)])
        (treasury,), *answers = multicall.decode_reads(reads, self._reader.rpc.expect(answer))
        allowed = frozenset(
            name for name, (is_allowed,) in zip(names, answers, strict=True) if is_allowed
        )
        until = now + self._profile.block_time_seconds
        self._known[module] = (until, address_of(treasury), allowed)
        return self._known[module][1:]


def _destinations(module: ModuleProfile) -> tuple[str, ...]:
    """What deals of a module call, by the names of the address manifest."""
    own = (module.collateral, module.redemption, module.par_token, module.discount_token)
    return ("aave_pool", "uniswap_router", *own)
