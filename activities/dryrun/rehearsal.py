"""One deal from its first step to its last, over a snapshot: planned as a real one, never sent."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from activities.dryrun.snapshot import Snapshot
from activities.protocols import erc20, multicall, uniswap
from activities.protocols.multicall import Read
from activities.protocols.reader import ChainReader
from activities.protocols.registry import Registry
from activities.protocols.steps import StepBuilder
from activities.transactions.interface import PrepareBatch
from activities.transactions.planning import Plan, Planner
from domain.chains import ChainProfile
from domain.courses import course_of
from domain.deals import DealRequest, ExecutionMode, Step
from domain.errors import LimitExceeded, SimulationFailed
from domain.exits import next_exit_step
from domain.identifiers import Address
from domain.positions import Position
from domain.predictions import Prediction, StepFigures, pool_price_e18, slippage_bps, worst
from domain.settlement import valued
from domain.sizing import Sizing
from domain.transactions import BatchKey, Course

_MOST_EXIT_STEPS: Final = 8
"""A deal that goes well has two, and each round of selling or topping up one or two more."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """A deal as it was sized: its account, who funds it, and who makes up for a shortfall."""

    request: DealRequest
    sizing: Sizing
    account: Address
    funder: Address
    treasury: Address
    from_safe: bool = False
    """The funder is the Safe, of which the fee account pays the gas."""


@dataclass(frozen=True, slots=True)
class _Beginning:
    """What is held against what there is in the end."""

    price_e18: int
    ether: int
    par: int


@dataclass(slots=True)
class _Log:
    """What has happened so far."""

    steps: list[StepFigures] = field(default_factory=list)
    courses: list[Course] = field(default_factory=list)
    rounds: Counter[Step] = field(default_factory=Counter)
    gas_price_wei: int = 0


class Rehearsal:
    """Rehearses one deal."""

    def __init__(
        self,
        reader: ChainReader,
        registry: Registry,
        snapshot: Snapshot,
        deal: Rehearsed,
    ) -> None:
        """Take the reader over the snapshot, what the desk allows, and the deal."""
        self._reader = reader
        self._profile: ChainProfile = reader.profile
        self._module = reader.profile.module(deal.request.module)
        self._registry = registry
        self._snapshot = snapshot
        self._deal = deal
        self._funding = Planner(self._profile, snapshot, StepBuilder(reader, deal.funder))
        self._planner = Planner(self._profile, snapshot, StepBuilder(reader, deal.treasury))
        self._log = _Log()

    async def run(self) -> Prediction:
        """Every step of the deal; raises what keeps a step from being prepared."""
        began = await self._begin()
        await self._step(Step.FUND)
        if self._deal.request.mode is ExecutionMode.PIPELINED:
            position = await self._step(Step.RUN)
        else:
            position = await self._run_stepwise()
        last = await self._leave(position)
        return await self._end(began, last)

    async def _run_stepwise(self) -> Position:
        await self._step(Step.WRAP)
        await self._step(Step.COLLATERALIZE)
        position = await self._step(Step.BORROW)
        for cycle in range(1, self._deal.sizing.cycles + 1):
            try:
                await self._step(Step.SWAP)
            except LimitExceeded:
                if cycle == 1:
                    raise
                break  # a later cycle that would not pay is none, as in a real deal
            position = await self._step(Step.REDEEM)
        return position

    async def _leave(self, position: Position) -> Position:
        """The way out, decided from what each step leaves."""
        for _ in range(_MOST_EXIT_STEPS):
            step = next_exit_step(position)
            if step is None:
                return position
            position = await self._step(step)
        raise SimulationFailed(
            "the deal's account does not become empty",
            field="position",
            limit=f"{_MOST_EXIT_STEPS} steps on the way out",
            actual=position.model_dump_json(),
            next_action="look at what is left: a real deal would go on, and tell somebody",
        )

    async def _step(self, step: Step) -> Position:
        """Plan a step as it would be prepared, take it as mined, and look at the account."""
        self._log.rounds[step] += 1
        key = BatchKey(deal_id=self._deal.request.deal_id, step=step, round=self._log.rounds[step])
        order = PrepareBatch(
            key=key,
            request=self._deal.request,
            sizing=self._deal.sizing,
            account=self._deal.account,
            treasury=self._deal.funder,
        )
        await self._registry.check(order)
        planner = self._funding if step is Step.FUND else self._planner
        plan = await planner.plan(order, await planner.build(order))
        gas, price = self._gas_of(plan, step), _price_of(plan)
        self._snapshot.mine(
            plan.draft.sender,
            plan.calls,
            gas_wei=gas * price,
            after_seconds=self._profile.confirmations * self._profile.block_time_seconds,
        )
        position = await self._reader.position(self._deal.request.module, self._deal.account)
        self._note(key, plan, position, gas=gas, price=price)
        return position

    def _gas_of(self, plan: Plan, step: Step) -> int:
        if step is Step.FUND and self._deal.from_safe:
            return self._profile.multisig.fund_gas_units
        return sum(plan.gas_used)

    def _note(self, key: BatchKey, plan: Plan, position: Position, *, gas: int, price: int) -> None:
        router = self._profile.contract("uniswap_router")
        with_pool = [call.to == router for call in plan.calls]
        self._log.courses.append(course_of(position, plan.changes, with_pool=with_pool))
        self._log.gas_price_wei = self._log.gas_price_wei or plan.draft.level.expected_price
        self._log.steps.append(
            StepFigures(
                step=key.step,
                round=key.round,
                transactions=len(plan.calls),
                gas=gas,
                gas_cost_wei=gas * price,
                ltv_bps=position.ltv_bps,
                estimated=key.step is Step.FUND and self._deal.from_safe,
            )
        )

    async def _begin(self) -> _Beginning:
        """The pool's own price, and what the treasury has before the deal."""
        contract = self._profile.contract
        slot0 = Read(contract(self._module.pool), uniswap.SLOT0)
        (sqrt_price, *_), *holdings = await self._reader.read([slot0, *self._holdings()])
        par, discount = contract(self._module.par_token), contract(self._module.discount_token)
        price = pool_price_e18(int(sqrt_price), zero_for_one=int(par, 16) < int(discount, 16))
        return _Beginning(price, *_added_up(holdings))

    async def _end(self, began: _Beginning, last: Position) -> Prediction:
        ether, par = _added_up(await self._reader.read(self._holdings()))
        settlement = valued(ether - began.ether, par - began.par, last)
        steps = tuple(
            step.model_copy(
                update={"slippage_bps": worst(slippage_bps(s, began.price_e18) for s in c.swaps)}
            )
            for step, c in zip(self._log.steps, self._log.courses, strict=True)
        )
        pinned = self._snapshot.pinned
        return Prediction(
            steps=steps,
            gas=sum(step.gas for step in steps),
            gas_cost_wei=sum(step.gas_cost_wei for step in steps),
            max_slippage_bps=worst(step.slippage_bps for step in steps),
            max_ltv_bps=max(course.max_ltv_bps for course in self._log.courses),
            max_exposure_bps=max(course.max_exposure_bps for course in self._log.courses),
            duration_seconds=self._snapshot.timestamp - pinned.timestamp,
            profit_usd8=settlement.profit_usd8,
            chain_id=self._profile.chain_id,
            block_number=pinned.number,
            block_hash=pinned.block_hash,
            timestamp=pinned.timestamp,
            gas_price_wei=self._log.gas_price_wei,
            pool_price_e18=began.price_e18,
        )

    def _holdings(self) -> list[Read]:
        """Ether and par tokens of whoever funds the deal and makes up for a shortfall."""
        contract = self._profile.contract
        owners = sorted({self._deal.funder, self._deal.treasury})
        return [
            *(Read(contract("multicall3"), multicall.GET_ETH_BALANCE, (o,)) for o in owners),
            *(Read(contract(self._module.par_token), erc20.BALANCE_OF, (o,)) for o in owners),
        ]


def _price_of(plan: Plan) -> int:
    """What a unit of gas costs at the fees that are bid, in a block of today's base fee."""
    fees, level = plan.draft.fees, plan.draft.level
    return min(fees.max_fee_per_gas, level.base_fee + fees.max_priority_fee_per_gas)


def _added_up(holdings: list[tuple[int, ...]]) -> tuple[int, int]:
    """Ether and par tokens of all parties: the first half of the values, and the second."""
    values = [int(value) for (value,) in holdings]
    half = len(values) // 2
    return sum(values[:half]), sum(values[half:])
