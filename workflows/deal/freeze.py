"""Redeeming, and waiting while redemption is frozen: the deal is FROZEN, and is watched."""

from datetime import timedelta
from typing import Final

from temporalio import workflow

from domain.deals import DealStatus, Step
from domain.errors import Problem, RedemptionFrozen
from workflows.deal import options
from workflows.deal.failures import DealFailure
from workflows.deal.looking import last_position, read_market
from workflows.deal.recording import Recording
from workflows.deal.state import DealState
from workflows.deal.stepping import Stepping

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
                await self._wait_for_redemption(failure.problem)
            else:
                return

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
                lambda: self._deal.cancel is not None,
                timeout=duration,
                timeout_summary="until redemption is probed again",
            )
        except TimeoutError:
            return
