"""What each step may call, as a table; everything that is not in it is refused.

A step's batch is one of its sequences, in order, with nothing in between; calls may be left out,
but in the steps of `WHOLE_STEPS` only approvals.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from activities.protocols.aave import (
    ALL,
    BORROW,
    NO_REFERRAL,
    REPAY,
    SUPPLY,
    VARIABLE_RATE,
    WITHDRAW,
)
from activities.protocols.abi import Function
from activities.protocols.erc20 import APPROVE, TRANSFER
from activities.protocols.redemption import REDEEM
from activities.protocols.uniswap import EXACT_INPUT_SINGLE, EXACT_OUTPUT_SINGLE
from activities.protocols.weth import DEPOSIT
from activities.protocols.weth import WITHDRAW as UNWRAP
from domain.deals import Step
from domain.identifiers import Address
from domain.limits import MAX_PIPELINED_CYCLES
from domain.transactions import TRANSFER_GAS

DEADLINE_SECONDS: Final = 3_600
AMOUNT_LIMIT: Final = 2**128
"""No token has this many units, so a larger number can only be meant as "without limit"."""


class Party(StrEnum):
    """Who can be sent to or named in calldata; addresses come from the chain's profile."""

    ACCOUNT = "the deal's account"
    TREASURY = "the treasury"
    AAVE_POOL = "the lending pool"
    ROUTER = "the router"
    REDEMPTION = "the redemption module"
    PAR = "the par token"
    DISCOUNT = "the discount token"
    COLLATERAL = "the collateral token, which is wrapped ether"


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for one batch. `pool_fee` is in pips, `now` the signer's clock in Unix seconds.

    `repayable` is the most par-token units that a repayment of everything may take.
    """

    addresses: Mapping[Party, Address]
    pool_fee: int
    now: int
    repayable: int


@dataclass(frozen=True, slots=True)
class Argument:
    """What one decoded argument must be; `rule` names it in a refusal."""

    rule: str
    limit: Callable[[Terms], object]
    accepts: Callable[[Terms, Any], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One allowed transaction: where to, which function (none: plain ether), which arguments.

    `spends` tells how many token units the call takes by allowance; an approval names in `approves`
    the call that must come right after it and use it.
    """

    to: Party
    function: Function | None
    arguments: tuple[Argument, ...] = ()
    payable: bool = False
    may_spend_rest: bool = False
    gas: int | None = None
    spends: Callable[[Terms, tuple[Any, ...]], int] | None = None
    approves: "Call | None" = None


def _party(rule: str, party: Party) -> Argument:
    return Argument(
        rule,
        limit=lambda terms: terms.addresses[party],
        accepts=lambda terms, value: value == terms.addresses[party].lower(),
    )


def _exactly(rule: str, number: int) -> Argument:
    return Argument(rule, limit=lambda _: number, accepts=lambda _, value: value == number)


def _some(rule: str) -> Argument:
    return Argument(
        rule,
        limit=lambda _: "1 to 2^128 - 1 token units",
        accepts=lambda _, value: 0 < value < AMOUNT_LIMIT,
    )


_POOL_FEE = Argument(
    "pool_fee",
    limit=lambda terms: terms.pool_fee,
    accepts=lambda terms, value: value == terms.pool_fee,
)
# One that has passed is let through: it can only revert, and the nonce it fills must stay fillable.
_DEADLINE = Argument(
    "deadline",
    limit=lambda terms: f"set, and at most {terms.now + DEADLINE_SECONDS}",
    accepts=lambda terms, value: 0 < value <= terms.now + DEADLINE_SECONDS,
)
# A limit on the price can only make a swap smaller; the minimum out holds all the same.
_PRICE_LIMIT = Argument("price_limit", limit=lambda _: "any", accepts=lambda _, __: True)
# An approval's amount is bounded by the call that uses it.
_APPROVED = Argument("approved_amount", limit=lambda _: "any", accepts=lambda _, __: True)

_FUND: Final = Call(Party.ACCOUNT, None, payable=True)
_SWEEP: Final = Call(Party.TREASURY, None, payable=True, may_spend_rest=True, gas=TRANSFER_GAS)
_WRAP: Final = Call(Party.COLLATERAL, DEPOSIT, payable=True)
_UNWRAP: Final = Call(Party.COLLATERAL, UNWRAP, (_some("amount"),))
_SUPPLY: Final = Call(
    Party.AAVE_POOL,
    SUPPLY,
    (
        _party("token", Party.COLLATERAL),
        _some("amount"),
        _party("recipient", Party.ACCOUNT),
        _exactly("referral", NO_REFERRAL),
    ),
    spends=lambda _, arguments: int(arguments[1]),
)
_BORROW: Final = Call(
    Party.AAVE_POOL,
    BORROW,
    (
        _party("token", Party.PAR),
        _some("amount"),
        _exactly("rate_mode", VARIABLE_RATE),
        _exactly("referral", NO_REFERRAL),
        _party("recipient", Party.ACCOUNT),
    ),
)
_REPAY: Final = Call(
    Party.AAVE_POOL,
    REPAY,
    (
        _party("token", Party.PAR),
        _exactly("amount", ALL),
        _exactly("rate_mode", VARIABLE_RATE),
        _party("recipient", Party.ACCOUNT),
    ),
    spends=lambda terms, _: terms.repayable,
)
_WITHDRAW: Final = Call(
    Party.AAVE_POOL,
    WITHDRAW,
    (
        _party("token", Party.COLLATERAL),
        _exactly("amount", ALL),
        _party("recipient", Party.ACCOUNT),
    ),
)
_REDEEM: Final = Call(
    Party.REDEMPTION,
    REDEEM,
    (_some("amount"), _party("recipient", Party.ACCOUNT)),
    spends=lambda _, arguments: int(arguments[0]),
)


def _swap(paid: Party, bought: Party) -> Call:
    return Call(
        Party.ROUTER,
        EXACT_INPUT_SINGLE,
        (
            _party("token", paid),
            _party("token", bought),
            _POOL_FEE,
            _party("recipient", Party.ACCOUNT),
            _DEADLINE,
            _some("amount"),
            _some("minimum_out"),
            _PRICE_LIMIT,
        ),
        spends=lambda _, arguments: int(arguments[5]),
    )


_PURCHASE: Final = Call(
    Party.ROUTER,
    EXACT_OUTPUT_SINGLE,
    (
        _party("token", Party.PAR),
        _party("token", Party.DISCOUNT),
        _POOL_FEE,
        _party("recipient", Party.ACCOUNT),
        _DEADLINE,
        _some("amount"),
        _some("maximum_in"),
        _PRICE_LIMIT,
    ),
    spends=lambda _, arguments: int(arguments[6]),
)
_TAKE_BACK: Final = Call(
    Party.PAR, APPROVE, (_party("spender", Party.ROUTER), _exactly("approved_amount", 0))
)


def _transfer(token: Party, recipient: Party) -> Call:
    return Call(token, TRANSFER, (_party("recipient", recipient), _some("amount")))


def _approved(token: Party, use: Call) -> tuple[Call, Call, Call]:
    """The call with its approval, and before that a revocation of what an earlier one left.

    The par token refuses to change one allowance that is not zero into another.
    """
    approval = Call(token, APPROVE, (_party("spender", use.to), _APPROVED), approves=use)
    return approval, approval, use


_PAY_HOME = _transfer(Party.PAR, Party.TREASURY)
_BUY = _approved(Party.PAR, _swap(Party.PAR, Party.DISCOUNT))
_SELL = _approved(Party.DISCOUNT, _swap(Party.DISCOUNT, Party.PAR))
_REDEEM_ALL = _approved(Party.DISCOUNT, _REDEEM)


def _run(cycles: int) -> tuple[Call, ...]:
    """A pipelined deal from wrap to unwrap."""
    cycle = (*_approved(Party.PAR, _PURCHASE), _TAKE_BACK, *_REDEEM_ALL)
    return (
        _WRAP,
        *_approved(Party.COLLATERAL, _SUPPLY),
        _BORROW,
        *cycle * cycles,
        *_approved(Party.PAR, _REPAY),
        _WITHDRAW,
        _UNWRAP,
    )


SEQUENCES: Final[Mapping[Step, tuple[tuple[Call, ...], ...]]] = {
    Step.FUND: ((_FUND,),),
    Step.RUN: tuple(_run(cycles) for cycles in range(1, MAX_PIPELINED_CYCLES + 1)),
    Step.WRAP: ((_WRAP,),),
    Step.COLLATERALIZE: (_approved(Party.COLLATERAL, _SUPPLY),),
    Step.BORROW: ((_BORROW,),),
    Step.SWAP: (_BUY,),
    Step.REDEEM: (_REDEEM_ALL,),
    Step.TOP_UP: ((_transfer(Party.PAR, Party.ACCOUNT),),),
    Step.UNWIND: (_REDEEM_ALL, _SELL),
    Step.SETTLE: (
        (
            *_approved(Party.PAR, _REPAY),
            _WITHDRAW,
            _UNWRAP,
            _PAY_HOME,
        ),
    ),
    Step.SWEEP: ((_PAY_HOME, _SWEEP),),
}

WHOLE_STEPS: Final = frozenset({Step.RUN})
"""What a run borrows it has to repay in the same batch, so nothing of it may be missing."""


def most_intents(step: Step) -> int:
    """How many transactions a batch of the step has at the most."""
    return max(len(calls) for calls in SEQUENCES[step])
