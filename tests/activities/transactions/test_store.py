"""What the engine's memory promises, whatever the code above it does."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from activities.transactions.store import Pool, TransactionStore
from domain.deals import Step
from domain.errors import Conflict, NotAllowed
from domain.identifiers import ChainId, DealId
from domain.transactions import INTENT_TRANSITIONS, IntentState, PreparedBatch
from tests.activities.transactions.samples import (
    FEES,
    HIGHER,
    OTHER_SENDER,
    SENDER,
    batch_of,
    hash_of,
    included,
    signed,
)
from tests.support.postgres import Database

TABLES = ("accounts", "batches", "intents", "attempts", "intent_transitions")
Rows = list[tuple[Any, ...]]
Execute = Callable[..., Rows]


@pytest.fixture
def store(engine_pool: Pool) -> TransactionStore:
    return TransactionStore(engine_pool)


@pytest.fixture
def as_engine(engine_database: Database) -> Execute:
    return _executing(engine_database.role("deal_engine"))


@pytest.fixture
def as_owner(engine_database: Database) -> Execute:
    return _executing(engine_database.owner)


def _executing(url: str) -> Execute:
    def execute(statement: str, *parameters: object) -> Rows:
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    return execute


def states(execute: Execute, batch: PreparedBatch) -> list[str]:
    rows = execute(
        "SELECT state FROM transactions.intents WHERE batch_key = %s ORDER BY intent_id",
        str(batch.key),
    )
    return [row[0] for row in rows]


def nonces(batches: Iterable[PreparedBatch]) -> list[int]:
    return [intent.nonce for batch in batches for intent in batch.intents]


CLEARED_LATCH = """
INSERT INTO signing.latches (chain_id, problem, cleared_at, cleared_by, cleared_why)
VALUES (%s, '{}', 'infinity', 'ann', 'looked')
"""


class TestStates:
    def test_the_database_has_the_domains_table_of_transitions(self, as_owner: Execute) -> None:
        rows = as_owner("SELECT before, after FROM transactions.intent_transitions")
        table = {
            (str(before), str(a)) for before, after in INTENT_TRANSITIONS.items() for a in after
        }
        assert set(rows) == table
        assert len(rows) == len(table)

    async def test_what_is_final_goes_out_again_only_after_a_latch_was_cleared(
        self, store: TransactionStore, engine_database: Database
    ) -> None:
        await store.add_batch(batch_of(1), mined_nonce=0)
        chain = batch_of(1).intents[0].chain_id
        with psycopg.connect(engine_database.owner) as owner:
            owner.execute("SET session_replication_role = replica")
            owner.execute("UPDATE transactions.intents SET state='FINALIZED', block_hash = '0xaa'")
        with psycopg.connect(engine_database.role("deal_engine"), autocommit=True) as engine:
            move = "UPDATE transactions.intents SET state = 'BROADCAST'"
            engine.execute(
                "INSERT INTO signing.latches (chain_id, problem) VALUES (%s, '{}')", (chain,)
            )
            with pytest.raises(psycopg.errors.CheckViolation, match="no latch of its chain"):
                engine.execute(move)
            engine.execute(
                "UPDATE signing.latches SET cleared_at = now(), cleared_by = 'ann',"
                " cleared_why = 'looked'"
            )
            assert engine.execute(move).rowcount == 1

    async def test_it_refuses_every_other_transition(
        self, store: TransactionStore, engine_database: Database
    ) -> None:
        await store.add_batch(batch_of(1), mined_nonce=0)
        with psycopg.connect(engine_database.role("deal_engine"), autocommit=True) as engine:
            engine.execute(CLEARED_LATCH, (batch_of(1).intents[0].chain_id,))
            for before in IntentState:
                for after in IntentState:
                    # Past the guards, as if it had come there step by step.
                    with psycopg.connect(engine_database.owner) as owner:
                        owner.execute("SET session_replication_role = replica")
                        owner.execute(
                            "UPDATE transactions.intents SET state = %s, block_hash = '0xaa'",
                            (before,),
                        )
                    allowed = after in INTENT_TRANSITIONS[before] or after is before
                    move = "UPDATE transactions.intents SET state = %s"
                    if allowed:
                        assert engine.execute(move, (after,)).rowcount == 1
                    else:
                        with pytest.raises(psycopg.errors.CheckViolation, match="cannot go from"):
                            engine.execute(move, (after,))

    @pytest.mark.parametrize(
        ("state", "block_hash"),
        [
            *(("", "0xaa"), ("DONE", "0xaa"), ("prepared", "0xaa")),
            *(("INCLUDED", None), ("REVERTED", None), ("FINALIZED", None)),
        ],
    )
    async def test_there_are_no_other_states_and_what_was_mined_has_a_block(
        self,
        store: TransactionStore,
        engine_database: Database,
        state: str,
        block_hash: str | None,
    ) -> None:
        await store.add_batch(batch_of(1), mined_nonce=0)
        change = "UPDATE transactions.intents SET state = %s, block_hash = %s"
        with psycopg.connect(engine_database.owner) as owner:
            owner.execute("SET session_replication_role = replica")
            with pytest.raises(psycopg.errors.CheckViolation):
                owner.execute(change, (state, block_hash))

    @pytest.mark.parametrize(
        "change",
        [
            "intent_id = 'beta/0'",
            "chain_id = 1",
            f"sender = '{OTHER_SENDER}'",
            "nonce = nonce + 1",
            "body_digest = 'other'",
        ],
    )
    async def test_an_intent_stays_what_it_is(
        self, store: TransactionStore, as_engine: Execute, as_owner: Execute, change: str
    ) -> None:
        await store.add_batch(batch_of(1), mined_nonce=0)
        statement = f"UPDATE transactions.intents SET {change}"  # noqa: S608 - as above
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_engine(statement)
        with pytest.raises(psycopg.errors.CheckViolation, match="cannot change what it is"):
            as_owner(statement)

    async def test_every_change_counts_the_version_up(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        batch = await store.add_batch(batch_of(1), mined_nonce=0)
        versions = []
        for change in (
            lambda: store.save_attempts(batch, signed(batch)),
            lambda: store.include(included(batch)),
        ):
            await change()
            ((version,),) = as_owner("SELECT version FROM transactions.intents")
            versions.append(version)
        assert versions == [3, 4]


class TestRights:
    def rights(self, as_owner: Execute, role: str, table: str) -> set[str]:
        kinds = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
        asked = "SELECT has_table_privilege(%s, %s, %s)"
        return {
            kind for kind in kinds if as_owner(asked, role, f"transactions.{table}", kind)[0][0]
        }

    def test_the_engine_never_deletes_and_never_changes_what_was_signed(
        self, as_owner: Execute
    ) -> None:
        rights = {table: self.rights(as_owner, "deal_engine", table) for table in TABLES}
        assert rights == {
            "accounts": {"SELECT", "INSERT"},
            "batches": {"SELECT", "INSERT"},
            "intents": {"SELECT", "INSERT"},
            "attempts": {"SELECT", "INSERT"},
            "intent_transitions": {"SELECT"},
        }

    def test_the_engine_changes_where_an_intent_stands_and_nothing_else(
        self, as_owner: Execute
    ) -> None:
        rows = as_owner(
            "SELECT table_name, column_name FROM information_schema.column_privileges"
            " WHERE grantee = 'deal_engine' AND privilege_type = 'UPDATE'"
            " AND table_name IN ('accounts', 'batches', 'intents', 'attempts')"
        )
        standing = (
            "state block_number block_hash mined_hash succeeded gas_used effective_gas_price_wei"
        )
        assert set(rows) == {("intents", column) for column in standing.split()} | {
            ("accounts", "next_nonce"),
            ("accounts", "updated_at"),
        }

    @pytest.mark.parametrize(
        ("role", "allowed"),
        [("deal_reader", {"SELECT"}), ("deal_records", set()), ("deal_signer", set())],
    )
    def test_others_read_at_most(self, as_owner: Execute, role: str, allowed: set[str]) -> None:
        for table in TABLES:
            assert self.rights(as_owner, role, table) == allowed, table

    @pytest.mark.parametrize("table", TABLES)
    def test_deleting_is_refused(self, as_engine: Execute, table: str) -> None:
        for statement in ("DELETE FROM {}", "TRUNCATE {}"):
            text = statement.format(f"transactions.{table}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                as_engine(text)

    async def test_signed_bytes_are_never_changed(
        self, store: TransactionStore, as_engine: Execute
    ) -> None:
        batch = await store.add_batch(batch_of(), mined_nonce=0)
        await store.save_attempts(batch, signed(batch))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_engine("UPDATE transactions.attempts SET raw = ''")

    def test_a_reader_writes_nothing(self, engine_database: Database) -> None:
        with psycopg.connect(engine_database.role("deal_reader"), autocommit=True) as reader:
            for table in TABLES:
                name = sql.Identifier("transactions", table)
                reader.execute(sql.SQL("SELECT * FROM {}").format(name))
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    reader.execute(sql.SQL("INSERT INTO {} DEFAULT VALUES").format(name))


class TestNonces:
    async def test_a_batch_gets_consecutive_nonces_from_the_mined_one_on(
        self, store: TransactionStore
    ) -> None:
        batch = await store.add_batch(batch_of(3), mined_nonce=41)
        assert nonces([batch]) == [41, 42, 43]

    async def test_the_next_batch_follows_even_if_nothing_was_mined(
        self, store: TransactionStore
    ) -> None:
        await store.add_batch(batch_of(3), mined_nonce=5)
        batch = await store.add_batch(batch_of(2, attempt=2), mined_nonce=5)
        assert nonces([batch]) == [8, 9]

    async def test_nonces_that_somebody_else_used_are_left_out(
        self, store: TransactionStore
    ) -> None:
        await store.add_batch(batch_of(3), mined_nonce=5)
        batch = await store.add_batch(batch_of(1, attempt=2), mined_nonce=20)
        assert nonces([batch]) == [20]

    async def test_a_lagging_node_gives_no_nonce_twice(self, store: TransactionStore) -> None:
        await store.add_batch(batch_of(3), mined_nonce=20)
        batch = await store.add_batch(batch_of(1, attempt=2), mined_nonce=0)
        assert nonces([batch]) == [23]

    async def test_accounts_and_chains_count_for_themselves(self, store: TransactionStore) -> None:
        await store.add_batch(batch_of(3), mined_nonce=0)
        other = await store.add_batch(batch_of(1, deal="b", sender=OTHER_SENDER), mined_nonce=0)
        chain = await store.add_batch(
            batch_of(1, deal="c", chain_id=ChainId(651940)), mined_nonce=0
        )
        assert nonces([other, chain]) == [0, 0]

    async def test_the_same_key_is_the_same_batch(self, store: TransactionStore) -> None:
        first = await store.add_batch(batch_of(2), mined_nonce=0)
        again = await store.add_batch(batch_of(3, purpose="Do something else"), mined_nonce=9)
        assert again == first
        following = await store.add_batch(batch_of(1, attempt=2), mined_nonce=0)
        assert nonces([following]) == [2]

    async def test_the_same_key_at_once_is_the_same_batch(self, store: TransactionStore) -> None:
        batches = await asyncio.gather(
            *(store.add_batch(batch_of(2), mined_nonce=0) for _ in range(20))
        )
        assert len({batch.digest() for batch in batches}) == 1
        following = await store.add_batch(batch_of(1, attempt=2), mined_nonce=0)
        assert nonces([following]) == [2]

    async def test_many_at_once_get_every_nonce_once_and_none_is_lost(
        self, store: TransactionStore
    ) -> None:
        orders = [batch_of(1 + number % 3, deal=f"deal-{number}") for number in range(30)]
        batches = await asyncio.gather(*(store.add_batch(o, mined_nonce=7) for o in orders))
        taken = nonces(batches)
        assert sorted(taken) == list(range(7, 7 + len(taken)))
        for batch in batches:
            assert nonces([batch]) == list(
                range(batch.intents[0].nonce, batch.intents[-1].nonce + 1)
            )

    async def test_two_intents_never_share_a_nonce_whatever_the_counter_says(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        await store.add_batch(batch_of(2), mined_nonce=0)
        as_owner("UPDATE transactions.accounts SET next_nonce = 1")
        with pytest.raises(psycopg.errors.UniqueViolation, match="one_intent_a_nonce"):
            await store.add_batch(batch_of(1, attempt=2), mined_nonce=0)
        assert await store.batch(batch_of(1, attempt=2).key) is None
        assert as_owner("SELECT next_nonce FROM transactions.accounts") == [(1,)]

    async def test_a_batch_comes_back_as_it_was_stored(self, store: TransactionStore) -> None:
        stored = await store.add_batch(batch_of(2), mined_nonce=3)
        assert await store.batch(stored.key) == stored
        assert stored.intents[0].value == 2**256 - 1
        assert await store.batch(batch_of(attempt=2).key) is None

    async def test_an_intents_row_says_what_the_intent_is(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        batch = await store.add_batch(batch_of(1), mined_nonce=3)
        (intent,) = batch.intents
        assert as_owner(
            "SELECT intent_id, batch_key, deal_id, chain_id, sender, nonce, to_address, value_wei,"
            " data, gas_limit, purpose, body_digest, state FROM transactions.intents"
        ) == [
            (
                *("alpha/swap/1/1/0", "alpha/swap/1/1", "alpha", 138, SENDER, 3, OTHER_SENDER),
                *(2**256 - 1, b"\x00\xff", 100_000, "Do it", intent.body_digest(), "PREPARED"),
            )
        ]


class TestAttempts:
    async def test_what_was_signed_is_saved_and_counts_as_sent_from_then_on(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        batch = await store.add_batch(batch_of(2), mined_nonce=0)
        attempts, sent_before = await store.save_attempts(batch, signed(batch))
        assert not sent_before
        assert [
            (each.intent_id, each.transaction_hash, each.raw, each.fees) for each in attempts
        ] == [(s.intent_id, s.transaction_hash, s.raw, s.fees) for s in signed(batch)]
        assert states(as_owner, batch) == ["BROADCAST", "BROADCAST"]
        again, sent_before = await store.save_attempts(batch, signed(batch))
        assert sent_before
        assert again == attempts

    async def test_replacements_come_after_what_they_replace(self, store: TransactionStore) -> None:
        batch = await store.add_batch(batch_of(2), mined_nonce=0)
        await store.save_attempts(batch, signed(batch))
        attempts, sent_before = await store.save_attempts(batch, signed(batch, HIGHER))
        assert sent_before
        assert [(attempt.intent_id[-1], attempt.fees) for attempt in attempts] == [
            ("0", FEES),
            ("0", HIGHER),
            ("1", FEES),
            ("1", HIGHER),
        ]

    async def test_there_is_one_attempt_at_the_same_fees(self, store: TransactionStore) -> None:
        batch = await store.add_batch(batch_of(1), mined_nonce=0)
        first, _ = await store.save_attempts(batch, signed(batch))
        # Other bytes at the same fees could only be another transaction: what was saved stands.
        again, _ = await store.save_attempts(batch, signed(batch, salt=1))
        assert again == first

    async def test_saving_again_takes_nothing_back(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        batch = await store.add_batch(batch_of(1), mined_nonce=0)
        await store.save_attempts(batch, signed(batch))
        await store.include(included(batch))
        await store.save_attempts(batch, signed(batch))
        assert states(as_owner, batch) == ["INCLUDED"]

    async def test_what_was_sent_for_a_nonce_is_what_was_mined_or_else_the_newest(
        self, store: TransactionStore
    ) -> None:
        batch = await store.add_batch(batch_of(3), mined_nonce=4)
        await store.save_attempts(batch, signed(batch))
        await store.save_attempts(batch, signed(batch, HIGHER))
        await store.include(included(batch)[:1])
        found = await store.sent(ChainId(138), SENDER, 4, 6)
        assert [(attempt.intent_id[-1], attempt.fees) for attempt in found] == [
            ("0", FEES),
            ("1", HIGHER),
        ]
        assert await store.sent(ChainId(138), OTHER_SENDER, 0, 10) == []
        assert await store.sent(ChainId(651940), SENDER, 0, 10) == []


class TestOutcomes:
    async def sent(self, store: TransactionStore, **options: Any) -> PreparedBatch:
        batch = await store.add_batch(batch_of(2, **options), mined_nonce=0)
        await store.save_attempts(batch, signed(batch))
        return batch

    async def test_an_unknown_outcome_is_noted_and_resolved(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        batch = await self.sent(store)
        (unknown,) = await store.mark_unknown([batch.intents[0].intent_id], head=7)
        assert (unknown.intent_id, unknown.head) == (batch.intents[0].intent_id, 7)
        assert states(as_owner, batch) == ["UNKNOWN", "BROADCAST"]
        (again,) = await store.mark_unknown([batch.intents[0].intent_id], head=9)
        assert again.head == 7
        assert again.seconds > unknown.seconds
        await store.include(included(batch))
        assert states(as_owner, batch) == ["INCLUDED", "INCLUDED"]
        assert await store.mark_unknown([batch.intents[0].intent_id], head=9) == []
        assert states(as_owner, batch) == ["INCLUDED", "INCLUDED"]

    async def test_a_nonce_that_somebody_else_has_used_is_noted(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        batch = await self.sent(store)
        ids = [intent.intent_id for intent in batch.intents]
        await store.mark_used_elsewhere(ids)
        assert await store.used_elsewhere(ids) == set()
        await store.mark_unknown(ids[:1], head=7)
        await store.mark_used_elsewhere(ids)
        assert states(as_owner, batch) == ["REPLACED", "BROADCAST"]
        assert await store.used_elsewhere(ids) == {ids[0]}

    async def test_a_receipt_in_another_block_takes_the_place_of_the_first(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        batch = await self.sent(store)
        await store.include(included(batch))
        moved = [
            i.model_copy(update={"block_number": 11, "block_hash": "0x" + "bb" * 32})
            for i in included(batch, succeeded=False)
        ]
        await store.include(moved)
        rows = as_owner(
            "SELECT block_number, block_hash, state, succeeded FROM transactions.intents"
        )
        assert rows == [(11, "0x" + "bb" * 32, "REVERTED", False)] * 2

    async def test_receipts_are_recorded_and_may_be_again(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        batch = await self.sent(store)
        for _ in range(2):
            await store.include(included(batch))
        assert as_owner(
            "SELECT mined_hash, block_number, block_hash, gas_used, effective_gas_price_wei, state"
            " FROM transactions.intents ORDER BY intent_id"
        ) == [
            (hash_of(intent), 9, "0x" + "aa" * 32, 50_000, 2**100, "INCLUDED")
            for intent in batch.intents
        ]

    async def test_what_reverted_is_recorded_as_such(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        batch = await self.sent(store)
        await store.include(included(batch, succeeded=False))
        assert states(as_owner, batch) == ["REVERTED", "REVERTED"]

    async def test_how_far_a_deal_was_seen_mined(self, store: TransactionStore) -> None:
        first = await self.sent(store)
        await self.sent(store, attempt=2)
        assert await store.reached(DealId("alpha")) == {}
        await store.include(included(first))
        assert await store.reached(DealId("alpha")) == {SENDER: 1}


class TestGivingUp:
    async def test_the_last_nonces_go_back_and_are_given_again(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        await store.add_batch(batch_of(1), mined_nonce=0)
        batch = await store.add_batch(batch_of(2, attempt=2), mined_nonce=0)
        assert await store.abandon(batch, batch.no_ops()) is None
        assert states(as_owner, batch) == ["ABANDONED", "ABANDONED"]
        following = await store.add_batch(batch_of(1, attempt=3), mined_nonce=0)
        assert nonces([following]) == [1]

    async def test_nonces_that_others_follow_are_filled_with_no_ops(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        batch = await store.add_batch(batch_of(2), mined_nonce=5)
        await store.add_batch(batch_of(1, deal="beta"), mined_nonce=0)
        fill = await store.abandon(batch, batch.no_ops())
        assert fill is not None
        assert nonces([fill]) == [5, 6]
        assert states(as_owner, batch) == ["ABANDONED", "ABANDONED"]
        assert states(as_owner, fill) == ["PREPARED", "PREPARED"]
        assert await store.batch(fill.key) == fill
        following = await store.add_batch(batch_of(1, attempt=2), mined_nonce=0)
        assert nonces([following]) == [8]

    def test_a_no_op_sends_nothing_to_its_sender_for_the_least_gas(self) -> None:
        batch = batch_of(2, step=Step.SWEEP, spends_rest=True)
        fill = batch.no_ops()
        assert fill.key.fills_gap
        assert str(fill.key) == f"{batch.key}/fill"
        assert (fill.bounds, fill.simulated_changes) == ((), {})
        for intent, original in zip(fill.intents, batch.intents, strict=True):
            assert (intent.to, intent.value, intent.data) == (SENDER, 0, "0x")
            assert (intent.gas_limit, intent.spends_rest) == (21_000, False)
            assert (intent.nonce, intent.fees) == (original.nonce, original.fees)
            assert original.purpose in intent.purpose

    async def test_given_up_twice_is_given_up_once(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        last = await store.add_batch(batch_of(2), mined_nonce=0)
        for _ in range(2):
            assert await store.abandon(last, last.no_ops()) is None
        assert as_owner("SELECT next_nonce FROM transactions.accounts") == [(0,)]

        middle = await store.add_batch(batch_of(2, attempt=2), mined_nonce=0)
        await store.add_batch(batch_of(1, deal="beta"), mined_nonce=0)
        first = await store.abandon(middle, middle.no_ops())
        assert first is not None
        assert await store.abandon(middle, middle.no_ops()) == first
        # What has taken its place may be under way already, and is still the answer.
        await store.save_attempts(first, signed(first))
        assert await store.abandon(middle, middle.no_ops()) == first

    async def test_given_up_by_many_at_once_all_get_the_same_answer(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        middle = await store.add_batch(batch_of(2), mined_nonce=0)
        last = await store.add_batch(batch_of(2, deal="beta"), mined_nonce=0)
        fill = middle.no_ops()
        answers = await asyncio.gather(*(store.abandon(middle, fill) for _ in range(9)))
        assert answers == [fill] * 9
        answers = await asyncio.gather(*(store.abandon(last, last.no_ops()) for _ in range(9)))
        assert answers == [None] * 9
        assert as_owner("SELECT next_nonce FROM transactions.accounts") == [(2,)]

    async def test_after_others_have_taken_the_nonces_it_stays_given_up(
        self, store: TransactionStore
    ) -> None:
        batch = await store.add_batch(batch_of(2), mined_nonce=0)
        await store.abandon(batch, batch.no_ops())
        other = await store.add_batch(batch_of(2, deal="beta"), mined_nonce=0)
        assert nonces([other]) == nonces([batch])
        assert await store.abandon(batch, batch.no_ops()) is None
        assert await store.batch(other.key) == other

    async def test_what_was_signed_is_not_given_up(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        batch = await store.add_batch(batch_of(2), mined_nonce=0)
        await store.save_attempts(batch, signed(batch))
        with pytest.raises(NotAllowed):
            await store.abandon(batch, batch.no_ops())
        assert states(as_owner, batch) == ["BROADCAST", "BROADCAST"]
        assert as_owner("SELECT next_nonce FROM transactions.accounts") == [(2,)]

    async def test_half_of_a_batch_is_not_given_up_either(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        batch = await store.add_batch(batch_of(2), mined_nonce=0)
        half = batch.model_copy(update={"intents": batch.intents[:1]})
        await store.save_attempts(half, signed(half))
        with pytest.raises(NotAllowed):
            await store.abandon(batch, batch.no_ops())
        assert states(as_owner, batch) == ["BROADCAST", "PREPARED"]
        assert as_owner("SELECT next_nonce FROM transactions.accounts") == [(2,)]


class TestOrders:
    async def test_the_same_key_with_another_order_is_a_conflict_that_names_both(
        self, store: TransactionStore, as_owner: Execute
    ) -> None:
        first = await store.add_batch(batch_of(2), mined_nonce=0, ordered="one")
        for conflicting in (
            store.batch(first.key, ordered="another"),
            store.add_batch(batch_of(2), mined_nonce=0, ordered="another"),
        ):
            with pytest.raises(Conflict) as caught:
                await conflicting
            problem = caught.value.problem
            assert (problem.value, problem.limit, problem.actual) == (
                str(first.key),
                "one",
                "another",
            )
        assert await store.batch(first.key, ordered="one") == first
        assert await store.add_batch(batch_of(2), mined_nonce=0, ordered="one") == first
        assert as_owner("SELECT next_nonce FROM transactions.accounts") == [(2,)]


class TestAppendOnly:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE transactions.attempts SET no_op = true",
            "UPDATE transactions.attempts SET raw = '' WHERE false",
            "DELETE FROM transactions.attempts",
        ],
    )
    async def test_what_was_signed_is_never_changed_or_forgotten(
        self,
        store: TransactionStore,
        as_engine: Execute,
        as_owner: Execute,
        statement: str,
    ) -> None:
        batch = await store.add_batch(batch_of(2), mined_nonce=0)
        attempts, _ = await store.save_attempts(batch, signed(batch))
        for execute in (as_engine, as_owner):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                execute(statement)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            as_owner(statement)
        assert await store.attempts(batch) == attempts


class TestCancelled:
    async def test_what_comes_after_a_statement_that_was_cancelled_is_done(
        self, store: TransactionStore, engine_pool: Pool
    ) -> None:
        # Deliveries end by their time limit at any moment; the next one has the same connection.
        batch = await store.add_batch(batch_of(1), mined_nonce=0)
        await store.save_attempts(batch, signed(batch))
        ids = [batch.intents[0].intent_id]
        for number in range(100):
            marking = asyncio.create_task(store.mark_unknown(ids, head=3))
            for _ in range(number % 10):
                await asyncio.sleep(0)
            marking.cancel()
            await asyncio.gather(marking, return_exceptions=True)
            async with engine_pool.connection() as connection:
                assert (await connection.execute("SELECT 1")).rowcount == 1
