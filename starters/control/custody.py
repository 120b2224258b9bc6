"""The signer's keys as a caller may see and change them, by command line and API alike.

No key is ever in here: what is told are accounts, labels and states.
"""

from collections.abc import Awaitable, Callable

from pydantic import BaseModel, ConfigDict

from activities.custody.interface import (
    JournalVerified,
    KeyList,
    KeysRotated,
    KeyView,
    ListKeys,
    Rotation,
    VerifyJournal,
)
from domain.commands import CommandKind, NewCommand
from domain.errors import InvalidInput
from domain.identifiers import BankId, DealId
from domain.identity import Caller, Permission
from starters.control.commands import CommandStore
from starters.control.giving import Giving, heard
from starters.deals.failures import not_found
from starters.deals.reading import RecordsReader
from starters.keys.client import KeyClient
from workflows.deal.messages import CommandMessage

Clients = Callable[[], Awaitable[KeyClient]]
"""Connects to Temporal; raises `Unavailable`."""

_EVERYTHING = "keys"


class Rotated(BaseModel):
    """What a rotation has done, kept as the answer to its command."""

    model_config = ConfigDict(frozen=True)

    rotated: tuple[KeysRotated, ...]


class KeyDesk:
    """Keys for callers. Every method raises `Forbidden`, `Unavailable` and `OutcomeUnknown`."""

    def __init__(self, clients: Clients, records: RecordsReader, commands: CommandStore) -> None:
        """Ask the signer by these clients, know deals by their records, write commands there."""
        self._clients = clients
        self._records = records
        self._giving = Giving(clients, commands)

    async def page(self, caller: Caller, order: ListKeys) -> KeyList:
        """List keys; those of other banks' deals are left out, which makes a page shorter.

        Raises `NotFound` for a deal without a key, as for one of another bank.
        """
        caller.require(Permission.KEYS_READ)
        if order.deal_id is not None and caller.banks is not None:
            await self._bank(caller, Permission.KEYS_READ, order.deal_id)
        found = await (await self._clients()).page(order)
        if caller.banks is None:
            return found
        deals = [key.deal_id for key in found.keys if key.deal_id is not None]
        own = await self._records.of_banks(deals, caller.banks)
        kept = tuple(key for key in found.keys if key.deal_id is None or key.deal_id in own)
        return found.model_copy(update={"keys": kept})

    async def verify(self, caller: Caller, order: VerifyJournal) -> JournalVerified:
        """Recompute the signing journal."""
        caller.require(Permission.KEYS_READ)
        return await (await self._clients()).verify(order)

    async def rotate(
        self, caller: Caller, rotations: tuple[Rotation, ...], why: str, command_id: str
    ) -> tuple[KeysRotated, ...]:
        """Rotate the seed, the wrapping key, or both. Raises `InvalidInput` and `NotAllowed`."""
        caller.require(Permission.KEYS_ACT)
        chosen = tuple(each for each in Rotation if each in rotations)
        ensure_chosen(chosen)
        message = CommandMessage(who=caller.who, why=why, via=caller.via)
        command = NewCommand(
            command_id=command_id,
            kind=CommandKind.ROTATE_KEYS,
            subject=_EVERYTHING,
            body={"rotations": list(chosen)},
            why=message.why,
        )

        async def hand_over(client: KeyClient) -> Rotated:
            return Rotated(rotated=await client.rotate(chosen, message, command_id=command_id))

        done = heard(await self._giving.give(caller, command, hand_over, Rotated))
        return done.rotated

    async def retire(self, caller: Caller, deal_id: DealId, why: str, command_id: str) -> KeyView:
        """Retire the key of a deal that has ended and whose account is empty.

        Raises `NotFound`, also for another bank's deal, and `NotAllowed`.
        """
        return await self._change(caller, CommandKind.RETIRE_KEY, deal_id, why, command_id)

    async def reinstate(
        self, caller: Caller, deal_id: DealId, why: str, command_id: str
    ) -> KeyView:
        """Let a retired key sign again. Raises `NotFound`, also for another bank's deal."""
        return await self._change(caller, CommandKind.REINSTATE_KEY, deal_id, why, command_id)

    async def _change(
        self, caller: Caller, kind: CommandKind, deal_id: DealId, why: str, command_id: str
    ) -> KeyView:
        bank = await self._bank(caller, Permission.KEYS_ACT, deal_id)
        message = CommandMessage(who=caller.who, why=why, via=caller.via)
        command = NewCommand(
            command_id=command_id,
            kind=kind,
            subject=deal_id,
            deal_id=deal_id,
            bank=bank,
            body=message.model_dump(mode="json"),
            why=message.why,
        )

        async def hand_over(client: KeyClient) -> KeyView:
            act = client.retire if kind is CommandKind.RETIRE_KEY else client.reinstate
            return await act(deal_id, message, command_id=command_id)

        return heard(await self._giving.give(caller, command, hand_over, KeyView))

    async def _bank(self, caller: Caller, permission: Permission, deal_id: DealId) -> BankId:
        """The deal's bank, once the caller is allowed this for it."""
        caller.require(permission)
        found = await self._records.find(deal_id)
        if found is None or not caller.principal.has_bank(found.request.bank):
            raise not_found(deal_id)
        return found.request.bank


def ensure_chosen(rotations: tuple[Rotation, ...]) -> None:
    """Raise `InvalidInput` if nothing is to be rotated."""
    if not rotations:
        raise InvalidInput(
            "it is not said what to rotate",
            field="seed",
            limit="seed, wrapping, or both",
            next_action="choose seed for a new seed, wrapping for a new key over the seeds",
        )
