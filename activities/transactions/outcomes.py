"""What a batch that is in the chain has done, and what of it went wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

from activities.protocols import multicall
from activities.protocols.effects import EffectReader
from activities.protocols.reader import ChainReader, position_from
from activities.protocols.reverts import reason_of
from activities.rpc.client import RpcCall, RpcError
from activities.transactions.interface import DeliverBatch
from activities.transactions.receipts import (
    Sighting,
    changes_of,
    gas_paid_for,
    inclusions_of,
)
from domain.courses import course_of
from domain.errors import (
    DealError,
    Problem,
    TransactionReplaced,
    TransactionReverted,
    Unavailable,
)
from domain.identifiers import Address
from domain.positions import Position
from domain.transactions import (
    Asset,
    Inclusion,
    Intent,
    PreparedBatch,
    StepOutcome,
    added_up,
    check_bounds,
)


class OutcomeReader:
    """Reads outcomes on one chain."""

    def __init__(self, reader: ChainReader, treasury: Address) -> None:
        """Take the chain's reader, and the treasury whose changes are told as well."""
        self._reader = reader
        self._profile = reader.profile
        self._rpc = reader.rpc
        self._treasury = treasury

    def position_reads(self, order: DeliverBatch) -> list[multicall.Read]:
        """What `outcome` needs to have read along with the receipts."""
        module = self._profile.module(order.request.module)
        return self._reader.position_reads(module, order.batch.account)

    async def outcome(
        self, order: DeliverBatch, sighting: Sighting, reads: list[multicall.Read]
    ) -> StepOutcome:
        """The outcome by these receipts. Raises `Unavailable` if the node's state is behind them.

        Intents without a receipt are those whose nonce somebody else has used.
        """
        batch = order.batch
        inclusions = inclusions_of(batch, sighting)
        effects = EffectReader(self._profile, self._profile.module(order.request.module))
        changes = changes_of(effects, batch.account, batch, inclusions, sighting)
        # A shortfall is made up from the engine's own treasury, whoever funds the deal.
        parties = {self._treasury, order.treasury or self._treasury}
        home = added_up(
            change
            for party in parties
            for change in changes_of(effects, party, batch, inclusions, sighting)
        )
        home[Asset.ETHER] = home.get(Asset.ETHER, 0) - gas_paid_for(batch, inclusions)
        position = await self._position_after(order, inclusions, reads, sighting.extra)
        router = self._profile.contract("uniswap_router")
        return StepOutcome(
            key=batch.key,
            inclusions=inclusions,
            changes=added_up(changes),
            treasury_changes=home,
            position=position,
            problem=await self._problem(batch, inclusions, changes, sighting),
            course=course_of(position, changes, with_pool=[i.to == router for i in batch.intents]),
        )

    async def _position_after(
        self,
        order: DeliverBatch,
        inclusions: tuple[Inclusion, ...],
        reads: list[multicall.Read],
        answer: Any,  # noqa: ANN401 - JSON of any shape
    ) -> Position:
        """The account after these inclusions, by this answer, or by looking once more.

        The calls of one request may be answered from different blocks, as a cluster does, and a
        node that mines meanwhile may call on the new state with the old clock, which reverts.
        Raises `Unavailable` if the node is still behind its own receipts.
        """
        module, account = order.request.module, order.batch.account
        if not isinstance(answer, RpcError):
            decimals = await self._reader.decimals(module)
            position = position_from(account, decimals, multicall.decode_reads(reads, answer))
            if _is_after(position, inclusions):
                return position
        position = await self._reader.position(module, account)
        if _is_after(position, inclusions):
            return position
        raise Unavailable(
            "the node's state is behind its own receipts",
            field="endpoints",
            value=self._profile.chain_id,
            limit=max(inclusion.block_number for inclusion in inclusions),
            actual=position.block_number,
            next_action="wait: the engine looks again",
        )

    async def _problem(
        self,
        batch: PreparedBatch,
        inclusions: tuple[Inclusion, ...],
        changes: Sequence[Mapping[Asset, int]],
        sighting: Sighting,
    ) -> Problem | None:
        """Why the step did not do what it promised, if it did not."""
        mined = {inclusion.intent_id: inclusion for inclusion in inclusions}
        for intent in batch.intents:
            inclusion = mined.get(intent.intent_id)
            if inclusion is None or inclusion.no_op:
                return _replaced(intent, inclusion)
            if not inclusion.succeeded:
                return await self._reverted(intent, inclusion)
        at_these_fees = {intent_id: sighting.mined[intent_id].fees for intent_id in mined}
        try:
            check_bounds(changes, batch.with_fees(at_these_fees).bounds)
        except DealError as error:
            return error.problem
        return None

    async def _reverted(self, intent: Intent, inclusion: Inclusion) -> Problem:
        reason = await self._revert_reason(intent, inclusion)
        return TransactionReverted(
            f"{intent.purpose} reverted: {reason}",
            field=intent.purpose,
            value=inclusion.transaction_hash,
            actual=reason,
            next_action="the deal builds the step anew or unwinds by itself",
        ).problem

    async def _revert_reason(self, intent: Intent, inclusion: Inclusion) -> str:
        """The reason, by calling it again.

        First on the state after its block, which has what came before it in the batch, then on the
        state before.
        """
        call = {
            "from": intent.sender,
            "to": intent.to,
            "data": intent.data,
            "value": hex(intent.value),
        }
        blocks = (inclusion.block_number, inclusion.block_number - 1)
        answers = await self._rpc.batch([RpcCall("eth_call", (call, hex(b))) for b in blocks])
        for answer in answers:
            if isinstance(answer, RpcError):
                return reason_of(answer.data) or answer.message
        return "no reason found: the call succeeds on the states before and after its block"


def _replaced(intent: Intent, no_op: Inclusion | None) -> Problem:
    by = "a no-op" if no_op else "a transaction of somebody else"
    return TransactionReplaced(
        f"{intent.purpose} was replaced by {by}",
        field=intent.purpose,
        value=no_op.transaction_hash if no_op else intent.intent_id,
        actual=f"nonce {intent.nonce} of {intent.sender}",
        next_action="the deal builds the step anew or unwinds by itself",
    ).problem


def _is_after(position: Position, inclusions: tuple[Inclusion, ...]) -> bool:
    """Whether the position has seen every one of these transactions."""
    return all(position.block_number >= inclusion.block_number for inclusion in inclusions)
