"""The signing policy as it is written down: `signing-policy.toml`, checked for form only.

Whether its rules make sense, `activities.signing.rules` says, which also reads them.
"""

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from domain.amounts import BASIS_POINTS, USD_DECIMALS, Amount, Units, parse_decimal
from domain.deals import Step
from domain.identifiers import ChainId, ModuleId
from domain.limits import MAX_PIPELINED_CYCLES

PolicyVersion = Annotated[int, Field(strict=True, ge=1, lt=2**31)]
_Count = Annotated[int, Field(strict=True, ge=1, lt=2**31)]


def _usd8(value: object) -> int:
    """Read decimal US dollars as units of 1e-8."""
    return Amount.parse(parse_decimal(value, field="usd"), decimals=USD_DECIMALS, field="usd").units


def _decimal(value: object) -> Decimal:
    return parse_decimal(value, field="amount")


Usd = Annotated[
    int,
    BeforeValidator(_usd8),
    Field(gt=0),
    PlainSerializer(str, return_type=str, when_used="json"),
]
"""US dollars as decimal text; kept in units of 1e-8, and written so to JSON."""
Tokens = Annotated[Decimal, BeforeValidator(_decimal), Field(gt=0)]
"""Whole tokens as decimal text."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rates(_Part):
    """How much may be signed. Counted is what puts money at risk; the way out never is.

    Of a deal's own there is so much in its whole life, of all deals together in any sixty minutes.
    """

    deal_signatures: _Count
    deal_usd: Usd
    hour_signatures: _Count
    hour_usd: Usd
    deal_refusals_an_hour: _Count
    """Refusals of a deal beyond these are told in the log, and not kept in the journal."""
    unknown_refusals_an_hour: _Count
    """The same for all requests together in the name of deals that have no account."""


class AssetPrice(_Part):
    """What a whole token is worth at the most, to reckon with; no price is ever asked for."""

    price_usd: Usd
    decimals: Annotated[int, Field(strict=True, ge=0, le=36)]


class CallRule(_Part):
    """One call that may be made: where to (a name of the address manifest), which function.

    Without a function it sends ether, to the deal's ``account`` or the ``treasury``. The ``safe``
    is the treasury of a deal that owners have approved.
    """

    to: str
    function: str | None = None
    max_gas: Annotated[int, Field(strict=True, ge=21_000, le=30_000_000)] | None = None
    max_ether: Tokens | None = None
    max_tokens: Tokens | None = None
    max_deadline_seconds: Annotated[int, Field(strict=True, ge=1)] | None = None
    max_loss_bps: Annotated[int, Field(strict=True, ge=0, lt=BASIS_POINTS)] | None = None
    """How much less a swap may buy than it pays, one discount token taken for one par token."""


CAPS = tuple(name for name in CallRule.model_fields if name.startswith("max_"))

Calls = Annotated[list[str], Field(min_length=1)]


class Cycles(_Part):
    """One sequence whose middle is repeated."""

    first: Calls
    cycle: Calls
    last: Calls
    max_cycles: Annotated[int, Field(strict=True, ge=1, le=MAX_PIPELINED_CYCLES)]

    def sequences(self) -> list[list[str]]:
        """Every length of it, the shortest first."""
        return [
            [*self.first, *self.cycle * count, *self.last]
            for count in range(1, self.max_cycles + 1)
        ]


class ModuleRules(_Part):
    """What deals of one module may do on one chain.

    A step's batch is one of its sequences, in order, with nothing in between. Calls may be left
    out; of a run only approvals.
    """

    calls: dict[str, CallRule]
    steps: dict[Step, list[Calls] | Cycles]

    def sequences(self, step: Step) -> list[list[str]]:
        """The sequences of a step; none if it may not be made at all."""
        found = self.steps.get(step, [])
        return found.sequences() if isinstance(found, Cycles) else found


class OperationRule(_Part):
    """One change that may be scheduled: whose contract it is, which function, how far it may go."""

    to: str
    function: str
    max_value: Annotated[Units, Field(gt=0)] | None = None
    """The most that a number may be set to, in the contract's own units."""


class TimelockRules(_Part):
    """What the fee account may tell the timelock."""

    contract: str
    min_delay_seconds: _Count
    max_delay_seconds: _Count
    max_gas: Annotated[int, Field(strict=True, ge=21_000, le=30_000_000)]
    operations: dict[str, OperationRule]


class ChainRules(_Part):
    """What may be signed on one chain."""

    max_fee_per_gas_wei: Annotated[Units, Field(gt=0)]
    """Holds besides the cap of the chain's profile and the deal's own: the lowest counts."""
    assets: dict[str, AssetPrice]
    """``ether``, and the tokens by their names in the address manifest."""
    modules: dict[ModuleId, ModuleRules]
    timelock: TimelockRules | None = None
    """Without it nothing is scheduled, executed or cancelled."""


class PolicyDocument(_Part):
    """The whole file. Whatever it does not allow is refused."""

    version: PolicyVersion
    """Every change to the file has a higher one."""
    rates: Rates
    chains: dict[ChainId, ChainRules]
