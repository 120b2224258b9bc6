"""What endpoints answer to a signed transaction, and what their answers come to together.

Clients word the same refusal differently, and most give no code that tells them apart, so the words
decide. The sources are go-ethereum (core/txpool/errors.go, core/error.go), reth (its error modules
for the pool and for transactions), erigon (txpoolcfg.go), Nethermind (AcceptTxResult.cs and the
names it used before), besu (RpcErrorType.java) and anvil (eth/error.rs).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from activities.rpc.calls import RpcError


class SendResult(StrEnum):
    """What became of sending one transaction, the most hopeful first."""

    ACCEPTED = "ACCEPTED"
    ALREADY_KNOWN = "ALREADY_KNOWN"
    """The node had it already, waiting or mined: as good as accepted."""
    NONCE_TOO_LOW = "NONCE_TOO_LOW"
    """The nonce is used: by this transaction, an earlier attempt, or somebody else. Look."""
    POOL_FULL = "POOL_FULL"
    """Not taken for now: no room, too many of this account, or those before it are missing."""
    UNDERPRICED = "UNDERPRICED"
    """Too cheap for the pool, the base fee, or the transaction that it should replace."""
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    """The account cannot pay value and gas, as far as this node has seen."""
    REJECTED = "REJECTED"
    """Never valid as it is: signature, chain id, gas limit, or above the node's own cap."""
    UNANSWERED = "UNANSWERED"
    """No answer, or none that says anything about the transaction."""

    @property
    def succeeded(self) -> bool:
        """Whether the node has the transaction."""
        return self in {SendResult.ACCEPTED, SendResult.ALREADY_KNOWN}


@dataclass(frozen=True, slots=True)
class EndpointAnswer:
    """What one endpoint made of one transaction; `message` is in the node's own words."""

    number: int
    """Counted from 1, the endpoints for reading first, then those for submission only."""
    label: str
    result: SendResult
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """What all endpoints together made of one transaction."""

    result: SendResult
    answers: tuple[EndpointAnswer, ...]
    contradiction: str | None = None
    """Who says that it is sound and who that it is not, if they disagree about the bytes."""


_WORDS: Final[tuple[tuple[SendResult, tuple[str, ...]], ...]] = (
    (
        SendResult.ALREADY_KNOWN,
        (
            "already known",
            "alreadyknown",
            "known transaction",
            "already imported",
            "existing txn with same hash",
            "existing tx with same hash",
        ),
    ),
    (SendResult.NONCE_TOO_LOW, ("nonce too low", "oldnonce")),
    (
        SendResult.UNDERPRICED,
        (
            "underpriced",
            "insufficient gas price to replace",
            "could not replace existing tx",
            "replacementnotallowed",
            "fee too low",
            "feetoolow",
            "less than block base fee",
            "gas price below",
        ),
    ),
    (
        SendResult.INSUFFICIENT_FUNDS,
        ("insufficient funds", "insufficientfunds", "upfront cost exceeds account balance"),
    ),
    (
        SendResult.REJECTED,
        (
            "invalid sender",
            "invalid signature",
            "signature is invalid",
            "invalid transaction signature",
            "failed to recover sender",
            "failedtoresolvesender",
            "invalid chain id",
            "invalidtxchainid",
            "wrong chainid",
            "chainid not supported",
            "chainid is required",
            "eip-155",
            "intrinsic gas",
            "intrinsicgas",
            "block gas limit",
            "gas limit reached",
            "gas limit is too high",
            "gaslimitexceeded",
            "gaslimitcapexceeded",
            "exceeds the configured cap",
            "fee cap exceeded",
            "max priority fee per gas higher than",
            "max priority fee per gas exceeds",
            "invalidmaxpriorityfeepergas",
            "max fee per gas higher than",
            "transaction type not supported",
            "unsupported transaction type",
            "invalid transaction type",
            "transaction type in",
            "failed to decode",
            "rlp",
            "oversized data",
            "negative value",
            "initcode",
            "sender not an eoa",
            "sender account not authorized",
            "uint64 overflow",
            "uintoverflow",
            "transaction cost overflow",
            "nonce has max value",
        ),
    ),
    (
        SendResult.POOL_FULL,
        (
            "pool is full",
            "account limit exceeded",
            "in-flight transaction limit",
            "spammer",
            "nonce too high",
            "noncegap",
            "nonce too far in future",
            "too distant from current sender nonce",
            "lower nonce exists",
            "future transaction tries to replace pending",
            "already reserved",
        ),
    ),
)
"""Parts of messages in lower case; the first that is found decides."""

_UNSOUND: Final = frozenset({SendResult.UNDERPRICED, SendResult.REJECTED})
"""What cannot be right beside a success. A node that lags may well see too low a balance, and one
that is ahead a used nonce: that is no contradiction."""


def result_of(answer: Any) -> SendResult:  # noqa: ANN401 - JSON of any shape
    """Classify one node's answer to ``eth_sendRawTransaction``."""
    if not isinstance(answer, RpcError):
        return SendResult.ACCEPTED
    message = answer.message.lower()
    for result, words in _WORDS:
        if any(part in message for part in words):
            return result
    return SendResult.UNANSWERED


def together(answers: Sequence[EndpointAnswer]) -> Submission:
    """One result of all answers: a success outweighs every error, then the most hopeful counts."""
    given = {answer.result for answer in answers}
    result = next((each for each in SendResult if each in given), SendResult.UNANSWERED)
    return Submission(result, tuple(answers), _contradiction(answers))


def _contradiction(answers: Sequence[EndpointAnswer]) -> str | None:
    taken = [answer for answer in answers if answer.result.succeeded]
    unsound = [answer for answer in answers if answer.result in _UNSOUND]
    if not taken or not unsound:
        return None
    said = "; ".join(f"{answer.label}: {answer.result}, {answer.message}" for answer in unsound)
    return f"{', '.join(answer.label for answer in taken)} took it, but {said}"
