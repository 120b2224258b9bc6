"""The calls of each step, built from fresh quotes, with the post-conditions they must meet.

A builder looks at the chain once, refuses if a limit would break, and returns a draft; nothing
here signs, numbers or sends.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from activities.protocols import aave, erc20, redemption, uniswap, weth
from activities.protocols.calls import SWAP_DEADLINE_SECONDS
from activities.protocols.drafts import (
    Call,
    Draft,
    allowance_read,
    approval,
    draft_of,
    exactly,
)
from activities.protocols.multicall import Read
from activities.protocols.price_guard import PriceReader
from activities.protocols.reader import ChainReader, Look, redemption_terms
from activities.protocols.runs import RunBuilder
from activities.transactions.interface import PrepareBatch
from domain.amounts import BASIS_POINTS, UINT256_MAX, ceil_div
from domain.deals import Step
from domain.exits import debt_bound, topped_up
from domain.identifiers import Address
from domain.limits import MAX_LTV_BPS
from domain.market import RedemptionTerms
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
_ONE_UNIT: Final = 1
"""Rounding of Aave's scaled balances: a supplied amount may come back one unit smaller."""


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
        }

    async def build(self, order: PrepareBatch) -> Draft:
        """The draft of the order's step.

        Raises `LimitExceeded`, `RedemptionFrozen`, `Unavailable`.
        """
        draft = await self._builders[order.key.step](order)
        draft.level.ensure_under_cap()
        return draft

    async def _fund(self, order: PrepareBatch) -> Draft:
        look = await self._look(order, sender=self.treasury)
        amount = order.sizing.wrap_wei + order.sizing.gas_reserve_wei
        call = Call(order.account, "Fund the deal's account from the treasury", value=amount)
        return draft_of(look, [call], [exactly(Asset.ETHER, amount)], sender=self.treasury)

    async def _wrap(self, order: PrepareBatch) -> Draft:
        look = await self._look(order)
        amount = order.sizing.wrap_wei
        call = Call(
            self._contract(order, "collateral"), "Wrap ETH", weth.DEPOSIT.encode(), value=amount
        )
        bounds = [exactly(Asset.WETH, amount), exactly(Asset.ETHER, -amount)]
        return draft_of(look, [call], bounds)

    async def _collateralize(self, order: PrepareBatch) -> Draft:
        token, pool = self._contract(order, "collateral"), self.profile.contract("aave_pool")
        look = await self._look(order, [allowance_read(token, order.account, pool)])
        amount = order.sizing.wrap_wei
        supply = aave.SUPPLY.encode(token, amount, order.account, aave.NO_REFERRAL)
        calls = [
            *approval(token, pool, amount, look.values[0], "Allow Aave to take the WETH"),
            Call(pool, "Supply WETH as collateral", supply),
        ]
        bounds = [
            exactly(Asset.WETH, -amount),
            Bound(asset=Asset.COLLATERAL, minimum=amount - _ONE_UNIT, maximum=amount + _ONE_UNIT),
        ]
        return draft_of(look, calls, bounds)

    async def _borrow(self, order: PrepareBatch) -> Draft:
        """Borrow as sized, or a little less where the collateral has lost a little value."""
        look = await self._look(order)
        limit = min(order.request.max_ltv_bps, MAX_LTV_BPS)
        amount = loan_within(look.position, order.sizing.borrow, limit, _least(order))
        token = self._contract(order, "par_token")
        data = aave.BORROW.encode(
            token, amount, aave.VARIABLE_RATE, aave.NO_REFERRAL, order.account
        )
        call = Call(self.profile.contract("aave_pool"), "Borrow at the variable rate", data)
        bounds = [
            exactly(Asset.PAR, amount),
            Bound(asset=Asset.DEBT, minimum=amount - _ONE_UNIT, maximum=debt_bound(amount)),
        ]
        return draft_of(look, [call], bounds)

    async def _swap(self, order: PrepareBatch) -> Draft:
        """Swap as sized, or a little less where the markets have moved a little."""
        par, discount = (self._contract(order, name) for name in ("par_token", "discount_token"))
        amount = order.sizing.borrow
        look = await self._look_at_swap(order, amount)
        fits = fitting(look.position, amount, uniswap.quoted(look.values[1]))
        if _least(order) <= fits < amount:
            amount = fits
            look = await self._look_at_swap(order, amount)
        quote, redeeming = uniswap.quoted(look.values[1]), redemption_terms(look.values[2:6])
        guard = self._prices(order).guard(look.values[6:], redeeming, look.timestamp)
        ensure_exposure(look.position, amount, quote)
        minimum = max(
            guard.buying(amount, quote),
            least_received(redeeming, amount, quote, order.request.max_slippage_bps),
        )
        calls = self._exchange(order, look, (par, discount), amount, minimum)
        bounds = [
            exactly(Asset.PAR, -amount),
            Bound(asset=Asset.DISCOUNT, minimum=minimum, maximum=UINT256_MAX),
        ]
        return draft_of(look, calls, bounds)

    async def _look_at_swap(self, order: PrepareBatch, amount: int) -> Look:
        par, discount = (self._contract(order, name) for name in ("par_token", "discount_token"))
        return await self._look(
            order,
            [
                self._router_allowance(order, par),
                self._quote(order, par, discount, amount),
                *self.reader.redemption_reads(self.profile.module(order.request.module)),
                *self._prices(order).reads(),
            ],
        )

    async def _redeem(self, order: PrepareBatch) -> Draft:
        terms = self.profile.module(order.request.module)
        look = await self._look(
            order, [*self.reader.redemption_reads(terms), self._redemption_allowance(order)]
        )
        redeeming = redemption_terms(look.values[:-1])
        ensure_redeemable(redeeming, look.position.discount)
        return self._redemption(order, look, redeeming)

    async def _top_up(self, order: PrepareBatch) -> Draft:
        look = await self._look(order, sender=self.treasury)
        amount = max(0, topped_up(look.position.debt) - look.position.par)
        token = self._contract(order, "par_token")
        call = Call(
            token,
            "Make up the shortfall from the treasury",
            erc20.TRANSFER.encode(order.account, amount),
        )
        calls = [call] if amount else []
        return draft_of(look, calls, [exactly(Asset.PAR, amount)], sender=self.treasury)

    async def _unwind(self, order: PrepareBatch) -> Draft:
        """Redeem what is held if that is possible, otherwise sell it back at a bounded loss."""
        terms = self.profile.module(order.request.module)
        position = await self.reader.position(order.request.module, order.account)
        amount = position.discount
        par, discount = (self._contract(order, name) for name in ("par_token", "discount_token"))
        look = await self._look(
            order,
            [
                self._router_allowance(order, discount),
                self._quote(order, discount, par, amount),
                *self.reader.redemption_reads(terms),
                *self._prices(order).reads(),
                self._redemption_allowance(order),
            ],
        )
        quote, redeeming = uniswap.quoted(look.values[1]), redemption_terms(look.values[2:6])
        if redeeming.redeemable >= amount and not redeeming.frozen:
            return self._redemption(order, look, redeeming)
        guard = self._prices(order).guard(look.values[6:-1], redeeming, look.timestamp)
        minimum = quote - ceil_div(quote * order.request.max_slippage_bps, BASIS_POINTS)
        minimum = max(minimum, guard.selling(amount, quote))
        calls = self._exchange(order, look, (discount, par), amount, minimum)
        bounds = [
            exactly(Asset.DISCOUNT, -amount),
            Bound(asset=Asset.PAR, minimum=minimum, maximum=UINT256_MAX),
        ]
        return draft_of(look, calls, bounds)

    async def _settle(self, order: PrepareBatch) -> Draft:
        """Repay, withdraw and unwrap: what of it there is to do."""
        par, collateral = (self._contract(order, name) for name in ("par_token", "collateral"))
        pool = self.profile.contract("aave_pool")
        look = await self._look(order, [allowance_read(par, order.account, pool)])
        position, calls = look.position, list[Call]()
        if position.debt:
            calls += self._repayment(order, look, par)
        if position.collateral:
            data = aave.WITHDRAW.encode(collateral, aave.ALL, order.account)
            calls.append(Call(pool, "Withdraw all collateral", data))
        calls += self._unwrapping(collateral, position.weth + position.collateral)
        return draft_of(look, calls, _settled(look))

    async def _sweep(self, order: PrepareBatch) -> Draft:
        """Send home all par tokens, then every wei that is left after the gas.

        At these fees every wei offered is spent, so the rest is known before it is sent.
        """
        look = await self._look(order)
        calls = list[Call]()
        if look.position.par:
            data = erc20.TRANSFER.encode(self.treasury, look.position.par)
            token = self._contract(order, "par_token")
            calls.append(Call(token, "Pay the par tokens to the treasury", data))
        calls.append(Call(self.treasury, "Sweep the ether home", spends_rest=True))
        bounds = [exactly(Asset.PAR, -look.position.par)]
        return draft_of(look, calls, bounds, fees=look.fees.maximum_exact)

    def _repayment(self, order: PrepareBatch, look: Look, par: Address) -> list[Call]:
        pool, bound = self.profile.contract("aave_pool"), debt_bound(look.position.debt)
        repay = aave.REPAY.encode(par, aave.ALL, aave.VARIABLE_RATE, order.account)
        return [
            *approval(par, pool, bound, look.values[0], "Allow Aave to take the debt"),
            Call(pool, "Repay the whole debt", repay),
        ]

    def _unwrapping(self, collateral: Address, amount: int) -> list[Call]:
        if not amount:
            return []
        return [Call(collateral, "Unwrap to ETH", weth.WITHDRAW.encode(amount))]

    def _redemption(self, order: PrepareBatch, look: Look, terms: RedemptionTerms) -> Draft:
        amount = look.position.discount
        target, token = self._contract(order, "redemption"), self._contract(order, "discount_token")
        calls = [
            *approval(token, target, amount, look.values[-1], "Allow the redemption"),
            Call(target, "Redeem at par", redemption.REDEEM.encode(amount, order.account)),
        ]
        bounds = [exactly(Asset.DISCOUNT, -amount), exactly(Asset.PAR, terms.paid(amount))]
        return draft_of(look, calls, bounds)

    def _exchange(
        self,
        order: PrepareBatch,
        look: Look,
        pair: tuple[Address, Address],
        amount: int,
        minimum: int,
    ) -> list[Call]:
        """Approve and swap exactly `amount` for at least `minimum`, before a deadline."""
        router = self.profile.contract("uniswap_router")
        fee = self.profile.module(order.request.module).pool_fee
        deadline = look.timestamp + SWAP_DEADLINE_SECONDS
        swap = uniswap.EXACT_INPUT_SINGLE.encode(
            (*pair, fee, order.account, deadline, amount, minimum, 0)
        )
        return [
            *approval(pair[0], router, amount, look.values[0], "Allow the router to swap"),
            Call(router, "Swap on Uniswap v3", swap),
        ]

    def _quote(self, order: PrepareBatch, give: Address, get: Address, amount: int) -> Read:
        fee = self.profile.module(order.request.module).pool_fee
        return Read(
            self.profile.contract("uniswap_quoter"),
            uniswap.QUOTE_EXACT_INPUT_SINGLE,
            ((give, get, amount, fee, 0),),
            optional=True,  # a pool without liquidity must not keep from redeeming
        )

    def _prices(self, order: PrepareBatch) -> PriceReader:
        return PriceReader(self.profile, self.profile.module(order.request.module))

    def _router_allowance(self, order: PrepareBatch, token: Address) -> Read:
        return allowance_read(token, order.account, self.profile.contract("uniswap_router"))

    def _redemption_allowance(self, order: PrepareBatch) -> Read:
        token, target = self._contract(order, "discount_token"), self._contract(order, "redemption")
        return allowance_read(token, order.account, target)

    async def _look(
        self, order: PrepareBatch, extra: list[Read] | None = None, sender: Address | None = None
    ) -> Look:
        look = await self.reader.look(
            order.request.module, order.account, sender or order.account, extra or []
        )
        return replace(look, fees=look.fees.under(order.request.max_fee_per_gas_wei))

    def _contract(self, order: PrepareBatch, field: str) -> Address:
        return self.profile.contract(getattr(self.profile.module(order.request.module), field))


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
