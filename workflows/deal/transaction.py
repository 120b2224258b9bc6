"""One batch from preparation to confirmation: the three activities, and what joins them.

A batch that was prepared is always brought to an end here, delivered or given up with its nonces
accounted for; so whatever happens between two batches, nothing is left half done on chain.
"""

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.signing.interface import SignBatch, SigningActivities
from activities.transactions.interface import (
    DeliverBatch,
    Delivery,
    PrepareBatch,
    TransactionActivities,
)
from domain.deals import DealRequest
from domain.errors import Problem
from domain.transactions import PreparedBatch, SignedTransaction
from workflows.deal import options
from workflows.deal.failures import DealFailure, problem_of

SIGNER_QUEUE = "signer"
_LONGEST_SUMMARY = 200


def chain_queue(chain_id: int) -> str:
    """The task queue of a chain's workers."""
    return f"chain-{chain_id}"


async def execute_batch(order: PrepareBatch) -> Delivery:
    """Prepare, sign and deliver, and return how it ended.

    Raises `DealFailure` if it cannot be prepared, or not be signed and its nonces went back.
    """
    label = f"{order.key.step} {order.key.round}"
    if order.key.attempt > 1:
        label += f", attempt {order.key.attempt}"
    try:
        batch: PreparedBatch = await workflow.execute_activity_method(
            TransactionActivities.prepare_batch,
            order,
            task_queue=chain_queue(order.request.chain_id),
            summary=f"{label}: build, simulate and number",
            **options.PREPARE,
        )
    except ActivityError as error:
        raise DealFailure(problem_of(error)) from error
    try:
        signed = await _sign(order.request, batch, f"{label}: sign {len(batch.intents)}")
    except ActivityError as error:
        return await _give_up(order.request, batch, label, problem_of(error))
    return await _deliver(order.request, batch, signed, label)


async def _deliver(
    request: DealRequest,
    batch: PreparedBatch,
    signed: tuple[SignedTransaction, ...],
    label: str,
) -> Delivery:
    """Deliver until it is confirmed, signing replacements where the fees became too low."""
    replaceable = True
    while True:
        purposes = ", ".join(intent.purpose for intent in batch.intents)
        delivery: Delivery = await workflow.execute_activity_method(
            TransactionActivities.deliver_batch,
            DeliverBatch(batch=batch, signed=signed, request=request, replaceable=replaceable),
            task_queue=chain_queue(request.chain_id),
            summary=f"{label}: {purposes}"[:_LONGEST_SUMMARY],
            **options.DELIVER,
        )
        if delivery.outcome is not None:
            return delivery
        bumped = batch.with_fees(delivery.replacements)
        try:
            signed = await _sign(request, bumped, f"{label}: sign again at a higher fee")
        except ActivityError as error:
            # What is out stays out: without a replacement the first bytes are all there is.
            workflow.logger.warning("no higher fee: %s", problem_of(error).message)
            replaceable = False
        else:
            batch = bumped


async def _sign(
    request: DealRequest, batch: PreparedBatch, summary: str
) -> tuple[SignedTransaction, ...]:
    result = await workflow.execute_activity_method(
        SigningActivities.sign_batch,
        SignBatch(
            chain_id=request.chain_id,
            module=request.module,
            batch=batch,
            digest=batch.digest(),
        ),
        task_queue=SIGNER_QUEUE,
        summary=summary,
        **options.SIGN,
    )
    return result.transactions


async def _give_up(
    request: DealRequest, batch: PreparedBatch, label: str, problem: Problem
) -> Delivery:
    """Leave no gap: the signer promises silence, then the nonces go back or are filled.

    Returns what was delivered in the end: the batch itself if it had been signed after all, or the
    no-ops in its place, which have the problem. Raises `DealFailure` with it if nothing was.
    """
    withheld = await workflow.execute_activity_method(
        SigningActivities.withhold_batch,
        batch,
        task_queue=SIGNER_QUEUE,
        summary=f"{label}: never to be signed",
        **options.SIGN,
    )
    if withheld.signed:
        # Signed before after all: then it may be out, and must be brought to its end.
        signed = await _sign(request, batch, f"{label}: the same signatures again")
        return await _deliver(request, batch, signed, label)
    fill: PreparedBatch | None = await workflow.execute_activity_method(
        TransactionActivities.abandon_batch,
        batch,
        task_queue=chain_queue(request.chain_id),
        summary=f"{label}: give the nonces back",
        **options.PREPARE,
    )
    if fill is None:
        raise DealFailure(problem)
    signed = await _sign(request, fill, f"{label}: sign no-ops")
    filled = await _deliver(request, fill, signed, label)
    assert filled.outcome is not None  # noqa: S101 - _deliver ends with an outcome
    # Their gas was paid, so they are part of the deal's records and of its settlement.
    return filled.model_copy(
        update={"outcome": filled.outcome.model_copy(update={"problem": problem})}
    )
