"""Whether a deal may begin: its account opened, the markets looked at, sized, owners asked."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.control.interface import Admitted
from activities.protocols.interface import MarketReading
from activities.signing.interface import (
    DealAccounts,
    FundFromSafe,
    OpenAccount,
    SigningActivities,
)
from domain.approvals import Funding
from domain.chains import Multisig
from domain.deals import DealStatus
from domain.denials import Denial
from domain.errors import DealError, PolicyDenied
from domain.sizing import size_deal
from workflows.deal import options
from workflows.deal.approval import ApprovalEnded, OwnersApproval
from workflows.deal.desk_approval import DeskApprovals
from workflows.deal.failures import DealFailure, problem_of
from workflows.deal.halting import ensure_active
from workflows.deal.looking import read_market
from workflows.deal.predicting import predict, predict_beside
from workflows.deal.recording import Recording
from workflows.deal.reservation import admit, release, reserve
from workflows.deal.state import DealState
from workflows.deal.transaction import SIGNER_QUEUE

_ASKS_RECORDS: Final = "asks-records"
"""Deals from before ask whether trading is halted, and the policy, by way of the queue; and the
first of these when their account is open."""


class Admission:
    """Admits one deal, or denies it."""

    def __init__(self, deal: DealState, recording: Recording) -> None:
        """Take the deal and what records it."""
        self._deal = deal
        self._recording = recording
        self.owners: OwnersApproval | None = None
        """The owners of a Safe who have to approve it; None if none has to, or not yet."""
        self.desk = DeskApprovals(deal)
        self._ask_owners: Callable[[], Awaitable[None]] | None = None

    async def admit(self) -> bool:
        """Admit the deal and say so; False if it is denied, and has ended."""
        try:
            await self._decide()
        except DealFailure as failure:
            self._deal.problem = failure.problem
            await release(self._deal)
            await self._recording.move(DealStatus.DENIED, f"denied: {failure.problem.message}")
            self._deal.decided = True
            return False
        if self._deal.desk_approval is not None:
            self._deal.asking = True
            waiting = f"waiting for {self._deal.desk_approval.needed} approvals"
            await self._recording.move(DealStatus.AWAITING_APPROVAL, waiting)
        elif self.owners is None:
            await self._recording.move(DealStatus.EXECUTING, "admitted")
        else:
            await self._recording.move(DealStatus.AWAITING_APPROVAL, "waiting for owners")
        self._deal.decided = True
        return True

    async def approved(self) -> bool:
        """Wait for the desk, if it has to approve; False if it does not, and the deal has ended."""
        if self._deal.desk_approval is None:
            return True
        try:
            await self.desk.until_approved()
            if self._ask_owners is not None:
                await self._recording.tell_on_record("approved by the desk: asking the owners")
                await self._ask_owners()
                await self._recording.tell_on_record("waiting for owners")
            else:
                await self._recording.move(DealStatus.EXECUTING, "approved")
        except ApprovalEnded as ending:
            await self._end(ending)
            return False
        except ActivityError as error:
            await self._end(ApprovalEnded(DealStatus.REJECTED, problem_of(error)))
            return False
        return True

    async def _end(self, ending: ApprovalEnded) -> None:
        self._deal.problem = ending.problem
        await release(self._deal)
        await self._recording.close(ending.status, ending.problem.message)

    async def _decide(self) -> None:
        """Open the account, look at the markets, size the deal; or raise `DealFailure`."""
        await self._recording.move(DealStatus.REQUESTED, "sizing")
        try:
            await self._size()
        except ActivityError as error:
            raise DealFailure(problem_of(error)) from error
        except DealError as error:
            raise DealFailure(error.problem) from error

    async def _size(self) -> None:
        deal = self._deal
        if deal.controlled and deal.launch is None:
            raise _not_by_command()
        accounts = await self._begin()
        reading = await read_market(deal, accounts.treasury, options.ADMISSION)
        admitted, funding = await self._admitted(reading)
        if funding is not None and funding.owners_decide:
            accounts = await self._bind_to_safe()
            reading = await read_market(deal, accounts.treasury, options.ADMISSION)
            reading = reading.from_safe()
        deal.sizing = size_deal(deal.request, reading.module, reading.market)
        deal.account, deal.treasury = accounts.account, accounts.treasury
        deal.module = reading.module
        from_safe = funding is not None and funding.owners_decide
        if admitted is not None and admitted.approvals_needed:
            prediction = await predict(deal, from_safe=from_safe)
            await self.desk.ask(prediction.digest())
        elif deal.controlled:
            predict_beside(deal, from_safe=from_safe)
        if funding is not None and funding.owners_decide:
            self._ask_owners = partial(self._propose, funding, accounts, reading.multisig)
            if deal.desk_approval is None:
                await self._ask_owners()

    async def _begin(self) -> DealAccounts:
        """Open the deal's account, unless trading is halted."""
        deal = self._deal
        if not deal.controlled:  # those meet a halt at their first step
            return await self._open_account()
        deal.asks_records = workflow.patched(_ASKS_RECORDS)
        if deal.asks_records:
            await ensure_active(deal)
            return await self._open_account()
        accounts = await self._open_account()
        await ensure_active(deal)
        return accounts

    async def _admitted(self, reading: MarketReading) -> tuple[Admitted | None, Funding | None]:
        """What the policy says, and whether the owners decide; deals from before ask neither."""
        deal = self._deal
        if deal.controlled:
            admitted = await admit(deal, reading)
            deal.pin(admitted.policy)
            return admitted, admitted.funding
        return None, await reserve(deal, reading) if workflow.patched("multisig") else None

    async def _open_account(self) -> DealAccounts:
        request = self._deal.request
        accounts: DealAccounts = await workflow.execute_activity_method(
            SigningActivities.open_account,
            OpenAccount(
                deal_id=request.deal_id,
                max_fee_per_gas_wei=request.max_fee_per_gas_wei,
                chain_id=request.chain_id,
            ),
            task_queue=SIGNER_QUEUE,
            summary="Open the deal's own account",
            **options.ADMISSION,
        )
        self._deal.has_key = True
        return accounts

    async def _bind_to_safe(self) -> DealAccounts:
        request = self._deal.request
        return await workflow.execute_activity_method(
            SigningActivities.fund_from_safe,
            FundFromSafe(deal_id=request.deal_id, chain_id=request.chain_id),
            task_queue=SIGNER_QUEUE,
            summary="Make the Safe the deal's treasury, for good",
            **options.ADMISSION,
        )

    async def _propose(self, funding: Funding, accounts: DealAccounts, multisig: Multisig) -> None:
        assert accounts.fee is not None  # noqa: S101 - signers that know a Safe have one
        self.owners = OwnersApproval(
            self._deal, funding, accounts.fee, self._recording.tell_on_record
        )
        await self.owners.propose(multisig.expiry)


def _not_by_command() -> PolicyDenied:
    """The error of a deal that somebody has started by hand."""
    return PolicyDenied.because(
        Denial.NO_COMMAND,
        field="command_id",
        limit="a command of somebody who has proved who he is",
        actual="none",
    )
