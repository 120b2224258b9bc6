"""The verdict, by the chain alone: what was executed, how often, and whether a nonce is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from tests.faults.ledger import EXECUTIONS, LEDGER, entry
from tests.faults.rig import Rig

Call = tuple[str, str, str]
"""Who is called (a contract's name), which function (its selector), and how it ended."""

_TRANSFER: Final = "0x"


@dataclass
class Verdict:
    """What the chain shows; everything but executions has to be zero."""

    executions: int = 0
    duplicates: int = 0
    lost: int = 0
    gaps: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether everything happened once and nothing is missing."""
        return not (self.duplicates or self.lost or self.gaps or self.notes)

    def __iadd__(self, other: Verdict) -> Self:
        self.executions += other.executions
        self.duplicates += other.duplicates
        self.lost += other.lost
        self.gaps += other.gaps
        self.notes += other.notes
        return self

    def expect(self, holds: object, otherwise: str) -> None:
        """Note what should have held and did not."""
        if not holds:
            self.notes.append(otherwise)


def of_intents(rig: Rig, once: Iterable[str], never: Iterable[str] = ()) -> Verdict:
    """How often the Ledger counted these intents: some once, some (no-ops in their place) never."""
    verdict = Verdict()
    for intent_id, due in [*((i, 1) for i in once), *((i, 0) for i in never)]:
        count = executions(rig, intent_id)
        verdict.executions += count
        if count > due:
            verdict.duplicates += count - due
            verdict.notes.append(f"{intent_id} was executed {count} times")
        if count < due:
            verdict.lost += 1
            verdict.notes.append(f"{intent_id} was never executed")
    return verdict


def executions(rig: Rig, intent_id: str) -> int:
    """How often the Ledger counted an intent."""
    call = {"to": rig.node.contracts[LEDGER], "data": EXECUTIONS.encode(entry(intent_id))}
    return int(rig.node.ask("eth_call", call, "latest"), 16)


def of_account(rig: Rig, account: str) -> Verdict:
    """Whether an account's numbers have a gap: nothing waits, and nothing is taken in between."""
    verdict = Verdict()
    mined, pending = rig.node.nonce(account), rig.node.nonce(account, "pending")
    given = rig.books.next_nonce(account, rig.node.chain_id) or 0
    queued = rig.node.ask("txpool_content")["queued"]
    waiting = sorted(
        int(nonce) for nonce in {k.lower(): v for k, v in queued.items()}.get(account.lower(), {})
    )
    if waiting or pending != mined or given > mined:
        verdict.gaps += max(1, given - mined)
        verdict.notes.append(
            f"{account}: {mined} mined, {pending} pending, {given} given, {waiting} queued"
        )
    return verdict


def of_deal(rig: Rig, account: str, first_block: int, due: Sequence[Call]) -> Verdict:
    """Whether a deal's transactions are those of one that nothing disturbed, each of them once."""
    verdict = of_account(rig, account)
    found, expected = Counter(calls_of(rig, account, first_block)), Counter(due)
    verdict.executions += found.total()
    for call, extra in (found - expected).items():
        verdict.duplicates += extra
        verdict.notes.append(f"{account}: {extra} too many of {call}")
    for call, missing in (expected - found).items():
        verdict.lost += missing
        verdict.notes.append(f"{account}: {missing} missing of {call}")
    held = rig.node.holdings(account)
    verdict.expect(not held, f"{account} still holds {held}")
    return verdict


def calls_of(rig: Rig, account: str, first_block: int) -> list[Call]:
    """What was sent from an account, and the funding that was sent to it, in order."""
    names = {address.lower(): name for name, address in rig.node.contracts.items()}
    names |= {rig.treasury.lower(): "treasury", account.lower(): "account"}
    calls: list[Call] = []
    for number in range(first_block, rig.node.head() + 1):
        block = rig.node.ask("eth_getBlockByNumber", hex(number), True)  # noqa: FBT003 - JSON-RPC positional
        calls += [
            _call(rig, names, sent) for sent in block["transactions"] if _is_of(sent, account)
        ]
    return calls


def _is_of(sent: dict[str, Any], account: str) -> bool:
    """Whether it is from or to the account, and has an effect: a no-op is from it to itself."""
    return [sent["from"].lower(), (sent["to"] or "").lower()].count(account.lower()) == 1


def _call(rig: Rig, names: dict[str, str], sent: dict[str, Any]) -> Call:
    receipt = rig.node.receipt(sent["hash"])
    assert receipt is not None
    target = names.get(sent["to"].lower(), sent["to"])
    return target, sent["input"][:10] or _TRANSFER, receipt["status"]
