"""What a look at the chain means for an intent: pure rules, each move one that the table allows."""

from dataclasses import dataclass
from typing import Final

from domain.transactions import IntentState

IN_A_BLOCK: Final = frozenset(
    {IntentState.INCLUDED, IntentState.REVERTED, IntentState.REPLACED, IntentState.FINALIZED}
)
OUT: Final = frozenset({IntentState.SIGNED, IntentState.BROADCAST, IntentState.UNKNOWN})
"""Signed, and nobody has seen it in a block that still stands."""


@dataclass(frozen=True, slots=True)
class Mined:
    """The attempt of an intent that is in a block."""

    transaction_hash: str
    block_number: int
    block_hash: str
    succeeded: bool
    no_op: bool = False

    @property
    def state(self) -> IntentState:
        """What an intent is by it, as long as its block stands."""
        if self.no_op:
            return IntentState.REPLACED
        return IntentState.INCLUDED if self.succeeded else IntentState.REVERTED


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look shows of an intent.

    `nonce_used` is whether the account's nonce is past the intent's; `finalized` the newest block
    that cannot be undone, -1 if there is none.
    """

    mined: Mined | None
    nonce_used: bool
    finalized: int = -1


def moves(state: IntentState, was: Mined | None, sight: Sight) -> tuple[IntentState, ...]:
    """The states that an intent passes through now, in order; empty if nothing has changed.

    `was` is the attempt and block that it was known to be in. Nothing that was signed is ever
    forgotten: without a block it is out, and what is out is looked for and sent again.
    """
    if state in (IntentState.PREPARED, IntentState.ABANDONED, IntentState.FINALIZED):
        return ()
    path: list[IntentState] = []
    if state is IntentState.SIGNED or (state in IN_A_BLOCK and not _same_block(was, sight.mined)):
        path.append(IntentState.BROADCAST)
    here = path[-1] if path else state
    if sight.mined is None:
        path += _without_block(here, nonce_used=sight.nonce_used)
        return tuple(path)
    if here in OUT:
        path.append(sight.mined.state)
    if sight.mined.block_number <= sight.finalized:
        path.append(IntentState.FINALIZED)
    return tuple(path)


def _without_block(state: IntentState, *, nonce_used: bool) -> list[IntentState]:
    if state is IntentState.BROADCAST and nonce_used:
        return [IntentState.UNKNOWN]
    if state is IntentState.UNKNOWN and not nonce_used:
        return [IntentState.BROADCAST]
    return []


def _same_block(was: Mined | None, now: Mined | None) -> bool:
    if was is None or now is None:
        return False
    return (was.transaction_hash, was.block_hash) == (now.transaction_hash, now.block_hash)
