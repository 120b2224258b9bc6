"""The one tree of errors, and the `Problem` that each becomes wherever it is shown.

The same object reaches the command line's exit code, the API's answer, the log, the alert and the
audit row, so every error says what to do next.
"""

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, field_validator

from domain.denials import MEANINGS, Denial
from domain.masking import mask


class Problem(BaseModel):
    """What went wrong, as data. Values are text so that they survive every boundary unchanged.

    Secrets in them are masked, whoever made the text: a driver, a node, a library.
    """

    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    next_action: str
    field: str | None = None
    value: str | None = None
    limit: str | None = None
    actual: str | None = None
    headroom: str | None = None

    @field_validator("message", "next_action", "value", "limit", "actual", "headroom")
    @classmethod
    def _without_secrets(cls, text: str | None) -> str | None:
        return None if text is None else mask(text)


class DealError(Exception):
    """Base of every error this system raises on purpose.

    `exit_code` is what the command line answers with; `retryable` says whether trying the same
    thing again can succeed without anybody changing anything.
    """

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(  # noqa: PLR0913 - the fields of a Problem, each optional and named
        self,
        message: str,
        *,
        next_action: str,
        field: str | None = None,
        value: object = None,
        limit: object = None,
        actual: object = None,
        headroom: object = None,
    ) -> None:
        """Keep the facts; `message` is one sentence, `next_action` says what the reader can do."""
        self.problem = Problem(
            code=self.code,
            message=message,
            next_action=next_action,
            field=field,
            value=_text(value),
            limit=_text(limit),
            actual=_text(actual),
            headroom=_text(headroom),
        )
        super().__init__(self.problem.message)

    @classmethod
    def from_problem(cls, problem: Problem) -> Self:
        """Rebuild the error on the far side of a boundary; facts are kept as they were.

        Only for the classes of `errors_by_code`, which are made as this one is.
        """
        error = cls(problem.message, next_action=problem.next_action)
        error.problem = problem
        return error


# A ValueError, because only those become findings of a pydantic validation.
class InvalidInput(DealError, ValueError):  # pyright: ignore[reportUnsafeMultipleInheritance]
    """A field of a request or a message does not hold what it must; nothing was done."""

    code = "invalid_input"
    exit_code = 2


class InvalidConfiguration(InvalidInput):
    """A configuration file, an address manifest or a setting cannot be used as it is."""

    code = "invalid_configuration"


class NotFound(InvalidInput):
    """The deal, chain or module that was named does not exist."""

    code = "not_found"


class Conflict(DealError):
    """The same key was used before with another body; the first one stands."""

    code = "conflict"


class Outdated(DealError):
    """The change is based on a version that is not the newest any more; nothing was changed."""

    code = "outdated"


class NotAllowed(DealError):
    """The deal's state does not allow this command."""

    code = "not_allowed"
    exit_code = 4


class Unauthenticated(DealError):
    """Nobody knows who asks: no credential, or none that counts. Why is told to nobody outside."""

    code = "unauthenticated"
    exit_code = 4


class Forbidden(DealError):
    """It is known who asks, and he may not; nothing was done."""

    code = "forbidden"
    exit_code = 4


class LimitExceeded(DealError):
    """A risk limit would be broken; nothing was signed."""

    code = "limit_exceeded"
    exit_code = 5


class PolicyDenied(DealError):
    """The deal policy does not allow it; the code is the reason's own, see `domain.denials`."""

    code = "policy_denied"
    exit_code = 5

    @classmethod
    def because(  # noqa: PLR0913 - the fields of a Problem
        cls,
        denial: Denial,
        message: str | None = None,
        *,
        field: str,
        value: object = None,
        limit: object = None,
        actual: object = None,
        headroom: object = None,
        next_action: str | None = None,
    ) -> Self:
        """Make the error of one denial; words that are not given are those of its table."""
        meaning = MEANINGS[denial]
        error = cls(
            message or meaning.sentence,
            next_action=next_action or meaning.next_action,
            field=field,
            value=value,
            limit=limit,
            actual=actual,
            headroom=headroom,
        )
        error.problem = error.problem.model_copy(update={"code": str(denial)})
        return error


class Halted(DealError):
    """Trading is halted for this bank, chain, module or the whole desk; exits go on.

    `actual` is the trading state that stopped it, `field` and `value` name what is halted.
    """

    code = "halted"
    exit_code = 5


class SizingRefused(LimitExceeded):
    """No size keeps every limit and makes a profit; `field` names the limit that bound."""

    code = "sizing_refused"


class SigningRefused(DealError):
    """The signer's policy or journal does not allow this transaction."""

    code = "signing_refused"
    exit_code = 5


class RedemptionFrozen(DealError):
    """The redemption module's operator has stopped redemptions; the deal waits or unwinds."""

    code = "redemption_frozen"


class SimulationFailed(DealError):
    """The batch reverts when simulated; nothing was signed."""

    code = "simulation_failed"


class NoPrediction(DealError):
    """The chain's nodes cannot run a deal dry; whether it goes on without is for the policy."""

    code = "no_prediction"


class TransactionReverted(DealError):
    """A transaction was mined and reverted; its nonce is used and its effects are undone."""

    code = "transaction_reverted"


class TransactionReplaced(DealError):
    """A transaction's nonce was used by a no-op, or by somebody else: it never has an effect."""

    code = "transaction_replaced"


class PostConditionFailed(DealError):
    """What the receipts show is not what the step promised; the next step must not start."""

    code = "post_condition_failed"


class OutcomeUnknown(DealError):
    """It is not known whether the effect happened; it must be looked up, never sent anew."""

    code = "outcome_unknown"
    exit_code = 7
    retryable = True


class ApprovalNeeded(DealError):
    """Nothing is done before the people who have to approve have done so."""

    code = "approval_needed"
    exit_code = 6


class WaitTimedOut(DealError):
    """The time allowed for waiting ran out; what was waited for goes on."""

    code = "timed_out"
    exit_code = 124


class Unavailable(DealError):
    """A node, database or service does not answer now; trying again may help."""

    code = "unavailable"
    retryable = True


def errors_by_code() -> dict[str, type[DealError]]:
    """The error classes by their stable codes, as far as a `Problem` is enough to build them.

    A class that is made from other arguments never crosses a boundary as itself, and one without a
    code of its own is its parent to whoever reads the problem.
    """
    found: dict[str, type[DealError]] = {}
    pending: list[type[DealError]] = [DealError]
    while pending:
        kind = pending.pop()
        pending.extend(kind.__subclasses__())
        if "code" in vars(kind) and kind.__init__ is DealError.__init__:
            found[kind.code] = kind
    return found | dict.fromkeys(map(str, Denial), PolicyDenied)


def error_from(problem: Problem) -> DealError:
    """Return the error that a problem describes; of an unknown code, a plain one that keeps it."""
    return errors_by_code().get(problem.code, DealError).from_problem(problem)


def _text(value: object) -> str | None:
    if value is None:
        return None
    try:
        return str(value)
    except ValueError:
        return "a number of more digits than Python prints"
