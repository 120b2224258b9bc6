"""`deal chain status`: what the watchers saw, how old it is, and what a person must know."""

import asyncio
import io
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from rich.console import Console

from domain.errors import Problem
from starters.cli import chain_status
from starters.cli.output import Output
from tests.cli.conftest import Deal
from tests.cli.ledger import ACCOUNT, GWEI, TREASURY, Ledger
from tests.support.postgres import Database

OBSERVED: dict[str, Any] = {
    "head": 120,
    "finalized": 118,
    "base_fee_wei": str(3 * GWEI),
    "priority_fee_wei": str(GWEI),
    "endpoints": [
        {
            "number": 0, "label": "node.example", "healthy": True, "circuit": "closed",
            "head": 120, "lag": 0, "latency_ms": 1.25, "chain_id_ok": True, "last_error": None,
            "weight": 1,
        },
        {
            "number": 1, "label": "other.example", "private": True, "healthy": False,
            "circuit": "open", "head": 90, "lag": 30, "latency_ms": None, "chain_id_ok": True,
            "last_error": "timed out", "weight": 1,
        },
    ],
    "accounts": [
        {"address": ACCOUNT, "mined_nonce": 4, "next_nonce": 7, "pending": 2, "gap": [5]},
        {"address": TREASURY, "mined_nonce": 9, "next_nonce": 9, "pending": 0, "gap": []},
    ],
}  # fmt: skip
CAP = 100 * GWEI
"""As the profile of chain 138 has it, whose blocks take a second."""


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    """The database, emptied of what is known of chains when the test ends."""
    yield Ledger(database)
    with psycopg.connect(database.owner, autocommit=True) as connection:
        connection.execute(
            "TRUNCATE transactions.chain_status, transactions.alerts, signing.latches"
        )


@pytest.fixture
def chains(deal: Deal, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Deal:
    """The command, with the records."""
    monkeypatch.setenv("DEAL_DATABASE_URL", ledger.database.role("deal_reader"))
    return deal


def watch(ledger: Ledger, chain_id: int = 138, seconds_ago: float = 0, **changes: Any) -> None:
    """Write what a watcher saw so long ago."""
    ledger.execute(
        "INSERT INTO transactions.chain_status"
        " (chain_id, observed, watcher, watches_until, updated_at)"
        " VALUES (%(chain_id)s, %(observed)s, 'w', now(), now() - make_interval(secs => %(ago)s))"
        " ON CONFLICT (chain_id) DO UPDATE SET observed = excluded.observed,"
        " updated_at = excluded.updated_at",
        {"chain_id": chain_id, "observed": Jsonb(OBSERVED | changes), "ago": seconds_ago},
    )


def latch(ledger: Ledger, chain_id: int = 138) -> None:
    """Stop signing on a chain."""
    problem = Problem(code="reorg", message="block 90 is another now", next_action="look, release")
    ledger.execute(
        "INSERT INTO signing.latches (chain_id, problem) VALUES (%s, %s)",
        chain_id,
        Jsonb(problem.model_dump()),
    )


def one(chains: Deal, chain: str = "138") -> dict[str, Any]:
    """What is told of one chain."""
    (document,) = chains("chain", "status", chain).document["chains"]
    found: dict[str, Any] = document
    return found


def test_what_the_watcher_saw_is_told_with_its_age(chains: Deal, ledger: Ledger) -> None:
    watch(ledger, seconds_ago=4)
    document = one(chains)
    assert document["age_seconds"] == pytest.approx(4, abs=3)
    assert (document["stale"], document["stale_after_seconds"]) == (False, 10)
    assert document["observed"]["base_fee_wei"] == str(3 * GWEI)
    assert document["max_fee_per_gas_wei"] == str(CAP)
    assert [each["healthy"] for each in document["observed"]["endpoints"]] == [True, False]
    assert document["observed"]["accounts"][0]["pending"] == 2


def test_a_table_has_all_of_it(chains: Deal, ledger: Ledger) -> None:
    watch(ledger)
    ledger.alert("nonce_gap", ACCOUNT)
    latch(ledger)
    answer = chains("chain", "status", "138", "-o", "table")
    assert answer.code == 0
    parts = [
        "138 DeFi Oracle Meta Mainnet", "0 s ago", "118 (2 behind)", "3 gwei", "100 gwei",
        "nothing is signed: block 90 is another now", "node.example", "1.2 ms",
        "other.example (private)", "unhealthy", "timed out", ACCOUNT, "2   5", "nonce_gap",
        "look at it",
    ]  # fmt: skip
    for part in parts:
        assert part in answer.out


@pytest.mark.parametrize(("ago", "stale"), [(5, False), (11, True), (7_200, True)])
def test_what_is_older_than_ten_blocks_is_stale(
    chains: Deal, ledger: Ledger, ago: int, *, stale: bool
) -> None:
    watch(ledger, seconds_ago=ago)
    assert one(chains)["stale"] is stale
    words = chains("chain", "status", "138", "-o", "table").out
    assert ("STALE, older than 10 s" in words) is stale


def test_a_chain_that_nobody_has_watched_is_stale(chains: Deal) -> None:
    everything = chains("chain", "status").document["chains"]
    assert [each["chain_id"] for each in everything] == [138, 651940]
    assert [each["observed"] for each in everything] == [None, None]
    assert [each["stale"] for each in everything] == [True, True]
    words = chains("chain", "status", "-o", "table").out
    assert words.count("never: no chain worker has reported it") == 2


def test_a_base_fee_above_the_cap_is_marked(chains: Deal, ledger: Ledger) -> None:
    watch(ledger, base_fee_wei=str(CAP))
    assert one(chains)["above_cap"] is False
    watch(ledger, base_fee_wei=str(CAP + 1))
    assert one(chains)["above_cap"] is True
    words = chains("chain", "status", "138", "-o", "table").out
    assert "100.000000001 gwei, above the cap" in words


def test_latches_and_alerts_are_told_while_they_are_open(chains: Deal, ledger: Ledger) -> None:
    latch(ledger)
    ledger.alert("reorg", "chain")
    ledger.alert("head_stalled", "chain", chain_id=651940)
    document = one(chains)
    assert [each["problem"]["code"] for each in document["latches"]] == ["reorg"]
    assert [each["kind"] for each in document["alerts"]] == ["reorg"]
    ledger.execute(
        "UPDATE signing.latches SET cleared_at = now(), cleared_by = 'mia', cleared_why = 'seen'"
    )
    ledger.execute("UPDATE transactions.alerts SET cleared_at = now()")
    document = one(chains)
    assert (document["latches"], document["alerts"]) == ([], [])


def test_a_chain_without_a_profile_is_shown_from_the_records(chains: Deal, ledger: Ledger) -> None:
    watch(ledger, chain_id=7, seconds_ago=60)
    document = one(chains, "7")
    assert (document["name"], document["max_fee_per_gas_wei"]) == (None, None)
    assert (document["stale"], document["stale_after_seconds"]) == (False, 120)


def test_a_watcher_that_has_seen_nothing_yet_is_no_error(chains: Deal, ledger: Ledger) -> None:
    ledger.execute(
        "INSERT INTO transactions.chain_status (chain_id, watcher, watches_until)"
        " VALUES (138, 'w', now())"
    )
    assert one(chains)["observed"]["head"] is None
    assert chains("chain", "status", "138", "-o", "table").code == 0


def test_a_chain_nobody_knows_is_named(chains: Deal) -> None:
    answer = chains("chain", "status", "5")
    assert (answer.code, answer.problem["code"]) == (2, "not_found")
    assert answer.problem["limit"] == "138, 651940"
    assert chains("chain", "status", "main").problem["field"] == "chain"


def test_without_the_records_it_says_so(deal: Deal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEAL_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    answer = deal("chain", "status")
    assert (answer.code, answer.problem["code"]) == (1, "unavailable")


class Enough(Exception):
    """The person at the terminal has seen enough."""


@pytest.fixture
def looks(chains: Deal, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> list[int]:  # noqa: ARG001 - the command's environment
    """The chain moves on before every other look, and the third new head is the last."""
    heads = [120]

    async def pause() -> None:
        heads.append(heads[-1] + len(heads) % 2)
        if heads[-1] > 122:
            raise Enough
        watch(ledger, head=heads[-1])

    watch(ledger)
    monkeypatch.setattr(chain_status, "_pause", pause)
    return heads


@pytest.mark.usefixtures("looks")
def test_watching_a_pipe_gets_a_line_a_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(
        chain_status, "print_json", lambda document, **_: told.append(json.dumps(document))
    )
    with pytest.raises(Enough):
        asyncio.run(chain_status.status("138", Output.JSON, watch=True))
    heads = [json.loads(line)["chains"][0]["observed"]["head"] for line in told]
    assert heads == [120, 121, 122]


@pytest.mark.usefixtures("looks")
def test_watching_a_terminal_draws_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(chain_status, "console", lambda: Console(file=screen, width=160))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with pytest.raises(Enough):
        asyncio.run(chain_status.status("138", Output.TABLE, watch=True))
    assert "122" in screen.getvalue()
