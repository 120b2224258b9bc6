"""What a deal is: the request, its steps, its states and which command each state allows."""

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from domain.amounts import (
    BASIS_POINTS,
    ETHER_DECIMALS,
    Amount,
    Units,
    decimal_places,
    parse_decimal,
)
from domain.errors import Conflict, InvalidInput, NotAllowed
from domain.identifiers import BankId, ChainId, DealId, ModuleId
from domain.limits import (
    MAX_CYCLES,
    MAX_LTV_BPS,
    MAX_SLIPPAGE_BPS,
    MAX_WORKING_LIQUIDITY_WEI,
)


class Step(StrEnum):
    """One batch of dependent transactions, in the order of a deal that goes well.

    `RUN` joins everything from wrap to unwrap in one batch; only pipelined deals have it. `SWEEP`
    is the end of settle: what is left can only be counted once everything before it has been mined.
    `TOP_UP` and `UNWIND` happen only on the way out.
    `SCHEDULE`, `EXECUTE` and `REVOKE` are no deal's: they are what is sent to the timelock.
    """

    FUND = "fund"
    RUN = "run"
    WRAP = "wrap"
    COLLATERALIZE = "collateralize"
    BORROW = "borrow"
    SWAP = "swap"
    REDEEM = "redeem"
    TOP_UP = "top_up"
    UNWIND = "unwind"
    SETTLE = "settle"
    SWEEP = "sweep"
    SCHEDULE = "schedule"
    EXECUTE = "execute"
    REVOKE = "revoke"


TREASURY_STEPS: Final = frozenset({Step.FUND, Step.TOP_UP})
"""Sent by the treasury; every other step by the deal's own account."""


class DealStatus(StrEnum):
    """Where a deal stands; `ALLOWED_TRANSITIONS` says how it may move on."""

    REQUESTED = "REQUESTED"
    DENIED = "DENIED"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    EXECUTING = "EXECUTING"
    PAUSED = "PAUSED"
    FROZEN = "FROZEN"
    UNWINDING = "UNWINDING"
    COMPLETED = "COMPLETED"
    UNWOUND = "UNWOUND"
    STUCK = "STUCK"


ALLOWED_TRANSITIONS: Final[Mapping[DealStatus, frozenset[DealStatus]]] = {
    DealStatus.REQUESTED: frozenset(
        {
            DealStatus.DENIED,
            DealStatus.AWAITING_APPROVAL,
            DealStatus.EXECUTING,
            DealStatus.UNWINDING,
        }
    ),
    DealStatus.AWAITING_APPROVAL: frozenset(
        {
            DealStatus.REJECTED,
            DealStatus.EXPIRED,
            DealStatus.EXECUTING,
            DealStatus.UNWINDING,
        }
    ),
    DealStatus.EXECUTING: frozenset(
        {DealStatus.PAUSED, DealStatus.FROZEN, DealStatus.UNWINDING, DealStatus.COMPLETED}
    ),
    DealStatus.PAUSED: frozenset({DealStatus.EXECUTING, DealStatus.UNWINDING}),
    DealStatus.FROZEN: frozenset({DealStatus.EXECUTING, DealStatus.UNWINDING}),
    DealStatus.UNWINDING: frozenset({DealStatus.PAUSED, DealStatus.UNWOUND, DealStatus.STUCK}),
    DealStatus.STUCK: frozenset({DealStatus.UNWINDING, DealStatus.UNWOUND}),
    DealStatus.DENIED: frozenset(),
    DealStatus.REJECTED: frozenset(),
    DealStatus.EXPIRED: frozenset(),
    DealStatus.COMPLETED: frozenset(),
    DealStatus.UNWOUND: frozenset(),
}
"""The whole state machine; the database holds the same table as a constraint."""

CLOSED: Final = frozenset(status for status, after in ALLOWED_TRANSITIONS.items() if not after)
"""Nothing more will happen by itself or by command."""

SETTLED: Final = CLOSED | {DealStatus.STUCK}
"""Nothing more will happen unless a person acts: what `deal wait` waits for."""


class Command(StrEnum):
    """What a person may ask of a running deal."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"
    UNWIND = "unwind"
    EXPIRE = "expire"
    ADOPT = "adopt"


COMMAND_STATES: Final[Mapping[Command, frozenset[DealStatus]]] = {
    Command.PAUSE: frozenset({DealStatus.REQUESTED, DealStatus.EXECUTING, DealStatus.FROZEN}),
    Command.RESUME: frozenset({DealStatus.PAUSED}),
    Command.CANCEL: frozenset(
        {
            DealStatus.REQUESTED,
            DealStatus.AWAITING_APPROVAL,
            DealStatus.EXECUTING,
            DealStatus.PAUSED,
            DealStatus.FROZEN,
            DealStatus.STUCK,
        }
    ),
    Command.RETRY: frozenset({DealStatus.FROZEN, DealStatus.STUCK}),
    Command.UNWIND: frozenset(
        {
            DealStatus.REQUESTED,
            DealStatus.EXECUTING,
            DealStatus.PAUSED,
            DealStatus.FROZEN,
            DealStatus.STUCK,
        }
    ),
    Command.EXPIRE: frozenset({DealStatus.AWAITING_APPROVAL, DealStatus.FROZEN}),
    Command.ADOPT: frozenset({DealStatus.STUCK}),
}
"""From which states each command makes progress."""


def commands_for(status: DealStatus) -> tuple[Command, ...]:
    """What a person may ask of a deal in this state, in the order of `Command`."""
    return tuple(command for command in Command if status in COMMAND_STATES[command])


def check_transition(before: DealStatus, after: DealStatus) -> None:
    """Raise `NotAllowed` unless the table has this transition."""
    if after not in ALLOWED_TRANSITIONS[before]:
        raise NotAllowed(
            f"a deal cannot go from {before} to {after}",
            field="status",
            value=after,
            limit=", ".join(sorted(ALLOWED_TRANSITIONS[before])) or f"{before} is final",
            next_action="look at the deal with `deal show`",
        )


def check_command(command: Command, status: DealStatus) -> None:
    """Raise `NotAllowed`, naming the commands that would work, unless the state allows it."""
    if status in COMMAND_STATES[command]:
        return
    possible = [str(c) for c in commands_for(status)]
    nothing = "nothing, the deal has ended" if status in CLOSED else "nothing but to wait"
    raise NotAllowed(
        f"a deal that is {status} cannot be given {command}",
        field="command",
        value=command,
        limit=", ".join(sorted(COMMAND_STATES[command])),
        actual=status,
        next_action=f"possible now: {', '.join(possible) or nothing}",
    )


class ExecutionMode(StrEnum):
    """How the steps reach the chain.

    Stepwise confirms each step before the next is built; pipelined joins them in one batch and
    must be enabled by the module's profile.
    """

    STEPWISE = "stepwise"
    PIPELINED = "pipelined"


_BASIS_POINT = Decimal("0.0001")
_RATIO_PLACES = 4


def _ratio(field: str, maximum_bps: int) -> BeforeValidator:
    """Validate a ratio given as decimal text: above 0, at most the limit, whole basis points."""
    maximum = Decimal(maximum_bps) / BASIS_POINTS

    def check(value: object) -> Decimal:
        number = parse_decimal(value, field=field)
        if not 0 < number <= maximum:
            raise InvalidInput(
                f"{field} is out of range",
                field=field,
                value=value,
                limit=f"above 0 and at most {maximum}",
                next_action=f"choose a {field} within the limit",
            )
        if decimal_places(number) > _RATIO_PLACES:
            raise InvalidInput(
                f"{field} is finer than a basis point",
                field=field,
                value=value,
                limit="4 decimal places",
                next_action="round it down to whole basis points",
            )
        return number.quantize(_BASIS_POINT)

    return BeforeValidator(check)


def _liquidity(value: object) -> Amount:
    """Read decimal ETH, or an `Amount` as the model writes it."""
    if isinstance(value, str | int | Decimal):
        return Amount.parse(value, decimals=ETHER_DECIMALS, field="working_liquidity")
    try:
        return Amount.model_validate(value)
    except ValidationError:
        raise InvalidInput(
            "working_liquidity is not an amount",
            field="working_liquidity",
            value=value,
            limit='text such as "1.25"',
            next_action="write the ETH as a decimal number in quotes",
        ) from None


def _liquidity_range(value: object) -> object:
    """Check the amount itself once its form is known to be right."""
    amount = _liquidity(value)
    if amount.decimals != ETHER_DECIMALS or not 0 < amount.units <= MAX_WORKING_LIQUIDITY_WEI:
        raise InvalidInput(
            "working_liquidity is out of range",
            field="working_liquidity",
            value=amount,
            limit="above 0 and at most 1,000,000 ETH",
            next_action="give the amount in ETH",
        )
    return amount


class DealRequest(BaseModel):
    """What a trader asks for. Ratios are decimals (0.30 is 30 %), liquidity is ETH."""

    # Defaults are validated too, or equal requests could have different digests: 0.3 and 0.3000.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    deal_id: DealId
    bank: BankId
    module: ModuleId
    chain_id: Annotated[ChainId, Field(strict=True, gt=0, lt=2**63)]
    working_liquidity: Annotated[Amount, BeforeValidator(_liquidity_range)]
    max_ltv: Annotated[Decimal, _ratio("max_ltv", MAX_LTV_BPS)] = Decimal("0.30")
    max_slippage: Annotated[Decimal, _ratio("max_slippage", MAX_SLIPPAGE_BPS)] = Decimal("0.005")
    cycles: Annotated[int, Field(strict=True, ge=1, le=MAX_CYCLES)] = 1
    mode: ExecutionMode = ExecutionMode.STEPWISE
    max_fee_per_gas_wei: Annotated[Units, Field(gt=0)] | None = None
    """What this deal bids at most, in wei per gas, if that is less than the chain's own cap."""

    @classmethod
    def parse(cls, /, **fields: Any) -> Self:  # noqa: ANN401 - unvalidated input, by its nature
        """Validate what came from outside; raise `InvalidInput` naming the first wrong field."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise invalid_input_from(error) from None

    @property
    def max_ltv_bps(self) -> int:
        """The deal's loan-to-value limit in basis points."""
        return int(self.max_ltv * BASIS_POINTS)

    @property
    def max_slippage_bps(self) -> int:
        """The deal's slippage limit in basis points."""
        return int(self.max_slippage * BASIS_POINTS)

    def digest(self) -> str:
        """SHA-256 over the canonical JSON: equal requests have equal digests.

        What is not set is left out, so a request has the digest that it had before the field was.
        """
        return digest_of(self, exclude_none=True)


def digest_of(
    model: BaseModel, *, exclude_none: bool = False, exclude: set[str] | None = None
) -> str:
    """SHA-256 (hexadecimal) over a model's JSON with its keys sorted, mappings' keys as well."""
    fields = model.model_dump(mode="json", exclude_none=exclude_none, exclude=exclude)
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def invalid_input_from(error: ValidationError) -> InvalidInput:
    """Turn the first finding of a pydantic validation into the error that people are shown.

    Its `field` is the path to what is wrong, such as ``contracts.weth``.
    """
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InvalidInput):
        field = path or cause.problem.field
        return cause.from_problem(cause.problem.model_copy(update={"field": field}))
    field = path or "request"
    missing = first["type"] == "missing"
    return InvalidInput(
        f"{field} is missing" if missing else f"{field}: {first['msg']}",
        field=field,
        value=None if missing else first.get("input"),
        limit=first["msg"],
        next_action="correct the field and try again",
    )


def ensure_same_request(first: DealRequest, again: DealRequest) -> None:
    """Raise `Conflict` naming the fields that differ, if a deal id is used with another body."""
    different = [
        name for name in DealRequest.model_fields if getattr(first, name) != getattr(again, name)
    ]
    if different:
        name = different[0]
        raise Conflict(
            f"deal {first.deal_id} exists with another {', '.join(different)}",
            field=name,
            value=_told(getattr(again, name)),
            limit=_told(getattr(first, name)),
            next_action="use a new deal id, or the same body to get the first deal's answer",
        )


def _told(value: object) -> object:
    return "none" if value is None else value
