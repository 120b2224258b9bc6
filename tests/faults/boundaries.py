"""The boundaries at which a worker is killed: real methods of the real classes, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Side = Literal["before", "after"]
BOTH: Final[tuple[Side, ...]] = ("before", "after")
ACTIVATION: Final = "temporalio.worker._workflow:_WorkflowWorker._handle_activation"


@dataclass(frozen=True)
class Boundary:
    """A method or function that is called once or more in every step.

    `activity` is the activity it is part of; two crashes in the same one wait for two backoffs, so
    a batch gets one crash in each.
    """

    name: str
    role: str
    activity: str
    target: str
    sides: tuple[Side, ...] = BOTH
    also: str | None = None
    """Another one that does the same, elsewhere."""


PREPARING: Final = (
    Boundary(
        "prepare",
        "chain",
        "prepare_batch",
        "activities.transactions.engine:TransactionEngine.prepare_batch",
    ),
    Boundary(
        "build",
        "chain",
        "prepare_batch",
        "activities.protocols.steps:StepBuilder.build",
        also="tests.faults.ledger:LedgerBuilder.build",
    ),
    Boundary(
        "simulate",
        "chain",
        "prepare_batch",
        "activities.transactions.simulation:Simulator.simulate",
    ),
    Boundary(
        "number and insert",
        "chain",
        "prepare_batch",
        "activities.transactions.store:TransactionStore.add_batch",
    ),
    # The nonces are allocated then, and the intents are not inserted yet.
    Boundary(
        "insert", "chain", "prepare_batch", "activities.transactions.store:_numbered", ("after",)
    ),
)
SIGNING: Final = (
    Boundary("sign", "signer", "sign_batch", "activities.signing.signer:Signer.sign_batch"),
    Boundary("signature", "signer", "sign_batch", "activities.signing.signer:Signer._sign"),
    Boundary("journal", "signer", "sign_batch", "activities.signing.journal:Journal.record_signed"),
)
DELIVERING: Final = (
    Boundary(
        "deliver",
        "chain",
        "deliver_batch",
        "activities.transactions.engine:TransactionEngine.deliver_batch",
    ),
    Boundary(
        "save attempts",
        "chain",
        "deliver_batch",
        "activities.transactions.store:TransactionStore.save_attempts",
    ),
    Boundary(
        "send", "chain", "deliver_batch", "activities.transactions.broadcast:Broadcaster.send"
    ),
    # Killed after it, the node has the transactions and nobody has read its reply.
    Boundary(
        "request",
        "chain",
        "deliver_batch",
        "activities.rpc.client:Rpc.submit",
    ),
    Boundary("look", "chain", "deliver_batch", "activities.transactions.deliver:look_for"),
    Boundary(
        "include",
        "chain",
        "deliver_batch",
        "activities.transactions.store:TransactionStore.include",
    ),
)
RECORDING: Final = (
    Boundary("record", "deals", "record_deal", "activities.deals.records:Records.record_deal"),
)
OPENING: Final = (
    Boundary("open account", "signer", "open_account", "activities.signing.accounts:Accounts.open"),
)
FINALISING: Final = (
    Boundary(
        "finalise",
        "chain",
        "finalize_deal",
        "activities.transactions.engine:TransactionEngine.finalize_deal",
    ),
    Boundary(
        "wait until final",
        "chain",
        "finalize_deal",
        "activities.transactions.finalize:Finalizer.finalize",
    ),
    Boundary(
        "write final",
        "chain",
        "finalize_deal",
        "activities.transactions.unsettled:UnsettledStore.apply",
        # Where the watcher was quicker, there is nothing left to write.
        also="activities.transactions.unsettled:UnsettledStore.receipts",
    ),
)
THINKING: Final = (Boundary("workflow task", "deals", "workflow", ACTIVATION),)

ALL: Final = (
    *PREPARING,
    *SIGNING,
    *DELIVERING,
    *RECORDING,
    *OPENING,
    *FINALISING,
    *THINKING,
)
OF_A_STEP: Final = (*PREPARING, *SIGNING, *DELIVERING, *RECORDING)
OF_A_BATCH: Final = (*PREPARING, *SIGNING, *DELIVERING)
BY_NAME: Final = {boundary.name: boundary for boundary in ALL}
