"""Filling a nonce that nothing holds: the last resort for an account that is jammed."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.signing.interface import SignBatch, SigningActivities
    from activities.transactions.interface import (
        Action,
        FillNonce,
        NonceFill,
        SendAttempts,
        TransactionActivities,
        TransactionView,
    )
    from domain.transactions import IntentState
    from workflows.deal import options
    from workflows.deal.transaction import SIGNER_QUEUE, chain_queue


def workflow_id(order: FillNonce) -> str:
    """One workflow for each nonce of an account, so that two never fill the same."""
    return f"fill-{order.chain_id}-{order.account}-{order.nonce}"


@workflow.defn(name="FillNonce")
class FillNonceWorkflow:
    """Signs and sends a no-op; the monitor looks after it from then on."""

    @workflow.run
    async def run(self, order: FillNonce) -> TransactionView:
        """Fill the nonce, and return the no-op."""
        queue = chain_queue(order.chain_id)
        fill: NonceFill = await workflow.execute_activity_method(
            TransactionActivities.plan_no_op,
            order,
            task_queue=queue,
            summary=f"Price a no-op for nonce {order.nonce} of {order.account}",
            **options.READ,
        )
        signed = await workflow.execute_activity_method(
            SigningActivities.sign_batch,
            SignBatch(
                chain_id=order.chain_id,
                module=fill.module,
                batch=fill.batch,
                digest=fill.batch.digest(),
            ),
            task_queue=SIGNER_QUEUE,
            summary="Sign the no-op",
            **options.SIGN,
        )
        first = fill.batch.intents[0]
        view = TransactionView(
            intent_id=first.intent_id,
            nonce=first.nonce,
            state=IntentState.BROADCAST,
            action=Action.REBROADCAST,
            note="a no-op at a nonce that nothing held",
        )
        return await workflow.execute_activity_method(
            TransactionActivities.send_attempts,
            SendAttempts(
                chain_id=order.chain_id,
                batch=fill.batch,
                signed=signed.transactions,
                view=view,
            ),
            task_queue=queue,
            summary="Send the no-op",
            **options.READ,
        )
