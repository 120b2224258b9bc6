"""Deals that the owners of a Safe must approve: what is proposed, who has signed, what follows."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.amounts import ETHER_DECIMALS, Units, Usd8, ceil_div, one_token
from domain.chains import ModuleProfile
from domain.deals import DealRequest
from domain.errors import ApprovalNeeded, Problem
from domain.identifiers import Address, BankId, DealId
from domain.market import MarketSnapshot
from domain.safe import OwnerSignature, SafeTransaction
from domain.sizing import gas_reserve_wei


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Proposal(_Model):
    """What the owners are asked to sign for a deal; `number` counts its proposals from 1."""

    deal_id: DealId
    bank: BankId
    request_digest: str
    number: Annotated[int, Field(ge=1)]
    transaction: SafeTransaction
    transaction_hash: str
    threshold: Annotated[int, Field(ge=1)]
    owners: tuple[Address, ...]
    value_usd8: Usd8
    """Of working liquidity and gas reserve, at the price that was read at admission."""
    together_usd8: Usd8
    """With what else the bank had been given within the window."""
    since_block: Annotated[int, Field(ge=0)]
    """The chain's newest block when it was proposed."""
    expires_at: datetime


class GivenSignature(_Model):
    """Who has signed, and when; the signature itself stays in the workflow."""

    owner: Address
    who: str
    at: datetime


class Approval(_Model):
    """A deal's approval as people and programs see it."""

    proposal: Proposal
    signed: tuple[GivenSignature, ...] = ()
    note: str = ""
    """What the owners have to know, such as why they are asked again."""

    @property
    def missing(self) -> tuple[Address, ...]:
        """The owners who have not signed."""
        given = {each.owner for each in self.signed}
        return tuple(owner for owner in self.proposal.owners if owner not in given)

    @property
    def needed(self) -> int:
        """How many signatures there still have to be."""
        given = [each for each in self.signed if each.owner in self.proposal.owners]
        return max(0, self.proposal.threshold - len(given))


class SafeStanding(_Model):
    """A Safe as one look found it, seen from one proposal."""

    nonce: Annotated[int, Field(ge=0)]
    final_nonce: Annotated[int, Field(ge=0)]
    """The nonce in the newest block that cannot be undone."""
    threshold: Annotated[int, Field(ge=1)]
    owners: tuple[Address, ...]
    gap: bool = False
    """No proposal that is open has one of the nonces before this one's."""
    executed: str | None = None
    """The transaction, final, that performed the proposal's own Safe transaction."""


class Fate(StrEnum):
    """What can become of a proposal now."""

    DUE = "it is the Safe's next transaction"
    QUEUED = "others come before it"
    GAP = "nothing is proposed for a nonce before it"
    SETTLING = "its nonce is used in a block that may still be undone"
    USED = "its nonce is used by something else"
    EXECUTED = "it was executed"


def fate_of(nonce: int, standing: SafeStanding) -> Fate:
    """Say what can become of the proposal with this nonce.

    A nonce counts as used only once that is final: a proposal in its place would otherwise be
    there as well, if the chain went back to before the nonce was used.
    """
    if standing.executed is not None:
        return Fate.EXECUTED
    if standing.final_nonce > nonce:
        return Fate.USED
    if standing.nonce > nonce:
        return Fate.SETTLING
    if standing.nonce == nonce:
        return Fate.DUE
    return Fate.GAP if standing.gap else Fate.QUEUED


def counting(
    signatures: Iterable[OwnerSignature], standing: SafeStanding
) -> tuple[OwnerSignature, ...]:
    """The signatures of those who are owners now."""
    return tuple(each for each in signatures if each.owner in standing.owners)


def funding_usd8(request: DealRequest, module: ModuleProfile, market: MarketSnapshot) -> int:
    """What a deal is worth to whoever must approve it, in 1e-8 USD, rounded up.

    Working liquidity and the gas reserve for all the cycles that it may have.
    """
    wei = request.working_liquidity.units + gas_reserve_wei(module, market, request.cycles)
    return wei_usd8(wei, market.collateral_price_usd8)


def wei_usd8(wei: int, price_usd8: int) -> int:
    """Value ether, rounded up."""
    return ceil_div(wei * price_usd8, one_token(ETHER_DECIMALS))


def rejected(owner: Address, who: str, why: str) -> Problem:
    """The problem of a deal that an owner does not want."""
    return ApprovalNeeded(
        f"owner {owner} rejects it: {why}",
        field="approval",
        value=owner,
        actual=who,
        next_action="nothing was moved; a new deal needs a new deal id and new signatures",
    ).problem


def withdrawn(who: str, why: str) -> Problem:
    """The problem of a deal that was cancelled before its owners had approved it."""
    return ApprovalNeeded(
        f"withdrawn by {who}: {why}",
        field="approval",
        value=who,
        next_action="nothing was moved; a new deal needs a new deal id and new signatures",
    ).problem


def expired_by(approval: Approval, who: str, why: str) -> Problem:
    """The problem of a deal that somebody has let expire before its time."""
    return expired(approval).model_copy(
        update={"message": f"no longer waited for approval: {why} ({who})"}
    )


def expired(approval: Approval) -> Problem:
    """The problem of a deal that its owners have not approved in time."""
    proposal, signed = approval.proposal, len(approval.signed)
    return ApprovalNeeded(
        f"the owners have not approved deal {proposal.deal_id} in time",
        field="approval",
        value=proposal.expires_at.isoformat(timespec="seconds"),
        limit=f"{proposal.threshold} of {len(proposal.owners)} owners",
        actual=f"{signed} signed",
        next_action="nothing was moved; start it again under a new deal id",
    ).problem


def still_payable(proposal: Proposal, why: str) -> ApprovalNeeded:
    """What people have to know of a proposal that is over although enough owners have signed it."""
    nonce = proposal.transaction.nonce
    return ApprovalNeeded(
        f"deal {proposal.deal_id} is over, and whoever has the owners' signatures can have it paid "
        f"all the same: {why}",
        field="safe.nonce",
        value=nonce,
        limit="a nonce that the Safe has used",
        actual=f"{proposal.threshold} owners have signed",
        next_action=f"have the owners send an empty transaction of nonce {nonce} from the Safe to "
        "itself, or approve the next deal, which takes that nonce; the deal ends then",
    )


class ExecuteApproved(_Model):
    """A Safe transaction with the signatures that its threshold takes, and who sends it."""

    transaction: SafeTransaction
    signatures: Annotated[str, Field(pattern=r"^0x([0-9a-f]{130})+$")]
    sender: Address
    """The fee account, which pays the gas."""


class Funding(_Model):
    """Whether a deal needs the owners: its value, and that of its bank's deals together."""

    value_usd8: Units
    together_usd8: Units
    limit_usd8: Units
    owners_decide: bool
