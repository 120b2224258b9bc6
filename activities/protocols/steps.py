"""The calls of each step, built from fresh quotes, with the post-conditions they must meet.

A builder looks at the chain once, refuses if a limit would break, and returns a draft; nothing
here signs, numbers or sends.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from activities.protocols import erc20, safe, uniswap
from activities.protocols.calls import DealCalls
from activities.protocols.drafts import (
    Call,
    Draft,
    allowance_read,
    approval,
    draft_of,
    exactly,
    look_for,
    quote_read,
)
from activities.protocols.multicall import Read
from activities.protocols.operations import OperationBuilder
from activities.protocols.price_guard import PriceReader
from activities.protocols.reader import ChainReader, Look, redemption_terms
from activities.protocols.runs import RunBuilder
from activities.protocols.segments import (
    borrowing,
    redeeming,
    repaying_part,
    repayment,
    supplying,
    wrapping,
)
from activities.transactions.interface import PrepareBatch
from domain.amounts import BASIS_POINTS, UINT256_MAX, ceil_div
from domain.approvals import ExecuteApproved
from domain.deals import Step
from domain.errors import NotAllowed
from domain.exits import debt_bound, part_of, topped_up
from domain.identifiers import Address
from domain.limits import MAX_LTV_BPS
from domain.market import RedemptionTerms
from domain.operations import OPERATION_STEPS
from domain.safe import SafeTransaction
from domain.swaps import (
    ensure_exposure,
    ensure_redeemable,
    fitting,
    least_received,
    least_size,
    loan_within,
)
from domain.transactions import Asset, Bound

_WETH_DUST: Final = 10**9
"""Interest on the collateral between looking and withdrawing, in wei; the next round unwraps it."""


class StepBuilder:
    """Builds drafts for the steps of deals on one chain."""

    def __init__(self, reader: ChainReader, treasury: Address) -> None:
        """Take the chain's reader and the treasury that funds and is paid back."""
        self.reader = reader
        self.profile = reader.profile
        self.treasury = treasury
        self._builders: Mapping[Step, Callable[[PrepareBatch], Awaitable[Draft]]] = {
            Step.FUND: self._fund,
            Step.RUN: RunBuilder(reader).build,
            Step.WRAP: self._wrap,
            Step.COLLATERALIZE: self._collateralize,
            Step.BORROW: self._borrow,
            Step.SWAP: self._swap,
            Step.REDEEM: self._redeem,
            Step.TOP_UP: self._top_up,
            Step.UNWIND: self._unwind,
            Step.SETTLE: self._settle,
            Step.SWEEP: self._sweep,
            **dict.fromkeys(OPERATION_STEPS, OperationBuilder(reader).build),
        }

    async def build(self, order: PrepareBatch) -> Draft:
        """The draft of the order's step.

        Raises `LimitExceeded`, `RedemptionFrozen`, `Unavailable`.
        """
        draft = await self._builders[order.key.step](order)
        draft.level.ensure_under_cap()
        return draft

    async def _fund(self, order: PrepareBatch) -> Draft:
        if order.approval is not None:
            return await self._fund_from_safe(order, order.approval)
        look = await self._look(order, sender=self.treasury)
        amount = order.sizing.wrap_wei + order.sizing.gas_reserve_wei
        call = Call(order.account, "Fund the deal's account from the treasury", value=amount)
        return draft_of(look, [call], [exactly(Asset.ETHER, amount)], sender=self.treasury)

    async def _fund_from_safe(self, order: PrepareBatch, approved: ExecuteApproved) -> Draft:
        """Have the Safe do what its owners have signed, if it is the Safe's next transaction."""
        transaction, sender = approved.transaction, approved.sender
        look = await self._look(order, [Read(transaction.safe, safe.NONCE)], sender=sender)
        (nonce,) = look.values[0]
        if nonce != transaction.nonce or look.position.wei >= transaction.value:
            raise _not_due(transaction, nonce, look.position.wei)
        call = Call(
            transaction.safe,
            "Fund the deal's account from the Safe",
            safe.execution(transaction, approved.signatures),
        )
        return draft_of(look, [call], [exactly(Asset.ETHER, transaction.value)], sender=sender)

    async def _wrap(self, order: PrepareBatch) -> Draft:
        look = await self._look(order)
        return draft_of(look, *wrapping(self._calls(order), order.sizing.wrap_wei))

    async def _collateralize(self, order: PrepareBatch) -> Draft:
        calls = self._calls(order)
        look = await self._look(
            order, [allowance_read(calls.collateral, order.account, calls.pool)]
        )
        return draft_of(look, *supplying(calls, order.sizing.wrap_wei, look.values[0]))

    async def _borrow(self, order: PrepareBatch) -> Draft:
        """Borrow as sized, or a little less where the collateral has lost a little value."""
        look = await self._look(order)
        limit = min(order.request.max_ltv_bps, MAX_LTV_BPS)
        amount = loan_within(look.position, order.sizing.borrow, limit, _least(order))
        return draft_of(look, *borrowing(self._calls(order), amount))

    async def _swap(self, order: PrepareBatch) -> Draft:
        """Swap as sized, or a little less where the markets have moved a little."""
        amount = order.sizing.borrow
        look = await self._look_at_swap(order, amount)
        fits = fitting(look.position, amount, uniswap.quoted(look.values[1]))
        if _least(order) <= fits < amount:
            amount = fits
            look = await self._look_at_swap(order, amount)
        quote, offered = uniswap.quoted(look.values[1]), redemption_terms(look.values[2:6])
        guard = self._prices(order).guard(look.values[6:], offered, look.timestamp)
        ensure_exposure(look.position, amount, quote)
        minimum = max(
            guard.buying(amount, quote),
            least_received(offered, amount, quote, order.request.max_slippage_bps),
        )
        calls = self._calls(order)
        swap = self._exchange(calls, look, (calls.par, calls.discount), amount, minimum)
        bounds = [
            exactly(Asset.PAR, -amount),
            Bound(asset=Asset.DISCOUNT, minimum=minimum, maximum=UINT256_MAX),
        ]
        return draft_of(look, swap, bounds)

    async def _look_at_swap(self, order: PrepareBatch, amount: int) -> Look:
        calls = self._calls(order)
        return await self._look(
            order,
            [
                allowance_read(calls.par, order.account, calls.router),
                self._quote(order, calls.par, calls.discount, amount),
                *self.reader.redemption_reads(self.profile.module(order.request.module)),
                *self._prices(order).reads(),
            ],
        )

    async def _redeem(self, order: PrepareBatch) -> Draft:
        terms = self.profile.module(order.request.module)
        look = await self._look(
            order, [*self.reader.redemption_reads(terms), self._redemption_allowance(order)]
        )
        offered = redemption_terms(look.values[:-1])
        ensure_redeemable(offered, look.position.discount)
        return self._redemption(order, look, offered, look.position.discount)

    async def _top_up(self, order: PrepareBatch) -> Draft:
        look = await self._look(order, sender=self.treasury)
        amount = max(0, topped_up(look.position.debt) - look.position.par)
        call = Call(
            self._calls(order).par,
            "Make up the shortfall from the treasury",
            erc20.TRANSFER.encode(order.account, amount),
        )
        calls = [call] if amount else []
        return draft_of(look, calls, [exactly(Asset.PAR, amount)], sender=self.treasury)

    async def _unwind(self, order: PrepareBatch) -> Draft:
        """Redeem what is held if that is possible, otherwise sell it back at a bounded loss."""
        terms = self.profile.module(order.request.module)
        position = await self.reader.position(order.request.module, order.account)
        amount = part_of(position.discount, order.part_bps)
        calls = self._calls(order)
        look = await self._look(
            order,
            [
                allowance_read(calls.discount, order.account, calls.router),
                self._quote(order, calls.discount, calls.par, amount),
                *self.reader.redemption_reads(terms),
                *self._prices(order).reads(),
                self._redemption_allowance(order),
            ],
        )
        quote, offered = uniswap.quoted(look.values[1]), redemption_terms(look.values[2:6])
        if offered.redeemable >= amount and not offered.frozen:
            return self._redemption(order, look, offered, amount)
        guard = self._prices(order).guard(look.values[6:-1], offered, look.timestamp)
        slippage = (
            order.request.max_slippage_bps if order.slippage_bps is None else order.slippage_bps
        )
        minimum = quote - ceil_div(quote * slippage, BASIS_POINTS)
        minimum = max(minimum, guard.selling(amount, quote))
        swap = self._exchange(calls, look, (calls.discount, calls.par), amount, minimum)
        bounds = [
            exactly(Asset.DISCOUNT, -amount),
            Bound(asset=Asset.PAR, minimum=minimum, maximum=UINT256_MAX),
        ]
        return draft_of(look, swap, bounds)

    async def _settle(self, order: PrepareBatch) -> Draft:
        """Repay, withdraw and unwrap: what of it there is to do."""
        calls = self._calls(order)
        look = await self._look(order, [allowance_read(calls.par, order.account, calls.pool)])
        if order.part_bps is not None:
            return draft_of(look, *repaying_part(calls, look, order.part_bps))
        position, settling = look.position, list[Call]()
        if position.debt:
            settling += repayment(calls, position.debt, look.values[0])
        if position.collateral:
            settling.append(calls.withdraw())
        unwrapped = position.weth + position.collateral
        if unwrapped:
            settling.append(calls.unwrap(unwrapped))
        return draft_of(look, settling, _settled(look))

    async def _sweep(self, order: PrepareBatch) -> Draft:
        """Send home all par tokens, then every wei that is left after the gas.

        At these fees every wei offered is spent, so the rest is known before it is sent.
        """
        look = await self._look(order)
        calls, treasury = list[Call](), order.treasury or self.treasury
        if look.position.par:
            data = erc20.TRANSFER.encode(treasury, look.position.par)
            token = self._calls(order).par
            calls.append(Call(token, "Pay the par tokens to the treasury", data))
        calls.append(Call(treasury, "Sweep the ether home", spends_rest=True))
        bounds = [exactly(Asset.PAR, -look.position.par)]
        return draft_of(look, calls, bounds, fees=look.fees.maximum_exact)

    def _redemption(
        self, order: PrepareBatch, look: Look, terms: RedemptionTerms, amount: int
    ) -> Draft:
        segment = redeeming(self._calls(order), amount, terms.paid(amount), look.values[-1])
        return draft_of(look, *segment)

    def _exchange(
        self,
        calls: DealCalls,
        look: Look,
        pair: tuple[Address, Address],
        amount: int,
        minimum: int,
    ) -> list[Call]:
        """Approve and swap exactly `amount` for at least `minimum`, before a deadline."""
        allowed, purpose = look.values[0], "Allow the router to swap"
        return [
            *approval(pair[0], calls.router, amount, allowed, purpose),
            calls.swap(*pair, amount, minimum, look.timestamp),
        ]

    def _quote(self, order: PrepareBatch, give: Address, get: Address, amount: int) -> Read:
        module = self.profile.module(order.request.module)
        return quote_read(self.profile, module, give, get, amount)

    def _prices(self, order: PrepareBatch) -> PriceReader:
        return PriceReader(self.profile, self.profile.module(order.request.module))

    def _redemption_allowance(self, order: PrepareBatch) -> Read:
        calls = self._calls(order)
        return allowance_read(calls.discount, order.account, calls.redemption)

    async def _look(
        self, order: PrepareBatch, extra: list[Read] | None = None, sender: Address | None = None
    ) -> Look:
        return await look_for(self.reader, order, extra or [], sender)

    def _calls(self, order: PrepareBatch) -> DealCalls:
        return DealCalls(self.profile, self.profile.module(order.request.module), order.account)


def _not_due(transaction: SafeTransaction, nonce: int, held: int) -> NotAllowed:
    """Say why it must not be sent: it could only fail, or pay a second time."""
    paid = held >= transaction.value
    return NotAllowed(
        "the account has been funded already" if paid else "it is not the Safe's next transaction",
        field="value" if paid else "nonce",
        value=transaction.value if paid else transaction.nonce,
        limit="paid once" if paid else nonce,
        actual=f"{held} wei held",
        next_action="nothing: the deal looks at the Safe again",
    )


def _settled(look: Look) -> list[Bound]:
    """After settle nothing is owed and no collateral is left; interest moves what is repaid.

    Aave's tokens log only what goes beyond the interest that they are given with the same call.
    """
    position = look.position
    return [
        Bound(asset=Asset.DEBT, minimum=-debt_bound(position.debt), maximum=0),
        Bound(asset=Asset.COLLATERAL, minimum=-position.collateral - _WETH_DUST, maximum=0),
        Bound(asset=Asset.WETH, minimum=-position.weth, maximum=_WETH_DUST - position.weth),
        Bound(asset=Asset.PAR, minimum=-debt_bound(position.debt), maximum=-position.debt),
        Bound(
            asset=Asset.ETHER,
            minimum=position.weth + position.collateral,
            maximum=position.weth + position.collateral,
        ),
    ]


def _least(order: PrepareBatch) -> int:
    """The smallest loan or swap that still is the deal that was sized."""
    return least_size(order.sizing.borrow, order.request.max_slippage_bps)
