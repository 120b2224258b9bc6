"""The life of keys on a real database: retired, reinstated, rotated, listed."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretBytes

from activities.custody.interface import (
    ListKeys,
    RetireAccount,
    RotateKeys,
    Rotation,
    VerifyJournal,
)
from activities.custody.keys import Custody
from activities.database import Pool
from activities.signing.interface import OpenAccount, SignBatch
from activities.signing.providers.keystore import Keystore
from activities.signing.providers.local import LocalKeyProvider
from activities.signing.signer import Signer
from domain.deals import Step
from domain.errors import NotFound, SigningRefused
from domain.identifiers import DealId
from tests.activities.signing.samples import DEAL, HIGHER, POLICY, Batches, with_fees

Owner = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def custody(keys: LocalKeyProvider, signer: Signer, pool: Pool) -> Custody:
    return Custody(keys, signer.accounts, signer.journal, pool)


@pytest.fixture
def other_custody(keys: LocalKeyProvider, other_signer: Signer, pool: Pool) -> Custody:
    """Another process's, on the same database."""
    return Custody(keys, other_signer.accounts, other_signer.journal, pool)


def order(deal: str = DEAL, request_id: str = "r1") -> RetireAccount:
    return RetireAccount(deal_id=DealId(deal), who="on-call", why="a test", request_id=request_id)


async def refused(signer: Signer, asked: SignBatch) -> None:
    with pytest.raises(SigningRefused) as caught:
        await signer.sign_batch(asked)
    assert caught.value.problem.field == "key_retired"


async def test_nothing_is_signed_for_a_retired_key(
    signer: Signer, custody: Custody, batches: Batches, as_owner: Owner
) -> None:
    await signer.sign_batch(batches.order(Step.BORROW))
    view = await custody.retire_account(order())
    assert (view.retired_by, view.retired_why) == ("on-call", "a test")
    await refused(signer, batches.order(Step.BORROW, first_nonce=1, attempt=2))
    await refused(signer, batches.no_op(first_nonce=2))
    rows = as_owner("SELECT decision, rule FROM signing.journal ORDER BY sequence")
    assert rows == [("signed", None), ("refused", "key_retired"), ("refused", "key_retired")]
    check = await signer.journal.verify()
    assert (check.rows, check.broken) == (3, None)


async def test_not_even_what_was_signed_before(
    signer: Signer, custody: Custody, batches: Batches
) -> None:
    """Its bytes are saved, and are sent without the signer."""
    asked = batches.order(Step.BORROW)
    await signer.sign_batch(asked)
    await custody.retire_account(order())
    await refused(signer, asked)
    await refused(signer, with_fees(asked, HIGHER))


async def test_a_signer_that_remembers_the_key_as_usable_is_stopped_by_the_journal(
    custody: Custody, other_signer: Signer, batches: Batches
) -> None:
    await other_signer.sign_batch(batches.order(Step.BORROW))
    await custody.retire_account(order())
    assert other_signer.accounts._known[DealId(DEAL)].retired is False
    await refused(other_signer, batches.order(Step.BORROW, first_nonce=1, attempt=2))


async def test_the_treasury_does_not_pay_for_a_deal_that_has_ended(
    signer: Signer, custody: Custody, other_signer: Signer, batches: Batches
) -> None:
    await other_signer.accounts.find(DealId(DEAL))
    await custody.retire_account(order())
    for who in (signer, other_signer):
        await refused(who, batches.order(Step.FUND))


async def test_other_deals_go_on(signer: Signer, custody: Custody, batches: Batches) -> None:
    await custody.retire_account(order())
    beta = DealId("beta")
    others = Batches(await signer.open_account(OpenAccount(deal_id=beta)), beta)
    for step in (Step.FUND, Step.BORROW):
        assert (await signer.sign_batch(others.order(step))).transactions
    assert others.accounts.account != batches.accounts.account


async def test_withholding_goes_on_after_it(
    signer: Signer, custody: Custody, batches: Batches
) -> None:
    """A promise never to sign is as good for a retired key, and gives nonces back."""
    await custody.retire_account(order())
    withheld = await signer.withhold_batch(batches.batch(Step.BORROW))
    assert withheld.signed == ()


async def test_retiring_is_idempotent_and_a_late_repetition_undoes_no_reinstatement(
    signer: Signer, custody: Custody, batches: Batches, as_owner: Owner
) -> None:
    for _ in range(3):
        await custody.retire_account(order())
    await custody.retire_account(order(request_id="r2"))
    for _ in range(2):
        view = await custody.reinstate_account(order())
    assert view.retired_at is None
    assert (await custody.retire_account(order())).retired_at is None
    assert (await signer.sign_batch(batches.order(Step.BORROW))).transactions
    kinds = as_owner("SELECT kind FROM signing.key_events ORDER BY sequence")
    assert [kind for (kind,) in kinds] == ["retired", "reinstated"]
    assert (await custody.retire_account(order(request_id="r3"))).retired_at is not None
    await refused(signer, batches.order(Step.BORROW, first_nonce=1, attempt=2))


async def test_retiring_while_signing_lets_nothing_through_afterwards(
    signer: Signer, custody: Custody, other_signer: Signer, batches: Batches
) -> None:
    orders = [batches.order(Step.BORROW, first_nonce=n, attempt=n + 1) for n in range(20)]

    async def sign(who: Signer, asked: SignBatch) -> str | None:
        try:
            await who.sign_batch(asked)
        except SigningRefused as error:
            return error.problem.field
        return "signed"

    signing = [sign(who, asked) for asked in orders for who in (signer, other_signer)]
    retiring = custody.retire_account(order())
    _, *results = await asyncio.gather(retiring, *signing)
    assert set(results) <= {"signed", "key_retired"}
    for who in (signer, other_signer):
        await refused(who, batches.order(Step.BORROW, first_nonce=30, attempt=31))


@pytest.mark.parametrize("name", ["retire_account", "reinstate_account"])
async def test_a_deal_without_a_key_is_not_found(custody: Custody, name: str) -> None:
    with pytest.raises(NotFound):
        await getattr(custody, name)(order("nobody"))
    with pytest.raises(NotFound):
        await custody.list_keys(ListKeys(deal_id=DealId("nobody")))


async def test_the_desks_own_keys_cannot_be_retired_even_by_the_database_role(
    pool: Pool, batches: Batches
) -> None:
    statement = (
        "INSERT INTO signing.key_events (event_id, kind, address, provider, who, why)"
        " VALUES ('x', 'retired', %s, 'local', 'me', 'why')"
    )
    for account in (batches.accounts.treasury, batches.accounts.fee):
        async with pool.connection() as connection:
            with pytest.raises(psycopg.IntegrityError, match="not the account of a deal"):
                await connection.execute(statement, (account,))


async def test_keys_are_listed_newest_first_in_pages(signer: Signer, custody: Custody) -> None:
    deals = [DealId(f"deal-{number}") for number in range(5)]
    opened = {deal: await signer.open_account(OpenAccount(deal_id=deal)) for deal in deals}
    for deal in deals[:2]:
        await custody.retire_account(order(deal, deal))
    first = await custody.list_keys(ListKeys(limit=3))
    assert [(view.purpose, view.deal_id) for view in first.keys] == [
        ("treasury", None),
        ("fee", None),
        ("deal", "deal-4"),
        ("deal", "deal-3"),
        ("deal", "deal-2"),
    ]
    assert (first.provider, first.generation, first.next_before) == ("local", 1, 2)
    second = await custody.list_keys(ListKeys(limit=3, before=first.next_before))
    assert [view.deal_id for view in second.keys] == ["deal-1", "deal-0"]
    assert second.next_before is None
    assert all(view.retired_at is not None for view in second.keys)
    assert [view.label for view in second.keys] == ["deal-1-1", "deal-1-0"]
    for view in (*first.keys[2:], *second.keys):
        assert view.deal_id is not None
        assert view.address == opened[view.deal_id].account
    in_use = await custody.list_keys(ListKeys(retired=False))
    assert {view.deal_id for view in in_use.keys} == {None, "deal-4", "deal-3", "deal-2"}
    gone = await custody.list_keys(ListKeys(retired=True))
    assert [view.deal_id for view in gone.keys] == ["deal-1", "deal-0"]
    (one,) = (await custody.list_keys(ListKeys(deal_id=deals[3]))).keys
    assert one.deal_id == "deal-3"


# Rotation


def rotation(rotation: Rotation, after: int = 1, request_id: str = "r") -> RotateKeys:
    return RotateKeys(
        rotation=rotation, after=after, who="on-call", why="a test", request_id=request_id
    )


@pytest.fixture
def rotating(pool: Pool, tmp_path: Path) -> tuple[Signer, Custody, LocalKeyProvider]:
    """A signer whose keys are in a keystore, and so can be rotated."""
    keystore = Keystore(tmp_path / "keystore.json", SecretBytes(b"secret"))
    keystore.create()
    keys = LocalKeyProvider.open(keystore, "development")
    signer = Signer(POLICY, keys, pool)
    return signer, Custody(keys, signer.accounts, signer.journal, pool), keys


async def test_new_deals_get_the_new_seed_and_old_ones_keep_theirs(
    rotating: tuple[Signer, Custody, LocalKeyProvider], as_owner: Owner
) -> None:
    signer, custody, keys = rotating
    alpha = Batches(await signer.open_account(OpenAccount(deal_id=DealId(DEAL))))
    for _ in range(2):  # a repetition of the same request
        done = await custody.rotate_keys(rotation(Rotation.SEED))
        assert done.generation == 2
    for _ in range(2):
        await custody.rotate_keys(rotation(Rotation.WRAPPING, request_id="w"))
    beta = await signer.open_account(OpenAccount(deal_id=DealId("beta")))
    assert (beta.treasury, beta.fee) == (alpha.accounts.treasury, alpha.accounts.fee)
    listed = await custody.list_keys(ListKeys())
    assert {view.deal_id: view.label for view in listed.keys if view.deal_id} == {
        DEAL: "deal-1-0",
        "beta": "deal-2-1",
    }
    assert (await signer.sign_batch(alpha.order(Step.SETTLE))).transactions
    assert (await signer.sign_batch(alpha.order(Step.SWEEP, first_nonce=9))).transactions
    events = as_owner("SELECT kind, generation, who FROM signing.key_events ORDER BY sequence")
    assert events == [("seed_rotated", 2, "on-call"), ("wrapping_rotated", None, "on-call")]
    assert await keys.generation() == 2


async def test_a_restarted_signer_has_the_same_accounts(
    rotating: tuple[Signer, Custody, LocalKeyProvider],
    pool: Pool,
) -> None:
    signer, custody, keys = rotating
    before = await signer.open_account(OpenAccount(deal_id=DealId(DEAL)))
    await custody.rotate_keys(rotation(Rotation.SEED))
    assert keys._keystore is not None
    again = Signer(POLICY, LocalKeyProvider.open(keys._keystore, "development"), pool)
    assert await again.open_account(OpenAccount(deal_id=DealId(DEAL))) == before


async def test_a_rotation_that_was_overtaken_adds_no_seed(
    rotating: tuple[Signer, Custody, LocalKeyProvider],
) -> None:
    _, custody, keys = rotating
    await custody.rotate_keys(rotation(Rotation.SEED, after=1, request_id="first"))
    await custody.rotate_keys(rotation(Rotation.SEED, after=1, request_id="second"))
    assert await keys.generation() == 2


# The journal


async def test_a_head_that_was_noted_is_found_until_rows_are_taken_away(
    signer: Signer, custody: Custody, batches: Batches, as_owner: Owner
) -> None:
    await signer.sign_batch(batches.order(Step.BORROW))
    noted = (await custody.verify_journal(VerifyJournal())).head
    await signer.sign_batch(batches.order(Step.SWEEP, first_nonce=5))
    found = await custody.verify_journal(VerifyJournal(head=noted))
    assert (found.rows, found.broken, found.head_found, found.intact) == (3, None, True, True)
    later = found.head
    as_owner("DELETE FROM signing.journal WHERE sequence = 3")
    cut = await custody.verify_journal(VerifyJournal(head=later))
    assert (cut.rows, cut.broken, cut.head_found, cut.intact) == (2, None, False, False)
    as_owner("UPDATE signing.journal SET nonce = nonce + 1 WHERE sequence = 1")
    assert (await custody.verify_journal(VerifyJournal())).broken == 1
