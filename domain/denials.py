"""Why something is refused that the policy could have allowed: stable codes, and what each means.

Programs decide by the code, so one that was given out is never renamed. `docs/guides/denials.md` is
written from this table.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class Denial(StrEnum):
    """Every reason there is; the value is the `code` of the problem that is shown."""

    # Who asks
    NO_COMMAND = "no_command"
    COMMAND_MISMATCH = "command_mismatch"
    PRINCIPAL_DISABLED = "principal_disabled"
    NO_PERMISSION = "no_permission"
    FOREIGN_BANK = "foreign_bank"
    OWN_SIZE = "own_size"
    SENIOR_TRADER = "senior_trader_needed"
    # What the policy says of it
    NO_POLICY = "policy_missing"
    POLICY_RULE = "policy_rule"
    POLICY_SIZE = "policy_size"
    POLICY_HOURS = "policy_hours"
    POLICY_NO_RULE = "policy_no_rule"
    # How much there was lately
    VELOCITY_USER_DEALS = "velocity_user_deals"
    VELOCITY_USER_USD = "velocity_user_usd"
    VELOCITY_BANK_DEALS = "velocity_bank_deals"
    VELOCITY_BANK_USD = "velocity_bank_usd"
    # Approving a deal
    APPROVAL_OWN_DEAL = "approval_own_deal"
    APPROVAL_GIVEN = "approval_given_already"
    APPROVAL_OTHER = "approval_of_something_else"
    APPROVAL_EXPIRED = "approval_expired"
    APPROVAL_NOT_AWAITED = "approval_not_awaited"
    APPROVAL_NOT_APPROVER = "approval_not_approver"
    APPROVAL_REJECTED = "approval_rejected"
    # Changing the policy
    POLICY_OWN_CHANGE = "policy_own_change"


class Meaning(NamedTuple):
    """What a denial means: in a sentence, what its limit and actual value are, what to do."""

    sentence: str
    limit: str
    actual: str
    next_action: str


MEANINGS: Final[Mapping[Denial, Meaning]] = {
    Denial.NO_COMMAND: Meaning(
        "The deal was not started by a command that this system has recorded.",
        "a command of somebody who has proved who he is",
        "the command id that the workflow was given, or none",
        "start the deal with `deal start` or the API, not by hand in Temporal",
    ),
    Denial.COMMAND_MISMATCH: Meaning(
        "The command that is named was given for something else.",
        "kind, deal and request digest of the recorded command",
        "those of the deal",
        "start the deal anew with `deal start` or the API, under a new deal id",
    ),
    Denial.PRINCIPAL_DISABLED: Meaning(
        "Whoever started the deal is disabled, or not known any more.",
        "an enabled principal",
        "his state",
        "have somebody else start it, or have an admin enable him (`deal users`)",
    ),
    Denial.NO_PERMISSION: Meaning(
        "Whoever started the deal has no role that allows it.",
        "the roles that allow it",
        "his roles",
        "have a trader start it, or have an admin give the role (`deal users set`)",
    ),
    Denial.FOREIGN_BANK: Meaning(
        "Whoever started the deal does not work for this bank.",
        "his banks",
        "the deal's bank",
        "have somebody of that bank start it, or have an admin add the bank (`deal users set`)",
    ),
    Denial.OWN_SIZE: Meaning(
        "The deal is larger than whoever started it may start.",
        "his largest deal, in USD",
        "the deal's value, in USD",
        "give less working liquidity, or have somebody with a higher limit start it",
    ),
    Denial.SENIOR_TRADER: Meaning(
        "A deal of this size takes a senior trader, whatever the policy says.",
        "5,000,000 USD without the role",
        "the deal's value, in USD",
        "have a senior trader start it, or give less working liquidity",
    ),
    Denial.NO_POLICY: Meaning(
        "No deal policy is in force.",
        "one active version",
        "none",
        "install the first version with `deal policy install`",
    ),
    Denial.POLICY_RULE: Meaning(
        "A rule of the policy denies it.",
        "the rule's name",
        "what the rule was applied to",
        "look at the rule with `deal policy show`",
    ),
    Denial.POLICY_SIZE: Meaning(
        "The policy would allow it if the deal were smaller.",
        "the largest size that it allows, in USD",
        "the deal's value, in USD",
        "give less working liquidity, or have somebody start it who may start more",
    ),
    Denial.POLICY_HOURS: Meaning(
        "The policy would allow it at another time.",
        "the hours at which it allows it, in UTC",
        "when it was asked for, in UTC",
        "start it within those hours, under a new deal id",
    ),
    Denial.POLICY_NO_RULE: Meaning(
        "No rule of the policy allows it.",
        "a rule that allows it",
        "who asks, for which bank, chain and module",
        "look at what is allowed with `deal policy show`",
    ),
    Denial.VELOCITY_USER_DEALS: Meaning(
        "Whoever started the deal has started too many lately.",
        "deals within the window",
        "with this one",
        "wait until the oldest is out of the window, or have somebody else start it",
    ),
    Denial.VELOCITY_USER_USD: Meaning(
        "Whoever started the deal has moved too much lately.",
        "USD within the window",
        "with this one",
        "wait until the oldest is out of the window, or give less working liquidity",
    ),
    Denial.VELOCITY_BANK_DEALS: Meaning(
        "The bank has had too many deals lately.",
        "deals within the window",
        "with this one",
        "wait until the oldest is out of the window",
    ),
    Denial.VELOCITY_BANK_USD: Meaning(
        "The bank's deals have moved too much lately.",
        "USD within the window",
        "with this one",
        "wait until the oldest is out of the window, or give less working liquidity",
    ),
    Denial.APPROVAL_OWN_DEAL: Meaning(
        "Nobody approves a deal that he has started, nor has it approved in his name.",
        "somebody else than the initiator",
        "the initiator",
        "have another approver look at it",
    ),
    Denial.APPROVAL_GIVEN: Meaning(
        "One person counts once, also as a stand-in and as the one who is stood in for.",
        "distinct people",
        "whose approval counts already",
        "have another approver look at it",
    ),
    Denial.APPROVAL_OTHER: Meaning(
        "What is approved is not what the deal waits for: request, policy or dry run are others.",
        "the digest that the deal waits for",
        "the digest that was approved",
        "look at it again with `deal approvals`, then approve what is shown",
    ),
    Denial.APPROVAL_EXPIRED: Meaning(
        "The deal was not approved in time.",
        "when the approval expired, in UTC",
        "approvals given of those needed",
        "nothing was moved; start it again under a new deal id",
    ),
    Denial.APPROVAL_NOT_AWAITED: Meaning(
        "The deal waits for no approval of the desk.",
        "a deal that is AWAITING_APPROVAL",
        "its status",
        "look at the deal with `deal show`",
    ),
    Denial.APPROVAL_NOT_APPROVER: Meaning(
        "Whoever approves is no approver of this deal, nor stands in for one.",
        "role, group and bank of an approver",
        "those of whoever approves",
        "have an approver look at it, or have one delegate to a group (`deal users`)",
    ),
    Denial.APPROVAL_REJECTED: Meaning(
        "An approver does not want the deal.",
        "nobody who rejects it",
        "who rejects it",
        "nothing was moved; a new deal needs a new deal id and new approvals",
    ),
    Denial.POLICY_OWN_CHANGE: Meaning(
        "Nobody puts a policy in force that he has proposed.",
        "somebody else than the proposer",
        "the proposer",
        "have another risk manager look at it (`deal policy diff`) and approve it",
    ),
}
"""What each means; a test sees that none is missing."""
