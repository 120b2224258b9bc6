"""The journal's chain: every change to it is found, and located; rows of before still verify."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from activities.signing.findings import Rule
from activities.signing.interface import DealAccounts
from activities.signing.journal import Journal
from activities.signing.policies import put_in_force
from activities.signing.policy import Accepted
from activities.signing.signer import Signer
from activities.signing.verification import GENESIS, verify_journal
from domain.deals import Step
from domain.errors import SigningRefused
from domain.transactions import SignedTransaction
from starters import database as schema
from tests.activities.signing.conftest import signer_pool
from tests.activities.signing.samples import HIGHER, POLICY, STRANGER, Batches, spoil, with_fees
from tests.support.postgres import Database, Postgres

Owner = Callable[..., list[tuple[Any, ...]]]


async def journalled(signer: Signer, batches: Batches) -> None:
    """Three signed rows, one refused, three replacements, one withheld."""
    order = batches.order(Step.SWAP)
    await signer.sign_batch(order)
    with pytest.raises(SigningRefused):
        await signer.sign_batch(spoil(batches.order(Step.BORROW), 0, to=STRANGER))
    await signer.sign_batch(with_fees(order, HIGHER))
    await signer.withhold_batch(batches.batch(Step.BORROW, first_nonce=9, attempt=2))


ROWS = 8
TAMPERING = "UPDATE signing.journal SET {} = {} WHERE sequence = %s"
CHANGED = {
    "sequence": "sequence + 100",
    "decided_at": "decided_at + interval '1 microsecond'",
    "decision": "CASE decision WHEN 'withheld' THEN 'refused' ELSE 'withheld' END",
    "batch": "batch || 'x'",
    "intent_id": "intent_id || 'x'",
    "chain_id": "chain_id + 1",
    "account": "lower(account)",
    "nonce": "nonce + 1000",
    "body_digest": "repeat('0', 64)",
    "no_op": "NOT no_op",
    "replacement": "NOT replacement",
    "max_fee_per_gas": "max_fee_per_gas + 1",
    "max_priority_fee_per_gas": "max_priority_fee_per_gas + 1",
    "transaction_hash": "'0x' || repeat(sequence::text, 64)",
    "rule": "coalesce(rule, '') || 'x'",
    "reason": "coalesce(reason, '') || 'x'",
    "content_digest": "md5(content_digest) || md5(hash)",
    "previous_hash": "md5(previous_hash) || md5(hash)",
    "hash": "md5(hash) || md5(previous_hash)",
    "hash_version": "1",
    "policy_version": "policy_version + 1",
    "policy_digest": "repeat('0', 64)",
    "usd8": "usd8 + 1",
    "rated": "NOT rated",
    "total_signatures": "total_signatures - 1",
    "total_usd8": "total_usd8 - 1",
    "deal_signatures": "deal_signatures - 1",
    "deal_usd8": "deal_usd8 - 1",
    "deal_refusals": "deal_refusals + 1",
    "unknown_refusals": "unknown_refusals + 1",
}
"""A change to each column of a row."""


@pytest.fixture
def unchecked(as_owner: Owner) -> Iterator[Owner]:
    """Who tampers with the files of the database is not held up by constraints either."""
    constraints = as_owner(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'signing.journal'::regclass AND contype = 'c'"
    )
    for name, _ in constraints:
        as_owner(f'ALTER TABLE signing.journal DROP CONSTRAINT "{name}"')
    yield as_owner
    as_owner("TRUNCATE signing.journal")
    for name, definition in constraints:
        as_owner(f'ALTER TABLE signing.journal ADD CONSTRAINT "{name}" {definition}')


def test_every_column_is_tampered_with(as_owner: Owner) -> None:
    columns = as_owner(
        "SELECT column_name FROM information_schema.columns"
        " WHERE (table_schema, table_name) = ('signing', 'journal')"
    )
    assert {name for (name,) in columns} == CHANGED.keys()


async def test_an_empty_journal_is_whole(signer: Signer) -> None:
    check = await signer.journal.verify()
    assert (check.rows, check.head, check.broken) == (0, GENESIS, None)
    assert (await signer.journal.verify(GENESIS)).broken is None


@pytest.mark.parametrize("row", [1, 4, ROWS])
@pytest.mark.parametrize("column", CHANGED)
async def test_a_changed_column_is_found_in_its_row(
    signer: Signer, batches: Batches, unchecked: Owner, column: str, row: int
) -> None:
    await journalled(signer, batches)
    whole = await signer.journal.verify()
    assert (whole.rows, whole.broken, whole.problem) == (ROWS, None, None)
    unchecked(TAMPERING.format(column, CHANGED[column]), row)
    check = await signer.journal.verify()
    assert (check.rows, check.broken) == (row - 1, row)
    assert check.problem


@pytest.mark.parametrize("row", range(1, ROWS))
async def test_a_row_taken_out_of_the_middle_is_found(
    signer: Signer, batches: Batches, as_owner: Owner, row: int
) -> None:
    await journalled(signer, batches)
    as_owner("DELETE FROM signing.journal WHERE sequence = %s", row)
    check = await signer.journal.verify()
    assert (check.rows, check.broken) == (row - 1, row)
    # Also if those after it are moved up.
    as_owner("UPDATE signing.journal SET sequence = sequence + 999 WHERE sequence > %s", row)
    as_owner("UPDATE signing.journal SET sequence = sequence - 1000 WHERE sequence > 999")
    moved = await signer.journal.verify()
    assert (moved.rows, moved.broken) == (row - 1, row)


@pytest.mark.parametrize("kept", range(ROWS))
async def test_a_journal_cut_short_lacks_the_head_that_was_kept(
    signer: Signer, batches: Batches, as_owner: Owner, kept: int
) -> None:
    await journalled(signer, batches)
    whole = await signer.journal.verify()
    as_owner("DELETE FROM signing.journal WHERE sequence > %s", kept)
    cut = await signer.journal.verify()
    assert (cut.rows, cut.broken) == (kept, None)
    held = await signer.journal.verify(whole.head)
    assert (held.rows, held.broken) == (kept, kept + 1)
    assert held.problem == "the head that was kept is not in the journal"


async def test_a_head_that_was_kept_is_found_when_more_has_followed(
    signer: Signer, batches: Batches
) -> None:
    await signer.sign_batch(batches.order(Step.COLLATERALIZE))
    kept = (await signer.journal.verify()).head
    await signer.sign_batch(batches.order(Step.BORROW, first_nonce=2))
    check = await signer.journal.verify(kept)
    assert (check.rows, check.broken) == (3, None)
    assert check.head != kept


async def test_a_chain_written_anew_lacks_the_head_that_was_kept(
    signer: Signer, batches: Batches, as_owner: Owner
) -> None:
    await signer.sign_batch(batches.order(Step.BORROW))
    kept = (await signer.journal.verify()).head
    as_owner("TRUNCATE signing.journal")
    await signer.sign_batch(batches.order(Step.BORROW, first_nonce=1, attempt=2))
    assert (await signer.journal.verify()).broken is None
    assert (await signer.journal.verify(kept)).broken == 2


async def test_a_long_journal_is_read_in_pages(
    signer: Signer, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.signing.verification._PAGE", 2)
    await signer.sign_batch(batches.order(Step.SETTLE))
    assert (await signer.journal.verify()).rows == 5


# -- rows of before ----------------------------------------------------------------------------

_OLD_INSERT = """
INSERT INTO signing.journal (decision, batch, intent_id, chain_id, account, nonce, body_digest,
    no_op, max_fee_per_gas, max_priority_fee_per_gas, transaction_hash, rule, reason)
VALUES ('signed', 'old/borrow/1/1', %s, 138, %s, %s, repeat('a', 64), false, 5, 1,
    '0x' || %s, NULL, NULL),
    ('refused', 'old/borrow/1/1', %s, 138, %s, %s, repeat('b', 64), false, 5, 1,
    NULL, 'destination', 'no')
"""


@pytest.fixture
def upgraded(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accounts: DealAccounts
) -> Database:
    """A database whose journal was begun before there were policies, brought up to date."""
    every = sorted(schema.MIGRATIONS.glob("*.sql"))
    for file in every:
        if file.name < "0009":
            shutil.copy(file, tmp_path)
    database = postgres.empty()
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", tmp_path)
        schema.migrate(database.owner)
    with psycopg.connect(database.role("deal_signer")) as connection:
        for number in range(3):
            intent, sender = f"old/borrow/1/1/{number}", accounts.account
            connection.execute(
                _OLD_INSERT,
                (intent, sender, number, f"{number}" * 64, intent, sender, number),
            )
    schema.migrate(database.owner)
    return database


async def test_rows_of_before_verify_and_new_ones_follow_them(
    upgraded: Database, accounts: DealAccounts
) -> None:
    batches = Batches(accounts)
    async with signer_pool(upgraded.role("deal_signer")) as pool:
        old = await verify_journal(pool)
        assert (old.rows, old.broken) == (6, None)
        await put_in_force(pool, POLICY)
        journal = Journal(pool, POLICY)
        batch = batches.batch(Step.BORROW, first_nonce=50)
        signed = SignedTransaction(
            intent_id=batch.intents[0].intent_id,
            transaction_hash="0x" + "f" * 64,
            raw="0x",
            fees=batch.intents[0].fees,
        )
        accepted = Accepted(usd8=(7,), rated=(True,))
        assert await journal.record_signed(batch, [signed], accepted) is None
        both = await verify_journal(pool, old.head)
        assert (both.rows, both.broken) == (7, None)
        # The rules of the journal hold for what was signed before.
        again = batches.batch(Step.BORROW, first_nonce=1, attempt=2)
        finding = await journal.record_signed(again, [signed], accepted)
        assert finding is not None
        assert finding.rule is Rule.NONCE_TAKEN


@pytest.mark.parametrize(
    ("tampering", "row"),
    [
        ("UPDATE signing.journal SET nonce = 77 WHERE sequence = 3", 3),
        ("UPDATE signing.journal SET usd8 = 1 WHERE sequence = 2", 2),
        ("DELETE FROM signing.journal WHERE sequence = 5", 5),
    ],
)
async def test_so_are_changes_to_rows_of_before(
    upgraded: Database, tampering: str, row: int
) -> None:
    with psycopg.connect(upgraded.owner) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(tampering.encode())
    async with signer_pool(upgraded.role("deal_signer")) as pool:
        assert (await verify_journal(pool)).broken == row
