"""Transactions for callers: each sees and acts on those of his banks' deals."""

from activities.transactions.interface import Action, TransactionView
from domain.identity import Caller, Permission
from starters.control.desk import DealDesk
from starters.deals.transactions import IntentDetail, TransactionsReader, unknown_transaction


class TransactionDesk:
    """The engine's records, and what people have done to what is out. Raises `Unavailable`."""

    def __init__(self, desk: DealDesk, transactions: TransactionsReader) -> None:
        """Give commands by the deals' desk, and read those records."""
        self._desk = desk
        self._transactions = transactions

    async def find(
        self, caller: Caller, name: str, permission: Permission = Permission.TX_READ
    ) -> IntentDetail:
        """Return the intent of this id, or of which an attempt has this hash.

        Raises `Forbidden`, and `NotFound` for one of another bank's deal as for one that is not
        there; one that is no deal's is only for whoever has all banks.
        """
        caller.require(permission)
        intent = await self._transactions.find(name)
        if not caller.principal.all_banks and not caller.principal.has_bank(intent.bank or ""):
            raise unknown_transaction(name)
        return intent

    async def act(
        self, caller: Caller, name: str, action: Action, why: str, *, command_id: str
    ) -> TransactionView:
        """Have one transaction sent again, outbid, or cancelled by a no-op; see `DealDesk`."""
        intent = await self.find(caller, name, Permission.TX_ACT)
        return await self._desk.transact(caller, intent, action, why, command_id=command_id)
