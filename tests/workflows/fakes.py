"""A chain and a signer that can be made to do what the real ones hardly ever do.

Each deal has a `Script` of its own. What is not in it goes well, by the simplest arithmetic that
leads from a funded account to an empty one.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.approvals.interface import (
    AdoptFunding,
    CheckSignature,
    CloseProposal,
    ProposeFunding,
    ReleaseFunding,
    ReservationActivities,
    ReserveFunding,
    SafeActivities,
    WatchSafe,
)
from activities.control.interface import (
    AdmitDeal,
    Admitted,
    AskApprovals,
    ControlActivities,
    FindPolicy,
    FoundPolicy,
    RecordApproval,
)
from activities.custody.interface import (
    CustodyActivities,
    JournalVerified,
    KeyList,
    KeysRotated,
    KeyView,
    ListKeys,
    RetireAccount,
    RotateKeys,
    Rotation,
    VerifyJournal,
)
from activities.deals.interface import DealRecord, FindDeal, RecordActivities
from activities.dryrun.interface import DryRun, DryRunActivities, DryRunResult
from activities.halts.interface import DealScope, HaltActivities
from activities.protocols.interface import (
    MarketReading,
    ProtocolActivities,
    ReadMarket,
    ReadPosition,
    RedemptionWatched,
    WatchRedemption,
)
from activities.signing.interface import (
    DealAccounts,
    FeeAccount,
    FundFromSafe,
    OpenAccount,
    SignBatch,
    SignedBatch,
    SigningActivities,
    WithheldBatch,
)
from activities.transactions.interface import (
    Action,
    ChainReleased,
    DeliverBatch,
    Delivery,
    FillNonce,
    FinalizeDeal,
    FinalTransactions,
    FindBatches,
    FoundBatches,
    NonceFill,
    PrepareBatch,
    ReleaseChain,
    Replacement,
    ReplaceTransaction,
    SendAttempts,
    TransactionActivities,
    TransactionView,
)
from domain.approvals import Funding, Proposal, SafeStanding
from domain.chains import Multisig
from domain.deals import TREASURY_STEPS, Step
from domain.desk_approvals import DeskApproval, Given, binding_digest
from domain.errors import DealError, NotAllowed
from domain.exits import part_of, topped_up
from domain.halts import TradingState
from domain.identifiers import Address, ChainId, DealId, ModuleId
from domain.identity import PrincipalId
from domain.policy import ExitPolicy, FreezePolicy, HaltPolicy, PinnedPolicy
from domain.positions import Position
from domain.predictions import Prediction
from domain.safe import SafeTransaction
from domain.sizing import Sizing, size_deal
from domain.tracking import Receipt
from domain.transactions import (
    Asset,
    Fees,
    Inclusion,
    Intent,
    IntentState,
    PreparedBatch,
    SignedTransaction,
    StepOutcome,
)
from domain.views import DealView, StepView
from tests.support.owners import KEYS
from workers.runtime.failures import application_error

CHAIN: Final = ChainId(999)
"""A chain that no real worker serves."""

ACCOUNT: Final = Address("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
TREASURY: Final = Address("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC")
SAFE: Final = Address("0xA7d65934b1aA1bEB68Ab8cff9Aeb715552eCA6Ed")
FEE: Final = Address("0x90F79bf6EB2c4f870365E785982E1f101E93b906")
FEES: Final = Fees(max_fee_per_gas=2_000, max_priority_fee_per_gas=1_000)
OUTBIDDING: Final = Fees(max_fee_per_gas=9_000, max_priority_fee_per_gas=9_000)
GAS: Final = 21_000
GAS_PRICE: Final = 1_500

_READING: Final = MarketReading.model_validate_json(
    Path(__file__).with_name("market.json").read_bytes()
)
_EMPTY: Final = Position(
    account=ACCOUNT,
    block_number=1,
    wei=0,
    weth=0,
    par=0,
    discount=0,
    collateral=0,
    debt=0,
    collateral_usd8=0,
    debt_usd8=0,
    ether_price_usd8=3_000 * 10**8,
    par_price_usd8=10**8,
    par_decimals=6,
)


POLICY: Final = PinnedPolicy(
    version=3, freeze=FreezePolicy(), exit=ExitPolicy(), halts=HaltPolicy()
)
_STANDING: Final = SafeStanding(nonce=7, final_nonce=7, threshold=2, owners=tuple(KEYS))


@dataclass
class Script:
    """What goes otherwise than well, by activity, and by batch key without the deal id.

    Errors of `refused` are raised one after the other, then the activity goes on as usual.
    """

    refused: dict[tuple[str, str], list[DealError]] = field(default_factory=dict)
    outcomes: dict[str, DealError] = field(default_factory=dict)
    """Problems of the batches that are executed, and undone by their revert."""
    stopped_short: dict[str, Position] = field(default_factory=dict)
    """Where batches that are executed in part leave the account."""
    dearer: dict[str, Fees] = field(default_factory=dict)
    """Fees without which a batch is not included the first time."""
    displaced: dict[str, Fees] = field(default_factory=dict)
    """Batches that must not happen any more once they are out, and the fees of their no-ops."""
    because: dict[str, DealError] = field(default_factory=dict)
    """Of these, the halts for which they must not."""
    halted: DealError | None = None
    """Why the deal may not begin."""
    releases: asyncio.Queue[TradingState] = field(default_factory=asyncio.Queue)
    """What each wait for a release ends with."""
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    """What the deliveries of batches wait for."""
    gaps: set[str] = field(default_factory=set)
    """Batches whose nonces cannot be given back."""
    signed_after_all: set[str] = field(default_factory=set)
    final: bool = True
    frozen: bool = False
    """Whether redemption is frozen, as whoever watches it sees it."""
    redemption_watched: list[WatchRedemption] = field(default_factory=list)
    on_record: Callable[[DealRecord], Any] | None = None
    admitted_when: asyncio.Event | None = None

    policy: PinnedPolicy = POLICY
    approvals_needed: int = 0
    """How many of the desk have to approve it."""
    desk_expiry_seconds: float = 3_600
    said: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """What recorded commands say: by whom, and whether it is a rejection."""
    admissions: list[AdmitDeal] = field(default_factory=list)
    owners_decide: bool = False
    """Whether the deal is counted as one that owners must approve."""
    expiry_seconds: int = 3_600
    standing: SafeStanding = _STANDING
    """The Safe as it is now."""
    next_nonce: int = 7
    """What the next proposal gets."""
    proposals: list[ProposeFunding] = field(default_factory=list)
    checked: list[CheckSignature] = field(default_factory=list)
    watched: list[WatchSafe] = field(default_factory=list)
    reservations: list[ReserveFunding] = field(default_factory=list)
    ordered: list[PrepareBatch] = field(default_factory=list)

    home: Counter[Asset] = field(default_factory=Counter)
    """What the treasury has more or less, whoever tells of it."""
    position: Position = _EMPTY
    calls: list[str] = field(default_factory=list)
    """What was called, in order: the activity and the batch key without the deal id."""
    records: list[DealRecord] = field(default_factory=list)
    steps: list[StepView] = field(default_factory=list)
    """Those that were recorded."""
    prepared: list[PreparedBatch] = field(default_factory=list)
    receipts: list[tuple[Receipt, ...]] = field(default_factory=list)
    """How the deal's transactions ended up, for each time that finality is waited for."""
    delivered: list[DeliverBatch] = field(default_factory=list)
    sent: list[SendAttempts] = field(default_factory=list)
    """What was sent beside the deliveries."""
    unpredictable: DealError | None = None
    """Why it cannot be run dry."""
    dry_runs: list[DryRun] = field(default_factory=list)
    retired: list[RetireAccount] = field(default_factory=list)
    retiring_fails: DealError | None = None
    reads: int = 0
    block: int = 1

    def note(self, what: str, key: str = "") -> None:
        """Remember a call, and fail if the script says so."""
        self.calls.append(f"{what} {key}".strip())
        waiting = self.refused.get((what, key), [])
        if waiting:
            raise application_error(waiting.pop(0))

    def of(self, what: str) -> list[str]:
        """The batch keys that an activity was called with."""
        return [call.split(" ", 1)[1] for call in self.calls if call.startswith(f"{what} ")]


scripts: defaultdict[str, Script] = defaultdict(Script)
released: list[ReleaseChain] = []
rotated: list[RotateKeys] = []
"""The chains that were released, by whom and why."""


def short(batch: PreparedBatch) -> str:
    """The batch's key without the deal id."""
    return str(batch.key).split("/", 1)[1]


def script_of(batch: PreparedBatch) -> Script:
    """The script of the batch's deal."""
    return scripts[batch.key.deal_id]


async def _held(script: Script, key: str) -> None:
    """Wait as long as the script says, alive all the while."""
    waiting = script.held.get(key)
    while waiting is not None and not waiting.is_set():
        activity.heartbeat()
        await asyncio.sleep(0.02)


class FakeReleases(HaltActivities):
    """Halts that end when the script says so."""

    @activity.defn
    async def ensure_active(self, order: DealScope) -> None:
        script = scripts[order.deal_id]
        if script.halted is not None:
            raise application_error(script.halted)

    @activity.defn
    async def await_release(self, order: DealScope) -> TradingState:
        script = scripts[order.deal_id]
        script.calls.append("await_release")
        while script.releases.empty():
            activity.heartbeat()
            await asyncio.sleep(0.02)
        return script.releases.get_nowait()


class FakeReads(ProtocolActivities):
    """One market for all, and each script's position."""

    @activity.defn
    async def read_market(self, order: ReadMarket) -> MarketReading:
        script = scripts[order.request.deal_id]
        script.note("read_market")
        script.reads += 1
        market = _READING.market.model_copy(update={"chain_id": CHAIN})
        multisig = Multisig(expiry_seconds=script.expiry_seconds)
        return _READING.model_copy(update={"market": market, "multisig": multisig})

    @activity.defn
    async def read_position(self, order: ReadPosition) -> Position:  # noqa: ARG002 - by deal
        asking = activity.info().workflow_id
        script = scripts[asking.removeprefix("deal-").removeprefix("key-of-")]
        script.note("read_position")
        return script.position

    @activity.defn
    async def watch_redemption(self, order: WatchRedemption) -> RedemptionWatched:
        script = scripts[activity.info().workflow_id.removeprefix("deal-")]
        script.note("watch_redemption")
        script.redemption_watched.append(order)
        clock = asyncio.get_running_loop().time
        until = clock() + order.seconds
        while script.frozen and clock() < until:
            activity.heartbeat()
            await asyncio.sleep(0.02)
        terms = _READING.market.redemption.model_copy(update={"frozen": script.frozen})
        return RedemptionWatched(terms=terms, open=not script.frozen)


PREDICTION: Final = Prediction(
    steps=(),
    gas=7 * GAS,
    gas_cost_wei=7 * GAS * GAS_PRICE,
    max_ltv_bps=2_000,
    max_exposure_bps=2_100,
    duration_seconds=8,
    profit_usd8=5 * 10**8,
    chain_id=CHAIN,
    block_number=1,
    block_hash="0x01",
    timestamp=1_700_000_000,
    gas_price_wei=GAS_PRICE,
    pool_price_e18=10**18,
)


class FakeDryRuns(DryRunActivities):
    """The same prediction for all."""

    @activity.defn
    async def dry_run(self, order: DryRun) -> DryRunResult:
        script = scripts[order.request.deal_id]
        script.dry_runs.append(order)
        if script.unpredictable is not None:
            raise application_error(script.unpredictable)
        sizing = order.sizing or size_deal(order.request, _READING.module, _READING.market)
        return DryRunResult(prediction=PREDICTION, sizing=sizing)


class FakeEngine(TransactionActivities):
    """Numbers from 0, one block a batch."""

    @activity.defn
    async def prepare_batch(self, order: PrepareBatch) -> PreparedBatch:
        script, key = scripts[order.key.deal_id], str(order.key).split("/", 1)[1]
        script.note("prepare", key)
        script.ordered.append(order)
        sender = TREASURY if order.key.step in TREASURY_STEPS else ACCOUNT
        batch = PreparedBatch(
            key=order.key,
            account=ACCOUNT,
            intents=(
                Intent(
                    intent_id=f"{order.key}/0",
                    chain_id=CHAIN,
                    sender=sender,
                    nonce=len(script.of("prepare")) - 1,
                    to=TREASURY if sender == ACCOUNT else ACCOUNT,
                    value=0,
                    data="0x",
                    gas_limit=GAS,
                    fees=FEES,
                    purpose=f"Do the {order.key.step}",
                ),
            ),
            bounds=(),
            simulated_block=script.block,
            simulated_changes={Asset.PAR: order.sizing.borrow},
        )
        script.prepared.append(batch)
        return batch

    @activity.defn
    async def deliver_batch(self, order: DeliverBatch) -> Delivery:
        batch, script = order.batch, script_of(order.batch)
        key = short(batch)
        script.note("deliver", key)
        script.delivered.append(order)
        await _held(script, key)
        no_op = order.signed[0].no_op
        if key in script.displaced and not no_op:
            halt = script.because.get(key)
            no_ops = {batch.intents[0].intent_id: script.displaced[key]}
            return Delivery(no_ops=no_ops, because=halt and halt.problem)
        fees = script.dearer.get(key)
        if fees is not None and order.replaceable and batch.intents[0].fees != fees:
            return Delivery(replacements={batch.intents[0].intent_id: fees})
        script.block += 1
        problem = script.outcomes.get(key)
        script.position = script.stopped_short.get(key, script.position)
        home: dict[Asset, int] = {}
        if problem is None and not batch.key.fills_gap:
            before, borrowed = script.position, batch.simulated_changes[Asset.PAR]
            part = next(o.part_bps for o in script.ordered if o.key == batch.key)
            script.position = after_step(batch.key.step, before, borrowed, part)
            home = home_changes(batch.key.step, before, script.position)
        if batch.intents[0].sender == TREASURY:
            home[Asset.ETHER] = home.get(Asset.ETHER, 0) - GAS * GAS_PRICE
        script.home.update(home)
        inclusion = Inclusion(
            intent_id=batch.intents[0].intent_id,
            purpose=batch.intents[0].purpose,
            transaction_hash=order.signed[0].transaction_hash,
            block_number=script.block,
            block_hash=f"0x{script.block:064x}",
            succeeded=problem is None or no_op,
            no_op=no_op,
            gas_used=GAS,
            effective_gas_price=GAS_PRICE,
            value=0,
        )
        outcome = StepOutcome(
            key=batch.key,
            inclusions=(inclusion,),
            changes={},
            treasury_changes=home,
            position=script.position.model_copy(update={"block_number": script.block}),
            problem=problem and problem.problem,
        )
        return Delivery(outcome=outcome, final=script.final)

    @activity.defn
    async def abandon_batch(self, batch: PreparedBatch) -> PreparedBatch | None:
        script = script_of(batch)
        script.note("abandon", short(batch))
        return batch.no_ops() if short(batch) in script.gaps else None

    @activity.defn
    async def finalize_deal(self, order: FinalizeDeal) -> FinalTransactions:
        script = scripts[order.deal_id]
        script.note("finalize")
        return FinalTransactions(receipts=script.receipts.pop(0) if script.receipts else ())

    @activity.defn
    async def find_batches(self, order: FindBatches) -> FoundBatches:
        script = scripts[order.deal_id]
        rounds: dict[Step, int] = {}
        for batch in script.prepared:
            rounds[batch.key.step] = max(batch.key.round, rounds.get(batch.key.step, 0))
        left = [batch for batch in script.prepared if str(batch.key) not in order.recorded]
        return FoundBatches(batches=tuple(left), rounds=rounds)

    @activity.defn
    async def replace_transaction(self, order: ReplaceTransaction) -> Replacement:
        script = scripts[order.deal_id]
        script.note("replace", order.action)
        batch = script.prepared[-1]
        view = TransactionView(
            intent_id=order.intent_id,
            nonce=batch.intents[0].nonce,
            state=IntentState.BROADCAST,
            action=order.action,
            note="",
        )
        if order.action is Action.REBROADCAST:
            return Replacement(view=view)
        fees = {order.intent_id: OUTBIDDING}
        to_sign = batch.no_ops(fees) if order.action is Action.CANCEL else batch.with_fees(fees)
        return Replacement(view=view, batch=batch, to_sign=to_sign)

    @activity.defn
    async def send_attempts(self, order: SendAttempts) -> TransactionView:
        script = scripts[order.batch.key.deal_id]
        script.note("send", short(order.batch))
        script.sent.append(order)
        return order.view

    @activity.defn
    async def plan_no_op(self, order: FillNonce) -> NonceFill:
        script = scripts[order.deal_id]
        script.note("plan", str(order.nonce))
        return NonceFill(batch=script.prepared[-1].no_ops(), module=ModuleId("usdtz"))

    @activity.defn
    async def release_chain(self, order: ReleaseChain) -> ChainReleased:
        released.append(order)
        return ChainReleased(chain_id=order.chain_id, cleared=True)


class FakeCustody(CustodyActivities):
    """Remembers whose keys were retired, and what else was asked for."""

    @activity.defn
    async def retire_account(self, order: RetireAccount) -> KeyView:
        script = scripts[order.deal_id]
        if script.retiring_fails is not None:
            raise application_error(script.retiring_fails)
        script.retired.append(order)
        return key_view(order.deal_id)

    @activity.defn
    async def reinstate_account(self, order: RetireAccount) -> KeyView:
        scripts[order.deal_id].retired.clear()
        return key_view(order.deal_id)

    @activity.defn
    async def list_keys(self, order: ListKeys) -> KeyList:
        assert order.limit
        return KeyList(provider="local", generation=len(rotated) + 1, keys=())

    @activity.defn
    async def rotate_keys(self, order: RotateKeys) -> KeysRotated:
        rotated.append(order)
        if order.why == "an HSM" and order.rotation is Rotation.WRAPPING:
            raise application_error(NotAllowed("its own affair", next_action="leave it"))
        return KeysRotated(rotation=order.rotation, provider="local", generation=order.after + 1)

    @activity.defn
    async def verify_journal(self, order: VerifyJournal) -> JournalVerified:
        return JournalVerified(rows=3, head="a" * 64, head_found=order.head == "a" * 64)


def key_view(deal_id: DealId) -> KeyView:
    return KeyView(
        purpose="deal",
        deal_id=deal_id,
        address=ACCOUNT,
        label="deal-1-0",
        generation=1,
        provider="local",
        created_at=datetime.now(UTC),
    )


class FakeSigner(SigningActivities):
    """Signs by naming the intent and its fees."""

    @activity.defn
    async def open_account(self, order: OpenAccount) -> DealAccounts:
        script = scripts[order.deal_id]
        script.note("open_account")
        if script.admitted_when is not None:
            await script.admitted_when.wait()
        return DealAccounts(account=ACCOUNT, treasury=TREASURY, fee=FEE)

    @activity.defn
    async def fund_from_safe(self, order: FundFromSafe) -> DealAccounts:
        scripts[order.deal_id].note("fund_from_safe")
        return DealAccounts(account=ACCOUNT, treasury=SAFE, fee=FEE, hot_treasury=TREASURY)

    @activity.defn
    async def fee_account(self) -> FeeAccount:
        return FeeAccount(address=FEE)

    @activity.defn
    async def sign_batch(self, order: SignBatch) -> SignedBatch:
        if order.digest != order.batch.digest():
            raise ApplicationError("not the batch that was prepared", non_retryable=True)
        script_of(order.batch).note("sign", short(order.batch))
        return SignedBatch(transactions=tuple(_signed(intent) for intent in order.batch.intents))

    @activity.defn
    async def withhold_batch(self, batch: PreparedBatch) -> WithheldBatch:
        script = script_of(batch)
        script.note("withhold", short(batch))
        signed = short(batch) in script.signed_after_all
        return WithheldBatch(signed=tuple(i.intent_id for i in batch.intents) if signed else ())


class FakeRecords(RecordActivities):
    """Keeps what was recorded."""

    @activity.defn
    async def record_deal(self, record: DealRecord) -> None:
        script = scripts[record.view.request.deal_id]
        script.records.append(record)
        if record.step is not None:
            script.steps.append(record.step)
        if script.on_record is not None:
            waited = script.on_record(record)
            if asyncio.iscoroutine(waited):
                await waited

    @activity.defn
    async def find_deal(self, order: FindDeal) -> DealView:
        script = scripts[order.deal_id]
        return script.records[-1].view.model_copy(update={"steps": tuple(script.steps)})


class FakeReservations(ReservationActivities):
    """Has the owners decide where the script says so."""

    @activity.defn
    async def reserve_funding(self, order: ReserveFunding) -> Funding:
        script = scripts[order.deal_id]
        script.note("reserve")
        script.reservations.append(order)
        return Funding(
            value_usd8=order.value_usd8,
            together_usd8=order.value_usd8,
            limit_usd8=order.limit_usd8,
            owners_decide=script.owners_decide,
        )

    @activity.defn
    async def release_funding(self, order: ReleaseFunding) -> None:
        scripts[order.deal_id].note("release")


class FakeControl(ControlActivities):
    """Admits what the script does not deny, and counts what it says of commands."""

    def __init__(self) -> None:
        self._approvals: dict[DealId, DeskApproval] = {}

    @activity.defn
    async def admit_deal(self, order: AdmitDeal) -> Admitted:
        script = scripts[order.request.deal_id]
        script.note("admit")
        script.admissions.append(order)
        return Admitted(
            initiator=PrincipalId("trader"),
            rule="all",
            policy=script.policy,
            approvals_needed=script.approvals_needed,
            funding=Funding(
                value_usd8=order.value_usd8,
                together_usd8=order.value_usd8,
                limit_usd8=order.limit_usd8,
                owners_decide=script.owners_decide,
            ),
        )

    @activity.defn
    async def find_policy(self, order: FindPolicy) -> FoundPolicy:
        script = scripts[order.deal_id]
        script.note("find_policy")
        return FoundPolicy(policy=script.policy if script.admissions else None)

    @activity.defn
    async def ask_approvals(self, order: AskApprovals) -> DeskApproval:
        script = scripts[order.deal_id]
        script.note("ask")
        request = script.admissions[-1].request.digest()
        approval = DeskApproval(
            needed=script.approvals_needed,
            initiator=PrincipalId("trader"),
            value_usd8=script.admissions[-1].value_usd8,
            request_digest=request,
            policy_version=POLICY.version,
            prediction_digest=order.prediction_digest,
            binding_digest=binding_digest(request, POLICY.version, order.prediction_digest),
            expires_at=datetime.now(UTC) + timedelta(seconds=script.desk_expiry_seconds),
        )
        return self._approvals.setdefault(order.deal_id, approval)

    @activity.defn
    async def record_approval(self, order: RecordApproval) -> DeskApproval:
        script = scripts[order.deal_id]
        script.note("count", order.command_id)
        who, rejects = script.said[order.command_id]
        given = Given(approver=PrincipalId(who), at=datetime.now(UTC), why="looked at it")
        known = self._approvals[order.deal_id]
        change = {"rejected": given} if rejects else {"given": (*known.given, given)}
        self._approvals[order.deal_id] = known.model_copy(update=change)
        answer = self._approvals[order.deal_id]
        await _held(script, order.command_id)
        return answer


class FakeSafes(SafeActivities):
    """A Safe that stands as the script says."""

    @activity.defn
    async def propose_funding(self, order: ProposeFunding) -> Proposal:
        script = scripts[order.request.deal_id]
        script.note("propose", str(order.number))
        script.proposals.append(order)
        transaction = SafeTransaction(
            chain_id=CHAIN, safe=SAFE, to=order.account, value=order.value, nonce=script.next_nonce
        )
        return Proposal(
            deal_id=order.request.deal_id,
            bank=order.request.bank,
            request_digest=order.request.digest(),
            number=order.number,
            transaction=transaction,
            transaction_hash=transaction.hash(),
            threshold=script.standing.threshold,
            owners=script.standing.owners,
            value_usd8=order.funding.value_usd8,
            together_usd8=order.funding.together_usd8,
            since_block=1,
            expires_at=order.expires_at,
        )

    @activity.defn
    async def watch_safe(self, order: WatchSafe) -> SafeStanding:
        script = scripts[order.proposal.deal_id]
        script.note("watch")
        script.watched.append(order)
        while script.standing == order.known:
            activity.heartbeat()
            await asyncio.sleep(0.02)
        return script.standing

    @activity.defn
    async def check_signature(self, order: CheckSignature) -> None:
        script = scripts[order.proposal.deal_id]
        script.note("check", order.given.owner)
        script.checked.append(order)
        await _held(script, "check")

    @activity.defn
    async def close_proposal(self, order: CloseProposal) -> None:
        scripts[order.deal_id].note("close")

    @activity.defn
    async def adopt_funding(self, order: AdoptFunding) -> StepOutcome:
        script = scripts[order.key.deal_id]
        script.note("adopt", order.transaction_hash)
        script.block += 1
        before = script.position
        script.position = after_step(Step.FUND, before, 0)
        inclusion = Inclusion(
            intent_id=f"{order.key}/0",
            purpose="Funded by somebody else",
            transaction_hash=order.transaction_hash,
            block_number=script.block,
            block_hash=f"0x{script.block:064x}",
            succeeded=True,
            gas_used=GAS,
            effective_gas_price=GAS_PRICE,
            value=0,
        )
        return StepOutcome(
            key=order.key,
            inclusions=(inclusion,),
            changes={},
            treasury_changes=home_changes(Step.FUND, before, script.position),
            position=script.position,
        )


def after_step(
    step: Step, before: Position, borrowed: int, part_bps: int | None = None
) -> Position:
    """The account after a step that went well; gas is free."""
    if part_bps is not None:
        return after_part(step, before, part_bps)
    gained = borrowed // 100
    changes: dict[Step, dict[str, int]] = {
        Step.FUND: {"wei": 10 * 10**18},
        Step.WRAP: {"wei": before.wei - 9 * 10**18, "weth": 9 * 10**18},
        Step.COLLATERALIZE: {
            "weth": 0,
            "collateral": before.weth,
            "collateral_usd8": 27_000 * 10**8,
        },
        Step.RUN: {"par": before.par + gained},
        Step.BORROW: {"debt": borrowed, "debt_usd8": borrowed * 100, "par": borrowed},
        Step.SWAP: {"par": before.par - borrowed, "discount": borrowed + gained},
        Step.REDEEM: {"par": before.par + before.discount, "discount": 0},
        Step.UNWIND: {"par": before.par + before.discount, "discount": 0},
        Step.TOP_UP: {"par": topped_up(before.debt)},
        Step.SETTLE: {
            "wei": before.wei + before.collateral + before.weth,
            "weth": 0,
            "collateral": 0,
            "collateral_usd8": 0,
            "par": before.par - before.debt,
            "debt": 0,
            "debt_usd8": 0,
        },
        Step.SWEEP: {"wei": 0, "par": 0},
    }
    return before.model_copy(update=changes[step])


def after_part(step: Step, before: Position, part_bps: int) -> Position:
    """The account after a part of what it holds was sold, or of what it owes was repaid."""
    if step is Step.UNWIND:
        sold = part_of(before.discount, part_bps)
        changes = {"discount": before.discount - sold, "par": before.par + sold}
    else:
        repaid = min(part_of(before.debt, part_bps), before.par)
        changes = {
            "debt": before.debt - repaid,
            "par": before.par - repaid,
            "debt_usd8": before.debt_usd8 - repaid * 100,
        }
    return before.model_copy(update=changes)


def home_changes(step: Step, before: Position, after: Position) -> dict[Asset, int]:
    """What the step changed for the treasury, gas not counted."""
    if step in {Step.FUND, Step.SWEEP}:
        changes = {Asset.ETHER: before.wei - after.wei, Asset.PAR: before.par - after.par}
    elif step is Step.TOP_UP:
        changes = {Asset.PAR: before.par - after.par}
    else:
        changes = {}
    return {asset: change for asset, change in changes.items() if change}


def _signed(intent: Intent) -> SignedTransaction:
    text = f"{intent.intent_id}@{intent.fees.max_fee_per_gas}"
    return SignedTransaction(
        intent_id=intent.intent_id, transaction_hash=text, raw=f"0x{text}", fees=intent.fees
    )


def expected_profit(sizing: Sizing) -> int:
    """Par tokens that a deal of one cycle brings home."""
    return sizing.borrow // 100
