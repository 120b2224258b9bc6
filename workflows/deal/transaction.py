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
    Replacement,
    ReplaceTransaction,
    SendAttempts,
    TransactionActivities,
    TransactionView,
)
from domain.deals import DealRequest
from domain.errors import Halted, Problem, TransactionReplaced
from domain.transactions import PreparedBatch, SignedTransaction
from workflows.deal import options
from workflows.deal.failures import DealFailure, problem_of
from workflows.deal.messages import TransactionMessage

DEALS_QUEUE = "deals"
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
        return await _give_up(order, batch, label, problem_of(error))
    return await _deliver(order, batch, signed, label)


async def finish_batch(order: PrepareBatch, batch: PreparedBatch) -> Delivery | None:
    """Bring a batch to its end that a workflow has begun which is no more.

    What was signed is delivered, whether it is out already or not; what was not is given up. None
    if nothing had been signed and the nonces went back.
    """
    label = f"{batch.key.step} {batch.key.round}, begun before"
    try:
        if batch.key.fills_gap:
            return await _deliver(order, batch, await _sign(order.request, batch, label), label)
        return await _give_up(order, batch, label, _never_sent(batch))
    except DealFailure:
        return None


def _never_sent(batch: PreparedBatch) -> Problem:
    return TransactionReplaced(
        "it was prepared for a workflow that was lost before it was signed",
        field="batch",
        value=batch.key,
        next_action="nothing: the deal unwinds from what the chain says",
    ).problem


async def _deliver(
    order: PrepareBatch,
    batch: PreparedBatch,
    signed: tuple[SignedTransaction, ...],
    label: str,
) -> Delivery:
    """Deliver until it is confirmed, signing what else it takes: higher fees, or no-ops."""
    replaceable, request = True, order.request
    because: Problem | None = None
    while True:
        purposes = ", ".join(intent.purpose for intent in batch.intents)
        delivery: Delivery = await workflow.execute_activity_method(
            TransactionActivities.deliver_batch,
            DeliverBatch(
                batch=batch,
                signed=signed,
                request=request,
                replaceable=replaceable,
                treasury=order.treasury,
            ),
            task_queue=chain_queue(request.chain_id),
            summary=f"{label}: {purposes}"[:_LONGEST_SUMMARY],
            **options.DELIVER,
        )
        if delivery.outcome is not None:
            return _explained(delivery, because)
        because = delivery.because or because
        try:
            batch, signed = await _sign_more(request, batch, delivery, label)
        except ActivityError as error:
            # What is out stays out: without a replacement the first bytes are all there is.
            problem = problem_of(error)
            workflow.logger.warning("no other attempt: %s", problem.message)
            replaceable = problem.code == Halted.code  # then no-ops are to be asked for


def _explained(delivery: Delivery, because: Problem | None) -> Delivery:
    """The delivery, with the halt as its problem if no-ops were mined on account of one."""
    outcome = delivery.outcome
    replaced = (
        outcome is not None
        and outcome.problem is not None
        and outcome.problem.code == TransactionReplaced.code
    )
    if because is None or outcome is None or not replaced:
        return delivery
    return delivery.model_copy(update={"outcome": outcome.model_copy(update={"problem": because})})


async def _sign_more(
    request: DealRequest, batch: PreparedBatch, delivery: Delivery, label: str
) -> tuple[PreparedBatch, tuple[SignedTransaction, ...]]:
    """Sign what a delivery asks for; the batch at its new fees, and all that was signed now."""
    signed: tuple[SignedTransaction, ...] = ()
    if delivery.no_ops:
        no_ops = batch.no_ops(delivery.no_ops)
        signed = batch.at_nonces_of(
            no_ops, await _sign(request, no_ops, f"{label}: sign {len(no_ops.intents)} no-ops")
        )
    if delivery.replacements:
        batch = batch.with_fees(delivery.replacements)
        signed += await _sign(request, batch, f"{label}: sign again at a higher fee")
    return batch, signed


async def transact(request: DealRequest, message: TransactionMessage) -> TransactionView:
    """Do to a transaction what somebody asks for, beside the delivery that is under way.

    Raises `DealFailure` with the reason if that cannot be done.
    """
    label = f"{message.action} {message.intent_id}"
    try:
        replacement: Replacement = await workflow.execute_activity_method(
            TransactionActivities.replace_transaction,
            ReplaceTransaction(
                chain_id=request.chain_id,
                deal_id=request.deal_id,
                intent_id=message.intent_id,
                action=message.action,
                max_fee_per_gas_wei=request.max_fee_per_gas_wei,
            ),
            task_queue=chain_queue(request.chain_id),
            summary=f"{label}: {message.why} ({message.who})"[:_LONGEST_SUMMARY],
            **options.COMMAND,
        )
        if replacement.batch is None or replacement.to_sign is None:
            return replacement.view
        batch, to_sign = replacement.batch, replacement.to_sign
        signed = await _sign(request, to_sign, f"{label}: sign")
        if to_sign.key != batch.key:
            signed = batch.at_nonces_of(to_sign, signed)
        view: TransactionView = await workflow.execute_activity_method(
            TransactionActivities.send_attempts,
            SendAttempts(
                chain_id=request.chain_id, batch=batch, signed=signed, view=replacement.view
            ),
            task_queue=chain_queue(request.chain_id),
            summary=f"{label}: send",
            **options.PREPARE,
        )
    except ActivityError as error:
        raise DealFailure(problem_of(error)) from error
    return view


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
    order: PrepareBatch, batch: PreparedBatch, label: str, problem: Problem
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
        signed = await _sign(order.request, batch, f"{label}: the same signatures again")
        return await _deliver(order, batch, signed, label)
    fill: PreparedBatch | None = await workflow.execute_activity_method(
        TransactionActivities.abandon_batch,
        batch,
        task_queue=chain_queue(order.request.chain_id),
        summary=f"{label}: give the nonces back",
        **options.PREPARE,
    )
    if fill is None:
        raise DealFailure(problem)
    signed = await _sign(order.request, fill, f"{label}: sign no-ops")
    filled = await _deliver(order, fill, signed, label)
    assert filled.outcome is not None  # noqa: S101 - _deliver ends with an outcome
    # Their gas was paid, so they are part of the deal's records and of its settlement.
    return filled.model_copy(
        update={"outcome": filled.outcome.model_copy(update={"problem": problem})}
    )
