"""The custody activities: records first, then the key store."""

from temporalio import activity

from activities.custody.interface import (
    CustodyActivities,
    JournalVerified,
    KeyList,
    KeysRotated,
    KeyView,
    ListKeys,
    RetireAccount,
    RotateKeys,
    Rotation,
    VerifyJournal,
)
from activities.custody.records import REINSTATED, RETIRED, KeyEvent, KeyRecords
from activities.database import Pool
from activities.signing.accounts import Accounts, DealKey
from activities.signing.journal import Journal
from activities.signing.providers.provider import KeyProvider
from domain.errors import NotFound


class Custody(CustodyActivities):
    """Retires, rotates and lists; the same accounts as the signer's, so that it knows at once."""

    def __init__(self, keys: KeyProvider, accounts: Accounts, journal: Journal, pool: Pool) -> None:
        """Use this key store, and the signer's accounts, journal and database."""
        self._keys = keys
        self._accounts = accounts
        self._journal = journal
        self._records = KeyRecords(pool)

    @activity.defn
    async def retire_account(self, order: RetireAccount) -> KeyView:
        """Have nothing signed for the deal any more, and return its key.

        The records refuse it from here on; the key store, where it can, does so as well. Raises
        `NotFound` for a deal without a key, `InvalidConfiguration` and `Unavailable`.
        """
        key = await self._change(order, RETIRED)
        await self._keys.retire(key.ref)
        return await self._view(order)

    @activity.defn
    async def reinstate_account(self, order: RetireAccount) -> KeyView:
        """Let a retired key sign again, and return it. Raises as `retire_account` does."""
        key = await self._change(order, REINSTATED)
        await self._keys.reinstate(key.ref)
        return await self._view(order)

    @activity.defn
    async def list_keys(self, order: ListKeys) -> KeyList:
        """List keys from the records. Raises `NotFound` for a deal without a key."""
        generation = await self._keys.generation()
        if order.deal_id is not None:
            key = await self._records.of_deal(order.deal_id)
            if key is None:
                raise _no_key(order.deal_id)
            return KeyList(provider=self._keys.name, generation=generation, keys=(key,))
        keys, before = await self._records.page(order)
        return KeyList(
            provider=self._keys.name, generation=generation, keys=keys, next_before=before
        )

    @activity.defn
    async def rotate_keys(self, order: RotateKeys) -> KeysRotated:
        """Rotate the seed or the wrapping key, and record it.

        Raises `NotAllowed` where the key store has none to rotate, and `Unavailable`.
        """
        generation = await self._keys.generation()
        # A newer one than was asked from was begun by this very request, or in its place.
        newer = order.rotation is Rotation.SEED and generation > order.after
        if not newer and not await self._records.has_event(order.request_id):
            generation = await self._rotated(order.rotation, generation)
        await self._records.add(
            KeyEvent(
                event_id=order.request_id,
                kind=f"{order.rotation}_rotated",
                provider=self._keys.name,
                who=order.who,
                why=order.why,
                generation=generation if order.rotation is Rotation.SEED else None,
            )
        )
        return KeysRotated(rotation=order.rotation, provider=self._keys.name, generation=generation)

    @activity.defn
    async def verify_journal(self, order: VerifyJournal) -> JournalVerified:
        """Recompute the journal's hash chain. Raises `Unavailable`."""
        check = await self._journal.verify()
        found = None
        if order.head is not None:
            found = await self._records.has_journal_hash(order.head)
        return JournalVerified(
            rows=check.rows, head=check.head, broken=check.broken, head_found=found
        )

    async def _change(self, order: RetireAccount, kind: str) -> DealKey:
        key = await self._accounts.find(order.deal_id)
        if key is None:
            raise _no_key(order.deal_id)
        await self._records.add(
            KeyEvent(
                event_id=f"{kind}/{order.request_id}",
                kind=kind,
                provider=self._keys.name,
                who=order.who,
                why=order.why,
                address=key.address,
            )
        )
        self._accounts.forget(order.deal_id)
        return key

    async def _rotated(self, rotation: Rotation, generation: int) -> int:
        if rotation is Rotation.SEED:
            return await self._keys.rotate_seed()
        await self._keys.rotate_wrapping()
        return generation

    async def _view(self, order: RetireAccount) -> KeyView:
        view = await self._records.of_deal(order.deal_id)
        assert view is not None  # noqa: S101 - rows are never taken away
        return view


def _no_key(deal_id: str) -> NotFound:
    return NotFound(
        "the signer has no key of this deal",
        field="deal_id",
        value=deal_id,
        limit="a deal that was given an account",
        next_action="list the keys with `deal keys list`",
    )
