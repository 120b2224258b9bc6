"""What an owner is asked to sign, held against his own configuration, his own node, and arithmetic.

The server is believed in nothing that can be known otherwise. What cannot, such as which account is
the deal's, is shown in full.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from domain.amounts import BASIS_POINTS
from domain.approvals import Approval, Proposal, wei_usd8
from domain.chains import ChainProfile
from domain.deals import DealStatus, Step
from domain.errors import Conflict, NotAllowed
from domain.identifiers import DealId
from domain.safe import CALL
from domain.sizing import gas_reserve_at
from domain.views import DealView
from starters.cli.witness import Witness

_PRICE_DRIFT_BPS: Final = 1_000
"""How far the value may be from what it is at the node's price: it was reckoned at admission."""


@dataclass(frozen=True)
class Verified:
    """A proposal that is what it seems, and its value at the owner's own node, in 1e-8 USD."""

    view: DealView
    approval: Approval
    witness: Witness
    value_usd8: int

    @property
    def proposal(self) -> Proposal:
        """What is to be signed."""
        return self.approval.proposal


def proposed(deal_id: DealId, view: DealView) -> Approval:
    """What the deal waits for; raises `NotAllowed` if it waits for no owners."""
    if view.approval is None or view.status is not DealStatus.AWAITING_APPROVAL:
        raise NotAllowed(
            f"deal {deal_id} does not wait for owners",
            field="status",
            value=view.status,
            limit=DealStatus.AWAITING_APPROVAL,
            next_action="look at the deal with `deal show`",
        )
    return view.approval


def verify(  # noqa: PLR0913 - each is an independent source
    deal_id: DealId,
    view: DealView,
    profile: ChainProfile,
    witness: Witness,
    now: datetime,
    *,
    expected_digest: str | None = None,
) -> Verified:
    """Raise `Conflict` naming the first field that is not what the owner's own sources say.

    `expected_digest` is the request's as the owner has it from the desk, if he has.
    """
    approval = proposed(deal_id, view)
    facts = _Facts(deal_id, view, approval.proposal, profile, witness, now, expected_digest)
    for field, value, limit in facts.mismatches():
        raise Conflict(
            f"{field} is not what your own configuration, node, or arithmetic says",
            field=field,
            value=value,
            limit=limit,
            next_action="do not sign: somebody may be lying to you; ask the desk by another way",
        )
    value = wei_usd8(approval.proposal.transaction.value, witness.ether_price_usd8)
    return Verified(view, approval, witness, value)


Mismatch = tuple[str, object, object]


@dataclass(frozen=True)
class _Facts:
    deal_id: DealId
    view: DealView
    proposal: Proposal
    profile: ChainProfile
    witness: Witness
    now: datetime
    expected_digest: str | None

    def mismatches(self) -> Iterator[Mismatch]:
        """What differs: the field, what the server says, and what is right."""
        for field, said, right in self._equal():
            if said != right:
                yield field, said, right
        yield from self._reserve()
        yield from self._chain()
        yield from self._value()

    def _equal(self) -> Iterator[Mismatch]:
        view, proposal, transaction = self.view, self.proposal, self.proposal.transaction
        request, sizing = view.request, view.sizing
        yield "deal_id", request.deal_id, self.deal_id
        yield "proposal.deal_id", proposal.deal_id, self.deal_id
        yield "bank", proposal.bank, request.bank
        yield "request_digest", proposal.request_digest, request.digest()
        if self.expected_digest is not None:
            yield "request_digest", request.digest(), self.expected_digest
        yield "node.chain_id", self.witness.chain_id, self.profile.chain_id
        yield "request.chain_id", request.chain_id, self.profile.chain_id
        yield "chain_id", transaction.chain_id, self.profile.chain_id
        yield "safe", transaction.safe, self.profile.contract(self.profile.multisig.safe)
        yield "treasury", view.treasury, transaction.safe
        yield "to", transaction.to, view.account
        yield "data", transaction.data, "0x"
        yield "operation", transaction.operation, CALL
        yield "safe_tx_gas", transaction.safe_tx_gas, 0
        yield "base_gas", transaction.base_gas, 0
        yield "gas_price", transaction.gas_price, 0
        yield "gas_token", transaction.gas_token, None
        yield "refund_receiver", transaction.refund_receiver, None
        wrapped = sizing.wrap_wei if sizing else None
        yield "sizing.wrap_wei", wrapped, request.working_liquidity.units
        reserve = sizing.gas_reserve_wei if sizing else 0
        yield "value", transaction.value, request.working_liquidity.units + reserve
        yield "threshold", proposal.threshold, self.witness.threshold
        yield "owners", sorted(proposal.owners), sorted(self.witness.owners)
        yield "transaction_hash", proposal.transaction_hash, transaction.hash()
        yield "contract.transaction_hash", self.witness.transaction_hash, transaction.hash()

    def _reserve(self) -> Iterator[Mismatch]:
        """The gas reserve is no more than the deal's steps can cost at the chain's fee cap."""
        module = self.profile.module(self.view.request.module)
        gas = module.gas_units | {Step.FUND: self.profile.multisig.fund_gas_units}
        most = gas_reserve_at(
            module.model_copy(update={"gas_units": gas}),
            self.profile.fees.max_fee_per_gas_wei,
            self.view.request.cycles,
        )
        reserve = self.view.sizing.gas_reserve_wei if self.view.sizing else 0
        if reserve > most:
            yield "sizing.gas_reserve_wei", reserve, f"at most {most}"

    def _chain(self) -> Iterator[Mismatch]:
        """The Safe has not used the nonce, the account is nobody's yet, and there is time left."""
        nonce = self.proposal.transaction.nonce
        if nonce < self.witness.nonce:
            yield "nonce", nonce, f"at least {self.witness.nonce}, the Safe's next"
        if self.witness.account_has_code or self.witness.account_nonce:
            used = f"{self.witness.account_nonce} transactions sent"
            yield "account", used, "an account of the deal alone: no code, and nothing sent"
        if self.proposal.expires_at <= self.now:
            yield "expires_at", self.proposal.expires_at, f"after {self.now}"

    def _value(self) -> Iterator[Mismatch]:
        proposal = self.proposal
        value = wei_usd8(proposal.transaction.value, self.witness.ether_price_usd8)
        if abs(proposal.value_usd8 - value) * BASIS_POINTS > value * _PRICE_DRIFT_BPS:
            yield "value_usd8", proposal.value_usd8, f"about {value}, at your node's price"
        if proposal.together_usd8 < proposal.value_usd8:
            yield "together_usd8", proposal.together_usd8, f"at least {proposal.value_usd8}"
