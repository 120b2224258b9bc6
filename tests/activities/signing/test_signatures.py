"""A signer whose key store signs the same thing differently each time gives the same bytes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from activities.custody.interface import RetireAccount
from activities.custody.keys import Custody
from activities.database import Pool
from activities.signing.interface import OpenAccount
from activities.signing.providers.hsm import Token
from activities.signing.providers.pkcs11 import Pkcs11KeyProvider
from activities.signing.providers.provider import deal_key
from activities.signing.signer import Signer
from domain.deals import Step
from domain.errors import SigningRefused, Unavailable
from domain.identifiers import DealId
from tests.activities.signing.samples import DEAL, HIGHER, POLICY, Batches, with_fees
from tests.activities.signing.transactions import assert_signed
from tests.support.softhsm import new_token

Owner = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
async def hsm_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Pkcs11KeyProvider]:
    hsm = new_token(tmp_path / "hsm")
    monkeypatch.setenv("SOFTHSM2_CONF", "")
    hsm.use()
    keys = Pkcs11KeyProvider(Token(Path(hsm.module), hsm.label, hsm.pin_file))
    yield keys
    await keys.close()


@pytest.fixture
def signers(hsm_keys: Pkcs11KeyProvider, pool: Pool) -> tuple[Signer, Signer]:
    return Signer(POLICY, hsm_keys, pool), Signer(POLICY, hsm_keys, pool)


@pytest.fixture
async def hsm_batches(signers: tuple[Signer, Signer]) -> Batches:
    return Batches(await signers[0].open_account(OpenAccount(deal_id=DealId(DEAL))))


async def test_the_hsm_itself_does_not_repeat_itself(
    hsm_keys: Pkcs11KeyProvider, hsm_batches: Batches
) -> None:
    intents = hsm_batches.order(Step.BORROW).batch.intents
    first, second = [await hsm_keys.sign(deal_key(0), intents) for _ in range(2)]
    assert first != second


async def test_the_same_order_gives_the_same_bytes_whoever_is_asked(
    signers: tuple[Signer, Signer], hsm_batches: Batches, as_owner: Owner
) -> None:
    order = hsm_batches.order(Step.COLLATERALIZE)
    signed = await asyncio.gather(*(signers[n % 2].sign_batch(order) for n in range(6)))
    assert len({batch.model_dump_json() for batch in signed}) == 1
    for intent, transaction in zip(order.batch.intents, signed[0].transactions, strict=True):
        assert_signed(intent, transaction, legacy=False)
    hashes = {row[0] for row in as_owner("SELECT transaction_hash FROM signing.journal")}
    assert {each.transaction_hash for each in signed[0].transactions} <= hashes


async def test_what_has_left_the_signer_may_be_asked_for_after_a_no_op(
    signers: tuple[Signer, Signer], hsm_batches: Batches
) -> None:
    """As where signatures are deterministic: it is out anyway, and nothing new is."""
    order = hsm_batches.order(Step.BORROW)
    first = await signers[0].sign_batch(order)
    await signers[0].sign_batch(hsm_batches.no_op(Step.BORROW))
    assert await signers[1].sign_batch(order) == first
    with pytest.raises(SigningRefused) as caught:
        await signers[0].sign_batch(with_fees(order, HIGHER))
    assert caught.value.problem.field == "nonce_filled"


async def test_other_fees_are_another_signature(
    signers: tuple[Signer, Signer], hsm_batches: Batches
) -> None:
    order = hsm_batches.order(Step.BORROW)
    first = await signers[0].sign_batch(order)
    dearer = await signers[0].sign_batch(with_fees(order, HIGHER))
    assert first != dearer == await signers[1].sign_batch(with_fees(order, HIGHER))


async def test_a_retired_key_is_refused_by_the_records_and_by_the_hsm(
    signers: tuple[Signer, Signer],
    hsm_keys: Pkcs11KeyProvider,
    hsm_batches: Batches,
    pool: Pool,
) -> None:
    custody = Custody(hsm_keys, signers[0].accounts, signers[0].journal, pool)
    order = RetireAccount(deal_id=DealId(DEAL), who="me", why="a test", request_id="r")
    await custody.retire_account(order)
    with pytest.raises(SigningRefused) as caught:
        await signers[0].sign_batch(hsm_batches.order(Step.BORROW))
    assert caught.value.problem.field == "key_retired"
    with pytest.raises(SigningRefused, match="retired"):
        await hsm_keys.sign(deal_key(0), hsm_batches.order(Step.BORROW).batch.intents)
    await custody.reinstate_account(order)
    assert (await signers[0].sign_batch(hsm_batches.order(Step.BORROW))).transactions


async def test_the_keys_of_another_provider_are_not_taken_for_these(
    signer: Signer, batches: Batches, signers: tuple[Signer, Signer]
) -> None:
    assert (await signer.sign_batch(batches.order(Step.BORROW))).transactions
    with pytest.raises(Unavailable) as caught:
        await signers[0].sign_batch(batches.order(Step.BORROW))
    problem = caught.value.problem
    assert (problem.field, problem.value, problem.limit) == ("KEY_PROVIDER", "pkcs11", "local")
