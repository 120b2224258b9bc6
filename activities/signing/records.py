"""What the signer itself has written down about a deal; it believes nothing told later."""

from dataclasses import dataclass

from activities.signing.interface import DealAccounts
from domain.identifiers import ChainId


@dataclass(frozen=True, slots=True)
class DealRecord:
    """A deal as it was when its account was opened.

    `max_fee_per_gas` is what the deal bids at the most, in wei per gas, if it has a cap of its own;
    `chain_id` the chain that it is on, unknown for deals from before that was written down.
    """

    accounts: DealAccounts
    max_fee_per_gas: int | None = None
    chain_id: ChainId | None = None
