"""Acting on transactions for callers: each on those of his banks' deals."""

from activities.transactions.interface import Action, TransactionView
from domain.identity import Caller, Permission
from starters.control.desk import DealDesk
from starters.deals.transactions import TransactionsReader


class TransactionDesk:
    """What people have done to transactions that are out. Raises `Unavailable`."""

    def __init__(self, desk: DealDesk, transactions: TransactionsReader) -> None:
        """Give commands by the deals' desk, and read the engine's records."""
        self._desk = desk
        self._transactions = transactions

    async def act(
        self, caller: Caller, name: str, action: Action, why: str, *, command_id: str
    ) -> TransactionView:
        """Have one transaction sent again, outbid, or cancelled by a no-op; see `DealDesk`."""
        intent = await self._transactions.find_for(caller, name, Permission.TX_ACT)
        return await self._desk.transact(caller, intent, action, why, command_id=command_id)
