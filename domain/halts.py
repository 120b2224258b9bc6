"""Stopping trading: how far, for what, and who may end it.

A halt stops what adds risk, never what takes it away. Whatever of desk, bank, chain and module a
deal belongs to may be halted; the strictest of them counts. The database computes the same
(migration 0018); a test compares the two.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, model_validator

from domain.deals import Step
from domain.errors import Halted, InvalidInput, Problem
from domain.identifiers import BankId, ChainId, ModuleId


class TradingState(StrEnum):
    """How much may be done, from everything to nothing that adds risk.

    `REDUCING` begins no deal, and unwinds a running one before it would add risk. `HALTED` begins
    none either, and has running ones wait where they are until it is released.
    """

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALTED = "HALTED"

    @property
    def strictness(self) -> int:
        """0 for `ACTIVE`, 2 for `HALTED`."""
        return _STRICTNESS[self]


_STRICTNESS: Final[Mapping[TradingState, int]] = {
    TradingState.ACTIVE: 0,
    TradingState.REDUCING: 1,
    TradingState.HALTED: 2,
}

RISK_INCREASING: Final = frozenset(
    {Step.FUND, Step.RUN, Step.WRAP, Step.COLLATERALIZE, Step.BORROW, Step.SWAP}
)
"""What a halt stops. Every other step leads out, or is no deal's, and passes always."""


class ScopeKind(StrEnum):
    """What may be halted by itself."""

    DESK = "desk"
    BANK = "bank"
    CHAIN = "chain"
    MODULE = "module"


class Scope(BaseModel):
    """The whole desk, or one bank, chain or module: `desk`, `bank=bank-one`, `chain=138`."""

    model_config = ConfigDict(frozen=True)

    kind: ScopeKind
    value: str = ""
    """The bank, module or chain id as text; empty for the desk."""

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        match self.kind:
            case ScopeKind.DESK:
                if self.value:
                    raise _malformed(self.kind, self.value)
            case ScopeKind.BANK:
                BankId(self.value)
            case ScopeKind.MODULE:
                ModuleId(self.value)
            case ScopeKind.CHAIN:
                if not self.value.isascii() or not self.value.isdecimal() or self.value[0] == "0":
                    raise _malformed(self.kind, self.value)
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a scope as people write it; raises `InvalidInput`."""
        kind, _, value = text.strip().partition("=")
        if kind not in set(ScopeKind):
            raise _malformed(kind, value)
        try:
            return cls(kind=ScopeKind(kind), value=value)
        except ValueError:
            raise _malformed(kind, value) from None

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{self.kind}={self.value}" if self.value else str(self.kind)

    def covers(self, bank: BankId, chain_id: ChainId, module: ModuleId) -> bool:
        """Whether a deal of this bank, chain and module belongs to it."""
        own = {
            ScopeKind.DESK: "",
            ScopeKind.BANK: str(bank),
            ScopeKind.CHAIN: str(chain_id),
            ScopeKind.MODULE: str(module),
        }
        return own[self.kind] == self.value


class Halt(BaseModel):
    """Where one scope stands; of a scope that nobody ever halted there is none.

    `set_by` are all who made it stricter since it was last active: none of them may move it back.
    `version` counts the changes from 1.
    """

    model_config = ConfigDict(frozen=True)

    scope: Scope
    state: TradingState
    who: str
    why: str
    since: datetime
    set_by: tuple[str, ...] = ()
    version: int

    def told(self) -> str:
        """What it is, in words."""
        word = "reducing" if self.state is TradingState.REDUCING else "halted"
        return f"{self.scope} {word} by {self.who}: {self.why}"


def strictest(
    halts: Iterable[Halt], bank: BankId, chain_id: ChainId, module: ModuleId
) -> Halt | None:
    """The halt that counts for a deal; None if it may go on. Of equals, the one set first."""
    found = [
        halt
        for halt in halts
        if halt.state is not TradingState.ACTIVE and halt.scope.covers(bank, chain_id, module)
    ]
    return min(found, key=lambda halt: (-halt.state.strictness, halt.since), default=None)


def is_release(before: TradingState, after: TradingState) -> bool:
    """Whether the change leads towards `ACTIVE`: then it takes another person."""
    return after.strictness < before.strictness


def halted(halt: Halt) -> Halted:
    """The error of what a halt stops."""
    return refusal(halt.scope, halt.state, halt.told())


def refusal(scope: Scope, state: TradingState, told: str) -> Halted:
    """The same error from what is left of a halt where only that is known."""
    return Halted(
        told,
        field=scope.kind,
        value=scope.value or scope.kind,
        limit=TradingState.ACTIVE,
        actual=state,
        next_action=f"somebody else releases it: `deal halt release {scope}`",
    )


def stops_for_good(problem: Problem) -> bool:
    """Whether a running deal that met this halt unwinds, rather than wait for its release."""
    return problem.code == Halted.code and problem.actual == TradingState.REDUCING


def _malformed(kind: str, value: str) -> InvalidInput:
    return InvalidInput(
        "this is nothing that can be halted",
        field="scope",
        value=f"{kind}={value}" if value else kind,
        limit="desk, bank=ID, chain=ID or module=ID",
        next_action="name what to halt, such as bank=bank-one",
    )
