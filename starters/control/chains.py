"""Releasing a chain for callers: allowed, written down, done, answered."""

from collections.abc import Collection

from temporalio.client import Client

from activities.transactions.interface import ChainReleased, ReleaseChain
from domain.commands import CommandKind, NewCommand
from domain.errors import NotFound
from domain.identifiers import ChainId
from domain.identity import ALL_BANKS, Caller, Permission
from starters.control.giving import Giving, heard
from starters.deals.releasing import release_chain


class ChainDesk:
    """What callers may do for chains. Raises the domain's errors only."""

    def __init__(self, giving: Giving[Client], configured: Collection[int]) -> None:
        """Give commands by this, for the chains of these ids: those that there are profiles of."""
        self._giving = giving
        self._configured = configured

    def check(self, caller: Caller, chain_id: int) -> ChainId:
        """Return the chain's id if the caller may release it, which concerns every bank.

        Raises `Forbidden`, and `NotFound` for a chain that is not configured.
        """
        caller.require(Permission.CHAIN_RELEASE, ALL_BANKS)
        if chain_id not in self._configured:
            raise NotFound(
                f"chain {chain_id} is not configured",
                field="chain",
                value=chain_id,
                limit=", ".join(map(str, sorted(self._configured))) or "none",
                next_action="choose one of the chains of `deal config check`",
            )
        return ChainId(chain_id)

    async def release(
        self, caller: Caller, chain_id: int, why: str, *, command_id: str
    ) -> ChainReleased:
        """Let a latched chain be signed for again; says so if it was not latched.

        Refused while Temporal is away: it lets new risk be taken, so it does not wait for anybody.
        Raises `Conflict` for a command id that was used for another one, and `OutcomeUnknown`.
        """
        released = self.check(caller, chain_id)
        order = ReleaseChain(chain_id=released, who=caller.who, why=why)
        command = NewCommand(
            command_id=command_id,
            kind=CommandKind.RELEASE_CHAIN,
            subject=str(chain_id),
            body=order.model_dump(mode="json"),
            why=why,
        )

        async def hand_over(client: Client) -> ChainReleased:
            return await release_chain(client, order)

        return heard(await self._giving.give(caller, command, hand_over, ChainReleased))
