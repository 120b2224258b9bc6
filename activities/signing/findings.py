"""Why something is not signed: one finding, from the policy or from the journal."""

from dataclasses import dataclass

from domain.errors import SigningRefused
from domain.transactions import Intent


@dataclass(frozen=True, slots=True)
class Finding:
    """The rule that said no, and what it was applied to.

    `intent` is the transaction at fault; without it, the batch as a whole is.
    """

    rule: str
    reason: str
    limit: object
    next_action: str
    value: object = None
    actual: object = None
    intent: Intent | None = None

    def error(self) -> SigningRefused:
        """The error that the workflow gets; `field` is the rule."""
        return SigningRefused(
            self.text(),
            next_action=self.next_action,
            field=self.rule,
            value=self.value,
            limit=self.limit,
            actual=self.actual,
        )

    def text(self) -> str:
        """The reason, with the intent it is about."""
        return f"{self.intent.intent_id}: {self.reason}" if self.intent else self.reason
