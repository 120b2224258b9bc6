"""`deal tx list` and `deal tx show`: what the engine has recorded, one page or one intent."""

import asyncio
import json

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from activities.deals.interface import DealRecord
from activities.deals.records import Records
from activities.protocols.erc20 import APPROVE
from deploy.chain.manifest import manifest_file
from domain.deals import DealStatus, Step
from domain.errors import Problem
from starters.cli.tx_tables import age_text
from starters.deals import transactions
from starters.deals.transactions import IntentFilter
from tests.activities.deals import samples
from tests.cli.conftest import Deal
from tests.cli.ledger import ACCOUNT, GWEI, TREASURY, Ledger, hash_of
from tests.support.postgres import Database

STEP = "one/swap/1/1"
STATES = {
    f"{STEP}/0": "FINALIZED",
    f"{STEP}/1": "REVERTED",
    "one/redeem/1/1/0": "BROADCAST",
    "two/fund/1/1/0": "UNKNOWN",
    "two/wrap/1/1/0": "PREPARED",
}
NEWEST_FIRST = list(reversed(STATES))
REVERTED = Problem(code="transaction_reverted", message="Too little received", next_action="wait")


@pytest.fixture(scope="module")
def ledger(database: Database) -> Ledger:
    """Five intents of two deals."""
    ledger = Ledger(database)
    for nonce, (intent_id, state) in enumerate(STATES.items()):
        chain_id = 651940 if intent_id.startswith("two") else 138
        account = TREASURY if intent_id.startswith("two/fund") else ACCOUNT
        fees = (2, 3) if state == "BROADCAST" else (2,)
        ledger.intent(intent_id, nonce, state=state, chain_id=chain_id, account=account, fees=fees)
    return ledger


@pytest.fixture
def books(deal: Deal, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Deal:
    """The command, with the records and without Temporal."""
    monkeypatch.setenv("DEAL_DATABASE_URL", ledger.database.role("deal_reader"))
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    return deal


def listed(books: Deal, *options: str) -> list[str]:
    """The intents that a list names."""
    return [each["intent_id"] for each in books("tx", "list", *options).document["transactions"]]


def test_a_list_is_newest_first_and_tells_how_each_stands(books: Deal) -> None:
    answer = books("tx", "list")
    assert answer.code == 0
    assert answer.document["source"] == "records"
    assert listed(books) == NEWEST_FIRST
    assert answer.document["next_cursor"] is None
    assert 0 <= answer.document["age_seconds"] < 600
    by_id = {each["intent_id"]: each for each in answer.document["transactions"]}
    assert {name: each["state"] for name, each in by_id.items()} == STATES
    bumped = by_id["one/redeem/1/1/0"]
    assert (bumped["attempt_count"], bumped["max_fee_per_gas"]) == (2, str(3 * GWEI + 1))
    assert (bumped["nonce"], bumped["block_number"], bumped["purpose"]) == (2, None, "do it")
    assert 0 <= bumped["age_seconds"] < 600
    assert by_id[f"{STEP}/0"]["block_number"] == 9
    prepared = by_id["two/wrap/1/1/0"]
    assert (prepared["attempt_count"], prepared["max_fee_per_gas"]) == (0, None)


def test_a_table_has_fees_in_gwei(books: Deal) -> None:
    words = books("tx", "list", "-o", "table")
    assert "from the records, 5 transactions, as of " in words.out
    assert "3.000000001 / 1" in words.out


def test_pages_follow_the_cursor(books: Deal) -> None:
    seen: list[str] = []
    arguments = ["tx", "list", "--limit", "2"]
    while True:
        page = books(*arguments).document
        seen += [each["intent_id"] for each in page["transactions"]]
        if page["next_cursor"] is None:
            break
        words = books(*arguments, "-o", "table")
        assert f"--cursor {page['next_cursor']}" in words.out
        arguments = ["tx", "list", "--limit", "2", "--after", page["next_cursor"]]
    assert seen == NEWEST_FIRST


def test_intents_of_one_moment_are_each_listed_once(books: Deal, ledger: Ledger) -> None:
    """A batch is written in one transaction, so its intents have one time."""
    ids = [f"many/settle/1/1/{number}" for number in range(3)]
    for number, name in enumerate(ids):
        ledger.intent(name, 50 + number, created_at="2020-01-01T00:00:00Z")
    first = books("tx", "list", "--deal", "many", "--limit", "1").document
    rest = books("tx", "list", "--deal", "many", "--after", first["next_cursor"]).document
    pages = [*first["transactions"], *rest["transactions"]]
    assert [each["intent_id"] for each in pages] == list(reversed(ids))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--deal", "two"], {"two/fund/1/1/0", "two/wrap/1/1/0"}),
        (["--chain", "651940", "--state", "unknown"], {"two/fund/1/1/0"}),
        (["--state", "BROADCAST", "--state", "REVERTED", "--deal", "one"],
         {"one/redeem/1/1/0", f"{STEP}/1"}),
        (["--account", TREASURY], {"two/fund/1/1/0"}),
        (["--account", TREASURY.lower()], {"two/fund/1/1/0"}),
        (["--deal", "nobody"], set()),
    ],
)  # fmt: skip
def test_filters_are_taken_together(books: Deal, options: list[str], found: set[str]) -> None:
    assert set(listed(books, *options)) == found


@pytest.mark.parametrize(
    ("option", "value", "field"),
    [
        ("state", "LOST", "state"),
        ("deal", "Deal!", "deal_id"),
        ("chain", "main", "chain"),
        ("account", "0x12", "address"),
        ("account", TREASURY.replace("b", "B"), "address"),
        ("limit", "0", "limit"),
        ("limit", "501", "limit"),
        ("after", "abc", "cursor"),
        ("after", "WyIyMDI2LTAxLTAxVDAwOjAwOjAwKzAwOjAwIiwgInR3byJd", "cursor"),
    ],
)
def test_a_wrong_filter_is_named(deal: Deal, option: str, value: str, field: str) -> None:
    answer = deal("tx", "list", f"--{option}", value)
    assert answer.code == 2
    assert (answer.problem["field"], answer.problem["value"]) == (field, value)


def test_an_intent_is_found_by_its_id_and_by_each_attempts_hash(books: Deal) -> None:
    whole = books("tx", "show", "one/redeem/1/1/0").document
    hashes = [attempt["transaction_hash"] for attempt in whole["attempts"]]
    assert hashes == [hash_of("one/redeem/1/1/0", gwei, False) for gwei in (2, 3)]  # noqa: FBT003 - no no-op
    for name in (*hashes, hashes[0].upper().replace("X", "x")):
        assert books("tx", "show", name).document["intent_id"] == "one/redeem/1/1/0"


def test_a_shown_intent_has_its_fields_attempts_and_receipt(books: Deal) -> None:
    document = books("tx", "show", f"{STEP}/0").document
    assert (document["state"], document["nonce"], document["account"]) == ("FINALIZED", 0, ACCOUNT)
    assert (document["value"], document["to"], document["data"]) == (str(10**18), TREASURY, "0x")
    assert (document["gas_used"], document["effective_gas_price"]) == (50_000, str(3 * GWEI))
    (attempt,) = document["attempts"]
    assert attempt["transaction_hash"] == document["mined_hash"]
    assert attempt["no_op"] is False
    words = books("tx", "show", f"{STEP}/0", "-o", "table").out
    for part in (attempt["transaction_hash"], "0.00015 ETH", "50,000 at 3 gwei", "1 ETH", "do it"):
        assert part in words


def test_a_call_is_told_in_words(books: Deal, ledger: Ledger) -> None:
    contracts = json.loads(manifest_file(138).read_text())["contracts"]
    data = APPROVE.encode(contracts["uniswap_router"].lower(), 7)
    ledger.intent(
        "call/swap/1/1/0",
        70,
        to_address=contracts["usdt"],
        data=bytes.fromhex(data[2:]),
    )
    document = books("tx", "show", "call/swap/1/1/0").document
    assert (document["call"], document["to_name"]) == ("approve(uniswap_router, 7)", "usdt")
    assert document["data"] == data
    assert "approve(uniswap_router, 7)" in books("tx", "show", "call/swap/1/1/0", "-o", "table").out


@pytest.mark.parametrize("data", ["0x", "0x12345678", APPROVE.encode(TREASURY, 7) + "00"])
def test_a_call_that_nobody_knows_stays_bytes(books: Deal, ledger: Ledger, data: str) -> None:
    number = len(data)
    name = f"odd-{number}/swap/1/1/0"
    ledger.intent(name, 1_000 + number, data=bytes.fromhex(data[2:]))
    document = books("tx", "show", name).document
    assert (document["call"], document["data"]) == (None, data.lower())


def test_what_a_step_ended_with_is_shown_with_its_transactions(books: Deal, ledger: Ledger) -> None:
    record_reverted_step(ledger)
    document = books("tx", "show", f"{STEP}/1").document
    assert Problem.model_validate(document["problem"]) == REVERTED
    assert (document["succeeded"], document["deal_status"]) == (False, "EXECUTING")
    assert books("tx", "show", f"{STEP}/0").document["succeeded"] is True
    assert "Too little received" in books("tx", "show", f"{STEP}/1", "-o", "table").out
    assert books("tx", "show", "one/redeem/1/1/0").document["succeeded"] is None


def record_reverted_step(ledger: Ledger) -> None:
    """As the deal's workflow does after its swap reverted."""

    async def record() -> None:
        async with AsyncConnectionPool(ledger.database.role("deal_records"), open=False) as pool:
            records, view = Records(pool), samples.view("one")
            await records.record_deal(DealRecord(view=view))
            step = samples.step(Step.SWAP, "one", problem=REVERTED)
            later = samples.later(view, DealStatus.EXECUTING)
            await records.record_deal(DealRecord(view=later, step=step))

    asyncio.run(record())


def test_alerts_about_an_intent_are_shown_until_they_are_cleared(
    books: Deal, ledger: Ledger
) -> None:
    name = "two/fund/1/1/0"
    ledger.alert("unknown", name, chain_id=651940)
    ledger.alert("foreign_nonce", TREASURY, chain_id=651940)
    ledger.alert("fee_cap", "somebody/else/1/1/0", chain_id=651940)
    ledger.alert("unknown", name, chain_id=138)
    alerts = books("tx", "show", name).document["alerts"]
    assert [alert["kind"] for alert in alerts] == ["unknown", "foreign_nonce"]
    assert alerts[0]["problem"]["next_action"] == "look at it"
    assert "it is stuck" in books("tx", "show", name, "-o", "table").out
    ledger.execute("UPDATE transactions.alerts SET cleared_at = now() WHERE kind = 'unknown'")
    assert [a["kind"] for a in books("tx", "show", name).document["alerts"]] == ["foreign_nonce"]


def test_a_no_op_that_was_mined_is_marked(books: Deal, ledger: Ledger) -> None:
    name = "gone/swap/1/1/0"
    ledger.intent(name, 80)
    no_op = ledger.attempt(name, 4, no_op=True)
    ledger.move(name, "REPLACED", mined=no_op)
    document = books("tx", "show", name).document
    assert (document["state"], document["mined_hash"]) == ("REPLACED", no_op)
    assert [attempt["no_op"] for attempt in document["attempts"]] == [False, True]
    assert f"{no_op} (the no-op)" in books("tx", "show", name, "-o", "table").out


@pytest.mark.parametrize("name", ["nobody/swap/1/1/0", hash_of("nothing"), "'; --"])
def test_an_intent_nobody_knows_is_named(books: Deal, name: str) -> None:
    answer = books("tx", "show", name)
    assert (answer.code, answer.problem["code"]) == (2, "not_found")
    assert (answer.problem["field"], answer.problem["value"]) == ("intent", name)


@pytest.mark.parametrize("command", [("list",), ("show", "one")])
def test_without_the_records_it_says_so(
    deal: Deal, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DEAL_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    answer = deal("tx", *command)
    assert (answer.code, answer.problem["code"]) == (1, "unavailable")


def test_an_age_has_two_units() -> None:
    assert age_text(0.4) == "0 s"
    assert age_text(200.9) == "3 min 20 s"


def test_lists_and_look_ups_are_read_from_an_index(ledger: Ledger) -> None:
    """With many transactions none sorts or scans the table."""
    many = f"""
        INSERT INTO transactions.intents (intent_id, batch_key, deal_id, chain_id, sender, nonce,
            to_address, value_wei, data, gas_limit, purpose, body_digest, created_at)
        SELECT 'i-' || n, '{STEP}', 'deal-' || n / 20, 138, '{ACCOUNT}', 10000 + n, '', 0, '', 1,
            '', '', now() - n * interval '1 second'
        FROM generate_series(1, 20000) AS n
    """  # noqa: S608 - the texts above
    parameters = transactions._parameters(IntentFilter(deal_id="deal-7"))
    queries = {
        transactions._LIST + transactions._NEWEST_FIRST: "intents_by_time",
        transactions._LIST
        + f" WHERE {transactions._CONDITIONS['deal_id']}"
        + transactions._NEWEST_FIRST: "intents_by_deal",
        transactions._FIND: "intents_pkey",
    }
    with psycopg.connect(ledger.database.owner) as connection:
        connection.execute(many.encode())
        connection.execute("ANALYZE transactions.intents")
        for query, index in queries.items():
            given = parameters | {"name": "i-7"}
            rows = connection.execute(f"EXPLAIN {query}".encode(), given)
            plan = "\n".join(row[0] for row in rows)
            assert index in plan, plan
            assert "Seq Scan on intents" not in plan, plan
        connection.rollback()
