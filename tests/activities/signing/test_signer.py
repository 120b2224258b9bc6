"""The signer's promises: the same bytes again, one body a nonce, nothing that is not recorded."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes
from prometheus_client import REGISTRY
from psycopg_pool import AsyncConnectionPool
from pydantic import SecretBytes
from temporalio.testing import ActivityEnvironment

from activities.database import Pool
from activities.protocols.aave import SUPPLY
from activities.protocols.erc20 import APPROVE
from activities.signing.interface import (
    DealAccounts,
    OpenAccount,
    SignBatch,
    SignedBatch,
    WithheldBatch,
)
from activities.signing.policies import put_in_force
from activities.signing.providers.local import LocalKeyProvider
from activities.signing.signer import Signer
from domain.deals import Step
from domain.errors import Conflict, InvalidConfiguration, SigningRefused, Unavailable
from domain.identifiers import ChainId, DealId
from tests.activities.signing.samples import (
    CHAIN,
    DEAL_STEPS,
    ETHER,
    HIGHER,
    POLICY,
    POOL,
    PROFILES,
    STRANGER,
    WETH,
    Batches,
    order_of,
    spoil,
    with_fees,
)

Owner = Callable[..., list[tuple[Any, ...]]]


def other_body(batches: Batches, *, attempt: int = 1) -> SignBatch:
    """At the nonces of collateralize: the same calls with another amount."""
    amount, account = 5 * ETHER, batches.accounts.account
    calls = [
        {"to": WETH, "data": APPROVE.encode(POOL, amount)},
        {"to": POOL, "data": SUPPLY.encode(WETH, amount, account, 0)},
    ]
    return order_of(batches.of(Step.COLLATERALIZE, calls, attempt=attempt))


async def refused(signing: Any) -> str:
    with pytest.raises(SigningRefused) as caught:
        await signing
    return str(caught.value.problem.field)


def decisions(as_owner: Owner) -> list[tuple[Any, ...]]:
    return as_owner("SELECT decision, intent_id, rule FROM signing.journal ORDER BY sequence")


async def test_a_deals_account_is_the_same_whenever_it_is_asked_for(
    signer: Signer, other_signer: Signer
) -> None:
    order = OpenAccount(deal_id=DealId("alpha"))
    first = await signer.open_account(order)
    assert await signer.open_account(order) == first
    assert await other_signer.open_account(order) == first
    assert first.account != first.treasury


@pytest.mark.parametrize(("first", "later"), [(7, 8), (7, None), (None, 7)])
async def test_an_account_is_not_opened_again_with_another_fee_cap(
    signer: Signer, other_signer: Signer, first: int | None, later: int | None
) -> None:
    order = OpenAccount(deal_id=DealId("alpha"), max_fee_per_gas_wei=first)
    opened = await signer.open_account(order)
    changed = order.model_copy(update={"max_fee_per_gas_wei": later})
    for who in (signer, other_signer):
        with pytest.raises(Conflict) as caught:
            await who.open_account(changed)
        problem = caught.value.problem
        assert problem.field == "max_fee_per_gas_wei"
        assert problem.limit == ("none" if first is None else str(first))
        assert await who.open_account(order) == opened


async def test_an_account_is_not_opened_again_for_another_chain(
    signer: Signer, other_signer: Signer
) -> None:
    order = OpenAccount(deal_id=DealId("alpha"), chain_id=ChainId(138))
    opened = await signer.open_account(order)
    for who in (signer, other_signer):
        for other in (ChainId(651940), None):
            with pytest.raises(Conflict) as caught:
                await who.open_account(order.model_copy(update={"chain_id": other}))
            assert (caught.value.problem.field, caught.value.problem.limit) == ("chain_id", "138")
        assert await who.open_account(order) == opened


async def test_fifty_deals_at_once_get_accounts_without_gaps(
    signer: Signer, other_signer: Signer, as_owner: Owner
) -> None:
    deals = [OpenAccount(deal_id=DealId(f"deal-{n}")) for n in range(25)]
    opened = await asyncio.gather(
        *(who.open_account(deal) for deal in deals for who in (signer, other_signer))
    )
    assert len({accounts.account for accounts in opened}) == len(deals)
    rows = as_owner(
        "SELECT key_index FROM signing.accounts WHERE purpose = 'deal' ORDER BY key_index"
    )
    assert [row[0] for row in rows] == list(range(len(deals)))


async def test_accounts_that_were_forgotten_are_found_again(
    signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.signing.accounts._REMEMBERED", 1)
    orders = [OpenAccount(deal_id=DealId(deal)) for deal in ("alpha", "beta", "alpha")]
    alpha, beta, again = [await signer.open_account(order) for order in orders]
    assert alpha == again
    assert alpha != beta


async def test_an_index_cannot_be_skipped(signer: Signer, pool: Pool) -> None:
    await signer.open_account(OpenAccount(deal_id=DealId("alpha")))
    statement = "INSERT INTO signing.accounts VALUES (%s, %s, %s)"
    async with pool.connection() as connection:
        with pytest.raises(psycopg.IntegrityError, match="next"):
            await connection.execute(statement, ("beta", 2, STRANGER))


async def test_another_keystore_is_not_taken_for_the_one_of_the_records(
    pool: Pool, accounts: DealAccounts
) -> None:
    foreign = LocalKeyProvider([SecretBytes(bytes(64))], "development")
    assert accounts
    with pytest.raises(InvalidConfiguration) as caught:
        await Signer(POLICY, foreign, pool).open_account(OpenAccount(deal_id=DealId("alpha")))
    assert caught.value.problem.limit == accounts.account


@pytest.mark.parametrize("change", ["sign_batch", "withhold_batch"])
async def test_what_is_under_way_waits_for_keys_that_are_set_up_wrongly(
    pool: Pool, batches: Batches, change: str
) -> None:
    """As with credentials that have ended: a person mends it, and then it goes on."""
    foreign = Signer(POLICY, LocalKeyProvider([SecretBytes(bytes(64))], "development"), pool)
    order = batches.order(Step.WRAP)
    counted = partial(REGISTRY.get_sample_value, "deal_signer_keys_unusable_total")
    before = counted({"field": "account"}) or 0.0
    with pytest.raises(Unavailable, match="the signer cannot use its keys") as caught:
        await getattr(foreign, change)(order if change == "sign_batch" else order.batch)
    problem = caught.value.problem
    assert caught.value.retryable
    assert problem.field == "account"
    assert problem.limit is not None
    assert "it is tried again by itself" in problem.next_action
    assert counted({"field": "account"}) == before + 1


@pytest.mark.parametrize("step", DEAL_STEPS)
async def test_every_step_is_signed_by_its_sender(
    signer: Signer, batches: Batches, step: Step
) -> None:
    order = batches.order(step)
    signed = await signer.sign_batch(order)
    for intent, transaction in zip(order.batch.intents, signed.transactions, strict=True):
        raw = HexBytes(transaction.raw)
        fields = TypedTransaction.from_bytes(raw).as_dict()
        assert Account.recover_transaction(raw) == intent.sender
        assert (fields["type"], fields["chainId"], fields["nonce"]) == (2, CHAIN, intent.nonce)
        assert (fields["value"], fields["gas"]) == (intent.value, intent.gas_limit)
        assert (HexBytes(fields["to"]), HexBytes(fields["data"])) == (
            HexBytes(intent.to),
            HexBytes(intent.data),
        )
        assert fields["maxFeePerGas"] == intent.fees.max_fee_per_gas
        assert transaction.intent_id == intent.intent_id
        assert transaction.fees == intent.fees


async def test_the_activities_run_as_temporal_runs_them(signer: Signer, batches: Batches) -> None:
    environment, order = ActivityEnvironment(), batches.order(Step.SWAP)
    opened = await environment.run(signer.open_account, OpenAccount(deal_id=batches.deal))
    signed = await environment.run(signer.sign_batch, order)
    withheld = await environment.run(signer.withhold_batch, order.batch)
    assert opened == batches.accounts
    assert SignedBatch.model_validate_json(signed.model_dump_json()) == signed
    assert withheld == WithheldBatch(signed=tuple(i.intent_id for i in order.batch.intents))


async def test_signing_again_gives_the_same_bytes_and_no_second_row(
    signer: Signer, other_signer: Signer, batches: Batches, as_owner: Owner
) -> None:
    order = batches.order(Step.SWAP)
    first = await signer.sign_batch(order)
    assert await signer.sign_batch(order) == first
    assert await other_signer.sign_batch(order) == first
    assert len(decisions(as_owner)) == len(order.batch.intents)


async def test_a_refusal_is_recorded_with_its_rule_and_intent(
    signer: Signer, batches: Batches, as_owner: Owner
) -> None:
    order = spoil(batches.order(Step.SWAP), 1, to=STRANGER)
    assert await refused(signer.sign_batch(order)) == "destination"
    assert await refused(signer.sign_batch(order)) == "destination"
    assert decisions(as_owner) == [("refused", "alpha/swap/1/1/1", "destination")]


async def test_a_batch_at_fault_as_a_whole_is_recorded_for_all_its_intents(
    signer: Signer, batches: Batches, as_owner: Owner
) -> None:
    order = batches.order(Step.REDEEM).model_copy(update={"digest": "0" * 64})
    assert await refused(signer.sign_batch(order)) == "digest"
    assert [row[1] for row in decisions(as_owner)] == ["alpha/redeem/1/1/0", "alpha/redeem/1/1/1"]


async def test_what_no_database_could_hold_is_refused_all_the_same(
    signer: Signer, batches: Batches, as_owner: Owner
) -> None:
    hostile = spoil(
        batches.order(Step.BORROW), 0, intent_id="\x00\ud800" * 300, chain_id=ChainId(2**300)
    )
    hostile = hostile.model_copy(update={"digest": "\x00"})
    assert await refused(signer.sign_batch(hostile)) == "digest"
    assert len(decisions(as_owner)) == 1


async def test_a_deal_without_account_is_refused(
    signer: Signer, batches: Batches, as_owner: Owner
) -> None:
    order = Batches(batches.accounts, DealId("beta")).order(Step.BORROW)
    assert await refused(signer.sign_batch(order)) == "account"
    assert decisions(as_owner) == [("refused", "beta/borrow/1/1/0", "account")]


async def test_one_deal_cannot_sign_for_another(signer: Signer, batches: Batches) -> None:
    await signer.open_account(OpenAccount(deal_id=DealId("beta")))
    order = Batches(batches.accounts, DealId("beta")).order(Step.BORROW)
    assert await refused(signer.sign_batch(order)) == "account"


async def test_a_second_body_at_a_nonce_is_refused(
    signer: Signer, batches: Batches, as_owner: Owner
) -> None:
    await signer.sign_batch(batches.order(Step.COLLATERALIZE))
    assert await refused(signer.sign_batch(other_body(batches, attempt=2))) == "nonce_taken"
    assert await refused(signer.sign_batch(other_body(batches))) == "nonce_taken"
    second = "alpha/collateralize/1/2/0"
    assert ("refused", second, "nonce_taken") in decisions(as_owner)


async def test_another_intent_with_the_same_body_at_a_nonce_is_refused(
    signer: Signer, batches: Batches
) -> None:
    await signer.sign_batch(batches.order(Step.BORROW))
    again = batches.order(Step.BORROW, attempt=2)
    assert await refused(signer.sign_batch(again)) == "nonce_taken"


async def test_an_intent_keeps_its_nonce(signer: Signer, batches: Batches) -> None:
    await signer.sign_batch(batches.order(Step.BORROW))
    moved = batches.order(Step.BORROW, first_nonce=5)
    assert await refused(signer.sign_batch(moved)) == "intent_moved"


async def test_a_refused_batch_leaves_none_of_its_intents_signed(
    signer: Signer, batches: Batches, as_owner: Owner
) -> None:
    await signer.sign_batch(batches.order(Step.BORROW, first_nonce=1))
    assert await refused(signer.sign_batch(batches.order(Step.COLLATERALIZE))) == "nonce_taken"
    signed = [row for row in decisions(as_owner) if row[0] == "signed"]
    assert signed == [("signed", "alpha/borrow/1/1/0", None)]


async def test_the_same_nonce_on_another_chain_or_account_is_free(
    signer: Signer, batches: Batches
) -> None:
    await signer.sign_batch(batches.order(Step.BORROW))
    await signer.sign_batch(batches.order(Step.FUND))
    accounts = await signer.open_account(OpenAccount(deal_id=DealId("beta")))
    await signer.sign_batch(Batches(accounts, DealId("beta")).order(Step.BORROW))


async def test_a_replacement_with_other_fees_is_signed(
    signer: Signer, batches: Batches, as_owner: Owner
) -> None:
    order = batches.order(Step.SWAP)
    first = await signer.sign_batch(order)
    second = await signer.sign_batch(with_fees(order, HIGHER))
    assert first.transactions != second.transactions
    marks = as_owner("SELECT replacement FROM signing.journal ORDER BY sequence")
    assert [row[0] for row in marks] == [False] * 3 + [True] * 3


async def test_a_sweep_keeps_its_nonce_while_its_value_follows_the_fee(
    signer: Signer, batches: Batches
) -> None:
    order = batches.order(Step.SWEEP)
    await signer.sign_batch(order)
    dearer = with_fees(order, HIGHER)
    assert dearer.batch.intents[1].value < order.batch.intents[1].value
    await signer.sign_batch(dearer)


async def test_a_no_op_may_fill_a_nonce_and_then_nothing_new_can(
    signer: Signer, batches: Batches
) -> None:
    order = batches.order(Step.BORROW)
    signed = await signer.sign_batch(order)
    filler = batches.no_op(Step.BORROW)
    await signer.sign_batch(filler)
    await signer.sign_batch(with_fees(filler, HIGHER))
    assert await refused(signer.sign_batch(with_fees(order, HIGHER))) == "nonce_filled"
    assert await signer.sign_batch(order) == signed


async def test_a_no_op_first_keeps_its_nonce_from_everything_else(
    signer: Signer, batches: Batches
) -> None:
    await signer.sign_batch(batches.no_op(Step.BORROW))
    assert await refused(signer.sign_batch(batches.order(Step.BORROW))) == "nonce_filled"


async def test_what_was_withheld_is_never_signed_but_its_nonce_is_free(
    signer: Signer, batches: Batches, as_owner: Owner
) -> None:
    order = batches.order(Step.SWAP)
    assert await signer.withhold_batch(order.batch) == WithheldBatch(signed=())
    assert await signer.withhold_batch(order.batch) == WithheldBatch(signed=())
    assert await refused(signer.sign_batch(order)) == "withheld"
    assert await refused(signer.sign_batch(with_fees(order, HIGHER))) == "withheld"
    await signer.sign_batch(batches.order(Step.SWAP, attempt=2))
    assert [row[0] for row in decisions(as_owner)].count("withheld") == len(order.batch.intents)


async def test_a_no_op_fills_the_nonce_of_what_was_withheld(
    signer: Signer, batches: Batches
) -> None:
    await signer.withhold_batch(batches.order(Step.BORROW).batch)
    await signer.sign_batch(batches.no_op(Step.BORROW))


async def test_what_was_signed_is_named_and_stays_signable(
    signer: Signer, batches: Batches
) -> None:
    order = batches.order(Step.SWAP)
    signed = await signer.sign_batch(order)
    withheld = await signer.withhold_batch(order.batch)
    assert withheld.signed == tuple(intent.intent_id for intent in order.batch.intents)
    assert await signer.sign_batch(order) == signed
    await signer.sign_batch(with_fees(order, HIGHER))


async def test_a_deal_cannot_withhold_what_is_anothers(
    signer: Signer, batches: Batches, as_owner: Owner
) -> None:
    foreign = spoil(batches.order(Step.BORROW), 0, sender=STRANGER).batch
    assert await refused(signer.withhold_batch(foreign)) == "sender"
    assert [row[0] for row in decisions(as_owner)] == ["refused"]


async def test_of_two_bodies_for_one_nonce_at_once_exactly_one_is_signed(
    signer: Signer, other_signer: Signer, accounts: DealAccounts, as_owner: Owner
) -> None:
    for number in range(20):
        deal = DealId(f"race-{number}")
        batches = Batches(await signer.open_account(OpenAccount(deal_id=deal)), deal)
        outcomes = await asyncio.gather(
            signer.sign_batch(batches.order(Step.COLLATERALIZE)),
            other_signer.sign_batch(other_body(batches, attempt=2)),
            return_exceptions=True,
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == [
            "SignedBatch",
            "SigningRefused",
        ]
    bodies = as_owner(
        "SELECT count(DISTINCT body_digest) FROM signing.journal WHERE decision = 'signed'"
        " GROUP BY chain_id, account, nonce"
    )
    assert accounts
    assert bodies
    assert {row[0] for row in bodies} == {1}


async def test_signing_and_withholding_at_once_never_both_succeed(
    signer: Signer, other_signer: Signer
) -> None:
    for number in range(20):
        deal = DealId(f"race-{number}")
        batches = Batches(await signer.open_account(OpenAccount(deal_id=deal)), deal)
        order = batches.order(Step.SWAP)
        ids = tuple(intent.intent_id for intent in order.batch.intents)
        signing, withheld = await asyncio.gather(
            signer.sign_batch(order),
            other_signer.withhold_batch(order.batch),
            return_exceptions=True,
        )
        assert isinstance(withheld, WithheldBatch)
        assert withheld.signed == (ids if isinstance(signing, SignedBatch) else ())


async def test_many_signers_at_once_make_one_chain(
    signer: Signer, other_signer: Signer, as_owner: Owner
) -> None:
    orders = []
    for number in range(20):
        deal = DealId(f"deal-{number}")
        batches = Batches(await signer.open_account(OpenAccount(deal_id=deal)), deal)
        orders.append(batches.order(Step.SWAP))
    await asyncio.gather(*(who.sign_batch(o) for o in orders for who in (signer, other_signer)))
    check = await signer.journal.verify()
    assert check.broken is None
    assert check.rows == 60
    assert as_owner("SELECT max(sequence) FROM signing.journal") == [(60,)]


@pytest.mark.parametrize("table", ["journal", "accounts"])
@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET address = ''", "DELETE FROM {}", "TRUNCATE {}"]
)
async def test_the_signer_can_only_add(
    signer: Signer, batches: Batches, pool: Pool, table: str, statement: str
) -> None:
    await signer.sign_batch(batches.order(Step.BORROW))
    column = "account" if table == "journal" else "address"
    text = statement.format(f"signing.{table}").replace("address", column)
    async with pool.connection() as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(text.encode())


@pytest.mark.parametrize("table", ["journal", "accounts", "key_events", "signatures"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "TRUNCATE {}"])
async def test_even_the_owner_cannot_take_away(database: Any, table: str, statement: str) -> None:
    with (
        psycopg.connect(database.owner) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"),
    ):
        connection.execute(statement.format(f"signing.{table}").encode())


@pytest.mark.parametrize("role", ["deal_engine", "deal_records", "deal_reader"])
@pytest.mark.parametrize("table", ["journal", "accounts", "key_events", "signatures"])
async def test_no_other_role_sees_anything(database: Any, role: str, table: str) -> None:
    with (
        psycopg.connect(database.role(role)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(f"SELECT FROM signing.{table}".encode())


async def test_the_chain_is_not_the_writers_to_choose(
    signer: Signer, batches: Batches, pool: Pool, as_owner: Owner
) -> None:
    await signer.sign_batch(batches.order(Step.BORROW))
    forged = """
        INSERT INTO signing.journal SELECT (jsonb_populate_record(j, jsonb_build_object(
            'sequence', 77, 'nonce', 8, 'decision', 'withheld', 'transaction_hash', NULL,
            'decided_at', '2000-01-01', 'hash', repeat('0', 64), 'previous_hash', repeat('1', 64),
            'replacement', true, 'content_digest', repeat('2', 64), 'intent_id', 'x'))).*
        FROM signing.journal AS j
    """
    async with pool.connection() as connection:
        await connection.execute(forged)
    rows = as_owner("SELECT sequence, replacement FROM signing.journal ORDER BY sequence")
    assert rows == [(1, False), (2, False)]
    assert (await signer.journal.verify()).broken is None


async def test_a_second_body_slipped_past_the_trigger_hits_the_index(
    signer: Signer, batches: Batches, as_owner: Owner
) -> None:
    await signer.sign_batch(batches.order(Step.BORROW))
    slipped = """
        INSERT INTO signing.journal SELECT (jsonb_populate_record(j, jsonb_build_object(
            'sequence', 2, 'hash', repeat('0', 64), 'previous_hash', repeat('1', 64),
            'content_digest', repeat('2', 64), 'intent_id', 'x',
            'transaction_hash', '0x' || repeat('3', 64)))).*
        FROM signing.journal AS j
    """
    with pytest.raises(psycopg.errors.UniqueViolation, match="one_body_per_nonce"):
        as_owner(slipped)


async def test_nothing_is_signed_while_the_database_is_away(
    keys: LocalKeyProvider, batches: Batches
) -> None:
    pool = AsyncConnectionPool[psycopg.AsyncConnection[Any]](
        "host=/nonexistent dbname=x", min_size=0, max_size=1, timeout=0.2, open=False
    )
    await pool.open()
    try:
        signer = Signer(POLICY, keys, pool)
        with pytest.raises(Unavailable):
            await signer.sign_batch(batches.order(Step.SWAP))
        with pytest.raises(Unavailable):
            await signer.open_account(OpenAccount(deal_id=batches.deal))
    finally:
        await pool.close()


async def test_a_pool_without_autocommit_only_costs_round_trips(
    keys: LocalKeyProvider, database: Any, as_owner: Owner
) -> None:
    async with AsyncConnectionPool[psycopg.AsyncConnection[Any]](
        database.role("deal_signer"), min_size=1, open=False
    ) as pool:
        await put_in_force(pool, POLICY)
        signer = Signer(POLICY, keys, pool)
        accounts = await signer.open_account(OpenAccount(deal_id=DealId("alpha")))
        await signer.sign_batch(Batches(accounts).order(Step.BORROW))
    assert len(decisions(as_owner)) == 1


class TestShelfLife:
    """What was simulated long ago is not signed: what it was simulated on may have moved."""

    LIMIT = PROFILES[CHAIN].shelf_life_seconds

    async def at(self, signer: Signer, order: SignBatch, seconds: int) -> SignedBatch:
        """Sign so many seconds after the batch was prepared."""
        signer._clock = lambda: order.batch.prepared_at + seconds
        return await signer.sign_batch(order)

    async def test_a_batch_is_signed_to_the_end_of_its_shelf_life(
        self, signer: Signer, batches: Batches
    ) -> None:
        assert self.LIMIT == 30
        await self.at(signer, batches.order(Step.SWAP), self.LIMIT)

    @pytest.mark.parametrize("seconds", [LIMIT + 1, -LIMIT - 1])
    async def test_after_that_it_is_refused_and_recorded(
        self, signer: Signer, batches: Batches, as_owner: Owner, seconds: int
    ) -> None:
        order = batches.order(Step.WRAP)
        with pytest.raises(SigningRefused) as caught:
            await self.at(signer, order, seconds)
        problem = caught.value.problem
        assert (problem.field, problem.actual) == ("stale", f"{seconds} seconds")
        assert problem.next_action.startswith("prepare the batch again")
        intent_id = order.batch.intents[0].intent_id
        assert decisions(as_owner) == [("refused", intent_id, "stale")]
        # It can still be promised away, which is how its nonce is given back.
        assert (await signer.withhold_batch(order.batch)).signed == ()

    async def test_one_that_does_not_say_when_it_was_prepared_is_refused(
        self, signer: Signer, batches: Batches
    ) -> None:
        timeless = batches.order(Step.WRAP).batch.model_copy(update={"prepared_at": 0})
        assert await refused(signer.sign_batch(order_of(timeless))) == "stale"

    async def test_what_was_signed_in_time_is_signed_again_and_at_other_fees(
        self, signer: Signer, batches: Batches
    ) -> None:
        order = batches.order(Step.SWAP)
        first = await self.at(signer, order, 1)
        assert await self.at(signer, order, 10_000) == first
        higher = await self.at(signer, with_fees(order, HIGHER), 10_000)
        assert higher.transactions[0].fees == HIGHER

    async def test_another_body_is_no_replacement_of_what_was_signed(
        self, signer: Signer, batches: Batches
    ) -> None:
        await self.at(signer, batches.order(Step.COLLATERALIZE), 1)
        assert await refused(self.at(signer, other_body(batches), 10_000)) == "stale"

    async def test_no_ops_are_signed_however_old_they_are(
        self, signer: Signer, batches: Batches
    ) -> None:
        await self.at(signer, batches.no_op(), 10_000)
