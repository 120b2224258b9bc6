"""Asking the owners of a Safe: one proposal after the other, until it can be executed or has ended.

Only `until_due` changes what is proposed. What owners say comes in between, is checked on the
chain, and counts if the proposal is still the one that they have signed.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.approvals.interface import (
    CheckSignature,
    CloseProposal,
    ProposeFunding,
    SafeActivities,
    WatchSafe,
)
from domain.approvals import (
    Approval,
    ExecuteApproved,
    Fate,
    Funding,
    GivenSignature,
    Proposal,
    SafeStanding,
    counting,
    expired,
    expired_by,
    fate_of,
    rejected,
    withdrawn,
)
from domain.deals import DealStatus
from domain.errors import Conflict, DealError, NotAllowed, Problem
from domain.identifiers import Address
from domain.safe import OwnerSignature, check_signature_form, packed
from workflows.deal import options
from workflows.deal.failures import DealFailure, problem_of
from workflows.deal.messages import CommandMessage, OwnerMessage, RejectionMessage
from workflows.deal.state import DealState
from workflows.deal.transaction import chain_queue

_RETRY_AFTER: Final = timedelta(seconds=30)
_NONCE_USED_UP: Final = "nonce-used-up"
"""Deals of before it ended at once."""
_LONGEST_WHY: Final = 500
_ASKED_AGAIN: Final = {
    Fate.USED: "the Safe has used nonce {nonce} for something else",
    Fate.GAP: "a proposal before nonce {nonce} was given up",
}


class ApprovalEnded(Exception):
    """The owners do not want it, or not in time; nothing was moved and nothing will be."""

    def __init__(self, status: DealStatus, problem: Problem) -> None:
        """Keep how the deal ends, and why."""
        super().__init__(problem.message)
        self.status, self.problem = status, problem


class OwnersApproval:
    """What the owners of a Safe say about one deal."""

    def __init__(
        self,
        deal: DealState,
        funding: Funding,
        sender: Address,
        tell: Callable[[str], Awaitable[None]],
    ) -> None:
        """Take the deal, what it moves, who sends the Safe's transaction, and whom to tell."""
        self._deal = deal
        self._funding = funding
        self._sender = sender
        self._tell = tell
        self._expires_at: datetime | None = None
        self._signatures: dict[Address, OwnerSignature] = {}
        self._rejection: RejectionMessage | None = None
        self._over: ApprovalEnded | None = None

    # -- what is proposed -----------------------------------------------------------------------

    async def propose(self, expiry: timedelta) -> None:
        """Propose for the first time; raises `ActivityError`."""
        self._expires_at = workflow.now() + expiry
        await self._propose(1, "", options.ADMISSION)

    async def until_due(self) -> SafeStanding:
        """Wait until the proposal is approved and the Safe's next, or was executed by somebody.

        Raises `ApprovalEnded`, and `ActivityError` if the chain cannot be looked at. It has not
        ended as long as anybody who has the signatures could have it paid all the same.
        """
        standing = await self._look()
        while True:
            if self._ending() is not None:
                standing = await self._look()
            fate = fate_of(self.proposal.transaction.nonce, standing)
            if fate is Fate.EXECUTED:
                self._unwind_if_over()
                return standing
            ending = self._ending()
            if ending is not None and not self._may_be_paid(fate, standing):
                raise ending
            if self._over is not None:
                standing = await self._next_change(standing)
                continue
            if fate in _ASKED_AGAIN:
                await self._propose_again(fate)
                standing = await self._look()
                continue
            if ending is not None and fate is not Fate.SETTLING:
                standing = await self._give_up(ending, standing)
                continue
            self._keep_owners_of(standing)
            if fate is Fate.DUE and self._is_approved(standing):
                return standing
            await self._tell(self._waiting_for(fate, standing))
            standing = await self._next_change(standing)

    async def close(self) -> None:
        """Let others have the nonce; raises `ActivityError`."""
        request = self._deal.request
        await workflow.execute_activity_method(
            SafeActivities.close_proposal,
            CloseProposal(chain_id=request.chain_id, deal_id=request.deal_id),
            task_queue=self._queue,
            summary="Let others have the proposal's nonce",
            **options.READ,
        )

    async def pause_before_retry(self) -> None:
        """Wait a while, or until somebody says something."""
        heard = self._heard()
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._heard() != heard,
                timeout=_RETRY_AFTER,
                timeout_summary="before funding is tried again",
            )

    @property
    def proposal(self) -> Proposal:
        """What is proposed now."""
        return self._approval.proposal

    def execution(self) -> ExecuteApproved:
        """The proposal with as many signatures as the Safe asks for."""
        enough = list(self._signatures.values())[: self.proposal.threshold]
        return ExecuteApproved(
            transaction=self.proposal.transaction, signatures=packed(enough), sender=self._sender
        )

    # -- what owners say ------------------------------------------------------------------------

    def check_message(self, message: OwnerMessage) -> None:
        """Raise the domain's error unless the message is for what is proposed, and not said yet."""
        if self._deal.status is not DealStatus.AWAITING_APPROVAL:
            raise not_waiting(self._deal.status)
        if self._over is not None:
            raise self._too_late(self._over.problem)
        if message.transaction_hash != self.proposal.transaction_hash:
            raise Conflict(
                "another transaction is proposed now",
                field="transaction_hash",
                value=message.transaction_hash,
                limit=self.proposal.transaction_hash,
                next_action="look at it with `deal approvals`, then sign it with `deal sign`",
            )
        if message.owner in self._signatures and not isinstance(message, RejectionMessage):
            raise Conflict(
                f"{message.owner} has signed already",
                field="owner",
                value=message.owner,
                limit="one signature an owner",
                next_action="nothing: the signature counts",
            )
        check_signature_form(message.signature)

    async def take(self, message: OwnerMessage) -> Approval:
        """Check what an owner says on the chain, and count it.

        Raises `DealFailure` if it does not hold, or not any more.
        """
        is_rejection = isinstance(message, RejectionMessage)
        given = OwnerSignature(owner=message.owner, signature=message.signature)
        try:
            await workflow.execute_activity_method(
                SafeActivities.check_signature,
                CheckSignature(proposal=self.proposal, given=given, rejection=is_rejection),
                task_queue=self._queue,
                summary=f"{'Rejection' if is_rejection else 'Signature'} of {message.owner}",
                **options.COMMAND,
            )
            self.check_message(message)  # much may have happened meanwhile
        except ActivityError as error:
            raise DealFailure(problem_of(error)) from error
        except DealError as error:
            raise DealFailure(error.problem) from error
        if isinstance(message, RejectionMessage):
            self._rejection = self._rejection or message
        else:
            self._signatures[message.owner] = given
            by = GivenSignature(owner=message.owner, who=message.who, at=workflow.now())
            self._change(signed=(*self._approval.signed, by))
        return self._approval

    # -- below ----------------------------------------------------------------------------------

    async def _propose(self, number: int, note: str, how: options.ActivityOptions) -> None:
        deal = self._deal
        assert deal.account is not None  # noqa: S101 - only ever called after admission
        assert deal.sizing is not None  # noqa: S101 - likewise
        assert self._expires_at is not None  # noqa: S101 - set by `propose`
        proposal: Proposal = await workflow.execute_activity_method(
            SafeActivities.propose_funding,
            ProposeFunding(
                request=deal.request,
                account=deal.account,
                value=deal.sizing.wrap_wei + deal.sizing.gas_reserve_wei,
                number=number,
                funding=self._funding,
                expires_at=self._expires_at,
            ),
            task_queue=self._queue,
            summary=f"Propose to the Safe, {number}",
            **how,
        )
        self._signatures.clear()
        deal.approval = Approval(proposal=proposal, note=note)

    async def _propose_again(self, fate: Fate) -> None:
        before = self.proposal
        why = _ASKED_AGAIN[fate].format(nonce=before.transaction.nonce)
        signed = len(self._signatures)
        lost = f"; the {signed} signatures that were given are needed anew" if signed else ""
        await self._propose(before.number + 1, f"proposed anew: {why}{lost}", options.READ)

    async def _look(self) -> SafeStanding:
        return await workflow.execute_activity_method(
            SafeActivities.watch_safe,
            WatchSafe(proposal=self.proposal),
            task_queue=self._queue,
            summary="Look at the Safe",
            **options.READ,
        )

    async def _next_change(self, known: SafeStanding) -> SafeStanding:
        """Wait until the Safe changes, somebody says something, or time is up."""
        heard = self._heard()
        watching = workflow.start_activity_method(
            SafeActivities.watch_safe,
            WatchSafe(
                proposal=self.proposal,
                known=known,
                over=None if self._over is None else self._over.problem.message,
            ),
            task_queue=self._queue,
            summary="Wait for the owners and for the Safe's turn",
            **options.WATCH,
        )
        left = self.proposal.expires_at - workflow.now()
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: watching.done() or self._heard() != heard,
                timeout=left if left > timedelta() else None,
                timeout_summary="until the approval expires",
            )
        if watching.done():
            return await watching
        watching.cancel()
        with suppress(ActivityError):
            await watching
        return known

    def _heard(self) -> tuple[object, ...]:
        """What people have said: when it is another, it has to be looked at."""
        return (
            len(self._signatures),
            self._rejection is None,
            self._deal.cancel is None,
            self._deal.expire is None,
            self._deal.pause is None,
        )

    def _may_be_paid(self, fate: Fate, standing: SafeStanding) -> bool:
        """Whether the Safe may pay although it is over, or may have paid in a block not yet final.

        Enough owners have signed, the nonce is free, and whoever has their signatures can send
        them: they are in the history, and owners may have given them to others, too.
        """
        if fate is Fate.SETTLING:
            return True
        if fate is Fate.USED or not workflow.patched(_NONCE_USED_UP):
            return False
        return len(counting(self._signatures.values(), standing)) >= standing.threshold

    async def _give_up(self, ending: ApprovalEnded, standing: SafeStanding) -> SafeStanding:
        """Ask for nothing any more, but wait until nobody can have it paid; return what changed.

        The nonce goes to the next proposal, whose execution uses it up.
        """
        await self.close()
        self._over, nonce = ending, self.proposal.transaction.nonce
        await self._tell(
            f"{ending.problem.message}; enough owners have signed to have it paid all the same: "
            f"it ends when nonce {nonce} of the Safe is used up"
        )
        return await self._next_change(standing)

    def _unwind_if_over(self) -> None:
        """What was paid after it was over goes home again."""
        if self._over is not None and self._deal.cancel is None:
            why = f"paid although it was over: {self._over.problem.message}"
            self._deal.cancel = CommandMessage(who="deal orchestrator", why=why[:_LONGEST_WHY])

    def _too_late(self, problem: Problem) -> NotAllowed:
        return NotAllowed(
            f"it is over: {problem.message}",
            field="status",
            value=self._deal.status,
            limit="before it was rejected, withdrawn or expired",
            next_action="use up the nonce of the Safe; a new deal needs a new deal id",
        )

    def _ending(self) -> ApprovalEnded | None:
        """How it ends, if somebody does not want it or time is up."""
        if self._over is not None:
            return self._over
        cancel, rejection = self._deal.cancel, self._rejection
        if cancel is not None:
            return ApprovalEnded(DealStatus.REJECTED, withdrawn(cancel.who, cancel.why))
        if rejection is not None:
            problem = rejected(rejection.owner, rejection.who, rejection.why)
            return ApprovalEnded(DealStatus.REJECTED, problem)
        expire = self._deal.expire
        if expire is not None:
            problem = expired_by(self._approval, expire.who, expire.why)
            return ApprovalEnded(DealStatus.EXPIRED, problem)
        if workflow.now() >= self.proposal.expires_at:
            return ApprovalEnded(DealStatus.EXPIRED, expired(self._approval))
        return None

    def _keep_owners_of(self, standing: SafeStanding) -> None:
        """Forget the signatures of those who are owners no more; follow the Safe's threshold."""
        kept = counting(self._signatures.values(), standing)
        self._signatures = {each.owner: each for each in kept}
        now = {"owners": standing.owners, "threshold": standing.threshold}
        self._change(
            proposal=self.proposal.model_copy(update=now),
            signed=tuple(each for each in self._approval.signed if each.owner in self._signatures),
        )

    def _is_approved(self, standing: SafeStanding) -> bool:
        return len(self._signatures) >= standing.threshold and self._deal.pause is None

    def _waiting_for(self, fate: Fate, standing: SafeStanding) -> str:
        nonce, threshold = self.proposal.transaction.nonce, standing.threshold
        signed = f"{len(self._signatures)} of {threshold} owners have signed"
        if len(self._signatures) < threshold:
            return f"waiting for owners: {signed}"
        if self._deal.pause is not None:
            return f"{signed}; paused by {self._deal.pause.who}: {self._deal.pause.why}"
        if fate is Fate.QUEUED:
            return f"{signed}; the Safe is at nonce {standing.nonce}, this is {nonce}"
        return f"{signed}; {fate}"

    def _change(self, **fields: object) -> None:
        self._deal.approval = self._approval.model_copy(update=fields)

    @property
    def _approval(self) -> Approval:
        assert self._deal.approval is not None  # noqa: S101 - set by `propose`
        return self._deal.approval

    @property
    def _queue(self) -> str:
        return chain_queue(self._deal.request.chain_id)


def not_waiting(status: DealStatus) -> NotAllowed:
    """The error of an owner's message to a deal that does not wait for owners."""
    return NotAllowed(
        f"a deal that is {status} does not wait for owners",
        field="status",
        value=status,
        limit=DealStatus.AWAITING_APPROVAL,
        next_action="look at the deal with `deal show`",
    )
