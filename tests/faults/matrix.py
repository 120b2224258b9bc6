"""The crash matrix: SIGKILL before and after every boundary of every step.

A deal of the matrix suffers at most one crash in each activity of each of its batches: two in the
same would wait for two backoffs, and measure those. So all cases of a step are spread over as many
deals as its longest activity has boundaries.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from domain.deals import DealStatus, Step
from tests.faults.batches import LedgerBatches
from tests.faults.boundaries import (
    BY_NAME,
    FINALISING,
    OF_A_BATCH,
    OF_A_STEP,
    OPENING,
    THINKING,
    Boundary,
)
from tests.faults.crashes import Crash, Fired
from tests.faults.recovery import recoveries
from tests.faults.results import Group, Results
from tests.faults.rig import Lane, Rig, batch_keys
from tests.faults.verdict import Call, Verdict, calls_of, of_account, of_deal, of_intents
from workflows.deal.workflow import workflow_id

STEPS: Final = (
    Step.FUND,
    Step.WRAP,
    Step.COLLATERALIZE,
    Step.BORROW,
    Step.SWAP,
    Step.REDEEM,
    Step.SETTLE,
    Step.SWEEP,
)
"""The batches of a deal of one cycle."""

DEALS: Final = "SIGKILL in deals, every step"
BATCHES: Final = "SIGKILL in Ledger batches of 3"
SHARED: Final = "SIGKILL in Ledger batches of 3 from one account"

_THOUGHTS: Final = 6
"""Workflow tasks that every deal surely has, however often its worker begins anew."""
_WITHIN: Final = 300.0


@dataclass
class Scenario:
    """A workflow and the crashes that it is to suffer; `about` names the batch of each."""

    name: str
    group: str
    crashes: list[Crash] = field(default_factory=list)

    def add(self, boundary: Boundary, side: str, about: str, call: int = 1) -> None:
        """One more crash."""
        case = f"{self.name}.{len(self.crashes):03}"
        self.crashes.append(Crash(case, boundary.name, side, about, call))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Plan:
    """What is to be crashed."""

    deals: list[Scenario]
    batches: list[Scenario]
    shared: list[Scenario]

    @property
    def cases(self) -> int:
        """How many crashes there are."""
        return sum(len(s.crashes) for s in (*self.deals, *self.batches, *self.shared))


BATCHES_EACH: Final = 4


def full(dice: random.Random) -> Plan:
    """Every boundary of every step, both sides."""
    return Plan(
        deals=_deals(dice),
        batches=_of_batches(dice, "ledger", BATCHES, Step.WRAP),
        shared=_of_batches(dice, "shared", SHARED, Step.FUND),
    )


def subset(dice: random.Random) -> Plan:
    """Some of each, for the usual tests: one crash in each step of a deal, and some batches."""
    deal = _deals(dice)[0]
    deal.crashes = [dice.choice(_in_step(deal, step)) for step in STEPS]
    batches = _of_batches(dice, "ledger", BATCHES, Step.WRAP)[0]
    return Plan(deals=[deal], batches=[batches], shared=[])


def _in_step(deal: Scenario, step: Step) -> list[Crash]:
    return [crash for crash in deal.crashes if crash.about == f"{deal.name}/{step}/1/1"]


def _deals(dice: random.Random) -> list[Scenario]:
    queues = [
        _shuffled(dice, activity) for _ in STEPS for activity in _by_activity(OF_A_STEP).values()
    ]
    keys = [step for step in STEPS for _ in _by_activity(OF_A_STEP)]
    opening, finalising = _shuffled(dice, OPENING), _shuffled(dice, FINALISING)
    scenarios = []
    count = max(map(len, queues))
    for number in range(count):
        name = f"deal-{number:02}"
        scenario = Scenario(name, DEALS)
        for queue, step in zip(queues, keys, strict=True):
            if number < len(queue):
                scenario.add(*queue[number], about=f"{name}/{step}/1/1")
        # The last deals come to their end unhindered, before the watcher has called them final.
        for queue, place in ((opening, number), (finalising, count - 1 - number)):
            if place < len(queue):
                scenario.add(*queue[place], about=name)
        side = dice.choice(THINKING[0].sides)
        scenario.add(THINKING[0], side, workflow_id(name), dice.randint(1, _THOUGHTS))
        scenarios.append(scenario)
    return scenarios


def _of_batches(dice: random.Random, name: str, group: str, step: Step) -> list[Scenario]:
    queues = [_shuffled(dice, activity) for activity in _by_activity(OF_A_BATCH).values()]
    scenarios: list[Scenario] = []
    for number in range(max(map(len, queues))):
        if number % BATCHES_EACH == 0:
            scenarios.append(Scenario(f"{name}-{len(scenarios)}", group))
        scenario = scenarios[-1]
        for queue in queues:
            if number < len(queue):
                about = batch_keys(scenario.name, BATCHES_EACH, step)[number % BATCHES_EACH]
                scenario.add(*queue[number], about=about)
    return scenarios


def _by_activity(boundaries: Iterable[Boundary]) -> dict[str, list[Boundary]]:
    found: dict[str, list[Boundary]] = {}
    for boundary in boundaries:
        found.setdefault(boundary.activity, []).append(boundary)
    return found


def _shuffled(dice: random.Random, boundaries: Sequence[Boundary]) -> list[tuple[Boundary, str]]:
    sides = [pair for boundary in boundaries for pair in product([boundary], boundary.sides)]
    dice.shuffle(sides)
    return sides


class Matrix:
    """Runs the plan over some lanes at once."""

    def __init__(self, rig: Rig, lanes: Sequence[Lane], say: Callable[[str], None]) -> None:
        self._rig = rig
        self._lanes = lanes
        self._say = say
        self._due: asyncio.Task[list[Call]]

    async def run(self, plan: Plan, results: Results) -> None:
        """Run all of it and add what was found."""
        groups = {name: Group(name) for name in (DEALS, BATCHES, SHARED)}
        waiting = iter([*plan.deals, *plan.batches, *plan.shared])
        self._due = asyncio.create_task(self._undisturbed())
        working = [self._work(lane, waiting, groups, results) for lane in self._lanes]
        await asyncio.gather(*working, self._due)
        groups[SHARED].verdict += of_account(self._rig, self._rig.treasury)
        results.groups += [group for group in groups.values() if group.cases]

    async def _undisturbed(self) -> list[Call]:
        """The calls of a deal that nothing disturbs: what every other has to come to."""
        first = self._rig.node.head()
        async with self._rig.lane("calm") as lane:
            await lane.start(lane.request("calm-0"))
            view = await lane.deal("calm-0").result()
        assert view.status is DealStatus.COMPLETED, view.problem
        assert view.account is not None
        return calls_of(self._rig, view.account, first)

    async def _work(
        self,
        lane: Lane,
        waiting: Iterator[Scenario],
        groups: dict[str, Group],
        results: Results,
    ) -> None:
        for scenario in waiting:
            group = groups[scenario.group]
            verdict = await self._suffer(lane, scenario)
            fired = await self._crashed(scenario, verdict)
            found = await recoveries(lane, workflow_id(scenario.name), fired)
            for crash in scenario.crashes:
                if crash.case in found:
                    seconds = found[crash.case].gone_on
                    group.recoveries.append(seconds)
                    activity = BY_NAME[crash.boundary].activity
                    results.by_boundary.setdefault(activity, []).append(seconds)
            group.cases += len(fired)
            group.verdict += verdict
            slowest = max((each.gone_on for each in found.values()), default=0.0)
            said = "ok" if verdict.clean else "WRONG"
            self._say(
                f"{scenario.name}: {len(fired)} crashes, slowest recovery {slowest:.1f} s, {said}"
            )

    async def _suffer(self, lane: Lane, scenario: Scenario) -> Verdict:
        for crash in scenario.crashes:
            self._rig.crashes.arm(crash)
        try:
            async with asyncio.timeout(_WITHIN):
                if scenario.group == DEALS:
                    return await self._deal(lane, scenario.name)
                return await self._batches(lane, scenario)
        except TimeoutError:
            verdict = Verdict(lost=1)
            verdict.notes.append(f"{scenario.name} did not end within {_WITHIN:.0f} s")
            return verdict

    async def _deal(self, lane: Lane, name: str) -> Verdict:
        first = self._rig.node.head()
        await lane.start(lane.request(name))
        view = await lane.deal(name).result()
        assert view.account is not None
        verdict = of_deal(self._rig, view.account, first, await self._due)
        verdict.expect(view.status is DealStatus.COMPLETED, f"{name}: {view.status} {view.problem}")
        return verdict

    async def _batches(self, lane: Lane, scenario: Scenario) -> Verdict:
        step = Step.FUND if scenario.group == SHARED else Step.WRAP
        handle = await lane.start_batches(scenario.name, batches=BATCHES_EACH, step=step)
        ended = await handle.result()
        keys = batch_keys(scenario.name, BATCHES_EACH, step)
        verdict = of_intents(self._rig, [f"{key}/{index}" for key in keys for index in range(3)])
        for key, each in zip(keys, ended, strict=True):
            verdict.expect(each.outcome and not each.outcome.problem, f"{key}: {each}")
        if step is Step.WRAP:
            accounts = await handle.query(LedgerBatches.accounts)
            assert accounts is not None
            verdict += of_account(self._rig, accounts.account)
        return verdict

    async def _crashed(self, scenario: Scenario, verdict: Verdict) -> dict[str, Fired]:
        """The crashes that happened; one that did not is a boundary that the code does not have."""
        found: dict[str, Fired] = {}
        for crash in scenario.crashes:
            fired = self._rig.crashes.fired(crash.case)
            if fired is not None:
                found[crash.case] = fired
            else:
                self._rig.crashes.disarm(crash.case)
            verdict.expect(fired, f"{scenario.name} never came {crash.side} {crash.boundary}")
        return found
