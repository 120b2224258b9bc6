"""The signing activities: the policy decides, the journal has the last word, then bytes leave."""

import time
from collections.abc import Callable
from typing import Final

import structlog
from temporalio import activity

from activities.database import Pool
from activities.signing.accounts import NO_TERMS, Accounts, DealKey, Terms
from activities.signing.findings import Finding, Rule
from activities.signing.interface import (
    DealAccounts,
    FeeAccount,
    FundFromSafe,
    OpenAccount,
    SignBatch,
    SignedBatch,
    SigningActivities,
    WithheldBatch,
)
from activities.signing.journal import Journal, printable
from activities.signing.key_trouble import waiting_for_keys
from activities.signing.operations import Operations
from activities.signing.policy import (
    Accepted,
    is_no_op,
    no_account,
    review,
    review_age,
    review_withholding,
)
from activities.signing.providers.provider import FEE, TREASURY, KeyProvider, KeyRef
from activities.signing.records import DealRecord
from activities.signing.rules import SigningPolicy
from activities.signing.signatures import Signatures
from activities.signing.treasuries import Treasuries, Treasury
from domain.chains import ChainProfile
from domain.deals import TREASURY_STEPS, Step
from domain.errors import NotFound, SigningRefused, Unavailable
from domain.identifiers import ChainId
from domain.operations import OPERATION_STEPS
from domain.transactions import PreparedBatch, SignedTransaction

_log: Final = structlog.get_logger(__name__)

Review = Callable[[SignBatch, SigningPolicy, DealRecord, int], Finding | Accepted]
"""Holds an order to the policy: what does not hold, or that all of it may be signed."""


def _unix_time() -> int:
    return int(time.time())


class Signer(SigningActivities):
    """Signs what the policy allows, once; every decision is in the journal before it is known."""

    def __init__(
        self,
        policy: SigningPolicy,
        keys: KeyProvider,
        pool: Pool,
        clock: Callable[[], int] = _unix_time,
        *,
        review: Review = review,
    ) -> None:
        """Take the policy, the keys, and its own database.

        `clock` gives Unix seconds, against which deadlines are held; `review` holds an order to
        the policy.
        """
        self._policy = policy
        self._keys = keys
        self.accounts = Accounts(pool, keys)
        self._treasuries = Treasuries(pool)
        self._signatures = None if keys.deterministic else Signatures(pool)
        self._operations = Operations(pool)
        self._clock = clock
        self._review = review
        self.journal = Journal(pool, policy)

    @activity.defn
    async def open_account(self, order: OpenAccount) -> DealAccounts:
        """Return the deal's account, giving it a key of its own the first time.

        Raises `InvalidConfiguration` if the key store is not the one that the signer's records
        were made with, `Conflict` if it was opened with another fee cap, and `Unavailable`.
        """
        key = await self.accounts.open(
            order.deal_id, Terms(order.max_fee_per_gas_wei, order.chain_id)
        )
        return await self._known_accounts(key, await self._treasuries.find(order.deal_id))

    @activity.defn
    async def fund_from_safe(self, order: FundFromSafe) -> DealAccounts:
        """See `SigningActivities.fund_from_safe`.

        The Safe is the one that the chain's own profile names: nobody else is believed. Raises
        `NotFound` as well if the profile names none, and for a deal without an account.
        """
        key = await self.accounts.find(order.deal_id)
        if key is None:
            raise NotFound(
                "the deal has no account",
                field="deal_id",
                value=order.deal_id,
                next_action="open the deal's account first",
            )
        if order.chain_id not in self._policy.chains:
            raise NotFound(
                "the signing policy allows nothing on this chain",
                field="chain_id",
                value=order.chain_id,
                limit=", ".join(str(known) for known in sorted(self._policy.chains)),
                next_action="ask a risk manager whether the signing policy is to allow it",
            )
        profile = self._policy.chains[order.chain_id].profile
        safe = profile.contract(profile.multisig.safe)
        return await self._known_accounts(key, await self._treasuries.bind(order.deal_id, safe))

    @activity.defn
    async def fee_account(self) -> FeeAccount:
        """See `SigningActivities.fee_account`."""
        return FeeAccount(address=await self.accounts.fee())

    @activity.defn
    async def sign_batch(self, order: SignBatch) -> SignedBatch:
        """Sign the batch, or raise `SigningRefused` naming the rule; all of it or nothing.

        The same order gives the same bytes. Raises `Halted` for what would add risk that may not be
        added, and `Unavailable`, also while the keys cannot be used as the signer is set up; then
        nothing was signed for anybody.
        """
        with waiting_for_keys(str(order.batch.key)):
            return await self._signed(order)

    async def _signed(self, order: SignBatch) -> SignedBatch:
        batch = order.batch
        key = await self._key(batch)
        if key.retired:
            raise await self._refused(batch, _retired(batch))
        accounts = await self._accounts_for(batch, key)
        deal = DealRecord(accounts, key.terms.max_fee_per_gas, key.terms.chain_id)
        now = self._clock()
        reviewed = self._review(order, self._policy, deal, now)
        if isinstance(reviewed, Finding):
            raise await self._refused(batch, reviewed)
        profile = self._policy.chains[order.chain_id].profile
        finding = await self._review_age(batch, profile)
        if finding is None and reviewed.told is not None:
            finding = await self._operations.agree(batch, order.chain_id, reviewed.told, now)
        if finding is None:
            ref, legacy = _ref(batch, key, accounts), profile.fees.kind == "legacy"
            transactions = await self._sign(batch, ref, legacy=legacy)
            finding = await self.journal.record_signed(batch, transactions, reviewed)
            if finding is None:
                transactions = await self._kept(batch, transactions, legacy=legacy)
                return SignedBatch(transactions=transactions)
            if finding.rule is Rule.CHAIN_LATCHED:
                raise _latched(order.chain_id, finding)
            if finding.rule is Rule.POLICY_SUPERSEDED:
                raise _superseded(self._policy, finding)
        raise await self._refused(batch, finding)

    @activity.defn
    async def withhold_batch(self, batch: PreparedBatch) -> WithheldBatch:
        """Promise never to sign these intents from now on, and say for which it is too late.

        Those were signed before and can be signed again, with other fees as well. Raises
        `SigningRefused` for intents that are not the deal's, and `Unavailable`.
        """
        with waiting_for_keys(str(batch.key)):
            key = await self._key(batch)
            accounts = await self._accounts_for(batch, key)
        finding = review_withholding(batch, accounts)
        if finding is not None:
            raise await self._refused(batch, finding)
        return WithheldBatch(signed=await self.journal.withhold(batch))

    async def _review_age(self, batch: PreparedBatch, profile: ChainProfile) -> Finding | None:
        """Say that the batch is too old, unless it has no effect or was signed in time before."""
        finding = review_age(batch, profile, self._clock())
        if finding is None:
            return None
        signed = set(await self.journal.signed_before(batch))
        exempt = all(is_no_op(i) or i.intent_id in signed for i in batch.intents)
        return None if exempt else finding

    async def _key(self, batch: PreparedBatch) -> DealKey:
        if batch.key.step in OPERATION_STEPS:
            return DealKey(FEE, await self.accounts.fee(), NO_TERMS)
        key = await self.accounts.find(batch.key.deal_id)
        if key is None:
            raise await self._refused(batch, no_account(batch))
        return key

    async def _accounts_for(self, batch: PreparedBatch, key: DealKey) -> DealAccounts:
        """The deal's accounts; an operation has no other than the fee account."""
        if batch.key.step in OPERATION_STEPS:
            return DealAccounts(account=key.address, treasury=key.address, fee=key.address)
        return await self._deal_accounts(batch, key)

    async def _deal_accounts(self, batch: PreparedBatch, key: DealKey) -> DealAccounts:
        """The deal's accounts, its treasury being decided from now on."""
        own = Treasury(await self.accounts.treasury(), safe=False)
        decided = await self._treasuries.decide(batch.key.deal_id, own)
        return await self._known_accounts(key, decided)

    async def _known_accounts(self, key: DealKey, treasury: Treasury | None) -> DealAccounts:
        own = await self.accounts.treasury()
        return DealAccounts(
            account=key.address,
            treasury=own if treasury is None else treasury.address,
            fee=await self.accounts.fee(),
            hot_treasury=own if treasury is not None and treasury.safe else None,
        )

    async def _sign(
        self, batch: PreparedBatch, ref: KeyRef, *, legacy: bool
    ) -> tuple[SignedTransaction, ...]:
        """Sign in memory; the journal decides whether the result may leave."""
        if self._signatures is not None:
            before = await self._signatures.find(batch.intents, legacy=legacy)
            if before is not None:
                return before
        return await self._keys.sign(ref, batch.intents, legacy=legacy)

    async def _kept(
        self, batch: PreparedBatch, transactions: tuple[SignedTransaction, ...], *, legacy: bool
    ) -> tuple[SignedTransaction, ...]:
        """Those that leave the signer: the same for the same order, whoever was asked."""
        if self._signatures is None:
            return transactions
        return await self._signatures.keep(batch.intents, transactions, legacy=legacy)

    async def _refused(self, batch: PreparedBatch, finding: Finding) -> SigningRefused:
        # In the log also where the journal has enough of the deal's refusals.
        _log.warning(
            "refused",
            rule=finding.rule,
            batch=str(batch.key),
            reason=finding.text(),
            value=printable(str(finding.value)),
            limit=printable(str(finding.limit)),
            policy_version=self._policy.version,
            policy_digest=self._policy.digest,
        )
        await self.journal.record_refused(batch, finding)
        return finding.error()


def _retired(batch: PreparedBatch) -> Finding:
    return Finding(
        Rule.KEY_RETIRED,
        "the deal has ended, and its key is retired",
        value=batch.key.deal_id,
        limit="a deal whose key is in use",
        next_action="look with `deal keys list`; if funds came to its account after all, "
        "`deal keys reinstate`",
    )


def _superseded(policy: SigningPolicy, finding: Finding) -> Unavailable:
    """It is no refusal: a signer that has the newer policy may sign the same request."""
    return Unavailable(
        "this signer has an older signing policy than another one",
        field="policy_version",
        value=policy.version,
        limit=finding.actual,
        next_action="restart this signer with the policy that is in force",
    )


def _ref(batch: PreparedBatch, key: DealKey, accounts: DealAccounts) -> KeyRef:
    """The key of whoever sends this batch, as `DealAccounts.sender` has it."""
    step = batch.key.step
    if step not in TREASURY_STEPS:
        return key.ref
    return FEE if accounts.hot_treasury and step is Step.FUND else TREASURY


def _latched(chain_id: ChainId, finding: Finding) -> Unavailable:
    return Unavailable(
        f"nothing is signed on chain {chain_id}: it took back what it had called final",
        field="chain_id",
        value=chain_id,
        limit=finding.limit,
        next_action=f"look with `deal chain status {chain_id}`, then release it",
    )
