"""Looking at the Safe of a chain: proposing to it, waiting for it, checking what owners sign."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from temporalio import activity

from activities.approvals.interface import (
    AdoptFunding,
    CheckSignature,
    CloseProposal,
    ProposeFunding,
    SafeActivities,
    WatchSafe,
)
from activities.approvals.proposals import Proposals
from activities.protocols import multicall, safe
from activities.protocols.multicall import Read
from activities.protocols.reader import LATEST, ChainReader
from activities.rpc.client import RpcCall
from activities.transactions.alerts import AlertKind, Alerts
from activities.transactions.finality import final_head
from activities.transactions.store import Pool
from domain.approvals import Proposal, SafeStanding, still_payable
from domain.errors import (
    Conflict,
    InvalidConfiguration,
    InvalidInput,
    NotAllowed,
    NotFound,
)
from domain.identifiers import Address
from domain.safe import SafeTransaction, check_signature_form
from domain.transactions import Asset, Inclusion, StepOutcome

_NEXT = "look at the proposal with `deal approvals`, then sign it with `deal sign`"


@dataclass(frozen=True, slots=True)
class _Look:
    """A Safe in the newest block."""

    block: int
    nonce: int
    owners: tuple[Address, ...]
    threshold: int
    hashes: tuple[str, ...]
    """The contract's own, of the transactions that were asked for."""


class Safes(SafeActivities):
    """The Safe of one chain."""

    def __init__(self, reader: ChainReader, pool: Pool) -> None:
        """Take the chain's reader, and the pool of the engine's own database role."""
        self._reader = reader
        self._profile = reader.profile
        self._rpc = reader.rpc
        self._proposals = Proposals(reader.profile.chain_id, pool)
        self._alerts = Alerts(reader.profile.chain_id, pool)

    @activity.defn
    async def propose_funding(self, order: ProposeFunding) -> Proposal:
        """See `SafeActivities.propose_funding`."""
        address = self._profile.contract(self._profile.multisig.safe)
        look = await self._look(address)
        nonce, since = await self._proposals.number(
            order, address, safe_nonce=look.nonce, block=look.block
        )
        transaction = SafeTransaction(
            chain_id=self._profile.chain_id,
            safe=address,
            to=order.account,
            value=order.value,
            nonce=nonce,
        )
        look = await self._look(address, [transaction])
        _ensure_same_hash(transaction, look)
        return Proposal(
            deal_id=order.request.deal_id,
            bank=order.request.bank,
            request_digest=order.request.digest(),
            number=order.number,
            transaction=transaction,
            transaction_hash=transaction.hash(),
            threshold=look.threshold,
            owners=look.owners,
            value_usd8=order.funding.value_usd8,
            together_usd8=order.funding.together_usd8,
            since_block=since,
            expires_at=order.expires_at,
        )

    @activity.defn
    async def watch_safe(self, order: WatchSafe) -> SafeStanding:
        """See `SafeActivities.watch_safe`."""
        while True:
            standing = await self._standing(order.proposal)
            if standing != order.known:
                return standing
            if order.over is not None:
                error = still_payable(order.proposal, order.over)
                await self._alerts.notice(AlertKind.SAFE_PAYMENT, order.proposal.deal_id, error)
            await asyncio.sleep(self._profile.block_time_seconds)

    @activity.defn
    async def check_signature(self, order: CheckSignature) -> None:
        """See `SafeActivities.check_signature`."""
        given, transaction = order.given, order.proposal.transaction
        check_signature_form(given.signature)
        digest = transaction.rejection_hash() if order.rejection else transaction.hash()
        signer = safe.signer_of(digest, given.signature)
        if signer != given.owner:
            raise InvalidInput(
                "the signature is not this owner's over this transaction",
                field="signature",
                value=given.owner,
                limit=f"a signature over {digest}",
                actual=f"signed by {signer or 'nobody'}, if over this",
                next_action=_NEXT,
            )
        look = await self._look(transaction.safe, [transaction])
        if given.owner not in look.owners:
            raise NotAllowed(
                f"{given.owner} is no owner of the Safe",
                field="owner",
                value=given.owner,
                limit=", ".join(look.owners),
                next_action="an owner has to sign",
            )
        _ensure_same_hash(transaction, look)
        if look.nonce > transaction.nonce:
            raise Conflict(
                "the Safe has used this nonce for another transaction",
                field="nonce",
                value=transaction.nonce,
                limit=f"{look.nonce} or later",
                next_action="wait until it is proposed anew, then sign that",
            )

    @activity.defn
    async def close_proposal(self, order: CloseProposal) -> None:
        """See `SafeActivities.close_proposal`."""
        await self._proposals.close(order.deal_id)

    @activity.defn
    async def adopt_funding(self, order: AdoptFunding) -> StepOutcome:
        """See `SafeActivities.adopt_funding`."""
        raw = await self._rpc.call("eth_getTransactionReceipt", order.transaction_hash)
        if raw is None:
            raise NotFound(
                "the transaction that funded the deal is in no block",
                field="transaction_hash",
                value=order.transaction_hash,
                next_action="look at the chain with `deal chain status`: it may have gone back",
            )
        value = order.transaction.value
        inclusion = Inclusion(
            intent_id=f"{order.key}/0",
            purpose="Funded from the Safe, by a transaction of somebody else",
            transaction_hash=order.transaction_hash,
            block_number=int(raw["blockNumber"], 16),
            block_hash=raw["blockHash"],
            succeeded=True,
            gas_used=int(raw["gasUsed"], 16),
            effective_gas_price=int(raw["effectiveGasPrice"], 16),
            value=0,
        )
        return StepOutcome(
            key=order.key,
            inclusions=(inclusion,),
            changes={Asset.ETHER: value},
            treasury_changes={Asset.ETHER: -value},
            position=await self._reader.position(order.module, order.account),
        )

    async def _standing(self, proposal: Proposal) -> SafeStanding:
        transaction = proposal.transaction
        look = await self._look(transaction.safe)
        final = await final_head(self._rpc, self._profile)
        final_nonce = min(await self._nonce_at(transaction.safe, final), look.nonce)
        executed = None
        if final_nonce > transaction.nonce:
            executed = await self._execution(proposal, final)
        return SafeStanding(
            nonce=look.nonce,
            final_nonce=final_nonce,
            threshold=look.threshold,
            owners=look.owners,
            gap=await self._proposals.has_gap(
                proposal.deal_id, transaction.safe, look.nonce, transaction.nonce
            ),
            executed=executed,
        )

    async def _execution(self, proposal: Proposal, final: int) -> str | None:
        """The transaction that performed the proposal's own, if one did."""
        sought = {
            "address": proposal.transaction.safe,
            "topics": [safe.EXECUTED_TOPIC, proposal.transaction_hash],
            "fromBlock": hex(min(proposal.since_block, final)),
            "toBlock": hex(final),
        }
        logs: list[dict[str, Any]] = await self._rpc.call("eth_getLogs", sought)
        return str(logs[0]["transactionHash"]) if logs else None

    async def _nonce_at(self, address: Address, block: int) -> int:
        if block < 0:
            return 0
        call = {"to": address, "data": safe.NONCE.encode()}
        answer = await self._rpc.call("eth_call", call, hex(block))
        (nonce,) = safe.NONCE.decode_result(bytes.fromhex(answer[2:]))
        return int(nonce)

    async def _look(self, address: Address, transactions: Sequence[SafeTransaction] = ()) -> _Look:
        reads = [
            Read(self._profile.contract("multicall3"), multicall.GET_BLOCK_NUMBER),
            Read(address, safe.NONCE),
            Read(address, safe.OWNERS),
            Read(address, safe.THRESHOLD),
            *(Read(address, safe.TRANSACTION_HASH, safe.hash_arguments(t)) for t in transactions),
        ]
        (code, answer) = await self._rpc.batch(
            [RpcCall("eth_getCode", (address, LATEST)), self._reader.read_call(reads)]
        )
        if self._rpc.expect(code) in {"0x", ""}:
            raise InvalidConfiguration(
                f"there is no Safe on chain {self._profile.chain_id}",
                field=f"addresses.{self._profile.multisig.safe}",
                value=address,
                limit="the address of a Safe",
                next_action="correct the address manifest, or deploy the Safe",
            )
        (block,), (nonce,), (owners,), (threshold,), *hashes = multicall.decode_reads(
            reads, self._rpc.expect(answer)
        )
        return _Look(
            block=int(block),
            nonce=int(nonce),
            owners=tuple(Address.from_bytes(bytes.fromhex(owner[2:])) for owner in owners),
            threshold=int(threshold),
            hashes=tuple("0x" + each.hex() for (each,) in hashes),
        )


def _ensure_same_hash(transaction: SafeTransaction, look: _Look) -> None:
    if look.hashes != (transaction.hash(),):
        raise Conflict(
            "the Safe hashes the transaction differently",
            field="transaction_hash",
            value=transaction.hash(),
            limit=", ".join(look.hashes),
            next_action="do not sign: find out what is at the Safe's address",
        )
