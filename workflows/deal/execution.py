"""The deal as a trader would tell it: from funding to the last discount token redeemed."""

from domain.deals import ExecutionMode, Step
from domain.errors import LimitExceeded
from workflows.deal.failures import DealFailure
from workflows.deal.freeze import Redemption
from workflows.deal.looking import last_position, read_position
from workflows.deal.recording import Recording
from workflows.deal.state import DealState
from workflows.deal.stepping import Stepping


class Execution:
    """Runs one deal's steps in their order."""

    def __init__(self, deal: DealState, recording: Recording, stepping: Stepping) -> None:
        """Take the deal, what records it and what runs its steps."""
        self._deal = deal
        self._recording = recording
        self._stepping = stepping
        self._redemption = Redemption(deal, recording, stepping)

    async def run(self, *, funded: bool) -> None:
        """Every step but the way out; raises `DealFailure`, `DealCancelled`, `ActivityError`."""
        if not funded:
            await self._stepping.step(Step.FUND)
        if self._deal.request.mode is ExecutionMode.PIPELINED:
            await self._run_joined()
        else:
            await self._run_stepwise()

    async def finish(self) -> None:
        """What is left of a deal that was unwound in part: it takes on no new risk.

        What it still holds is redeemed; nothing is borrowed or bought any more.
        """
        await self._stepping.gate()
        self._deal.problem = None
        if (await read_position(self._deal)).discount:
            await self._redemption.redeem()

    async def _run_joined(self) -> None:
        """Everything from wrap to unwrap in one batch.

        If it stopped short it is for the position to say what follows: discount tokens that could
        not be redeemed wait for redemption as they would in a deal that goes step by step, from
        anything else the deal unwinds.
        """
        try:
            await self._stepping.step(Step.RUN)
        except DealFailure:
            if not (await last_position(self._deal)).discount:
                raise
            await self._redemption.redeem()

    async def _run_stepwise(self) -> None:
        await self._stepping.step(Step.WRAP)
        await self._stepping.step(Step.COLLATERALIZE)
        await self._stepping.step(Step.BORROW)
        for cycle in range(1, self._deal.sized.cycles + 1):
            if not await self._swap_pays(cycle):
                break
            await self._redemption.redeem()

    async def _swap_pays(self, cycle: int) -> bool:
        """Swap; False if a later cycle would not pay any more, which is no failure."""
        try:
            await self._stepping.step(Step.SWAP)
        except DealFailure as failure:
            if cycle > 1 and failure.problem.code == LimitExceeded.code:
                self._recording.tell(f"no further cycle: {failure.problem.message}")
                return False
            raise
        return True
