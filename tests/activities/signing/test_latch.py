"""A latched chain: nothing new is signed on it until a person has looked."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from activities.signing.signer import Signer
from domain.deals import Step
from domain.errors import Unavailable
from tests.activities.signing.samples import CHAIN, HIGHER, Batches, with_fees

Owner = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def latched(as_owner: Owner) -> Iterator[Callable[[int], None]]:
    """Latches a chain; the latches are gone when the test ends."""

    def latch(chain_id: int) -> None:
        problem = json.dumps({"code": "finality_broken"})
        as_owner(
            "INSERT INTO signing.latches (chain_id, problem) VALUES (%s, %s)", chain_id, problem
        )

    yield latch
    as_owner("TRUNCATE signing.latches")


def release(as_owner: Owner) -> None:
    as_owner(
        "UPDATE signing.latches SET cleared_at = now(), cleared_by = 'ann', cleared_why = 'looked'"
    )


async def test_nothing_new_is_signed_until_it_is_released(
    signer: Signer, batches: Batches, as_owner: Owner, latched: Callable[[int], None]
) -> None:
    order = batches.order(Step.SWAP)
    latched(CHAIN)
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            await signer.sign_batch(order)
        assert caught.value.retryable
        assert (caught.value.problem.field, caught.value.problem.value) == ("chain_id", str(CHAIN))
    # It is no refusal: the same request is signed later, so the journal knows nothing of it.
    assert as_owner("SELECT count(*) FROM signing.journal") == [(0,)]

    release(as_owner)
    signed = await signer.sign_batch(order)
    assert len(signed.transactions) == len(order.batch.intents)


async def test_bytes_that_were_signed_before_are_given_out_again(
    signer: Signer, batches: Batches, as_owner: Owner, latched: Callable[[int], None]
) -> None:
    order = batches.order(Step.SWAP)
    before = await signer.sign_batch(order)
    rows = as_owner("SELECT count(*) FROM signing.journal")
    latched(CHAIN)
    assert await signer.sign_batch(order) == before
    assert as_owner("SELECT count(*) FROM signing.journal") == rows


@pytest.mark.parametrize("kind", ["higher fees", "no-op"])
async def test_neither_a_higher_bid_nor_a_no_op_is_signed(
    signer: Signer, batches: Batches, latched: Callable[[int], None], kind: str
) -> None:
    order = batches.order(Step.BORROW)
    await signer.sign_batch(order)
    latched(CHAIN)
    other = with_fees(order, HIGHER) if kind == "higher fees" else batches.no_op(Step.BORROW)
    with pytest.raises(Unavailable):
        await signer.sign_batch(other)


async def test_another_chain_is_not_stopped(
    signer: Signer, batches: Batches, latched: Callable[[int], None]
) -> None:
    latched(CHAIN + 1)
    assert (await signer.sign_batch(batches.order(Step.SWAP))).transactions


async def test_what_is_withheld_while_it_is_latched_stays_so(
    signer: Signer, batches: Batches, latched: Callable[[int], None]
) -> None:
    order = batches.order(Step.SWAP)
    latched(CHAIN)
    assert (await signer.withhold_batch(order.batch)).signed == ()
