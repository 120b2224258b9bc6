"""Looking at many intents at once: in which block each is, and whether that block still stands."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from activities.rpc.client import Rpc, RpcCall
from activities.rpc.fees import FeeLevel, fee_level, price_call
from activities.transactions.finality import final_block_call, newest_final
from activities.transactions.receipts import receipt_of
from activities.transactions.unsettled import Change, Unsettled
from domain.chains import ChainProfile
from domain.errors import Unavailable
from domain.identifiers import Address
from domain.tracking import IN_A_BLOCK, OUT, Receipt, Sight, moves

_MOST_CALLS: Final = 500
"""In one request: nodes and what stands before them refuse much more."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block as the chain has it now; the base fee in wei is None where there is none."""

    number: int
    hash: str
    timestamp: int
    base_fee: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen: the newest block, the newest final one's number, used nonces, and moves."""

    head: Block
    fees: FeeLevel
    finalized: int
    nonces: dict[Address, int]
    changes: tuple[Change, ...]
    blocks: dict[int, Block | None]
    """The blocks that were asked for by number, None where the chain has none."""


class Tracker:
    """Looks at the intents of one chain."""

    def __init__(self, profile: ChainProfile, rpc: Rpc) -> None:
        """Take the chain's connections."""
        self._profile = profile
        self._rpc = rpc

    async def look(
        self,
        intents: Sequence[Unsettled],
        *,
        accounts: Iterable[Address] = (),
        blocks: Iterable[int] = (),
    ) -> Look:
        """Look at intents, at more accounts and at more blocks; raises `Unavailable`."""
        senders = sorted({intent.sender for intent in intents} | set(accounts))
        head, fees, finalized, nonces = await self._heads(senders)
        numbers = {i.block_number for i in intents if i.state in IN_A_BLOCK and i.block_number}
        found = await self._blocks(numbers | set(blocks) | {max(finalized, 0)})
        stand = {i.intent_id for i in intents if _stands(i, found)}
        asked = [
            intent
            for intent in intents
            if intent.nonce < nonces[intent.sender]
            and intent.state in OUT | IN_A_BLOCK
            and intent.intent_id not in stand
        ]
        receipts = await self._receipts(asked)
        changes = []
        for intent in intents:
            path = moves(
                intent.state,
                Sight(
                    nonce_used=intent.nonce < nonces[intent.sender],
                    receipt=receipts.get(intent.intent_id),
                    stands_at=intent.block_number if intent.intent_id in stand else None,
                    finalized=finalized,
                ),
            )
            if path:
                receipt = receipts.get(intent.intent_id)
                changes.append(Change(intent, path, receipt, head.number))
        return Look(head, fees, finalized, nonces, tuple(changes), found)

    async def _heads(
        self, senders: list[Address]
    ) -> tuple[Block, FeeLevel, int, dict[Address, int]]:
        answers = await self._ask(
            [
                _block_call("latest"),
                final_block_call(self._profile),
                price_call(self._profile.fees),
                *(RpcCall("eth_getTransactionCount", (sender, "latest")) for sender in senders),
            ]
        )
        head = _block(answers[0])
        if head is None:
            raise Unavailable(
                "the node knows no newest block",
                field="endpoints",
                value=self._profile.chain_id,
                next_action="check the node with `deal chain status`; it may have just started",
            )
        tagged = _block(answers[1])
        finalized = newest_final(
            self._profile, head.number, None if tagged is None else tagged.number
        )
        nonces = (int(answer, 16) for answer in answers[3:])
        fees = fee_level(self._profile, answers[2])
        return head, fees, finalized, dict(zip(senders, nonces, strict=True))

    async def _blocks(self, numbers: set[int]) -> dict[int, Block | None]:
        ordered = sorted(numbers)
        answers = await self._ask([_block_call(hex(number)) for number in ordered])
        return dict(zip(ordered, map(_block, answers), strict=True))

    async def _receipts(self, intents: list[Unsettled]) -> dict[str, Receipt]:
        asked = [(intent, attempt) for intent in intents for attempt in intent.attempts]
        calls = [RpcCall("eth_getTransactionReceipt", (a.transaction_hash,)) for _, a in asked]
        answers = await self._ask(calls)
        return {
            intent.intent_id: receipt_of(intent.intent_id, attempt, answer)
            for (intent, attempt), answer in zip(asked, answers, strict=True)
            if answer is not None
        }

    async def _ask(self, calls: list[RpcCall]) -> list[Any]:
        answers: list[Any] = []
        for first in range(0, len(calls), _MOST_CALLS):
            answers += await self._rpc.batch(calls[first : first + _MOST_CALLS])
        return [self._rpc.expect(answer) for answer in answers]


def _stands(intent: Unsettled, blocks: dict[int, Block | None]) -> bool:
    if intent.state not in IN_A_BLOCK or intent.block_number is None:
        return False
    block = blocks[intent.block_number]
    return block is not None and block.hash == intent.block_hash


def _block_call(which: str) -> RpcCall:
    return RpcCall("eth_getBlockByNumber", (which, False))


def _block(answer: Any) -> Block | None:  # noqa: ANN401 - JSON of any shape
    if answer is None:
        return None
    base_fee = answer.get("baseFeePerGas")
    return Block(
        number=int(answer["number"], 16),
        hash=answer["hash"],
        timestamp=int(answer["timestamp"], 16),
        base_fee=None if base_fee is None else int(base_fee, 16),
    )
