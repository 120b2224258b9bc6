"""Redeeming, and waiting while redemption is frozen: the deal is FROZEN, and is watched."""

from contextlib import suppress
from datetime import timedelta
from math import ceil
from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.protocols.interface import ProtocolActivities, WatchRedemption
from domain.deals import DealStatus, Step
from domain.errors import Problem, RedemptionFrozen
from domain.freezes import Freeze
from workflows.deal import options
from workflows.deal.failures import DealFailure
from workflows.deal.looking import last_position, read_market
from workflows.deal.messages import CommandMessage
from workflows.deal.recording import Recording
from workflows.deal.state import DealState
from workflows.deal.stepping import Stepping
from workflows.deal.transaction import chain_queue

_WATCHED_FOR: Final = timedelta(minutes=50)
"""How long one look goes on; within the hour that an activity may take."""
_PROBE_FIRST: Final = timedelta(seconds=1)
_PROBE_LAST: Final = timedelta(minutes=5)


class Redemption:
    """Turns one deal's discount tokens into the par token, as soon as that is possible."""

    def __init__(self, deal: DealState, recording: Recording, stepping: Stepping) -> None:
        """Take the deal, what records it and what runs its steps."""
        self._deal = deal
        self._recording = recording
        self._stepping = stepping

    async def redeem(self) -> None:
        """Redeem, waiting as long as redemption is frozen unless somebody cancels."""
        while True:
            try:
                await self._stepping.step(Step.REDEEM)
            except DealFailure as failure:
                if failure.problem.code != RedemptionFrozen.code:
                    raise
                if self._deal.controlled:
                    await self._wait_frozen(failure.problem)
                else:
                    await self._wait_for_redemption(failure.problem)
            else:
                self._deal.frozen = None
                return

    async def _wait_frozen(self, problem: Problem) -> None:
        """Be FROZEN until redemption would take what is held; the policy may end it before.

        Raises `DealFailure` when it has been frozen for as long as the policy puts up with.
        """
        deal = self._deal
        position = await last_position(deal)
        since = deal.frozen.since if deal.frozen else workflow.now()
        deal.frozen = freeze = Freeze.of(position, deal.freeze_policy, since)
        await self._recording.move(DealStatus.FROZEN, f"{problem.message}; {problem.next_action}")
        while not await self._is_open_now(freeze):
            self._stepping.stop_if_cancelled()
            if freeze.unwinds_at is not None and workflow.now() >= freeze.unwinds_at:
                raise DealFailure(_frozen_too_long(freeze, problem))
        if freeze.policy.on_reopen == "hold" and deal.pause is None:
            deal.pause = CommandMessage(
                who="the deal policy", why="redemption has reopened, and a person is to resume it"
            )
        await self._recording.move(DealStatus.EXECUTING, "redemption has reopened")

    async def _is_open_now(self, freeze: Freeze) -> bool:
        """Watch until it is open, somebody wants something, or the freeze has to end."""
        deal = self._deal
        deal.retry = None
        left = None if freeze.unwinds_at is None else freeze.unwinds_at - workflow.now()
        watched_for = _WATCHED_FOR if left is None else max(timedelta(), min(left, _WATCHED_FOR))
        watching = workflow.start_activity_method(
            ProtocolActivities.watch_redemption,
            WatchRedemption(
                chain_id=deal.request.chain_id,
                module=deal.request.module,
                held=freeze.held,
                policy=freeze.policy,
                seconds=ceil(watched_for.total_seconds()),
            ),
            task_queue=chain_queue(deal.request.chain_id),
            summary="Watch redemption until it reopens",
            **options.WATCH,
        )
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: watching.done() or deal.leaving or deal.retry is not None,
                timeout=left if left is None or left > timedelta() else timedelta(seconds=1),
                timeout_summary="until the policy has the deal unwound",
            )
        if watching.done():
            return (await watching).open
        watching.cancel()
        with suppress(ActivityError):
            await watching
        return False

    async def _wait_for_redemption(self, problem: Problem) -> None:
        await self._recording.move(DealStatus.FROZEN, f"{problem.message}; {problem.next_action}")
        pause = _PROBE_FIRST
        while not await self._is_open():
            await self._sleep_unless_cancelled(pause)
            self._stepping.stop_if_cancelled()
            # Every probe is in the history for ever, and a freeze may last for weeks.
            pause = min(pause * 2, _PROBE_LAST)
        await self._recording.move(DealStatus.EXECUTING, "redemption has reopened")

    async def _is_open(self) -> bool:
        assert self._deal.treasury is not None  # noqa: S101 - only ever called after admission
        reading = await read_market(self._deal, self._deal.treasury, options.READ)
        terms = reading.market.redemption
        held = (await last_position(self._deal)).discount
        return not terms.frozen and terms.redeemable >= held

    async def _sleep_unless_cancelled(self, duration: timedelta) -> None:
        try:
            await workflow.wait_condition(
                lambda: self._deal.leaving,
                timeout=duration,
                timeout_summary="until redemption is probed again",
            )
        except TimeoutError:
            return


def _frozen_too_long(freeze: Freeze, problem: Problem) -> Problem:
    """Why a deal unwinds that nobody has told to."""
    return RedemptionFrozen(
        f"{problem.message}, for longer than the deal policy puts up with",
        field=problem.field,
        value=freeze.since.isoformat(timespec="seconds"),
        limit=f"{freeze.policy.unwind_after_seconds} seconds",
        next_action="the deal unwinds by itself and sells what it holds",
    ).problem
