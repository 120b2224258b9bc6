"""Which policy is in force: versions only go up, and one version has one content for ever."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from activities.database import Pool
from activities.signing.policies import put_in_force
from domain.errors import InvalidConfiguration, Unavailable
from tests.activities.signing.samples import POLICY, with_rates
from tests.support.postgres import Database

Owner = Callable[..., list[tuple[Any, ...]]]
NEXT = with_rates(deal_signatures=400)


async def test_a_policy_is_new_once(pool: Pool, as_owner: Owner) -> None:
    assert await put_in_force(pool, NEXT)
    assert not await put_in_force(pool, NEXT)
    rows = as_owner("SELECT version, digest, deal_signatures FROM signing.policies ORDER BY 1")
    assert rows == [
        (POLICY.version, POLICY.digest, POLICY.rates.deal_signatures),
        (NEXT.version, NEXT.digest, 400),
    ]


async def test_a_version_with_other_rules_is_refused(pool: Pool, as_owner: Owner) -> None:
    tampered = with_rates(version=POLICY.version, hour_usd="999_000_000_000")
    with pytest.raises(InvalidConfiguration) as caught:
        await put_in_force(pool, tampered)
    problem = caught.value.problem
    assert problem.field == "signing-policy.toml: version"
    assert POLICY.digest in str(problem.limit)
    assert problem.actual == tampered.digest
    assert as_owner("SELECT digest FROM signing.policies") == [(POLICY.digest,)]


@pytest.mark.parametrize("known", [True, False])
async def test_an_older_version_is_refused(pool: Pool, as_owner: Owner, *, known: bool) -> None:
    await put_in_force(pool, NEXT)
    if not known:
        as_owner("DELETE FROM signing.policies WHERE version = %s", POLICY.version)
    with pytest.raises(InvalidConfiguration) as caught:
        await put_in_force(pool, POLICY)
    assert "newest" in str(caught.value.problem.limit)
    assert as_owner("SELECT max(version) FROM signing.policies") == [(NEXT.version,)]


async def test_of_two_contents_of_one_version_at_once_one_is_in_force(
    pool: Pool, as_owner: Owner
) -> None:
    rivals = [with_rates(version=9, deal_signatures=300 + number) for number in range(8)]
    outcomes = await asyncio.gather(
        *(put_in_force(pool, rival) for rival in rivals), return_exceptions=True
    )
    assert outcomes.count(True) == 1
    assert sum(isinstance(each, InvalidConfiguration) for each in outcomes) == len(rivals) - 1
    winner = rivals[outcomes.index(True)]
    rows = as_owner("SELECT digest FROM signing.policies WHERE version = 9")
    assert rows == [(winner.digest,)]


async def test_the_content_is_what_the_digest_is_of(database: Database) -> None:
    with (
        psycopg.connect(database.role("deal_signer")) as connection,
        pytest.raises(psycopg.errors.CheckViolation),
    ):
        connection.execute(
            "INSERT INTO signing.policies (version, digest, content) VALUES (7, %s, %s)",
            (POLICY.digest, NEXT.content),
        )


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize("statement", ["DELETE FROM signing.policies", "TRUNCATE signing.policies"])
async def test_no_policy_is_ever_forgotten(database: Database, statement: str) -> None:
    for url in (database.owner, database.role("deal_signer")):
        with (
            psycopg.connect(url) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(statement.encode())


async def test_without_its_database_a_policy_is_not_in_force() -> None:
    pool = Pool("host=/nonexistent dbname=x", min_size=0, max_size=1, timeout=0.2, open=False)
    await pool.open()
    try:
        with pytest.raises(Unavailable):
            await put_in_force(pool, POLICY)
    finally:
        await pool.close()
