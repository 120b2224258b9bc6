"""The calls of each step, built from fresh quotes, with the post-conditions they must meet.

A builder looks at the chain once, refuses if a limit would break, and returns a draft; nothing
here signs, numbers or sends.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from activities.protocols import aave, erc20, redemption, uniswap, weth
from activities.protocols.multicall import Read
from activities.protocols.reader import ChainReader, Look
from activities.rpc.fees import FeeLevel
from activities.transactions.interface import PrepareBatch
from domain.amounts import BASIS_POINTS, UINT256_MAX, ceil_div, one_token
from domain.deals import Step
from domain.errors import LimitExceeded, NotAllowed, RedemptionFrozen
from domain.exits import debt_bound, topped_up
from domain.identifiers import Address
from domain.limits import MAX_EXPOSURE_BPS, MAX_LTV_BPS
from domain.market import RedemptionTerms
from domain.positions import Position
from domain.transactions import Asset, Bound, Fees

SWAP_DEADLINE_SECONDS: Final = 600
TRANSFER_GAS: Final = 21_000
_WETH_DUST: Final = 10**9
"""Interest on the collateral between looking and withdrawing, in wei; the next round unwraps it."""
_ONE_UNIT: Final = 1
"""Rounding of Aave's scaled balances: a supplied amount may come back one unit smaller."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a batch; value in wei, `purpose` for people."""

    to: Address
    purpose: str
    data: str = "0x"
    value: int = 0
    spends_rest: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """The calls of a step in their order, before simulation."""

    sender: Address
    calls: tuple[Call, ...]
    bounds: tuple[Bound, ...]
    fees: Fees
    level: FeeLevel
    mined_nonce: int
    balance_wei: int
    """Ether of the deal's account before the batch."""
    block_number: int
    timestamp: int
    """The block that the draft was built from, on which it is simulated."""


class StepBuilder:
    """Builds drafts for the steps of deals on one chain."""

    def __init__(self, reader: ChainReader, treasury: Address) -> None:
        """Take the chain's reader and the treasury that funds and is paid back."""
        self.reader = reader
        self.profile = reader.profile
        self.treasury = treasury
        self._builders: Mapping[Step, Callable[[PrepareBatch], Awaitable[Draft]]] = {
            Step.FUND: self._fund,
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
        return self._draft(look, [call], [_exactly(Asset.ETHER, amount)], sender=self.treasury)

    async def _wrap(self, order: PrepareBatch) -> Draft:
        look = await self._look(order)
        amount = order.sizing.wrap_wei
        call = Call(
            self._contract(order, "collateral"), "Wrap ETH", weth.DEPOSIT.encode(), value=amount
        )
        bounds = [_exactly(Asset.WETH, amount), _exactly(Asset.ETHER, -amount)]
        return self._draft(look, [call], bounds)

    async def _collateralize(self, order: PrepareBatch) -> Draft:
        token, pool = self._contract(order, "collateral"), self.profile.contract("aave_pool")
        look = await self._look(order, [_allowance(token, order.account, pool)])
        amount = order.sizing.wrap_wei
        supply = aave.SUPPLY.encode(token, amount, order.account, aave.NO_REFERRAL)
        calls = [
            *_approval(token, pool, amount, look.values[0], "Allow Aave to take the WETH"),
            Call(pool, "Supply WETH as collateral", supply),
        ]
        bounds = [
            _exactly(Asset.WETH, -amount),
            Bound(asset=Asset.COLLATERAL, minimum=amount - _ONE_UNIT, maximum=amount + _ONE_UNIT),
        ]
        return self._draft(look, calls, bounds)

    async def _borrow(self, order: PrepareBatch) -> Draft:
        """Borrow as sized, or a little less where the collateral has lost a little value."""
        look = await self._look(order)
        limit = min(order.request.max_ltv_bps, MAX_LTV_BPS)
        amount = min(order.sizing.borrow, _borrowable(look.position, limit))
        if amount < _least(order):
            ltv = _ltv_bps_with(look.position, order.sizing.borrow)
            raise _limit("max_ltv", "loan to value would be above the deal's limit", limit, ltv)
        token = self._contract(order, "par_token")
        data = aave.BORROW.encode(
            token, amount, aave.VARIABLE_RATE, aave.NO_REFERRAL, order.account
        )
        call = Call(self.profile.contract("aave_pool"), "Borrow at the variable rate", data)
        bounds = [
            _exactly(Asset.PAR, amount),
            Bound(asset=Asset.DEBT, minimum=amount, maximum=debt_bound(amount)),
        ]
        return self._draft(look, [call], bounds)

    async def _swap(self, order: PrepareBatch) -> Draft:
        """Swap as sized, or a little less where the markets have moved a little."""
        par, discount = (self._contract(order, name) for name in ("par_token", "discount_token"))
        amount = order.sizing.borrow
        look = await self._look_at_swap(order, amount)
        fitting = _fitting(look.position, amount, int(look.values[1][0]))
        if _least(order) <= fitting < amount:
            amount = fitting
            look = await self._look_at_swap(order, amount)
        quote, redeeming = int(look.values[1][0]), _terms(look.values[2:])
        exposure = _exposure_bps_after(look.position, amount, quote)
        if exposure > MAX_EXPOSURE_BPS:
            raise _limit(
                "exposure",
                "the discount tokens would be too large a part of the deal",
                MAX_EXPOSURE_BPS,
                exposure,
            )
        minimum = quote - ceil_div(quote * order.request.max_slippage_bps, BASIS_POINTS)
        minimum = max(minimum, _break_even(redeeming, amount))
        if minimum > quote:
            raise _limit(
                "profit",
                "the swap would not redeem for more than it costs",
                f"at least {minimum} units out",
                quote,
            )
        calls = self._exchange(order, look, (par, discount), amount, minimum)
        bounds = [
            _exactly(Asset.PAR, -amount),
            Bound(asset=Asset.DISCOUNT, minimum=minimum, maximum=UINT256_MAX),
        ]
        return self._draft(look, calls, bounds)

    async def _look_at_swap(self, order: PrepareBatch, amount: int) -> Look:
        par, discount = (self._contract(order, name) for name in ("par_token", "discount_token"))
        return await self._look(
            order,
            [
                self._router_allowance(order, par),
                self._quote(order, par, discount, amount),
                *self.reader.redemption_reads(self.profile.module(order.request.module)),
            ],
        )

    async def _redeem(self, order: PrepareBatch) -> Draft:
        terms = self.profile.module(order.request.module)
        look = await self._look(
            order, [*self.reader.redemption_reads(terms), self._redemption_allowance(order)]
        )
        redeeming = _terms(look.values[:-1])
        _ensure_redeemable(redeeming, look.position.discount)
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
        return self._draft(look, calls, [_exactly(Asset.PAR, amount)], sender=self.treasury)

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
                Read(self._contract(order, "redemption"), redemption.RESERVE),
                *self.reader.redemption_reads(terms),
                self._redemption_allowance(order),
            ],
        )
        (quote, *_), (reserve,), redeeming = *look.values[1:3], _terms(look.values[3:-1])
        payable = redeeming.remaining_today >= amount and reserve >= redeeming.paid(amount)
        if payable and not redeeming.frozen:
            return self._redemption(order, look, redeeming)
        minimum = quote - ceil_div(quote * order.request.max_slippage_bps, BASIS_POINTS)
        calls = self._exchange(order, look, (discount, par), amount, minimum)
        bounds = [
            _exactly(Asset.DISCOUNT, -amount),
            Bound(asset=Asset.PAR, minimum=minimum, maximum=UINT256_MAX),
        ]
        return self._draft(look, calls, bounds)

    async def _settle(self, order: PrepareBatch) -> Draft:
        """Repay, withdraw and unwrap: what of it there is to do."""
        par, collateral = (self._contract(order, name) for name in ("par_token", "collateral"))
        pool = self.profile.contract("aave_pool")
        look = await self._look(order, [_allowance(par, order.account, pool)])
        position, calls = look.position, list[Call]()
        if position.debt:
            calls += self._repayment(order, look, par)
        if position.collateral:
            data = aave.WITHDRAW.encode(collateral, aave.ALL, order.account)
            calls.append(Call(pool, "Withdraw all collateral", data))
        calls += self._unwrapping(collateral, position.weth + position.collateral)
        return self._draft(look, calls, _settled(look))

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
        bounds = [_exactly(Asset.PAR, -look.position.par)]
        return self._draft(look, calls, bounds, fees=look.fees.maximum_exact)

    def _repayment(self, order: PrepareBatch, look: Look, par: Address) -> list[Call]:
        pool, bound = self.profile.contract("aave_pool"), debt_bound(look.position.debt)
        repay = aave.REPAY.encode(par, aave.ALL, aave.VARIABLE_RATE, order.account)
        return [
            *_approval(par, pool, bound, look.values[0], "Allow Aave to take the debt"),
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
            *_approval(token, target, amount, look.values[-1], "Allow the redemption"),
            Call(target, "Redeem at par", redemption.REDEEM.encode(amount, order.account)),
        ]
        bounds = [_exactly(Asset.DISCOUNT, -amount), _exactly(Asset.PAR, terms.paid(amount))]
        return self._draft(look, calls, bounds)

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
            *_approval(pair[0], router, amount, look.values[0], "Allow the router to swap"),
            Call(router, "Swap on Uniswap v3", swap),
        ]

    def _quote(self, order: PrepareBatch, give: Address, get: Address, amount: int) -> Read:
        fee = self.profile.module(order.request.module).pool_fee
        return Read(
            self.profile.contract("uniswap_quoter"),
            uniswap.QUOTE_EXACT_INPUT_SINGLE,
            ((give, get, amount, fee, 0),),
        )

    def _router_allowance(self, order: PrepareBatch, token: Address) -> Read:
        return _allowance(token, order.account, self.profile.contract("uniswap_router"))

    def _redemption_allowance(self, order: PrepareBatch) -> Read:
        token, target = self._contract(order, "discount_token"), self._contract(order, "redemption")
        return _allowance(token, order.account, target)

    async def _look(
        self, order: PrepareBatch, extra: list[Read] | None = None, sender: Address | None = None
    ) -> Look:
        return await self.reader.look(
            order.request.module, order.account, sender or order.account, extra or []
        )

    def _contract(self, order: PrepareBatch, field: str) -> Address:
        return self.profile.contract(getattr(self.profile.module(order.request.module), field))

    def _draft(
        self,
        look: Look,
        calls: list[Call],
        bounds: list[Bound],
        *,
        sender: Address | None = None,
        fees: Fees | None = None,
    ) -> Draft:
        if not calls:
            raise NotAllowed(
                "there is nothing that this step could do now",
                field="position",
                actual=look.position.model_dump_json(),
                next_action="look at the account: it may be empty already",
            )
        return Draft(
            sender=sender or look.position.account,
            calls=tuple(calls),
            bounds=tuple(bounds),
            fees=fees or look.fees.maximum,
            level=look.fees,
            mined_nonce=look.mined_nonce,
            balance_wei=look.position.wei,
            block_number=look.position.block_number,
            timestamp=look.timestamp,
        )


def _allowance(token: Address, owner: Address, spender: Address) -> Read:
    return Read(token, erc20.ALLOWANCE, (owner, spender))


def _approval(
    token: Address, spender: Address, amount: int, allowance: tuple[object, ...], purpose: str
) -> list[Call]:
    """Calls that leave the spender allowed exactly what the next call takes.

    An earlier attempt may have left an allowance; USDT accepts a new one only after zero.
    """
    current = int(str(allowance[0]))
    if current == amount:
        return []
    approve = Call(token, purpose, erc20.APPROVE.encode(spender, amount))
    if not current:
        return [approve]
    return [Call(token, "Clear an old allowance", erc20.APPROVE.encode(spender, 0)), approve]


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
    """The smallest loan or swap that still is the deal that was sized: less its slippage."""
    sized = order.sizing.borrow
    return sized - sized * order.request.max_slippage_bps // BASIS_POINTS


def _borrowable(position: Position, limit_bps: int) -> int:
    """Par-token units that may be borrowed more until the loan to value is at the limit."""
    room_usd8 = position.collateral_usd8 * limit_bps // BASIS_POINTS - position.debt_usd8
    return max(0, room_usd8 * one_token(position.par_decimals) // position.par_price_usd8)


def _ltv_bps_with(position: Position, amount: int) -> int:
    """Loan to value after borrowing `amount` more, rounded up."""
    more = ceil_div(amount * position.par_price_usd8, one_token(position.par_decimals))
    debt_usd8 = position.debt_usd8 + more
    return ceil_div(debt_usd8 * BASIS_POINTS, max(1, position.collateral_usd8))


def _exposure_bps_after(position: Position, spent: int, received: int) -> int:
    """Exposure after swapping par tokens for discount tokens."""
    after = {"discount": position.discount + received, "par": max(0, position.par - spent)}
    return position.model_copy(update=after).exposure_bps


def _fitting(position: Position, amount: int, quote: int) -> int:
    """The part of a swap that the account can pay and that keeps the exposure within its limit.

    The output is nearly proportional to so small a difference; what is left over is checked again.
    """
    affordable = min(amount, position.par)
    exposure = _exposure_bps_after(position, amount, quote)
    if exposure <= MAX_EXPOSURE_BPS:
        return affordable
    return min(affordable, amount * (MAX_EXPOSURE_BPS - 1) // exposure)


def _ensure_redeemable(terms: RedemptionTerms, amount: int) -> None:
    if terms.frozen:
        raise RedemptionFrozen(
            "redemption is frozen by its operator",
            field="redemption",
            actual="frozen",
            next_action="wait for it to reopen, or cancel the deal to sell the tokens back",
        )
    if terms.remaining_today < amount:
        raise RedemptionFrozen(
            "the redemption module's daily cap is used up",
            field="redemption_cap",
            limit=terms.remaining_today,
            actual=amount,
            next_action="wait for the next day (UTC), or cancel the deal to sell the tokens back",
        )


def _break_even(terms: RedemptionTerms, spent: int) -> int:
    """Fewest discount tokens that redeem for more than was spent."""
    kept = BASIS_POINTS - terms.fee_bps
    return ceil_div((spent + 1) * BASIS_POINTS, kept) if kept else UINT256_MAX


def _terms(values: list[tuple[object, ...]]) -> RedemptionTerms:
    (fee,), (frozen,), (remaining,) = values
    return RedemptionTerms.model_validate(
        {"fee_bps": fee, "frozen": frozen, "remaining_today": remaining}
    )


def _exactly(asset: Asset, change: int) -> Bound:
    return Bound(asset=asset, minimum=change, maximum=change)


def _limit(field: str, message: str, limit: object, actual: object) -> LimitExceeded:
    return LimitExceeded(
        message,
        field=field,
        limit=limit,
        actual=actual,
        next_action="the deal unwinds by itself; start a new one when the market allows",
    )
