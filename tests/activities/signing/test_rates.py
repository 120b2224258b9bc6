"""Rates: counted from the journal's own rows, exact at the limit, and never in the way out."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from activities.database import Pool
from activities.signing.findings import Rule
from activities.signing.interface import OpenAccount, SignBatch, SignedBatch
from activities.signing.policies import put_in_force
from activities.signing.providers.local import LocalKeyProvider
from activities.signing.signer import Signer
from domain.deals import Step
from domain.errors import SigningRefused
from domain.identifiers import DealId
from tests.activities.signing.samples import (
    BORROWED,
    HIGHER,
    STRANGER,
    Batches,
    order_of,
    spoil,
    with_fees,
    with_rates,
)

Owner = Callable[..., list[tuple[Any, ...]]]
Opened = Callable[..., Awaitable[Batches]]
RATED = [Step.FUND, Step.RUN, Step.WRAP, Step.COLLATERALIZE, Step.BORROW, Step.SWAP]
WAY_OUT = [Step.REDEEM, Step.TOP_UP, Step.UNWIND, Step.SETTLE, Step.SWEEP]
LARGEST_RUN = 35
"""Rated calls of a run of ten cycles: no policy can allow less, or it could never be signed."""
BORROWED_USD8 = BORROWED * 105  # 6 decimals to 8, at 1.05 USD


@pytest.fixture
def limited(keys: LocalKeyProvider, pool: Pool) -> Callable[..., Awaitable[Signer]]:
    """Makes signers with other rates."""

    async def make(**rates: object) -> Signer:
        policy = with_rates(**rates)
        await put_in_force(pool, policy)
        return Signer(policy, keys, pool)

    return make


@pytest.fixture
def opened(signer: Signer) -> Opened:
    """Opens a deal."""

    async def make(name: str) -> Batches:
        deal = DealId(name)
        return Batches(await signer.open_account(OpenAccount(deal_id=deal)), deal)

    return make


async def rule_of(signing: Awaitable[object]) -> str:
    with pytest.raises(SigningRefused) as caught:
        await signing
    assert caught.value.problem.limit
    return str(caught.value.problem.field)


async def borrow(signer: Signer, batches: Batches, first: int, last: int) -> None:
    """Sign loans, of one transaction each, one after the other."""
    for number in range(first, last):
        await signer.sign_batch(batches.order(Step.BORROW, attempt=number + 1, first_nonce=number))


def counts(as_owner: Owner) -> tuple[Any, ...]:
    """What the newest row says has been signed."""
    (row,) = as_owner(
        "SELECT total_signatures, total_usd8, deal_signatures, deal_usd8 FROM signing.journal"
        " ORDER BY sequence DESC LIMIT 1"
    )
    return row


@pytest.mark.parametrize("step", RATED)
async def test_what_puts_money_at_risk_is_counted_and_its_value_too(
    signer: Signer, batches: Batches, as_owner: Owner, step: Step
) -> None:
    await signer.sign_batch(batches.order(step))
    rows = as_owner("SELECT rated, usd8 FROM signing.journal ORDER BY sequence")
    rated = [int(value) for is_rated, value in rows if is_rated]
    assert counts(as_owner) == (len(rated), sum(rated), len(rated), sum(rated))
    ether, lent = 5_000 * 10**8, BORROWED_USD8
    assert [value for value in rated if value] == {
        Step.FUND: [10 * ether],
        Step.WRAP: [9 * ether],
        Step.COLLATERALIZE: [9 * ether],
        Step.BORROW: [lent],
        Step.SWAP: [lent],
        Step.RUN: [9 * ether, 9 * ether, lent, lent],
    }[step]


@pytest.mark.parametrize("step", WAY_OUT)
async def test_the_way_out_is_valued_but_not_counted(
    signer: Signer, batches: Batches, as_owner: Owner, step: Step
) -> None:
    await signer.sign_batch(batches.order(step))
    assert counts(as_owner) == (0, 0, 0, 0)
    values = as_owner("SELECT sum(usd8) FROM signing.journal")
    assert values[0][0] > 0


@pytest.mark.parametrize("rate", ["deal_signatures", "hour_signatures"])
async def test_a_rate_allows_exactly_so_many_signatures(
    limited: Callable[..., Awaitable[Signer]], opened: Opened, rate: str
) -> None:
    most = LARGEST_RUN + 3
    signer, deal = await limited(**{rate: most}), await opened("alpha")
    await borrow(signer, deal, 0, most)
    over = deal.order(Step.BORROW, attempt=99, first_nonce=99)
    assert await rule_of(signer.sign_batch(over)) == f"rate_{rate}"
    other = await opened("beta")
    if rate == "deal_signatures":
        await borrow(signer, other, 0, 1)
    else:
        assert await rule_of(signer.sign_batch(other.order(Step.BORROW))) == f"rate_{rate}"


@pytest.mark.parametrize("rate", ["deal_usd", "hour_usd"])
async def test_a_rate_allows_exactly_so_much_value(
    limited: Callable[..., Awaitable[Signer]], opened: Opened, rate: str
) -> None:
    signer, deal = await limited(**{rate: "8_400"}), await opened("alpha")
    await borrow(signer, deal, 0, 2)
    over = deal.order(Step.BORROW, attempt=99, first_nonce=99)
    assert await rule_of(signer.sign_batch(over)) == f"rate_{rate}"


async def test_a_batch_over_the_rate_is_not_signed_in_part(
    limited: Callable[..., Awaitable[Signer]], opened: Opened, as_owner: Owner
) -> None:
    most = LARGEST_RUN
    signer, deal = await limited(hour_signatures=most), await opened("alpha")
    await borrow(signer, deal, 0, most - 1)
    order = deal.order(Step.COLLATERALIZE, first_nonce=most)  # two transactions, room for one
    assert await rule_of(signer.sign_batch(order)) == Rule.RATE_HOUR_SIGNATURES
    assert counts(as_owner)[0] == most - 1
    await borrow(signer, deal, most - 1, most)


async def exhausted(limited: Callable[..., Awaitable[Signer]], deal: Batches) -> Signer:
    """A signer under whose every rate there is no room any more, whatever it is worth."""
    signer = await limited(
        deal_signatures=LARGEST_RUN,
        hour_signatures=LARGEST_RUN,
        deal_usd=str(LARGEST_RUN * 4_200),
        hour_usd=str(LARGEST_RUN * 4_200),
    )
    await borrow(signer, deal, 0, LARGEST_RUN)
    return signer


@pytest.mark.parametrize("step", [*WAY_OUT, "sale"])
async def test_no_rate_holds_up_the_way_out(
    limited: Callable[..., Awaitable[Signer]], opened: Opened, step: Step | str
) -> None:
    deal = await opened("alpha")
    signer = await exhausted(limited, deal)
    for count in range(3):
        nonce = 100 + 10 * count
        if step == "sale":
            order = deal.order(Step.UNWIND, first_nonce=nonce, attempt=count + 1, selling=True)
        else:
            order = deal.order(Step(step), first_nonce=nonce, attempt=count + 1)
        await signer.sign_batch(order)


async def test_no_rate_holds_up_no_ops_replacements_and_what_was_signed(
    limited: Callable[..., Awaitable[Signer]], opened: Opened
) -> None:
    deal = await opened("alpha")
    signer = await exhausted(limited, deal)
    order = deal.order(Step.BORROW)  # the first of them
    assert isinstance(await signer.sign_batch(order), SignedBatch)
    await signer.sign_batch(with_fees(order, HIGHER))
    await signer.sign_batch(deal.no_op(Step.BORROW))
    await signer.sign_batch(deal.no_op(Step.BORROW, first_nonce=500, attempt=5))


@pytest.mark.parametrize("step", RATED)
async def test_the_way_in_is_held_up(
    limited: Callable[..., Awaitable[Signer]], opened: Opened, step: Step
) -> None:
    deal = await opened("alpha")
    signer = await exhausted(limited, deal)
    order = deal.order(step, first_nonce=100, attempt=77)
    assert (await rule_of(signer.sign_batch(order))).startswith("rate_")


async def test_after_an_hour_there_is_room_again_but_not_in_the_deals_life(
    limited: Callable[..., Awaitable[Signer]], opened: Opened, as_owner: Owner
) -> None:
    deal = await opened("alpha")
    signer = await limited(hour_signatures=LARGEST_RUN, deal_signatures=2 * LARGEST_RUN)
    await borrow(signer, deal, 0, LARGEST_RUN)
    blocked = deal.order(Step.BORROW, attempt=99, first_nonce=99)
    assert await rule_of(signer.sign_batch(blocked)) == Rule.RATE_HOUR_SIGNATURES
    minutes = "UPDATE signing.journal SET decided_at = decided_at - interval '%s minutes'"
    as_owner(minutes % 59)
    again = deal.order(Step.BORROW, attempt=98, first_nonce=98)
    assert await rule_of(signer.sign_batch(again)) == Rule.RATE_HOUR_SIGNATURES
    as_owner(minutes % 2)
    await borrow(signer, deal, LARGEST_RUN, 2 * LARGEST_RUN)
    as_owner(minutes % 61)
    last = deal.order(Step.BORROW, attempt=97, first_nonce=97)
    assert await rule_of(signer.sign_batch(last)) == Rule.RATE_DEAL_SIGNATURES


async def test_two_signers_at_once_share_one_rate(
    limited: Callable[..., Awaitable[Signer]], opened: Opened, other_signer: Signer, as_owner: Owner
) -> None:
    most = LARGEST_RUN + 3
    signer = await limited(hour_signatures=most)
    other = Signer(signer.journal.policy, other_signer._keys, other_signer.journal._pool)
    await borrow(signer, await opened("before"), 0, most - 10)
    orders = [(await opened(f"deal-{number}")).order(Step.BORROW) for number in range(20)]
    outcomes = await asyncio.gather(
        *((signer, other)[number % 2].sign_batch(order) for number, order in enumerate(orders)),
        return_exceptions=True,
    )
    refused = [each for each in outcomes if isinstance(each, SigningRefused)]
    assert {each.problem.field for each in refused} == {Rule.RATE_HOUR_SIGNATURES}
    assert (len(outcomes) - len(refused), len(refused)) == (10, 10)
    signed = as_owner("SELECT count(*), max(total_signatures) FROM signing.journal WHERE rated")
    assert signed == [(most, most)]
    assert (await signer.journal.verify()).broken is None


# -- refusals ----------------------------------------------------------------------------------


def spoilt(batches: Batches, number: int) -> SignBatch:
    """A request that is refused; each number is another one."""
    return spoil(batches.order(Step.BORROW), 0, to=STRANGER, gas_limit=100_000 + number)


async def refuse(signer: Signer, batches: Batches, count: int) -> None:
    for number in range(count):
        assert await rule_of(signer.sign_batch(spoilt(batches, number))) == Rule.DESTINATION


def refusals(as_owner: Owner) -> list[tuple[Any, ...]]:
    return as_owner(
        "SELECT split_part(batch, '/', 1), count(*) FROM signing.journal"
        " WHERE decision = 'refused' GROUP BY 1 ORDER BY 1"
    )


async def test_refusals_of_a_deal_do_not_fill_the_journal(
    limited: Callable[..., Awaitable[Signer]],
    opened: Opened,
    as_owner: Owner,
    capsys: pytest.CaptureFixture[str],
) -> None:
    signer, alpha, beta = (
        await limited(deal_refusals_an_hour=5),
        await opened("alpha"),
        await opened("beta"),
    )
    await refuse(signer, alpha, 4)
    await borrow(signer, alpha, 0, 2)
    await refuse(signer, alpha, 12)
    await refuse(signer, beta, 2)
    assert refusals(as_owner) == [("alpha", 5), ("beta", 2)]
    last = as_owner(
        "SELECT reason FROM signing.journal WHERE batch LIKE 'alpha/%%' ORDER BY sequence DESC"
    )
    assert last[0][0].endswith("; further refusals within the hour are in the log only")
    assert not last[1][0] or "in the log only" not in last[1][0]
    # The log has them all, and what is signed goes on being signed.
    assert capsys.readouterr().out.count("rule=destination") == 4 + 12 + 2
    await borrow(signer, alpha, 2, 3)
    assert (await signer.journal.verify()).broken is None


async def test_after_an_hour_refusals_are_kept_again(
    limited: Callable[..., Awaitable[Signer]], opened: Opened, as_owner: Owner
) -> None:
    signer, alpha = await limited(deal_refusals_an_hour=3), await opened("alpha")
    await refuse(signer, alpha, 6)
    as_owner("UPDATE signing.journal SET decided_at = decided_at - interval '61 minutes'")
    assert await rule_of(signer.sign_batch(spoilt(alpha, 50))) == Rule.DESTINATION
    assert refusals(as_owner) == [("alpha", 4)]


async def test_names_that_are_no_deals_share_one_bound_and_crowd_out_nobody(
    limited: Callable[..., Awaitable[Signer]], opened: Opened, as_owner: Owner
) -> None:
    signer, alpha = await limited(unknown_refusals_an_hour=3), await opened("alpha")
    for number in range(10):
        order = Batches(alpha.accounts, DealId(f"nobody-{number}")).order(Step.BORROW)
        assert await rule_of(signer.sign_batch(order)) == Rule.ACCOUNT
    await refuse(signer, alpha, 1)
    assert [count for _, count in refusals(as_owner)] == [1, 1, 1, 1]
    as_owner("UPDATE signing.journal SET decided_at = decided_at - interval '61 minutes'")
    again = Batches(alpha.accounts, DealId("nobody-again")).order(Step.BORROW)
    assert await rule_of(signer.sign_batch(again)) == Rule.ACCOUNT
    assert len(refusals(as_owner)) == 5


async def test_a_refused_batch_as_a_whole_counts_a_row_for_each_intent(
    limited: Callable[..., Awaitable[Signer]], opened: Opened, as_owner: Owner
) -> None:
    signer, alpha = await limited(deal_refusals_an_hour=4), await opened("alpha")
    batch = alpha.batch(Step.RUN)
    order = order_of(batch).model_copy(update={"digest": "0" * 64})
    assert await rule_of(signer.sign_batch(order)) == Rule.DIGEST
    assert refusals(as_owner) == [("alpha", 4)]
