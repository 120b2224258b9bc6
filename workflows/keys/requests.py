"""What people ask about keys, and have done to them: the history says who and why."""

from pydantic import BaseModel, ConfigDict
from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.custody.interface import (
        CustodyActivities,
        JournalVerified,
        KeyList,
        KeyView,
        ListKeys,
        RetireAccount,
        VerifyJournal,
    )
    from activities.protocols.interface import ProtocolActivities, ReadPosition
    from domain.errors import NotAllowed
    from domain.exits import next_exit_step
    from domain.positions import Position
    from workflows.deal import options
    from workflows.deal.transaction import SIGNER_QUEUE, chain_queue

_SUMMARY_LENGTH = 200


class RetireKey(BaseModel):
    """Retire the key of a deal that is closed; `position` is what has to be empty first, if any."""

    model_config = ConfigDict(frozen=True)

    account: RetireAccount
    position: ReadPosition | None


def retirement_id(deal_id: str) -> str:
    """The workflow that retires or reinstates a deal's key; one at a time."""
    return f"key-of-{deal_id}"


@workflow.defn(name="ListKeys")
class ListKeysWorkflow:
    """Asks the signer, which alone has the records of keys."""

    @workflow.run
    async def run(self, order: ListKeys) -> KeyList:
        """Return a page."""
        return await workflow.execute_activity_method(
            CustodyActivities.list_keys,
            order,
            task_queue=SIGNER_QUEUE,
            summary="List keys",
            **options.COMMAND,
        )


@workflow.defn(name="RetireKey")
class RetireKeyWorkflow:
    """Retires the key of a closed deal whose own workflow could not."""

    @workflow.run
    async def run(self, order: RetireKey) -> KeyView:
        """Retire it, if the account is empty."""
        if order.position is not None:
            position: Position = await workflow.execute_activity_method(
                ProtocolActivities.read_position,
                order.position,
                task_queue=chain_queue(order.position.chain_id),
                summary="Look whether the account is empty",
                **options.COMMAND,
            )
            if next_exit_step(position) is not None:
                raise _not_empty(order.account.deal_id, position)
        return await workflow.execute_activity_method(
            CustodyActivities.retire_account,
            order.account,
            task_queue=SIGNER_QUEUE,
            summary=f"Retire by {order.account.who}: {order.account.why}"[:_SUMMARY_LENGTH],
            **options.COMMAND,
        )


@workflow.defn(name="ReinstateKey")
class ReinstateKeyWorkflow:
    """Lets a retired key sign again, for funds that came to its account after all."""

    @workflow.run
    async def run(self, order: RetireAccount) -> KeyView:
        """Reinstate it."""
        return await workflow.execute_activity_method(
            CustodyActivities.reinstate_account,
            order,
            task_queue=SIGNER_QUEUE,
            summary=f"Reinstate by {order.who}: {order.why}"[:_SUMMARY_LENGTH],
            **options.COMMAND,
        )


@workflow.defn(name="VerifyJournal")
class VerifyJournalWorkflow:
    """Has the signer recompute its journal."""

    @workflow.run
    async def run(self, order: VerifyJournal) -> JournalVerified:
        """Return what was found."""
        return await workflow.execute_activity_method(
            CustodyActivities.verify_journal,
            order,
            task_queue=SIGNER_QUEUE,
            summary="Recompute the signing journal",
            **options.VERIFY,
        )


def _not_empty(deal_id: str, position: Position) -> ApplicationError:
    problem = NotAllowed(
        f"the account of deal {deal_id} is not empty",
        field="deal_id",
        value=deal_id,
        limit="an account that was swept",
        actual=position.model_dump_json(),
        next_action="have it swept first; without its key nothing could be moved any more",
    ).problem
    return ApplicationError(
        problem.message, problem.model_dump(), type=problem.code, non_retryable=True
    )
