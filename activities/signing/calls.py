"""What a call means: which arguments it must have, and what it moves.

The signing policy's file says which of these calls may be made, where, in which order and how
large; what is here follows from what the calls are, and nobody may set it otherwise.
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
from activities.protocols.safe import EXEC_TRANSACTION, NOBODY
from activities.protocols.uniswap import EXACT_INPUT_SINGLE, EXACT_OUTPUT_SINGLE
from activities.protocols.weth import DEPOSIT
from activities.protocols.weth import WITHDRAW as UNWRAP
from activities.signing.findings import Rule
from domain.deals import Step
from domain.identifiers import Address
from domain.safe import CALL, SIGNATURE_BYTES, are_plain
from domain.transactions import TRANSFER_GAS

AMOUNT_LIMIT: Final = 2**128
"""No token has this many units, so a larger number can only be meant as "without limit"."""


class Party(StrEnum):
    """Who can be sent to or named in calldata; addresses come from the chain's profile."""

    ACCOUNT = "the deal's account"
    TREASURY = "the treasury"
    SAFE = "the Safe that is the deal's treasury"
    AAVE_POOL = "the lending pool"
    ROUTER = "the router"
    REDEMPTION = "the redemption module"
    PAR = "the par token"
    DISCOUNT = "the discount token"
    COLLATERAL = "the collateral token, which is wrapped ether"


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for one batch. `pool_fee` is in pips, `now` the signer's clock in Unix seconds.

    `repayable` is the most par-token units that a repayment of everything may take, `withdrawn`
    the collateral, in units, that a withdrawal of everything was simulated to give.
    """

    addresses: Mapping[Party, Address]
    pool_fee: int
    now: int
    repayable: int
    withdrawn: int


Arguments = tuple[Any, ...]
Units = Callable[[Terms, Arguments], int]
"""How many smallest units of its token a call moves."""


@dataclass(frozen=True, slots=True)
class Argument:
    """What one decoded argument must be; `rule` names it in a refusal."""

    rule: Rule
    limit: Callable[[Terms], object]
    accepts: Callable[[Terms, Any], bool]


@dataclass(frozen=True, slots=True)
class Price:
    """Which arguments of a purchase are what it pays at most, and what it gets at least."""

    paid: int
    bought: int


@dataclass(frozen=True, slots=True, eq=False)
class Meaning:
    """One kind of call: where to, which function (none: plain ether), which arguments.

    `token` and `units` are what it moves; with `by_allowance` its target takes them from the
    sender. An approval names in `approves` the call that must come right after it and use it.
    `deadline` is the number of the argument that is one.

    `only_safe` calls are made by deals whose treasury is a Safe, or by those alone whose is not.
    `pays_ether` tells how many wei a call makes somebody else send, which is then what it moves.

    A call on the `way_out` lessens what is at risk: no rate limit and no cap on amounts may hold it
    up, because then it would trap what it is there to save. Only what comes out of the treasury on
    the way out is `capped` all the same.
    """

    to: Party
    function: Function | None
    arguments: tuple[Argument, ...] = ()
    token: Party | None = None
    units: Units | None = None
    by_allowance: bool = False
    approves: str | None = None
    pays_ether: Units | None = None
    payable: bool = False
    may_spend_rest: bool = False
    gas: int | None = None
    deadline: int | None = None
    price: Price | None = None
    only_safe: bool | None = None
    way_out: bool = False
    capped: bool = False

    @property
    def signature(self) -> str:
        """The function's signature, or that there is none."""
        return self.function.signature if self.function else "plain ether"

    @property
    def selector(self) -> str:
        """The first four bytes of its calldata, in hexadecimal; empty for plain ether."""
        return self.function.selector.hex() if self.function else ""

    @property
    def caps(self) -> frozenset[str]:
        """The caps that the policy's file must give it; any other could never matter, or traps."""
        needed = {"max_gas"}
        if (self.payable and not self.way_out) or self.pays_ether:
            needed.add("max_ether")
        if self.units and (self.capped or not self.way_out):
            needed.add("max_tokens")
        if self.deadline is not None:
            needed.add("max_deadline_seconds")
        if self.price:
            needed.add("max_loss_bps")
        return frozenset(needed)


def _party(rule: Rule, party: Party) -> Argument:
    return Argument(
        rule,
        limit=lambda terms: terms.addresses[party],
        accepts=lambda terms, value: value == terms.addresses[party].lower(),
    )


def _exactly(rule: Rule, number: int) -> Argument:
    return Argument(rule, limit=lambda _: number, accepts=lambda _, value: value == number)


def _some(rule: Rule) -> Argument:
    return Argument(
        rule,
        limit=lambda _: "1 to 2^128 - 1 token units",
        accepts=lambda _, value: 0 < value < AMOUNT_LIMIT,
    )


def _all_or_some(rule: Rule) -> Argument:
    return Argument(
        rule,
        limit=lambda _: "everything, or 1 to 2^128 - 1 token units",
        accepts=lambda _, value: value == ALL or 0 < value < AMOUNT_LIMIT,
    )


def _argument(number: int) -> Units:
    return lambda _, arguments: int(arguments[number])


_POOL_FEE = Argument(
    Rule.POOL_FEE,
    limit=lambda terms: terms.pool_fee,
    accepts=lambda terms, value: value == terms.pool_fee,
)
# How late it may be is a cap. One that has passed is let through: it can only revert, and the nonce
# it fills must stay fillable.
_DEADLINE = Argument(Rule.DEADLINE, limit=lambda _: "set", accepts=lambda _, value: value > 0)
# A limit on the price can only make a swap smaller; the minimum out holds all the same.
_PRICE_LIMIT = Argument(Rule.AMOUNT, limit=lambda _: "any", accepts=lambda _, __: True)
# An approval's amount is bounded by the call that uses it.
_APPROVED = Argument(Rule.APPROVED_AMOUNT, limit=lambda _: "any", accepts=lambda _, __: True)


def _swap(paid: Party, bought: Party, *, way_out: bool = False) -> Meaning:
    return Meaning(
        Party.ROUTER,
        EXACT_INPUT_SINGLE,
        (
            _party(Rule.TOKEN, paid),
            _party(Rule.TOKEN, bought),
            _POOL_FEE,
            _party(Rule.RECIPIENT, Party.ACCOUNT),
            _DEADLINE,
            _some(Rule.AMOUNT),
            _some(Rule.MINIMUM_OUT),
            _PRICE_LIMIT,
        ),
        token=paid,
        units=_argument(5),
        by_allowance=True,
        deadline=4,
        # What discount tokens are worth on the way out nobody knows: they may have lost their peg.
        price=None if way_out else Price(paid=5, bought=6),
        way_out=way_out,
    )


def _transfer(token: Party, recipient: Party, *, capped: bool = False) -> Meaning:
    return Meaning(
        token,
        TRANSFER,
        (_party(Rule.RECIPIENT, recipient), _some(Rule.AMOUNT)),
        token=token,
        units=_argument(1),
        way_out=True,
        capped=capped,
    )


def _nothing(rule: Rule, none: object = 0) -> Argument:
    return Argument(rule, limit=lambda _: none, accepts=lambda _, value: value == none)


_FUND_FROM_SAFE: Final = Meaning(
    Party.SAFE,
    EXEC_TRANSACTION,
    (
        _party(Rule.RECIPIENT, Party.ACCOUNT),
        Argument(
            Rule.VALUE,
            limit=lambda _: "1 to 2^128 - 1 wei",
            accepts=lambda _, value: 0 < value < AMOUNT_LIMIT,
        ),
        _nothing(Rule.SAFE_DATA, b""),
        _nothing(Rule.SAFE_OPERATION, CALL),
        # Without gas of its own and a refund the whole reverts when the payment fails.
        _nothing(Rule.SAFE_GAS),
        _nothing(Rule.SAFE_GAS),
        _nothing(Rule.SAFE_REFUND),
        _nothing(Rule.SAFE_REFUND, NOBODY),
        _nothing(Rule.SAFE_REFUND, NOBODY),
        Argument(
            Rule.SAFE_SIGNATURES,
            limit=lambda _: f"owners' own signatures, {SIGNATURE_BYTES} bytes each",
            accepts=lambda _, value: are_plain(value),
        ),
    ),
    pays_ether=_argument(1),
    only_safe=True,
)
"""Its arguments are those of the Safe; the owners' signatures are the Safe's to check."""

_USES: Final[dict[str, Meaning]] = {
    "fund": Meaning(Party.ACCOUNT, None, payable=True, only_safe=False),
    "fund_from_safe": _FUND_FROM_SAFE,
    "sweep": Meaning(
        Party.TREASURY,
        None,
        payable=True,
        may_spend_rest=True,
        gas=TRANSFER_GAS,
        only_safe=False,
        way_out=True,
    ),
    # A Safe is a contract: to take ether costs it more than an ordinary account.
    "sweep_to_safe": Meaning(
        Party.SAFE, None, payable=True, may_spend_rest=True, only_safe=True, way_out=True
    ),
    "wrap": Meaning(Party.COLLATERAL, DEPOSIT, payable=True),
    "unwrap": Meaning(
        Party.COLLATERAL,
        UNWRAP,
        (_some(Rule.AMOUNT),),
        token=Party.COLLATERAL,
        units=_argument(0),
        way_out=True,
    ),
    "supply": Meaning(
        Party.AAVE_POOL,
        SUPPLY,
        (
            _party(Rule.TOKEN, Party.COLLATERAL),
            _some(Rule.AMOUNT),
            _party(Rule.RECIPIENT, Party.ACCOUNT),
            _exactly(Rule.REFERRAL, NO_REFERRAL),
        ),
        token=Party.COLLATERAL,
        units=_argument(1),
        by_allowance=True,
    ),
    "borrow": Meaning(
        Party.AAVE_POOL,
        BORROW,
        (
            _party(Rule.TOKEN, Party.PAR),
            _some(Rule.AMOUNT),
            _exactly(Rule.RATE_MODE, VARIABLE_RATE),
            _exactly(Rule.REFERRAL, NO_REFERRAL),
            _party(Rule.RECIPIENT, Party.ACCOUNT),
        ),
        token=Party.PAR,
        units=_argument(1),
    ),
    "repay": Meaning(
        Party.AAVE_POOL,
        REPAY,
        (
            _party(Rule.TOKEN, Party.PAR),
            # A part is repaid by itself only, see `policy._part_findings`.
            _all_or_some(Rule.AMOUNT),
            _exactly(Rule.RATE_MODE, VARIABLE_RATE),
            _party(Rule.RECIPIENT, Party.ACCOUNT),
        ),
        token=Party.PAR,
        units=lambda terms, given: terms.repayable if given[1] == ALL else int(given[1]),
        by_allowance=True,
        way_out=True,
    ),
    "withdraw": Meaning(
        Party.AAVE_POOL,
        WITHDRAW,
        (
            _party(Rule.TOKEN, Party.COLLATERAL),
            _exactly(Rule.AMOUNT, ALL),
            _party(Rule.RECIPIENT, Party.ACCOUNT),
        ),
        token=Party.COLLATERAL,
        units=lambda terms, _: terms.withdrawn,
        way_out=True,
    ),
    "redeem": Meaning(
        Party.REDEMPTION,
        REDEEM,
        (_some(Rule.AMOUNT), _party(Rule.RECIPIENT, Party.ACCOUNT)),
        token=Party.DISCOUNT,
        units=_argument(0),
        by_allowance=True,
        way_out=True,
    ),
    "swap": _swap(Party.PAR, Party.DISCOUNT),
    "sell": _swap(Party.DISCOUNT, Party.PAR, way_out=True),
    "purchase": Meaning(
        Party.ROUTER,
        EXACT_OUTPUT_SINGLE,
        (
            _party(Rule.TOKEN, Party.PAR),
            _party(Rule.TOKEN, Party.DISCOUNT),
            _POOL_FEE,
            _party(Rule.RECIPIENT, Party.ACCOUNT),
            _DEADLINE,
            _some(Rule.AMOUNT),
            _some(Rule.MAXIMUM_IN),
            _PRICE_LIMIT,
        ),
        token=Party.PAR,
        units=_argument(6),
        by_allowance=True,
        deadline=4,
        price=Price(paid=6, bought=5),
    ),
    "take_back": Meaning(
        Party.PAR,
        APPROVE,
        (_party(Rule.SPENDER, Party.ROUTER), _exactly(Rule.APPROVED_AMOUNT, 0)),
        way_out=True,
    ),
    "pay_home": _transfer(Party.PAR, Party.TREASURY),
    "top_up": _transfer(Party.PAR, Party.ACCOUNT, capped=True),
}


def _approval(name: str) -> Meaning:
    """What lets the target of this call take its token."""
    use = _USES[name]
    assert use.token is not None  # noqa: S101 - whoever takes by allowance takes a token
    spender = _party(Rule.SPENDER, use.to)
    return Meaning(use.token, APPROVE, (spender, _APPROVED), approves=name, way_out=use.way_out)


MEANINGS: Final[Mapping[str, Meaning]] = _USES | {
    f"approve_{name}": _approval(name) for name, use in _USES.items() if use.by_allowance
}
"""Every call that the policy's file can allow, by the name that it has there."""

WHOLE_STEPS: Final = frozenset({Step.RUN})
"""What a run borrows it has to repay in the same batch, so nothing of it may be missing."""

MOST_INTENTS: Final = 128
"""No sequence of calls is as long; what is longer is not even looked at."""
