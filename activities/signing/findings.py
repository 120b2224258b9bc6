"""Why something is not signed: one finding, from the policy or from the journal."""

from dataclasses import dataclass
from enum import StrEnum

from domain.errors import SigningRefused
from domain.transactions import Intent


class Rule(StrEnum):
    """Every rule that the signer can refuse by; `docs/guides/signing-policy.md` explains each.

    The value is the `field` of the error that the workflow gets, and stands in the journal.
    """

    # The request
    DIGEST = "digest"
    CHAIN_ID = "chain_id"
    MODULE = "module"
    ACCOUNT = "account"
    INTENTS = "intents"
    INTENT_ID = "intent_id"
    STALE = "stale"
    # The envelope of a transaction
    SENDER = "sender"
    NONCE = "nonce"
    MAX_FEE_PER_GAS = "max_fee_per_gas"
    DEAL_MAX_FEE_PER_GAS = "deal_max_fee_per_gas"
    MAX_PRIORITY_FEE_PER_GAS = "max_priority_fee_per_gas"
    GAS_LIMIT = "gas_limit"
    SPENDS_REST = "spends_rest"
    # What it calls
    STEP = "step"
    DESTINATION = "destination"
    SELECTOR = "selector"
    SEQUENCE = "sequence"
    CALLDATA = "calldata"
    # What goes along
    VALUE = "value"
    MAX_ETHER = "max_ether"
    TOKEN = "token"  # noqa: S105 - the name of a rule
    AMOUNT = "amount"
    MAX_TOKENS = "max_tokens"
    RECIPIENT = "recipient"
    SPENDER = "spender"
    APPROVED_AMOUNT = "approved_amount"
    UNUSED_APPROVAL = "unused_approval"
    REFERRAL = "referral"
    RATE_MODE = "rate_mode"
    POOL_FEE = "pool_fee"
    DEADLINE = "deadline"
    MINIMUM_OUT = "minimum_out"
    MAXIMUM_IN = "maximum_in"
    MAX_LOSS = "max_loss"
    SAFE_DATA = "safe_data"
    SAFE_OPERATION = "safe_operation"
    SAFE_GAS = "safe_gas"
    SAFE_REFUND = "safe_refund"
    SAFE_SIGNATURES = "safe_signatures"
    BOUNDS = "bounds"
    # What it tells the timelock
    OPERATION = "operation"
    OPERATION_CALL = "operation_call"
    OPERATION_ARGUMENT = "operation_argument"
    OPERATION_SALT = "operation_salt"
    OPERATION_DELAY = "operation_delay"
    OPERATION_EARLY = "operation_early"
    OPERATION_CANCELLED = "operation_cancelled"
    # The journal, which the database keeps
    NONCE_TAKEN = "nonce_taken"
    NONCE_FILLED = "nonce_filled"
    INTENT_MOVED = "intent_moved"
    WITHHELD = "withheld"
    KEY_RETIRED = "key_retired"
    CHAIN_LATCHED = "chain_latched"
    POLICY_SUPERSEDED = "policy_superseded"
    RATE_DEAL_SIGNATURES = "rate_deal_signatures"
    RATE_DEAL_USD = "rate_deal_usd"
    RATE_HOUR_SIGNATURES = "rate_hour_signatures"
    RATE_HOUR_USD = "rate_hour_usd"
    JOURNAL = "journal"


@dataclass(frozen=True, slots=True)
class Finding:
    """The rule that said no, and what it was applied to.

    `intent` is the transaction at fault; without it, the batch as a whole is.
    """

    rule: Rule
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
