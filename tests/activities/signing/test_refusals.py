"""Every rule refuses in the signer itself: nothing is signed, and the journal says why."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from activities.database import Pool
from activities.signing.findings import Rule
from activities.signing.interface import DealAccounts, FundFromSafe, OpenAccount, SignBatch
from activities.signing.policies import put_in_force
from activities.signing.providers.local import LocalKeyProvider
from activities.signing.rules import SigningPolicy
from activities.signing.signer import Signer
from domain.deals import Step
from domain.errors import SigningRefused, Unavailable
from domain.identifiers import DealId
from tests.activities.signing.refusals import (
    ACCOUNTS,
    BATCHES,
    NOW,
    REFUSALS,
    SAFE_ACCOUNTS,
    Refusal,
)
from tests.activities.signing.samples import (
    CHAIN,
    DEAL,
    DEAL_STEPS,
    HIGHER,
    POLICY,
    STRANGER,
    Batches,
    order_of,
    spoil,
    with_fees,
    with_rates,
)
from tests.activities.signing.timelocks import TIMELOCK_RULES
from workers.runtime.settings import PROJECT_ROOT

Owner = Callable[..., list[tuple[Any, ...]]]
NOT_REFUSALS: Final = {Rule.CHAIN_LATCHED, Rule.POLICY_SUPERSEDED}
"""The same request may be signed later, or by another signer: it is `Unavailable`, and no row."""


@dataclass(frozen=True)
class Rig:
    """A signer of its own policy, and the database behind it."""

    signer: Signer
    as_owner: Owner

    async def sign(self, order: SignBatch) -> None:
        """Sign what the refused request is compared with; its fields but one are the same."""
        await self.signer.sign_batch(order)


Arranged = Callable[[Rig], Awaitable[SignBatch]]


async def _nonce_taken(rig: Rig) -> SignBatch:
    order = BATCHES.order(Step.BORROW)
    await rig.sign(order)
    return spoil(order, 0, gas_limit=order.batch.intents[0].gas_limit + 1)


async def _nonce_filled(rig: Rig) -> SignBatch:
    await rig.sign(BATCHES.no_op(Step.BORROW))
    return BATCHES.order(Step.BORROW)


async def _intent_moved(rig: Rig) -> SignBatch:
    order = BATCHES.order(Step.BORROW)
    await rig.sign(order)
    return spoil(order, 0, nonce=5)


async def _withheld(rig: Rig) -> SignBatch:
    order = BATCHES.order(Step.BORROW)
    await rig.signer.withhold_batch(order.batch)
    return order


async def _stale(rig: Rig) -> SignBatch:
    limit = POLICY.chains[CHAIN].profile.shelf_life_seconds
    batch = BATCHES.batch(Step.BORROW)
    assert rig
    return order_of(batch.model_copy(update={"prepared_at": int(time.time()) - limit - 1}))


async def _journal(rig: Rig) -> SignBatch:
    """A constraint of the database that the signer knows nothing of has the last word, too."""
    rig.as_owner(
        "ALTER TABLE signing.journal ADD CONSTRAINT unlucky"
        " CHECK (decision <> 'signed' OR nonce <> 13)"
    )
    return spoil(BATCHES.order(Step.BORROW), 0, nonce=13)


async def _key_retired(rig: Rig) -> SignBatch:
    rig.as_owner(
        "INSERT INTO signing.key_events (event_id, kind, address, provider, who, why)"
        " VALUES ('e', 'retired', %s, 'local', 'ann', 'swept')",
        ACCOUNTS.account,
    )
    return BATCHES.order(Step.BORROW)


async def _rated(rig: Rig) -> SignBatch:
    """As much as the rate allows, and once more."""
    await rig.sign(BATCHES.order(Step.BORROW))
    return BATCHES.order(Step.BORROW, attempt=2, first_nonce=1)


_USD: Final = "4_200"  # what the sample borrows, at the policy's price
ARRANGED: Final[dict[Rule, tuple[Arranged, SigningPolicy]]] = {
    Rule.NONCE_TAKEN: (_nonce_taken, POLICY),
    Rule.NONCE_FILLED: (_nonce_filled, POLICY),
    Rule.INTENT_MOVED: (_intent_moved, POLICY),
    Rule.WITHHELD: (_withheld, POLICY),
    Rule.STALE: (_stale, POLICY),
    Rule.JOURNAL: (_journal, POLICY),
    Rule.KEY_RETIRED: (_key_retired, POLICY),
    Rule.RATE_DEAL_USD: (_rated, with_rates(deal_usd=_USD)),
    Rule.RATE_HOUR_USD: (_rated, with_rates(hour_usd=_USD)),
}
"""What the journal decides, with what has to be signed before."""


def test_no_rule_is_without_a_refusal() -> None:
    counted = {Rule.RATE_DEAL_SIGNATURES, Rule.RATE_HOUR_SIGNATURES}  # below, with a whole run
    tested = {each.rule for each in REFUSALS} | ARRANGED.keys() | NOT_REFUSALS | counted
    assert tested | TIMELOCK_RULES == set(Rule)


@pytest.mark.parametrize("rule", Rule)
@pytest.mark.parametrize("page", ["guides/signing-policy.md", "runbooks/signing.md"])
def test_no_rule_is_without_an_explanation(rule: Rule, page: str) -> None:
    assert f"`{rule}`" in (PROJECT_ROOT / Path("docs") / page).read_text()


@pytest.fixture
def rig(keys: LocalKeyProvider, pool: Pool, as_owner: Owner) -> Callable[..., Awaitable[Rig]]:
    """Makes a rig whose deal is open."""

    async def make(policy: SigningPolicy, fee_cap: int | None = None, *, safe: bool = False) -> Rig:
        as_owner("TRUNCATE signing.policies")
        await put_in_force(pool, policy)
        signer = Signer(policy, keys, pool)
        opened = await signer.open_account(
            OpenAccount(deal_id=DealId(DEAL), max_fee_per_gas_wei=fee_cap, chain_id=CHAIN)
        )
        assert opened.model_copy(update={"fee": None}) == ACCOUNTS
        if safe:
            order = FundFromSafe(deal_id=DealId(DEAL), chain_id=CHAIN)
            assert await signer.fund_from_safe(order) == SAFE_ACCOUNTS
        return Rig(signer, as_owner)

    return make


async def held(rig: Rig, order: SignBatch, rule: Rule) -> None:
    """Hold that the order is refused by this rule, signs nothing, and leaves the reason."""
    before = rig.as_owner("SELECT count(*) FROM signing.journal WHERE decision = 'signed'")
    with pytest.raises(SigningRefused) as caught:
        await rig.signer.sign_batch(order)
    problem = caught.value.problem
    assert problem.field == rule
    assert problem.limit
    assert problem.next_action
    rows = rig.as_owner(
        "SELECT decision, rule, policy_version, policy_digest FROM signing.journal"
        " ORDER BY sequence DESC LIMIT 1"
    )
    policy = rig.signer.journal.policy
    recorded = [("refused", rule, policy.version, policy.digest)]
    assert rows == (recorded if order.batch.intents else [])
    after = rig.as_owner("SELECT count(*) FROM signing.journal WHERE decision = 'signed'")
    assert before == after


@pytest.mark.parametrize(
    "refusal", REFUSALS, ids=[f"{each.rule}-{i}" for i, each in enumerate(REFUSALS)]
)
async def test_a_changed_field_gets_no_signature(
    rig: Callable[..., Awaitable[Rig]], refusal: Refusal
) -> None:
    arranged = await rig(refusal.policy, refusal.fee_cap, safe=refusal.safe)
    arranged.signer._clock = lambda: NOW
    await held(arranged, refusal.order(), refusal.rule)


@pytest.mark.parametrize("rule", ARRANGED)
async def test_what_the_journal_forbids_gets_no_signature(
    rig: Callable[..., Awaitable[Rig]], rule: Rule, as_owner: Owner
) -> None:
    arrange, policy = ARRANGED[rule]
    arranged = await rig(policy)
    try:
        await held(arranged, await arrange(arranged), rule)
    finally:
        as_owner("ALTER TABLE signing.journal DROP CONSTRAINT IF EXISTS unlucky")


# -- attacks -----------------------------------------------------------------------------------


@pytest.fixture
async def victim(signer: Signer, accounts: DealAccounts) -> Batches:
    """Another deal, with an account of its own."""
    assert accounts
    deal = DealId("victim")
    return Batches(await signer.open_account(OpenAccount(deal_id=deal)), deal)


async def refusal_of(signer: Signer, order: SignBatch) -> str:
    with pytest.raises(SigningRefused) as caught:
        await signer.sign_batch(order)
    return str(caught.value.problem.field)


@pytest.mark.parametrize("step", DEAL_STEPS)
async def test_a_request_of_another_deal_replayed_gets_the_same_bytes_and_no_others(
    signer: Signer, other_signer: Signer, victim: Batches, as_owner: Owner, step: Step
) -> None:
    """Who has stolen a request can only have what its deal was given: it is idempotent."""
    order = victim.order(step)
    first = await signer.sign_batch(order)
    assert await other_signer.sign_batch(order) == first
    rows = as_owner("SELECT count(*) FROM signing.journal WHERE decision = 'signed'")
    assert rows == [(len(order.batch.intents),)]


@pytest.mark.parametrize("step", DEAL_STEPS)
async def test_a_request_of_another_deal_under_ones_own_name_is_refused(
    signer: Signer, batches: Batches, victim: Batches, step: Step
) -> None:
    """A stolen worker renames the batch, its intents and all, and recomputes the digest."""
    stolen = victim.order(step).batch
    key = stolen.key.model_copy(update={"deal_id": batches.deal})
    intents = tuple(
        intent.model_copy(update={"intent_id": f"{key}/{number}"})
        for number, intent in enumerate(stolen.intents)
    )
    renamed = stolen.model_copy(update={"key": key, "intents": intents})
    assert await refusal_of(signer, order_of(renamed)) == Rule.ACCOUNT
    # With the account put right as well, the transactions are another deal's or pay it.
    own = renamed.model_copy(update={"account": batches.accounts.account})
    assert await refusal_of(signer, order_of(own)) in {
        Rule.SENDER,
        Rule.DESTINATION,
        Rule.RECIPIENT,
    }


@pytest.mark.parametrize(
    "step", [step for step in DEAL_STEPS if step not in {Step.FUND, Step.TOP_UP}]
)
async def test_a_stolen_worker_cannot_name_another_deals_account(
    signer: Signer, batches: Batches, victim: Batches, step: Step
) -> None:
    """The sender alone: everything else is as it would be signed."""
    order = batches.order(step)
    assert await refusal_of(signer, spoil(order, 0, sender=victim.accounts.account)) == Rule.SENDER
    await signer.sign_batch(order)


async def test_a_deals_fee_cap_is_the_one_that_it_was_opened_with(
    rig: Callable[..., Awaitable[Rig]],
) -> None:
    low = HIGHER.max_fee_per_gas - 1
    capped = await rig(POLICY, low)
    order = BATCHES.order(Step.BORROW)
    await capped.signer.sign_batch(order)
    assert await refusal_of(capped.signer, with_fees(order, HIGHER)) == Rule.DEAL_MAX_FEE_PER_GAS
    # A no-op frees a nonce that holds up all that follow, at the chain's own cap.
    await capped.signer.sign_batch(with_fees(BATCHES.no_op(Step.BORROW), HIGHER))


async def test_a_stranger_is_no_recipient_even_of_nothing(signer: Signer, batches: Batches) -> None:
    order = spoil(batches.no_op(), 0, to=STRANGER)
    assert await refusal_of(signer, order) == Rule.DESTINATION


async def test_a_signer_whose_policy_is_no_longer_in_force_signs_nothing_new(
    signer: Signer, batches: Batches, pool: Pool, keys: LocalKeyProvider, as_owner: Owner
) -> None:
    signed_before = batches.order(Step.COLLATERALIZE)
    first = await signer.sign_batch(signed_before)
    newer = with_rates(deal_signatures=400)
    await put_in_force(pool, newer)
    order = batches.order(Step.BORROW, first_nonce=2)
    with pytest.raises(Unavailable) as caught:
        await signer.sign_batch(order)
    assert caught.value.retryable
    assert caught.value.problem.limit == f"version {newer.version} is in force"
    # What has left is given out again, and another signer signs what this one does not.
    assert await signer.sign_batch(signed_before) == first
    await Signer(newer, keys, pool).sign_batch(order)
    rows = as_owner("SELECT DISTINCT policy_version, decision FROM signing.journal ORDER BY 1")
    assert rows == [(POLICY.version, "signed"), (newer.version, "signed")]
