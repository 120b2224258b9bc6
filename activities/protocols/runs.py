"""The batch of a pipelined deal: everything from wrapping to unwrapping, in one block.

Each of its segments is one of the steps it joins, and is held to the post-conditions of that step,
in the simulation and again by the receipts. Which amounts those are, and why the limits hold
between any two of the calls, is said in `domain.runs`.

The calls are sent together, so one that reverts does not stop those after it. It need not: none of
them can take more than its own exact amount, and they pay nobody but the deal's account. A purchase
that reverts leaves the loan, which is repaid; where the loan cannot be repaid, the collateral stays
where it is. Whatever is left then is what the exit path deals with.
"""

from dataclasses import dataclass, field
from itertools import islice

from activities.protocols import aave, uniswap
from activities.protocols.calls import DealCalls
from activities.protocols.drafts import (
    Call,
    Draft,
    allowance_read,
    draft_of,
    exactly,
    look_for,
    quote_read,
)
from activities.protocols.multicall import Read
from activities.protocols.price_guard import PriceReader
from activities.protocols.reader import ChainReader, Look, redemption_terms
from activities.protocols.segments import (
    ROUNDING,
    Allowed,
    Segment,
    borrowing,
    buying,
    redeeming,
    repayment,
    supplying,
    wrapping,
)
from activities.transactions.interface import PrepareBatch
from domain.amounts import BASIS_POINTS, ceil_div
from domain.exits import debt_bound
from domain.limits import MAX_LTV_BPS
from domain.market import RAY
from domain.positions import Position
from domain.runs import Run, RunMarket, fitting_run, plan_run, supplied
from domain.swaps import least_size, loan_within
from domain.transactions import Asset, Bound

_NOTHING_ALLOWED = (0,)
_EARNED_BPS = 1
"""What collateral may earn if a run is not mined in one block, over what was supplied."""


@dataclass(frozen=True, slots=True)
class _RunLook:
    """What a run is built from, as of one block."""

    look: Look
    supplied: Position
    market: RunMarket
    allowances: list[Allowed]
    """Left by earlier attempts: WETH for Aave, par for the router, discount, par for Aave."""
    collateral_earns: bool


@dataclass(slots=True)
class _Segments:
    """The batch as it grows, and what is promised of each part of it."""

    calls: list[Call] = field(default_factory=list)
    bounds: list[Bound] = field(default_factory=list)

    def add(self, calls: list[Call], bounds: list[Bound]) -> None:
        """Join these calls on; the bounds speak of them alone."""
        segment = {"first": len(self.calls), "end": len(self.calls) + len(calls)}
        self.calls += calls
        self.bounds += [bound.model_copy(update=segment) for bound in bounds]


class RunBuilder:
    """Builds the runs of pipelined deals on one chain."""

    def __init__(self, reader: ChainReader) -> None:
        """Take the chain's reader."""
        self._reader = reader
        self._profile = reader.profile

    async def build(self, order: PrepareBatch) -> Draft:
        """Draft a run as sized, or a little smaller where the markets have moved a little.

        Raises `LimitExceeded` (max_ltv, exposure, profit, price), `RedemptionFrozen`,
        `Unavailable`.
        """
        loan = order.sizing.borrow
        seen = await self._look(order, loan)
        fits = self._fitting(order, seen)
        if fits < loan:
            loan, seen = fits, await self._look(order, fits)
        loan_within(seen.supplied, loan, _limit_bps(order), loan)
        run = plan_run(seen.supplied, loan, seen.market)
        joined = self._joined(order, seen, run)
        return draft_of(seen.look, joined.calls, joined.bounds)

    def _fitting(self, order: PrepareBatch, seen: _RunLook) -> int:
        """The loan that keeps every limit, unless it would not be the deal that was sized."""
        least = least_size(order.sizing.borrow, order.request.max_slippage_bps)
        loan = loan_within(seen.supplied, order.sizing.borrow, _limit_bps(order), least)
        fits = fitting_run(seen.supplied, loan, seen.market)
        return fits if fits >= least else loan

    def _joined(self, order: PrepareBatch, seen: _RunLook, run: Run) -> _Segments:
        calls, joined = self._calls(order), _Segments()
        wei, now = order.sizing.wrap_wei, seen.look.timestamp
        for_supply, for_swap, for_redemption, for_repayment = seen.allowances
        joined.add(*wrapping(calls, wei))
        joined.add(*supplying(calls, wei, for_supply))
        joined.add(*borrowing(calls, run.loan))
        for bought in run.bought:
            joined.add(*buying(calls, bought, run.loan, now, for_swap))
            joined.add(*redeeming(calls, bought, seen.market.terms.paid(bought), for_redemption))
            for_swap = for_redemption = _NOTHING_ALLOWED
        joined.add(*_repaying(calls, run.loan, for_repayment))
        joined.add(*_withdrawing(calls, wei))
        # Where collateral earns nothing it comes back to the wei. Elsewhere it may be one short,
        # and what is left of it is unwrapped when the deal is settled.
        unwrapped = wei - ROUNDING if seen.collateral_earns else wei
        joined.add(
            [calls.unwrap(unwrapped)],
            [exactly(Asset.WETH, -unwrapped), exactly(Asset.ETHER, unwrapped)],
        )
        return joined

    async def _look(self, order: PrepareBatch, loan: int) -> _RunLook:
        module = self._profile.module(order.request.module)
        calls, quotes = self._calls(order), range(1, order.sizing.cycles + 1)
        allowances = [
            allowance_read(token, order.account, spender)
            for token, spender in (
                (calls.collateral, calls.pool),
                (calls.par, calls.router),
                (calls.discount, calls.redemption),
                (calls.par, calls.pool),
            )
        ]
        redemption_reads = self._reader.redemption_reads(module)
        prices = PriceReader(self._profile, module)
        priced = prices.reads()
        reads = [
            *allowances,
            Read(calls.pool, aave.GET_RESERVE_NORMALIZED_INCOME, (calls.collateral,)),
            *redemption_reads,
            *priced,
            *(
                quote_read(self._profile, module, calls.par, calls.discount, loan * number)
                for number in quotes
            ),
        ]
        look = await look_for(self._reader, order, reads)
        values = iter(look.values)
        allowed = list(islice(values, len(allowances)))
        (income,) = next(values)
        terms = redemption_terms(list(islice(values, len(redemption_reads))))
        guard = prices.guard(list(islice(values, len(priced))), terms, look.timestamp)
        return _RunLook(
            look=look,
            supplied=supplied(look.position, order.sizing.wrap_wei),
            market=RunMarket(
                terms=terms,
                prices=guard,
                slippage_bps=order.request.max_slippage_bps,
                quotes=[uniswap.quoted(quote) for quote in values],
            ),
            allowances=allowed,
            collateral_earns=income != RAY,
        )

    def _calls(self, order: PrepareBatch) -> DealCalls:
        module = self._profile.module(order.request.module)
        return DealCalls(self._profile, module, order.account)


def _limit_bps(order: PrepareBatch) -> int:
    return min(order.request.max_ltv_bps, MAX_LTV_BPS)


def _repaying(calls: DealCalls, loan: int, allowed: Allowed) -> Segment:
    """The whole debt, which is the loan if it is repaid in the same block."""
    return repayment(calls, loan, allowed), [
        Bound(asset=Asset.PAR, minimum=-debt_bound(loan), maximum=ROUNDING - loan),
        Bound(asset=Asset.DEBT, minimum=-debt_bound(loan), maximum=ROUNDING - loan),
    ]


def _withdrawing(calls: DealCalls, wei: int) -> Segment:
    """All of the collateral; if the batch is torn apart it may have earned a little meanwhile."""
    most = wei + ceil_div(wei * _EARNED_BPS, BASIS_POINTS)
    return [calls.withdraw()], [
        Bound(asset=Asset.WETH, minimum=wei - ROUNDING, maximum=most),
        Bound(asset=Asset.COLLATERAL, minimum=-most, maximum=ROUNDING - wei),
    ]
