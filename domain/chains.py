"""The profile of a chain: where it is, what is deployed there, and how careful to be on it."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from domain.amounts import BASIS_POINTS, USD_DECIMALS, Units
from domain.deals import DealRequest, ExecutionMode, Step
from domain.errors import InvalidInput, NotFound
from domain.identifiers import Address, ChainId, ModuleId
from domain.limits import MAX_PIPELINED_CYCLES

PRICED_ONCE: Final = (Step.FUND, Step.WRAP, Step.COLLATERALIZE, Step.BORROW, Step.SETTLE)
PRICED_PER_CYCLE: Final = (Step.SWAP, Step.REDEEM)
"""The steps whose gas a profile must state, because sizing reckons with it."""
_SHORTEST_SHELF_LIFE: Final = 30
_SHELF_LIFE_BLOCKS: Final = 10
"""A batch goes from simulation to signature in well under a second, unless something was away."""


class _Profile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EndpointProfile(_Profile):
    """One node of a chain; a plain text stands for its address alone."""

    url: SecretStr
    """Never shown: it may hold a provider's key."""
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")] | None = None
    """What it is called in logs and metrics; by default its number."""
    weight: Annotated[int, Field(ge=1, le=100)] = 1
    """Reads go to the heaviest one that is good; among equals to the one that was used last."""


def _endpoint(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


Endpoint = Annotated[EndpointProfile, BeforeValidator(_endpoint)]


class PublicFallback(_Profile):
    """When a transaction that the private endpoints did not get mined is shown to everybody."""

    after_blocks: Annotated[int, Field(ge=1)]


class Finality(_Profile):
    """When a block can no longer be reorganised away.

    `depth`: that many blocks on top of it. `tag`: the node's own ``finalized`` block.
    """

    kind: Literal["depth", "tag"]
    depth: Annotated[int, Field(ge=0)] = 0
    on_violation: Literal["halt", "resend"] = "halt"
    """What to do when such a block is undone all the same: sign nothing on the chain until a person
    has looked, or, for a development node that forgets its last seconds when it is killed, send
    the same transactions again."""


class FeePolicy(_Profile):
    """How transactions are priced; all fees in wei per gas."""

    kind: Literal["dynamic", "legacy"] = "dynamic"
    """Dynamic: EIP-1559, from the fee history. Legacy: one price, the node's eth_gasPrice."""
    max_fee_per_gas_wei: Units
    """The hard cap: no transaction ever bids more."""
    priority_percentile: Annotated[int, Field(ge=1, le=99)] = 50
    gas_margin: Annotated[Decimal, Field(ge=1, le=5)] = Decimal("1.5")
    """Gas limit over simulated gas."""
    bump_after_blocks: Annotated[int, Field(ge=1)] = 3
    """A replacement is offered when a transaction was passed over by that many blocks."""


class SubmissionLimits(_Profile):
    """Time limits of sending and waiting, in seconds."""

    submission_timeout_seconds: Annotated[int, Field(ge=1)] = 120
    unknown_deadline_seconds: Annotated[int, Field(ge=1)] = 600
    """After that, what is still not mined although it bids enough becomes a no-op at its nonce, and
    a nonce that was used without a receipt of ours is taken to be somebody else's."""
    poll_interval_seconds: Annotated[Decimal, Field(gt=0, le=60)] = Decimal("0.05")
    shelf_life_seconds: Annotated[int, Field(ge=1)] | None = None
    """For how long a simulation stands until it is signed; by default a few blocks."""


class Multisig(_Profile):
    """When the owners of a Safe have to approve a deal, and how long they are waited for."""

    safe: str = "treasury_safe"
    """The Safe that pays for such deals: a name in the address manifest."""
    threshold_usd: Annotated[Decimal, Field(ge=0, le=10**15, decimal_places=USD_DECIMALS)] = (
        Decimal(1_000_000)
    )
    """What the deals of one bank may add up to within the window without the owners."""
    window_hours: Annotated[int, Field(ge=1, le=8_760)] = 24
    expiry_seconds: Annotated[int, Field(ge=1)] = 86_400
    """After that a deal that is not approved has expired."""
    fund_gas_units: Annotated[int, Field(gt=0)] = 150_000
    """Upper estimate of the gas of funding by the Safe."""

    @property
    def threshold_usd8(self) -> int:
        """The threshold in units of 1e-8 USD."""
        return int(self.threshold_usd * 10**USD_DECIMALS)

    @property
    def window(self) -> timedelta:
        """How long a deal counts together with the next ones of its bank."""
        return timedelta(hours=self.window_hours)

    @property
    def expiry(self) -> timedelta:
        """How long the owners are waited for."""
        return timedelta(seconds=self.expiry_seconds)


class TimelockProfile(_Profile):
    """What changes only by the timelock. Contract fields are names in the address manifest."""

    contract: str = "timelock"
    registry: str = "desk_registry"
    """Holds the treasury and what deals may call."""
    governor: str = "safe_governor"
    """Swaps the owners of the treasury's Safe."""
    min_delay_seconds: Annotated[int, Field(ge=1)] = 3_600
    """The delay that the timelock must have at the least."""
    since_block: Annotated[int, Field(ge=0)] = 0
    """The block in which it was deployed: from there its log tells who was given roles."""


class ModuleProfile(_Profile):
    """One discount market of a chain. Contract fields are names in the address manifest."""

    par_token: str
    discount_token: str
    collateral: str
    collateral_receipt: str
    """Aave's token for supplied collateral (the aToken)."""
    debt_token: str
    """Aave's variable debt token of the par token."""
    pool: str
    pool_fee: Annotated[int, Field(gt=0, lt=1_000_000)]
    """The pool's fee in hundredths of a basis point."""
    redemption: str
    par_feed: str | None = None
    discount_feed: str | None = None
    """Chainlink feeds of both tokens in the same unit: what the pool's price is held against.

    Without them it is held against par less the redemption's fee.
    """
    max_price_deviation_bps: Annotated[int, Field(ge=1, lt=BASIS_POINTS)] = 300
    """How far the pool's price, and that of a swap, may be from the feeds'."""
    max_price_age_seconds: Annotated[int, Field(ge=1)] = 90_000
    """How old a feed's answer may be; the default is the usual heartbeat of a day and an hour."""
    pipelined: bool = False
    """Whether deals may join their steps in one batch."""
    expected_duration_seconds: Annotated[int, Field(gt=0)] = 600
    gas_units: dict[Step, Annotated[int, Field(gt=0)]]
    """Upper estimate of the gas of each step, all its transactions together; settle's includes the
    sweep's. A pipelined deal sends the same transactions, so that its run needs none of its own."""

    @property
    def feeds(self) -> tuple[str, ...]:
        """The feeds of the par and of the discount token, or none."""
        return (
            ()
            if not self.par_feed or not self.discount_feed
            else (self.par_feed, self.discount_feed)
        )

    @model_validator(mode="after")
    def _feeds_go_together(self) -> "ModuleProfile":
        if (self.par_feed is None) != (self.discount_feed is None):
            missing = "par_feed" if self.par_feed is None else "discount_feed"
            raise InvalidInput(
                "a price needs the feeds of both tokens",
                field=missing,
                limit="par_feed and discount_feed, or neither",
                next_action=f"name {missing} too, or leave both out",
            )
        return self

    @field_validator("gas_units")
    @classmethod
    def _every_priced_step(cls, gas_units: dict[Step, int]) -> dict[Step, int]:
        missing = [step for step in (*PRICED_ONCE, *PRICED_PER_CYCLE) if step not in gas_units]
        if missing:
            raise InvalidInput(
                f"gas_units has no estimate for {', '.join(missing)}",
                field="gas_units",
                value=", ".join(gas_units),
                limit=", ".join((*PRICED_ONCE, *PRICED_PER_CYCLE)),
                next_action="add an estimate of the gas of each step listed",
            )
        return gas_units


class ChainProfile(_Profile):
    """Everything the system knows about one chain before it asks a node."""

    chain_id: ChainId
    name: str
    endpoints: Annotated[list[Endpoint], Field(min_length=1)]
    max_head_lag_blocks: Annotated[int, Field(ge=1)] = 3
    """An endpoint that is further behind the others is not read from."""
    submission_endpoints: Annotated[list[Endpoint], Field(validate_default=True)] = []
    """Private relays: where there are any, transactions are sent to them alone."""
    public_fallback: Literal["never"] | PublicFallback = "never"
    """Whether they are sent to the other endpoints in the end as well."""
    contracts: dict[str, Address]
    block_time_seconds: Annotated[int, Field(ge=1)]
    confirmations: Annotated[int, Field(ge=1)]
    finality: Finality
    fees: FeePolicy
    limits: SubmissionLimits = SubmissionLimits()
    multisig: Multisig = Multisig()
    timelock: TimelockProfile = TimelockProfile()
    modules: dict[ModuleId, ModuleProfile]

    @property
    def shelf_life_seconds(self) -> int:
        """For how long after its simulation a batch may be signed for the first time."""
        usual = max(_SHORTEST_SHELF_LIFE, _SHELF_LIFE_BLOCKS * self.block_time_seconds)
        return self.limits.shelf_life_seconds or usual

    @property
    def goes_public_after(self) -> int | None:
        """Blocks that a transaction is kept private for; None: for ever, or it never is."""
        if not self.submission_endpoints or self.public_fallback == "never":
            return None
        return self.public_fallback.after_blocks

    @field_validator("submission_endpoints")
    @classmethod
    def _distinct_names(
        cls, endpoints: list[EndpointProfile], info: ValidationInfo
    ) -> list[EndpointProfile]:
        """Names are labels of logs and metrics, which must tell endpoints apart."""
        names = [e.name for e in (*info.data.get("endpoints", ()), *endpoints) if e.name]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise InvalidInput(
                f"two endpoints are called {doubled[0]}",
                field="endpoints",
                value=doubled[0],
                limit="names that differ",
                next_action="give each endpoint a name of its own, or none",
            )
        return endpoints

    def contract(self, name: str) -> Address:
        """Address of a named contract; raises `NotFound` if the manifest does not have it."""
        try:
            return self.contracts[name]
        except KeyError:
            raise NotFound(
                f"chain {self.chain_id} has no contract {name}",
                field="contract",
                value=name,
                limit=", ".join(sorted(self.contracts)),
                next_action=f"add {name} to the address manifest of chain {self.chain_id}",
            ) from None

    def module(self, name: ModuleId) -> ModuleProfile:
        """Profile of a named module; raises `NotFound` listing those there are."""
        try:
            return self.modules[name]
        except KeyError:
            raise NotFound(
                f"chain {self.chain_id} has no module {name}",
                field="module",
                value=name,
                limit=", ".join(sorted(self.modules)),
                next_action="choose one of the modules listed",
            ) from None

    def check_request(self, request: DealRequest) -> None:
        """Raise unless this chain can run the request: module known, mode enabled for it."""
        module = self.module(request.module)
        if request.mode is ExecutionMode.PIPELINED and not module.pipelined:
            raise InvalidInput(
                f"module {request.module} on chain {self.chain_id} does not run pipelined deals",
                field="mode",
                value=request.mode,
                limit=ExecutionMode.STEPWISE,
                next_action="start the deal in stepwise mode",
            )
        if request.mode is ExecutionMode.PIPELINED and request.cycles > MAX_PIPELINED_CYCLES:
            raise InvalidInput(
                "a pipelined deal cannot have so many cycles",
                field="cycles",
                value=request.cycles,
                limit=MAX_PIPELINED_CYCLES,
                next_action="give fewer cycles, or start the deal in stepwise mode",
            )


def find_chain(profiles: dict[ChainId, ChainProfile], chain_id: int) -> ChainProfile:
    """Return the profile of a chain id; raises `NotFound` listing the chains there are."""
    try:
        return profiles[ChainId(chain_id)]
    except KeyError:
        raise NotFound(
            f"chain {chain_id} is not configured",
            field="chain_id",
            value=chain_id,
            limit=", ".join(str(known) for known in sorted(profiles)),
            next_action="choose one of the chains listed, or add its profile",
        ) from None
